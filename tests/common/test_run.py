"""A run's folder: who makes it, what is in it, how a run stops, goes on and ends."""

import contextlib
import dataclasses
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.common import checkpoint, cli, commands, device, fit, run, settings
from zoo.common.data import Dataset, digest
from zoo.common.run import RunError
from zoo.common.task import Task


@dataclasses.dataclass(frozen=True)
class Config:
    recipe: Literal["modern"] = "modern"
    widths: tuple[int, ...] = (3,)
    learning_rate: float = 0.1
    epochs: int = 3
    batch_size: int = 4
    seed: int = 0

    def __post_init__(self):
        settings.check(self)


def loss(params, batch, key=None):
    """Linear regression on inputs with a little noise, so that the keys matter."""
    x = batch["x"]
    if key is not None:
        x = x + 0.1 * jax.random.normal(key, x.shape)
    error = x @ params["kernel"] - batch["y"]
    return (error**2).mean(), {"accuracy": (jnp.abs(error) < 1).mean()}


def points(count, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    return {"x": x, "y": x @ np.array([1.0, -2.0, 0.5], np.float32)}


CONFIG, STEPS = Config(), 5
DATA = Dataset("points", "sample", "sample", "22 points", points(22), points(6, 1), ("a", "b"))
TASK = Task(
    name="ch99_line",
    model=SimpleNamespace(
        __name__="zoo.ch99_line.model",
        Config=Config,
        RECIPES={"modern": CONFIG},
        init=lambda key, config: {"kernel": 0.1 * jax.random.normal(key, (3,))},
    ),
    about="a line",
    load=lambda config, source, folder: DATA,
    random=lambda config, count: points(count),
    optimizer=lambda config, updates: optax.adam(config.learning_rate),
    losses=lambda config, steps: (loss, loss),
    metrics=("accuracy",),
    predictions=lambda config: {},
)


def train(folder=None, task=TASK, config=CONFIG, dataset=DATA, *, resume=False):
    options = cli.Options(**{"resume" if resume else "out": folder})
    return run.train(task, config, options, dataset)


def watched(see):
    """The task, with `see(step)` called after each step."""

    def watch(config, dataset, folder, state, reports):
        for progress in reports:
            see(int(progress.state.step))
            yield progress

    return dataclasses.replace(TASK, watch=watch)


@pytest.fixture(autouse=True)
def _each_step_is_reported(monkeypatch):
    whole = fit.iterate
    monkeypatch.setattr(fit, "iterate", lambda *a, **k: whole(*a, **k, form="step"))


def rows_of(folder):
    """The metrics without what a clock measured."""
    clock = ("seconds", "examples_per_second")
    return [{k: v for k, v in row.items() if k not in clock} for row in run.read_metrics(folder)]


def bits(state):
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder and the last state of a run of 15 steps."""
    return train(tmp_path_factory.mktemp("unbroken") / "run")


# ---- folders


def together(count, function):
    """What `function` gives or raises in each of `count` threads that begin at once."""
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait()
        try:
            return function(number)
        except RunError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def refused_link(source, target):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("there", ["nothing", "an empty folder", "other things"])
def test_of_many_that_want_one_folder_exactly_one_gets_it(tmp_path, monkeypatch, links, there):
    if not links:
        monkeypatch.setattr(os, "link", refused_link)
    for attempt in range(4):
        out = tmp_path / f"run {attempt}"
        if there != "nothing":
            out.mkdir()
        if there == "other things":
            (out / "figures").mkdir()
            (out / "notes.txt").write_text("mine")
        found = together(
            12, lambda n, out=out: run.create("ch99_line", Config(seed=n), {"name": n}, out)
        )
        winners = [n for n, result in enumerate(found) if result == out]
        assert len(winners) == 1
        content = json.loads((out / "config.json").read_text())
        assert content["config"]["seed"] == content["data"]["name"] == winners[0]
        refusals = {str(result) for result in found if result != out}
        assert all(f"{out} holds a run already: " in refusal for refusal in refusals)
        assert all("\n" not in refusal for refusal in refusals)
        kept = {"config.json", "figures"} | ({"notes.txt"} if there == "other things" else set())
        assert {path.name for path in out.iterdir()} == kept


def test_no_two_of_many_runs_of_one_second_share_a_default_folder(tmp_path, monkeypatch):
    def slowly(path, *args, mkdir=Path.mkdir, **keywords):
        time.sleep(0.001)  # between a question and the folder
        mkdir(path, *args, **keywords)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "mkdir", slowly)
    monkeypatch.setattr(time, "strftime", lambda *a: "2026-01-01-000000")
    folders = [f for _ in range(60) for f in together(2, lambda n: run.create("a/b", CONFIG, {}))]
    assert len(set(folders)) == 120
    assert all((folder / "config.json").stat().st_size for folder in folders)
    assert Path("runs/a/b/2026-01-01-000000") in folders


def test_a_folder_with_a_run_is_refused_with_what_to_do(tmp_path):
    out = tmp_path / "a run"
    run.create("ch99_line", CONFIG, {}, out)
    before = (out / "config.json").read_bytes()
    with pytest.raises(RunError) as caught:
        run.create("ch99_line", Config(seed=1), {}, out)
    assert str(caught.value) == (
        f"{out} holds a run already: go on with it by --resume '{out}', or choose another --out"
    )
    assert (out / "config.json").read_bytes() == before


def test_what_a_killed_process_has_begun_locks_no_folder_without_a_word(tmp_path, monkeypatch):
    (tmp_path / "figures").mkdir()
    (tmp_path / ".config.json.0123456789ab").write_text("{")
    assert run.create("ch99_line", CONFIG, {}, tmp_path) == tmp_path
    # Without links the name is taken before the content is there.
    (tmp_path / "config.json").write_text("")
    monkeypatch.setattr(os, "link", refused_link)
    with pytest.raises(RunError, match=rf"was killed there: delete {tmp_path / 'config.json'}$"):
        run.create("ch99_line", CONFIG, {}, tmp_path)
    (tmp_path / "config.json").unlink()
    assert run.create("ch99_line", CONFIG, {}, tmp_path) == tmp_path


HOLD = """
import sys
from zoo.common import run
with run.held(run.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_trains_in_a_folder_and_a_killed_one_leaves_no_lock(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], **pipes)
    try:
        assert holder.stdout.readline() == "held\n"
        began = rf"train on {platform.node()}, \d{{4}}-\d\d-\d\d"
        found = rf"in use .*\({began}, process {holder.pid}, since .*\): wait"
        with pytest.raises(RunError, match=found), run.held(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with run.held(tmp_path):
        twice = pytest.raises(RunError, match=rf"\({began}, process {os.getpid()}, since")
        with twice, run.held(tmp_path):
            pass
    with run.held(tmp_path):
        pass


def test_a_run_holds_its_folder_while_it_trains(tmp_path, handled):
    refused = []

    def see(step):
        if step in (3, 12):
            with pytest.raises(RunError, match=r"in use .* \(train on .*, process") as error:
                train(tmp_path / "run", resume=True)
            refused.append(str(error.value))

    train(tmp_path / "run", watched(see))
    assert len(refused) == 2
    with run.held(tmp_path / "run"):
        pass


@pytest.mark.parametrize("error", [BlockingIOError(11, "busy"), PermissionError(13, "denied")])
def test_a_lock_that_is_refused_in_either_way_is_taken(tmp_path, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(RunError, match=r"\(just begun\)"), run.held(tmp_path):
        pass


def test_a_model_that_memory_cannot_hold_is_refused_and_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "memory", lambda: 100.0)
    with pytest.raises(device.DeviceError, match="choose a smaller model"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.nan])
def test_what_is_not_finite_is_not_written_as_json(tmp_path, value):
    for write in (
        lambda: run.write_json(tmp_path / "evaluation.json", {"loss": [1.0, value]}),
        lambda: run.write_metrics(tmp_path, [{"epoch": 1, "loss": value}]),
    ):
        with pytest.raises(RunError, match="not all finite, and not written"):
            write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), OSError(95, "Not supported")])
