"""The command line, as a user has it: each sub-command, and runs that are stopped in every way."""

import dataclasses
import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import PIL.Image
import pytest

import zoo as package
from zoo.ch06_cnn import TASKS, speedrun
from zoo.ch06_cnn.cnn import model
from zoo.common import checkpoint, run
from zoo.common import trained as models

SMALL = ["--data", "sample", "--filters", "4", "4", "4", "--hidden", "8", "--device", "cpu"]
NAMES = {"curves", "confusion", "cats", "filters", "predictions"}


def test_train_prints_what_it_does_and_leaves_a_whole_run_folder(trained):
    folder, out = trained
    assert "sample" in out.splitlines()[0]
    assert [line.split(":")[0] for line in out.splitlines()[2:4]] == ["epoch 1", "epoch 2"]
    assert f"next: python -m zoo.ch06_cnn predict cat.png --run {folder}" in out
    config = json.loads((folder / "config.json").read_text())
    assert config["data"]["source"] == "sample"
    assert config["config"]["epochs"] == 2
    assert {"jax", "numpy"} <= set(config["versions"])
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    expected = {"train_loss", "test_loss", "train_accuracy", "test_accuracy", "step", "seconds"}
    assert expected | {"examples_per_second"} <= set(rows[0])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["compile_seconds"] > 0
    assert {path.stem for path in (folder / "figures").glob("[!p]*")} == NAMES - {"predictions"}
    assert (folder / "figures" / "predictions.png").exists()


def test_evaluate_writes_the_books_files(command, trained):
    folder, _ = trained
    done = command("evaluate", "--run", folder)
    assert done.returncode == 0, done.stderr
    actual = np.loadtxt(folder / "testActual.txt", dtype=int)
    guesses = np.loadtxt(folder / "testPred.txt", dtype=int)
    accuracy = run.read_metrics(folder)[-1]["test_accuracy"]
    np.testing.assert_allclose((actual == guesses).mean(), accuracy, atol=1e-6)
    assert f"accuracy {accuracy:.4f}" in done.stdout
    shares = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("  ")]
    expected = [(guesses[actual == number] == number).mean() for number in range(len(shares))]
    assert shares == [f"{share:.3f}" for share in expected]


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return PIL.Image.fromarray(rng.integers(0, 256, (70, 90, 3), np.uint8))


def test_predict_names_what_is_in_any_picture_file(command, room, trained, picture):
    for name in ("a.png", "b.jpg", "c.gif"):
        picture.save(room / name)
    done = command("predict", "a.png", "b.jpg", "c.gif", "--run", trained[0], "--top", 5)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    shares = [float(line.split()[1]) for line in lines]
    assert len(shares) == 15
    assert 0 < sum(shares[:5]) <= 1.001
    assert shares[:5] == sorted(shares[:5], reverse=True)
    assert (trained[0] / "figures" / "predict-a.png").exists()


def test_predict_draws_a_figure_for_each_of_several_files_of_one_name(
    command, room, trained, picture
):
    (room / "other").mkdir(exist_ok=True)
    picture.save(room / "same.png")
    picture.rotate(90).save(room / "other" / "same.png")
    done = command("predict", "same.png", "other/same.png", "--run", trained[0])
    assert done.returncode == 0, done.stderr
    drawn = [trained[0] / "figures" / f"predict-{name}.png" for name in ("same", "other-same")]
    assert drawn[0].read_bytes() != drawn[1].read_bytes()


def test_figures_draws_a_run_again(command, room, trained):
    shutil.copytree(trained[0], room / "copy")
    (room / "copy" / "figures" / "curves.png").unlink()
    done = command("figures", "--run", "copy")
    assert done.returncode == 0, done.stderr
    assert (room / "copy" / "figures" / "curves.png").stat().st_size > 10_000


def test_bench_prints_rates(command):
    done = command("bench", "--filters", 4, 4, 4, "--seconds", 1)
    assert done.returncode == 0, done.stderr
    assert "training" in done.stdout
    assert "inference" in done.stdout


def test_help_teaches_every_command_and_answers_quickly(zoo):
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = zoo("ch06_cnn", "--help")
    # The processor's time: other work on the machine does not count.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 3
    for name in ("train", "evaluate", "predict", "figures", "bench", "speedrun"):
        assert name in done.stdout
    assert "speedrun train --recipe speedrun-cpu" in done.stdout