def test_without_locks_in_the_file_system_a_run_trains_all_the_same(
    tmp_path, monkeypatch, unbroken, error
):
    def refuse(*_):
        raise error

    monkeypatch.setattr("fcntl.flock", refuse)
    assert bits(train(tmp_path / "run")[1]) == bits(unbroken[1])


@pytest.mark.parametrize("name", ["a[1] run", "back\\slash", "*?", "'\"$HOME` ;", "ä 字", "%s{}"])
def test_no_character_of_a_path_matters(tmp_path, unbroken, handled, name):
    folder = tmp_path / name / name
    with pytest.raises(run.Stopped) as stopped:
        train(folder, send(signal.SIGINT, at=8))
    typed = shlex.split(str(stopped.value).partition("--resume ")[2])
    assert typed == [str(folder)]
    assert bits(train(folder, resume=True)[1]) == bits(unbroken[1])


def test_a_configuration_says_what_was_run_on_what(unbroken):
    content = json.loads((unbroken[0] / "config.json").read_text())
    assert list(content) == [
        *("chapter", "config", "data", "data_dir", "device", "devices", "versions"),
        *("python", "command", "started"),
    ]
    assert content["chapter"] == "ch99_line"
    assert content["config"] == {**dataclasses.asdict(CONFIG), "widths": [3]}
    assert content["data"] == {
        "name": "points",
        "source": "sample",
        "split": "sample",
        "description": "22 points",
        "classes": ["a", "b"],
        "sha256": digest(DATA),
    }
    assert content["device"].startswith(jax.devices()[0].platform)
    assert content["versions"]["jax"] == jax.__version__
    assert set(content["versions"]) == {"zoo", "jax", "jaxlib", "optax", "numpy"}
    assert content["python"].startswith("3.")
    assert isinstance(content["command"], list)
    age = time.time() - time.mktime(time.strptime(content["started"], "%Y-%m-%dT%H:%M:%S%z"))
    assert abs(age) < 86_400


def failing(*args):
    raise OverflowError


@pytest.mark.parametrize(
    ("task", "config", "error"),
    [
        (TASK, Config(batch_size=100), fit.BatchError),
        (TASK, Config(epochs=0), fit.FinishedError),
        (TASK, None, AttributeError),
        (dataclasses.replace(TASK, init=failing), CONFIG, OverflowError),
    ],
    ids=["batch", "no epoch", "configuration", "weights"],
)
def test_what_cannot_begin_leaves_no_folder(tmp_path, task, config, error):
    with pytest.raises(error):
        train(tmp_path / "run", task, config)
    assert not list(tmp_path.iterdir())


def test_a_default_folder_is_named_by_task_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _ = train(config=Config(epochs=1))
    assert folder.parent == Path("runs/ch99_line")
    time.strptime(folder.name, "%Y-%m-%d-%H%M%S")


def pretended(folder, second, task="ch99_line"):
    """A folder that looks like a run, trained last at this second; never if it is None."""
    (folder / "checkpoints").mkdir(parents=True)
    content = {"chapter": task, "config": {}, "data": {}}
    (folder / "config.json").write_text(json.dumps(content))
    if second is not None:
        (folder / "checkpoints" / "5.safetensors").write_text("")
        os.utime(folder / "checkpoints" / "5.safetensors", (second, second))
    return folder


def test_the_newest_run_is_the_one_trained_last_that_has_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run.newest("ch99_line") is None
    parent = Path("runs/ch99_line")
    for name, second in [("z", 1), ("a", 2), ("m", 3), ("b", None)]:
        pretended(parent / name, second)
    pretended(parent / "other/q", 9, "ch99_line/other")
    (pretended(parent / "damaged", 8) / "config.json").write_text("{")
    (parent / "file").write_text("")
    (parent / "empty").mkdir()
    assert run.newest("ch99_line") == parent / "m"
    os.utime(parent / "a" / "checkpoints" / "5.safetensors", (7, 7))
    assert run.newest("ch99_line") == parent / "a"
    assert run.newest("ch99_line/other") == parent / "other/q"
    assert run.newest("ch99_line/third") is None