def test_each_network_has_its_own_recipes(command):
    assert "--recipe {modern,book}" in command("train", "--help").stdout
    assert "--recipe {speedrun,speedrun-cpu}" in command("speedrun", "train", "--help").stdout


@pytest.mark.parametrize("recipe", [["--recipe", "speedrun-cpu"], ["--recipe=speedrun"]])
def test_the_old_spelling_of_the_speed_run_names_the_new_one(command, recipe):
    done = command("train", *recipe, "--data", "sample")
    assert done.returncode == 1
    name = recipe[-1].removeprefix("--recipe=")
    assert done.stderr.startswith("error: ")
    assert f"`python -m zoo.ch06_cnn speedrun train --recipe {name}`" in done.stderr


def test_the_speed_run_trains_and_prints_whether_it_reached_the_target(fast):
    folder, out = fast
    assert "target 1.00%: reached" in out
    config = models.load(folder).config
    recipe = speedrun.RECIPES["speedrun-cpu"]
    changes = {"width": 2, "epochs": 2, "batch_size": 100, "views": "flips"}
    assert config == dataclasses.replace(recipe, **changes)
    assert [row["epoch"] for row in run.read_metrics(folder)] == [1, 2]
    assert {path.stem for path in (folder / "figures").iterdir()} >= NAMES
    accuracy = json.loads((folder / "evaluation.json").read_text())["test_accuracy"]
    guesses, labels = (np.loadtxt(folder / f"test{n}.txt") for n in ("Pred", "Actual"))
    np.testing.assert_allclose(accuracy, (guesses == labels).mean())


def test_a_finished_speed_run_is_resumed_drawn_and_published(command, room, fast, picture):
    folder = room / "fast-copy"
    shutil.copytree(fast[0], folder)
    done = command("speedrun", "train", "--resume", folder, "--data", "sample", "--device", "cpu")
    assert "all 2 epochs of this run are trained already" in done.stdout
    picture.save(room / "d.png")
    command("speedrun", "predict", "d.png", "--run", folder, "--device", "cpu")
    assert (folder / "figures" / "predict-d.png").exists()
    done = command("speedrun", "publish", "--run", folder, "--into", "published")
    assert done.returncode == 0, done.stderr
    path = room / "published" / "speedrun.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["command"].startswith("python -m zoo.ch06_cnn speedrun train --recipe speedrun-cpu")
    assert str(room) not in path.with_suffix(".json").read_text()
    state = models.load(folder).state
    like = {"params": state.average, "stats": state.stats}
    halves = jax.tree.map(lambda a: a.astype("float16"), like)
    loaded = checkpoint.load_weights(path, halves)
    jax.tree.map(np.testing.assert_array_equal, loaded, halves)