def test_a_run_elsewhere_is_remembered_until_it_is_deleted(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run.remember(tmp_path / "nothing")
    assert not list(Path().iterdir())
    pretended(Path("runs/ch99_line/a"), 5)
    run.remember(Path("runs/ch99_line/a"))
    assert not run.ELSEWHERE.exists()
    for number, name in enumerate(["far", "names with\u00e9 spaces"]):
        pretended(tmp_path / name, 6 + number)
        run.remember(tmp_path / name)
        run.remember(Path("..", name))
    assert len(run.ELSEWHERE.read_text().splitlines()) == 2
    assert run.newest("ch99_line") == tmp_path / "names with\u00e9 spaces"
    shutil.rmtree(tmp_path / "names with\u00e9 spaces")
    assert list(run.folders()) == [tmp_path / "far", Path("runs/ch99_line/a")]


def test_a_configuration_is_read_back(unbroken):
    folder, _ = unbroken
    assert run.name_of(folder) == "ch99_line"
    config, content = run.read_config(folder, "ch99_line", Config)
    assert config == CONFIG
    assert content["data"]["name"] == "points"
    with pytest.raises(RunError, match="is a run of ch99_line, expected one of ch98"):
        run.read_config(folder, "ch98", Config)
    for function in (run.name_of, lambda f: run.read_config(f, "ch99_line", Config)):
        with pytest.raises(RunError, match="is no run folder: it has no config"):
            function(folder / "figures")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "can't be read: .*name the folder of a run"),
        ("[]", "can't be read as a run's configuration"),
        ('{"chapter": "a", "config": {}}', "can't be read as a run's configuration"),
    ],
)
def test_a_damaged_configuration_is_named(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=message):
        run.name_of(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 3}, "other fields than this version's Config: width; train again"),
        ({"a": 1, "b": 2}, "other fields than this version's Config: a, b; train again"),
        ({"recipe": "old"}, "damaged or .*: got the recipe 'old', expected one of modern; train"),
    ],
)
def test_fields_of_another_version_are_refused_by_name(change, message):
    fields = json.loads(json.dumps(dataclasses.asdict(CONFIG)))
    assert run.make_config(Config, fields, Path("config.json")) == CONFIG
    changed = {k: v for k, v in {**fields, **change}.items() if v is not None}
    with pytest.raises(RunError, match=rf"^config.json .*{message}"):
        run.make_config(Config, changed, Path("config.json"))
    with pytest.raises(RunError, match=r"config.json has no fields"):
        run.make_config(Config, [], Path("config.json"))


def test_a_setting_that_cannot_be_is_one_line_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("ZOO_DEBUG", raising=False)
    monkeypatch.setattr(cli, "_dispatch", lambda *a: Config(recipe="old"))
    cache = jax.config.jax_compilation_cache_dir
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(None, {})
    finally:
        jax.config.update("jax_compilation_cache_dir", cache)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: got the recipe 'old', expected one of modern\n"


def test_a_run_goes_on_only_as_itself(tmp_path, unbroken):
    folder, _ = unbroken
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    with pytest.raises(RunError) as caught:
        train(folder, config=Config(seed=1, learning_rate=0.2), resume=True)
    assert str(caught.value) == (
        f"the run in {folder} has another configuration: learning_rate is 0.1 there and 0.2 here; "
        "seed is 0 there and 1 here. Resume without these flags, or start a new run"
    )
    other = DATA._replace(train={**DATA.train, "y": DATA.train["y"] + 1})
    message = r"was trained on 22 points; found now: 22 others, which .* by --data-dir, or start"
    with pytest.raises(RunError, match=message):
        train(folder, dataset=other._replace(description="22 others"), resume=True)
    with pytest.raises(RunError, match="is a run of ch99_line, expected one of ch98"):
        train(folder, dataclasses.replace(TASK, name="ch98"), resume=True)
    with pytest.raises(RunError, match="is no run folder"):
        train(tmp_path, resume=True)
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
    run.check_same(folder, CONFIG, Config())
    found = run.about_data(DATA)
    run.check_data(folder, {"sha256": digest(DATA)}, found)
    for saved in ({"sha256": "ab"}, {}):
        with pytest.raises(RunError, match="found now: 22 points"):
            run.check_data(folder, saved, found)


def test_a_run_on_the_sample_goes_on_with_the_sample_though_real_data_are_there_now(
    tmp_path, monkeypatch, handled
):
    seen = []

    def load(config, source, folder):
        seen.append(source)
        if source == "sample" or not (tmp_path / "real").exists():
            return DATA
        return DATA._replace(source="real", description="real points")

    task = dataclasses.replace(TASK, load=load)
    stopping = dataclasses.replace(task, watch=send(signal.SIGINT, at=8).watch)
    folder = tmp_path / "run"
    with pytest.raises(run.Stopped):
        commands.train(stopping, CONFIG, cli.Options(out=folder))
    (tmp_path / "real").touch()
    model = commands.train(task, CONFIG, cli.Options(resume=folder))
    assert seen == ["auto", "sample"]
    assert int(model.state.step) == 15
    with pytest.raises(RunError, match=r"config\.json lacks sha256, source, split of its data"):
        run.load_again(task, CONFIG, {}, None)
    with pytest.raises(RunError, match="was trained on 22 points; found now: real points"):
        commands.train(task, CONFIG, cli.Options(resume=folder, data="real"))


def test_the_folder_that_a_run_was_given_is_looked_into_again(tmp_path):
    seen = []
    task = dataclasses.replace(
        TASK, load=lambda config, source, folder: seen.append(folder) or DATA
    )
    (tmp_path / "data").mkdir()
    options = cli.Options(out=tmp_path / "run", data_dir=tmp_path / "data")
    commands.train(task, CONFIG, options)
    commands.train(task, CONFIG, cli.Options(resume=tmp_path / "run"))
    commands.train(task, CONFIG, cli.Options(resume=tmp_path / "run", data_dir=tmp_path))
    (tmp_path / "data").rmdir()
    commands.train(task, CONFIG, cli.Options(resume=tmp_path / "run"))
    assert seen == [tmp_path / "data", tmp_path / "data", tmp_path, None]


def test_devices_make_a_mesh_where_there_are_several(monkeypatch):
    before, named = jax.config.jax_default_device, cli.Options(device="cpu")
    monkeypatch.setattr(device, "threads", lambda: 6)
    paying = dataclasses.replace(TASK, examples_per_shard=lambda config: 2)
    config = dataclasses.replace(CONFIG, batch_size=8)
    try:
        assert run.devices(TASK, CONFIG, named) is None
        assert run.devices(TASK, CONFIG, cli.RunOptions(device="cpu")) is None
        assert run.devices(TASK, CONFIG, dataclasses.replace(named, devices=4)).size == 4
        assert run.devices(paying, config, named).size == 4  # of 6 cores: 4 divides the batch
        assert run.devices(paying, dataclasses.replace(config, batch_size=3), named) is None
        assert run.devices(paying, config, dataclasses.replace(named, devices=1)) is None
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        assert run.devices(paying, config, named).size == 1  # one of each of two processes
    finally:
        jax.config.update("jax_default_device", before)


# ---- a whole run


def test_a_run_leaves_metrics_checkpoints_and_a_summary(unbroken):
    folder, state = unbroken
    rows = run.read_metrics(folder)
    names = {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}
    names |= {"epoch", "step", "examples_per_second", "seconds"}
    assert [set(row) for row in rows] == 3 * [names]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 5), (2, 10), (3, 15)]
    assert rows[-1]["test_loss"] < rows[0]["test_loss"]
    restored, notes = checkpoint.restore(folder, TASK.like(CONFIG))
    assert bits(restored) == bits(state)
    assert notes == {"epoch_seconds": 0.0}
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        *("10.safetensors", "15.safetensors")
    ]
    summary = run.read_json(folder / "summary.json")
    total = round(sum(row["seconds"] for row in rows), 3)
    assert summary == {
        **rows[-1],
        "train_seconds": total,
        "compile_seconds": summary["compile_seconds"],
    }
    assert summary["compile_seconds"] > 0
    assert {path.name for path in folder.iterdir()} == {
        *(".lock", "config.json", "metrics.jsonl", "summary.json", "checkpoints", "figures")
    }