def test_without_any_run_the_published_speed_run_answers(command, room, picture):
    picture.save(room / "e.png")
    (room / "runs" / "elsewhere.txt").unlink(missing_ok=True)
    done = command("speedrun", "predict", "e.png", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "using the published model" in done.stdout
    assert package.published("ch06_cnn/speedrun").classes[3] == "cat"


def test_mnist_is_enlarged_to_the_networks_size():
    digits = TASKS[0].load(model.Config(dataset="mnist"), "sample", None)
    assert digits.train["image"].shape[1:] == (32, 32, 3)
    assert digits.train["image"][:, 2:30, 2:30].max() == digits.train["image"].max()
    assert digits.train["image"][:, :2].max() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "real", "--data-dir", "nowhere"], "nowhere"),
        (["evaluate", "--run", "nowhere"], "nowhere is no run folder"),
        (["predict", "--run", "nowhere"], "python -m zoo.ch06_cnn predict cat.png"),
        (["speedrun", "predict"], "python -m zoo.ch06_cnn speedrun predict cat.png"),
        (["train", "--resume", "nowhere"], "nowhere is no run folder"),
        (["train", *SMALL, "--device", "tpu"], "no tpu here"),
        (["train", *SMALL, "--devices", "9"], "got 9 devices, expected at most 8"),
        (["train", *SMALL, "--batch-size", "99999"], "choose a batch size from 1 to"),
        (["train", *SMALL, "--epochs", "0"], "got epochs 0, expected at least 1"),
        (["train", "--data", "sample", "--split", "official"], "official"),
        (["train", "--dataset", "mnist", "--split", "holdout"], "MNIST has no split holdout"),
        (["train", *SMALL, "--learning-rate", "1e30", "--out", "bad"], "not finite at step"),
    ],
)
def test_an_error_that_a_user_can_mend_is_one_line(command, arguments, message):
    done = command(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_picture_that_is_none_is_refused_by_name(command, room, trained):
    (room / "notes.png").write_text("not a picture")
    done = command("predict", "notes.png", "--run", trained[0])
    assert done.returncode == 1
    assert "notes.png can't be read as a picture" in done.stderr


def test_a_run_is_not_written_over_and_not_resumed_as_another(command, trained):
    folder, _ = trained
    again = command("train", *SMALL, "--out", folder)
    assert again.returncode == 1
    assert "holds a run already" in again.stderr
    other = command("train", "--resume", folder, "--data", "sample", "--seed", 5, "--hidden", 9)
    assert other.returncode == 1
    assert "hidden is 8 there and 9 here; seed is 0 there and 5 here" in other.stderr


def test_resuming_a_finished_run_draws_it(command, room, trained):
    shutil.copytree(trained[0], room / "finished")
    done = command("train", "--resume", "finished", "--data", "sample", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "all 2 epochs of this run are trained already" in done.stdout


def test_a_damaged_checkpoint_is_refused_with_the_reason(command, room, trained):
    shutil.copytree(trained[0], room / "damaged")
    newest = checkpoint.latest(room / "damaged")
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    done = command("evaluate", "--run", "damaged")
    assert done.returncode == 1
    assert str(newest.name) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_folder_that_cannot_be_written_is_named(command, room):
    (room / "file").write_text("")
    done = command("train", *SMALL, "--out", room / "file" / "run")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "file" in done.stderr


# Runs that are stopped. The unbroken one is the measure: same parameters and metrics to the bit.

LONG = [*SMALL[:3], "8", "8", "8", *SMALL[6:], "--epochs", "6", "--batch-size", "20"]


def outcome(folder):
    """The final state as arrays and the metrics that do not depend on the clock."""
    state = models.load(folder).state
    state = state._replace(key=jax.random.key_data(state.key))
    rows = run.read_metrics(folder)
    clock = ("seconds", "examples_per_second")
    rows = [{k: v for k, v in row.items() if k not in clock} for row in rows]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)], rows


@pytest.fixture(scope="module")
def unbroken(zoo, place):
    done = zoo("ch06_cnn", "train", *LONG, "--out", place / "unbroken")
    assert done.returncode == 0, done.stderr
    return outcome(place / "unbroken")


def launch(place, environment, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "zoo.ch06_cnn", "train", *map(str, arguments)],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def after_epoch(process, folder, number, delay):
    """Waits for the line of an epoch, then a little longer."""
    for line in process.stdout:
        if line.startswith(f"epoch {number}:"):
            break
    time.sleep(delay)


def inside_a_save(process, folder, number, delay):
    """Waits until the checkpoint behind an epoch is being written."""
    after_epoch(process, folder, number, 0.0)
    while process.poll() is None:
        if any("tmp" in p.name for p in (folder / "checkpoints").glob(".*")):
            break


def before_any_checkpoint(process, folder, number, delay):
    """Waits for the run's folder alone."""
    while process.poll() is None and not (folder / "config.json").exists():
        time.sleep(0.01)


STOPS = {
    "Ctrl-C within epoch 3": (signal.SIGINT, after_epoch, 2, 0.15),
    "SIGTERM within epoch 2": (signal.SIGTERM, after_epoch, 1, 0.1),
    "kill -9 within epoch 4": (signal.SIGKILL, after_epoch, 3, 0.1),
    "kill -9 inside a checkpoint write": (signal.SIGKILL, inside_a_save, 2, 0.0),
    "kill -9 before the first checkpoint": (signal.SIGKILL, before_any_checkpoint, 0, 0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_a_stopped_run_goes_on_to_the_same_bits(zoo, place, environment, unbroken, stop):
    number, wait, epoch, delay = stop
    folder = place / f"stopped-{number}-{wait.__name__}"
    process = launch(place, environment, *LONG, "--out", folder)
    wait(process, folder, epoch, delay)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert f"go on with --resume {folder}" in err
    assert len(run.read_metrics(folder)) < 6
    done = zoo("ch06_cnn", "train", "--resume", folder, "--data", "sample", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    leaves, rows = outcome(folder)
    assert all(np.array_equal(a, b) for a, b in zip(leaves, unbroken[0], strict=True))
    assert rows == unbroken[1]