def test_the_test_is_measured_on_the_test_data(unbroken):
    folder, state = unbroken
    expected, aux = loss(state.params, DATA.test)
    row = run.read_metrics(folder)[-1]
    np.testing.assert_allclose(row["test_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(row["test_accuracy"], aux["accuracy"], rtol=1e-6)
    train_loss, _ = loss(state.params, DATA.train)
    assert abs(train_loss - expected) > 1e-3 * expected


def test_an_epoch_is_a_line_on_the_screen_without_a_terminal(tmp_path, capsys):
    train(tmp_path / "run", config=Config(epochs=2))
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"run folder {tmp_path / 'run'}, ")
    assert len(lines) == 2
    for line, row in zip(lines, run.read_metrics(tmp_path / "run"), strict=True):
        means = {k: v for k, v in row.items() if k.startswith(("train_", "test_"))}
        assert line.startswith(f"epoch {row['epoch']}: {run.describe(means)}, ")
        assert line.endswith(" examples/s")


def test_metrics_are_described_with_accuracies_as_shares():
    found = run.describe({"test_loss": 0.12345, "test_accuracy": 0.98765, "mean_accuracy_gap": 1})
    assert found == "test loss 0.1235, test accuracy 98.77 %, mean accuracy gap 1.0000"
    assert run.describe({}) == ""


def test_a_finished_run_says_so_and_trains_nothing(tmp_path, unbroken, monkeypatch, capsys):
    folder, state = unbroken
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(fit, "iterate", None)
    again, last = train(folder, resume=True)
    assert (again, bits(last)) == (folder, bits(state))
    assert "all 3 epochs of this run are trained already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    # One that was killed behind its last checkpoint gets its summary.
    (folder / "summary.json").unlink()
    train(folder, resume=True)
    summary, expected = run.read_json(folder / "summary.json"), before[folder / "summary.json"]
    assert summary == json.loads(expected) | {"compile_seconds": 0.0}
    (folder / "summary.json").write_bytes(expected)


# ---- stopping and going on


@pytest.fixture
def handled():
    """A signal that the run does not handle fails the test and does not end its process."""

    def fail(number, frame):
        raise AssertionError(f"signal {number} is not handled")

    heard = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: signal.signal(number, fail) for number in heard}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*signals, at):
    """The task that gets signals after step `at`."""

    def see(step):
        if step == at:
            for number in signals:
                os.kill(os.getpid(), number)

    return watched(see)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("at", "epoch"), [(1, 1), (4, 1), (5, 1), (8, 2), (14, 3)])
def test_a_signal_saves_and_the_run_resumed_equals_an_unbroken_one(
    tmp_path, unbroken, handled, number, at, epoch
):
    folder = tmp_path / "a run"
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(run.Stopped) as stopped:
        train(folder, send(number, at=at))
    assert str(stopped.value) == (
        f"stopped and saved at step {at} (epoch {epoch} of 3); go on with --resume '{folder}'"
    )
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    assert checkpoint.latest(folder).stem == str(at)
    assert len(run.read_metrics(folder)) == at // STEPS
    assert not (folder / "summary.json").exists()
    steps = []
    again, state = train(folder, watched(steps.append), resume=True)
    assert again == folder
    assert steps == list(range(at + 1, 16))
    assert bits(state) == bits(unbroken[1])
    assert rows_of(folder) == rows_of(unbroken[0])
    rows = run.read_metrics(folder)
    summary = run.read_json(folder / "summary.json")
    assert summary["train_seconds"] == round(sum(row["seconds"] for row in rows), 3)


def test_a_run_over_two_devices_goes_on_over_two_and_says_when_it_does_not(tmp_path, capsys):
    config = dataclasses.replace(CONFIG, batch_size=4)

    def run_on(folder, devices="auto", *, task=TASK, resume=False):
        options = {"resume" if resume else "out": folder, "device": "cpu", "devices": devices}
        options = cli.Options(**options)
        before = jax.config.jax_default_device
        try:
            mesh = run.devices(task, config, options)
            return run.train(task, config, options, DATA, mesh)[1]
        finally:
            jax.config.update("jax_default_device", before)

    def stopping(step):
        if step == 7:
            raise KeyboardInterrupt

    whole = run_on(tmp_path / "whole", 2)
    assert run.about(tmp_path / "whole")["devices"] == 2
    assert "each batch split over 2 devices" in capsys.readouterr().out
    for name in ("same", "other"):
        with pytest.raises(KeyboardInterrupt):
            run_on(tmp_path / name, 2, task=watched(stopping))
    assert bits(run_on(tmp_path / "same", resume=True)) == bits(whole)
    assert rows_of(tmp_path / "same") == rows_of(tmp_path / "whole")
    capsys.readouterr()
    run_on(tmp_path / "other", 1, resume=True)
    assert "devices: 1 in place of 2; what is drawn at random differs" in capsys.readouterr().out
    assert run.about(tmp_path / "other")["devices"] == 1


def test_the_seconds_before_a_resume_count_in_their_epoch(tmp_path, handled):
    with pytest.raises(run.Stopped):
        train(tmp_path, send(signal.SIGINT, at=8))
    state, notes = checkpoint.restore(tmp_path, TASK.like(CONFIG))
    assert notes["epoch_seconds"] > 0
    checkpoint.save(tmp_path, state, {"epoch_seconds": 1000.0})
    train(tmp_path, resume=True)
    seconds = [row["seconds"] for row in run.read_metrics(tmp_path)]
    assert [1000 < value < 1100 for value in seconds] == [False, True, False]
    assert run.read_json(tmp_path / "summary.json")["train_seconds"] > 1000


def test_a_signal_in_the_last_step_of_all_stops_nothing(tmp_path, unbroken, handled):
    folder, state = train(tmp_path / "run", send(signal.SIGINT, at=15))
    assert bits(state) == bits(unbroken[1])
    assert (folder / "summary.json").exists()


def test_under_nohup_the_end_of_the_terminal_stops_nothing(tmp_path, unbroken, handled):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which `handled` takes back
    assert bits(train(tmp_path / "run", send(signal.SIGHUP, at=8))[1]) == bits(unbroken[1])


def test_a_screen_that_fails_loses_no_epoch(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def screen(*_):
        def show(progress, step, rate):
            if step == 10:
                raise OSError(28, "No space left on device")

        yield show

    monkeypatch.setattr(run, "_screen", screen)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path / "run")
    assert checkpoint.latest(tmp_path / "run").stem == "10"


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_interrupts_at_once(tmp_path, second, handled):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", send(signal.SIGINT, second, at=7))
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    assert checkpoint.latest(tmp_path / "run").stem == "5"


def test_handlers_are_restored_after_an_error(tmp_path):
    def fail(step):
        assert signal.getsignal(signal.SIGINT) is not before
        raise OverflowError

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(OverflowError):
        train(tmp_path / "run", watched(fail))
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_of_the_main_thread_no_handler_is_set(tmp_path, unbroken):
    handlers = []
    task = watched(lambda step: handlers.append(signal.getsignal(signal.SIGINT)))
    with ThreadPoolExecutor(1) as pool:
        _, state = pool.submit(train, tmp_path / "run", task).result()
    assert set(handlers) == {signal.getsignal(signal.SIGINT)}
    assert bits(state) == bits(unbroken[1])


def test_a_run_killed_between_metrics_and_checkpoint_has_no_row_twice(
    tmp_path, unbroken, monkeypatch
):
    save = checkpoint.save

    def killed(folder, state, notes):
        if int(state.step) == 10:
            raise OverflowError
        return save(folder, state, notes)

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(OverflowError):
        train(tmp_path / "run")
    assert len(run.read_metrics(tmp_path / "run")) == 2
    monkeypatch.setattr(checkpoint, "save", save)
    rows = run.read_metrics(tmp_path / "run")
    rows[1]["train_loss"] = -1.0
    run.write_metrics(tmp_path / "run", rows)
    _, state = train(tmp_path / "run", resume=True)
    assert bits(state) == bits(unbroken[1])
    assert rows_of(tmp_path / "run") == rows_of(unbroken[0])


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, unbroken):
    def fail(step):
        raise OverflowError

    with pytest.raises(OverflowError):
        train(tmp_path / "run", watched(fail))
    assert checkpoint.latest(tmp_path / "run") is None
    _, state = train(tmp_path / "run", resume=True)
    assert bits(state) == bits(unbroken[1])
    assert rows_of(tmp_path / "run") == rows_of(unbroken[0])


def test_damaged_metrics_are_named(tmp_path):
    assert run.read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 5}\n{"st')
    with pytest.raises(RunError, match=r"metrics.jsonl is damaged"):
        run.read_metrics(tmp_path)


# ---- the loop that keeps a folder, on reports made by hand


def reports(*parts, first=0, clock=None):
    """Reports of (steps, seconds, compile seconds), of epochs of five steps."""
    step = first
    for steps, seconds, compiling in parts:
        epoch, step = step // STEPS + 1, step + steps
        if clock is not None:
            clock.now += seconds
        totals = {"loss": jnp.float32(0.5 * (step % STEPS)), "bad_step": jnp.float32(0)}
        state = fit.start({"w": jnp.zeros(2)}, optax.sgd(0.1), jax.random.key(0))
        state = state._replace(step=jnp.int32(step), totals=totals)
        metrics = {"train_loss": float(step)} if step % STEPS == 0 else None
        yield fit.Progress(state, epoch, steps, seconds, compiling, metrics)


def follow(folder, *parts, first=0, seconds=0.0, clock=None, epochs=2):
    config = Config(epochs=epochs)
    made = reports(*parts, first=first, clock=clock)
    return run._follow(folder, config, STEPS, made, first, seconds)


def test_rates_and_seconds_are_those_of_a_whole_epoch(tmp_path):
    state = follow(tmp_path, (1, 0.5, 2.0), (4, 1.5, 0.0), (5, 1.25, 0.5))
    assert int(state.step) == 10
    assert run.read_metrics(tmp_path) == [
        {"epoch": 1, "step": 5, "train_loss": 5.0, "examples_per_second": 10.0, "seconds": 2.0},
        {"epoch": 2, "step": 10, "train_loss": 10.0, "examples_per_second": 16.0, "seconds": 1.25},
    ]
    assert run.read_json(tmp_path / "summary.json") == {
        **run.read_metrics(tmp_path)[-1],
        "train_seconds": 3.25,
        "compile_seconds": 2.5,
    }


def test_after_a_resume_they_count_both_parts_of_the_epoch(tmp_path):
    rows = [{"epoch": 1, "step": 5, "train_loss": 5.0, "seconds": 3.0}, {"epoch": 2, "step": 10}]
    run.write_metrics(tmp_path, rows)
    # Two steps in 1.5 seconds were made before, three in 1 second follow.
    follow(tmp_path, (1, 0.25, 1.0), (2, 0.75, 0.0), first=7, seconds=1.5)
    first, second = run.read_metrics(tmp_path)
    assert first == rows[0]
    assert (second["seconds"], second["examples_per_second"]) == (2.5, 8.0)
    summary = run.read_json(tmp_path / "summary.json")
    assert (summary["train_seconds"], summary["compile_seconds"]) == (5.5, 1.0)


@pytest.fixture
def saves(monkeypatch):
    """(step, notes, rows in metrics.jsonl) of every checkpoint that is saved."""
    made, save = [], checkpoint.save

    def recorded(folder, state, notes):
        made.append((int(state.step), notes, len(run.read_metrics(folder))))
        return save(folder, state, notes)

    monkeypatch.setattr(checkpoint, "save", recorded)
    return made


def test_metrics_are_written_before_the_checkpoint_that_vouches_for_them(tmp_path, saves):
    follow(tmp_path, (3, 1.0, 0.0), (2, 1.0, 0.0), (5, 1.0, 0.0))
    assert saves == [(5, {"epoch_seconds": 0.0}, 1), (10, {"epoch_seconds": 0.0}, 2)]


def test_within_an_epoch_a_checkpoint_is_saved_each_two_minutes_and_no_more(
    tmp_path, saves, monkeypatch
):
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(run, "time", clock)
    assert run.SAVE_SECONDS == 120.0
    # At 60, 120, 180, 240 and 300 seconds; then 130 and 300 seconds into the second epoch.
    minute = (1, 60.0, 0.0)
    follow(tmp_path, *5 * [minute], (2, 130.0, 0.0), (3, 170.0, 0.0), clock=clock)
    assert saves == [
        (3, {"epoch_seconds": 180.0}, 0),
        (5, {"epoch_seconds": 0.0}, 1),
        (7, {"epoch_seconds": 130.0}, 1),
        (10, {"epoch_seconds": 0.0}, 2),
    ]


def test_a_bar_on_a_terminal_shows_means_over_the_steps_so_far(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    (progress,) = reports((2, 1.0, 0.0), first=6)
    progress.state.totals["loss"] = jnp.float32(1.2)
    with run._screen(4, STEPS, 6) as show:
        show(progress, 8, 1234.5)
    shown = capsys.readouterr().out
    for words in ("epoch 2/4", " 40 %", "loss 0.4000", "1,234 examples/s"):
        assert words in shown
    assert "bad step" not in shown
