"""The pipeline with the real git and DVC, on tiny data: one workspace, lived through in order.

The tests of this file share the workspace and change it, so they run as a story, from its first run
to a killed one; what tampers works on a copy of the file that it spoils.
"""

import contextlib
import dataclasses
import html.parser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import PIL.Image
import pytest

from zoo.ch09_pipeline import commands, engine, params, record, trace, workspace
from zoo.ch09_pipeline.params import Params
from zoo.common.data import DataError, cifar10, sample
from zoo.common.run import RunError

pytest.importorskip("dvc", reason="needs the extra `pipeline`: pip install -e '.[pipeline]'")
SMALL = {"filters": [2, 2, 2], "hidden": 4, "batch_size": 20, "epochs": 1}
CHOSEN = Params({"recipe": "book", **SMALL}, classes=sample.SHAPES)


def write_batch(path, count, seed):
    """Drawn shapes in the format of CIFAR-10's batches."""
    labels = np.arange(count, dtype=np.uint8) % 10
    images = sample.draw_shapes(np.random.default_rng(seed), labels)
    planes = images.transpose(0, 3, 1, 2).reshape(count, -1)
    path.write_bytes(np.concatenate([labels[:, None], planes], axis=1).tobytes())
    return path


@pytest.fixture(scope="module")
def surroundings(environment):
    """The environment of every process that is started here: one device, a cache of its own."""
    jax.devices()  # before XLA_FLAGS goes: the tests in this process keep their devices
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def ws(place, surroundings):
    """A workspace after its first run."""
    folder = place / "ws"
    workspace.init(folder, CHOSEN)
    files = [write_batch(place / f"data_batch_{n}.bin", 40, n) for n in (1, 2)]
    files.append(write_batch(place / "test_batch.bin", 30, 3))
    workspace.put(folder, workspace.sort(files))
    workspace.run(folder)
    return folder


@pytest.fixture
def predictions(ws):
    return ws / "predictions" / "predictions.csv"


def head(folder):
    return engine.git(folder, "rev-parse", "HEAD")


def broken(folder, predictions):
    return {link.name: link.fault for link in trace.check(folder, predictions) if link.fault}


def stages_run(said):
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]


def test_the_first_run_makes_everything_and_commits_it(ws, predictions):
    metrics = json.loads((ws / "metrics.json").read_text())
    assert metrics["test_images"] == 30
    lines = predictions.read_text().splitlines()
    assert lines[0] == "name,class," + ",".join(sample.SHAPES)
    assert len(lines) == 31
    shares = np.array([line.split(",")[2:] for line in lines[1:]], float)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert not engine.git(ws, "status", "--porcelain")
    assert engine.git(ws, "log", "-1", "--format=%s").startswith("Run: book, test accuracy")


def test_why_leads_to_model_data_parameters_and_program(ws, predictions):
    chain = trace.check(ws, predictions)
    names = ("record", "predictions", "model", "training", "data", "params", "program")
    assert tuple(link.name for link in chain) == names
    assert not any(link.fault for link in chain)
    made = record.read(predictions)
    assert made["data"]["commit"] == workspace.data_versions(ws)[-1].commit
    files = {"train/data_batch_1.bin", "train/data_batch_2.bin", "test/test_batch.bin"}
    assert set(made["data"]["files"]) == files
    assert not made["uncommitted"]


def test_a_cache_elsewhere_is_not_taken_for_a_lost_one(ws, predictions, place):
    cache, moved = ws / ".dvc/cache", place / "cache-elsewhere"
    shutil.move(cache, moved)
    engine.dvc(ws, "cache", "dir", "--local", str(moved))
    try:
        assert engine.cache(ws) == moved / "files/md5"
        assert not broken(ws, predictions)
    finally:
        engine.dvc(ws, "cache", "dir", "--local", "--unset")
        shutil.move(moved, cache)
    assert not broken(ws, predictions)


def test_what_git_refuses_is_its_reason_and_no_tampering(ws, predictions, monkeypatch):
    env = {**engine.environment(ws), "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    monkeypatch.setattr(engine, "environment", lambda folder: env)
    with pytest.raises(RunError, match=r"git rev-parse .* failed .*dubious ownership"):
        trace.check(ws, predictions)


def test_a_shallow_clone_is_told_from_a_broken_history(ws, predictions, place):
    clone = place / "shallow"
    engine.git(place, "clone", "--quiet", "--depth", "1", ws.resolve().as_uri(), str(clone))
    made = json.loads((predictions.parent / record.NAME).read_text())
    with pytest.raises(RunError, match=r"is a shallow clone without commit .*fetch --unshallow"):
        trace._reach(clone, made)
    engine.git(clone, "fetch", "--quiet", "--unshallow")
    trace._reach(clone, made)


def test_files_that_would_be_versioned_and_not_used_are_refused(ws, place):
    for name, kind in (("train/.hidden.bin", "a hidden file"), ("new/more/cat.png", "a folder")):
        path = ws / "data" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"")
        with pytest.raises(DataError, match=f"found {kind}, expected files side by side"):
            workspace.run(ws)
        path.unlink()
        if path.parent.name == "more":
            path.parent.rmdir()
    for name in (".hidden.bin", "a\nb.bin"):
        write_batch(place / name, 10, 0)
        with pytest.raises(DataError, match="found a hidden or unprintable name"):
            workspace.put(ws, {"train": [place / name]})


def test_a_commit_that_removed_the_data_is_passed_over(ws, place):
    clone, author = place / "removed", ("-c", "user.name=a", "-c", "user.email=a@b")
    engine.git(place, "clone", "--quiet", str(ws.resolve()), str(clone))
    versions = workspace.data_versions(clone)
    engine.git(clone, "rm", "--quiet", "data.dvc")
    engine.git(clone, *author, "commit", "--quiet", "-m", "no data")
    assert workspace.data_versions(clone) == versions == workspace.data_versions(ws)


def test_a_second_run_does_nothing(ws, capfd):
    before = head(ws)
    workspace.run(ws)
    assert not stages_run(capfd.readouterr().out)
    assert head(ws) == before


@contextlib.contextmanager
def spoiled(path, spoil):
    """A file with other bytes for a while."""
    content = path.read_bytes()
    path.chmod(0o644)  # DVC protects what is in its cache
    path.write_bytes(spoil(content))
    try:
        yield
    finally:
        path.write_bytes(content)


def flip(content):
    """One bit less, or one more, in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "link", "fault"),
    [
        ("model/weights.safetensors", "model", "weights.safetensors was changed"),
        ("model/card.json", "model", "card.json was changed"),
        ("data/train/data_batch_2.bin", "data", "data_batch_2.bin was changed"),
        ("predictions/predictions.csv", "predictions", "predictions.csv was changed"),
    ],
)
def test_why_names_the_file_that_was_tampered_with(ws, predictions, name, link, fault):
    with spoiled(ws / name, flip):
        found = broken(ws, predictions)
    assert list(found) == [link]
    assert fault in found[link]
    assert not broken(ws, predictions)


@pytest.mark.parametrize(
    ("field", "link"),
    [("trained_on", "training"), ("data", "data"), ("params", "params"), ("program", "program")],
)
def test_why_sees_a_record_that_was_changed(ws, predictions, field, link):
    def lie(content):
        made = json.loads(content)
        changed = {"sha256": "0" * 64, "commit": "0" * 40, "stages": "0" * 64}
        made[field] |= {name: value for name, value in changed.items() if name in made[field]}
        return json.dumps(made).encode()

    with spoiled(predictions.with_name(record.NAME), lie):
        assert set(broken(ws, predictions)) == {"record", link}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "its format is 2, expected 1"),
        (
            {"commit": "--output=params.yaml"},
            "its commit is '--output=params.yaml', expected [0-9a-f]",
        ),
        (
            {"model": {"file": "../secret", "md5": "0" * 32}},
            "its model file is '../secret', expected",
        ),
        ({"data": None}, "its data is None, expected commit, md5, files"),
        ({"command": 7}, "its command is 7, expected str"),
        ({"program": {}}, "its program stages is None, expected [0-9a-f]{64}"),
    ],
)
def test_a_record_that_is_none_is_refused_before_it_is_used(ws, predictions, change, message):
    def lie(content):
        return json.dumps(json.loads(content) | change).encode()

    with (
        spoiled(predictions.with_name(record.NAME), lie),
        pytest.raises(RunError, match=re.escape(message)),
    ):
        trace.check(ws, predictions)


def test_why_on_the_command_line_ends_with_status_1_and_the_link(ws, zoo):
    with spoiled(ws / "model/weights.safetensors", flip):
        done = zoo("ch09_pipeline", "why", ws / "predictions/predictions.csv")
    assert done.returncode == 1
    assert "BROKEN model" in done.stdout
    assert done.stderr.startswith("error: model: ")
    assert "Traceback" not in done.stderr


def test_files_that_are_no_data_are_refused_and_change_nothing(ws, place):
    before = head(ws)
    (place / "data_batch_3.bin").write_bytes(b"\1" * 5000)
    with pytest.raises(DataError, match=r"data_batch_3\.bin: byte 3,073 .*cut off"):
        workspace.put(ws, {"train": [place / "data_batch_3.bin"]})
    (place / "notes.txt").write_text("no data")
    with pytest.raises(DataError, match=r"found \.txt, expected one of \.bin"):
        workspace.put(ws, {"train": [place / "notes.txt"]})
    PIL.Image.new("RGB", (40, 40)).save(place / "cat.png")
    with pytest.raises(DataError, match="has no labels"):
        workspace.put(ws, {"train": [place / "cat.png"]})
    assert head(ws) == before
    assert len(list((ws / "data").rglob("*.*"))) == 3


def test_one_other_test_image_runs_only_what_depends_on_it(ws, place, capfd):
    images, _ = cifar10.read_batch(ws / "data/test/test_batch.bin")
    records = bytearray((ws / "data/test/test_batch.bin").read_bytes())
    records[5 * cifar10.RECORD + 1] ^= 1
    (place / "test_batch.bin").write_bytes(records)
    changed, _ = cifar10.read_batch(place / "test_batch.bin")
    assert (images != changed).sum() == 1
    old = (ws / "predictions/predictions.csv").read_bytes()
    shutil.copytree(ws / "predictions", place / "old")
    assert workspace.put(ws, workspace.sort([place / "test_batch.bin"]))
    workspace.run(ws)
    assert stages_run(capfd.readouterr().out) == ["prepare", "evaluate", "predict"]
    new = (ws / "predictions/predictions.csv").read_bytes()
    differ = [a != b for a, b in zip(old.splitlines(), new.splitlines(), strict=True)]
    assert [n for n, other in enumerate(differ) if other] in ([], [6])
    assert not broken(ws, ws / "predictions/predictions.csv")


def test_putting_the_same_file_again_is_no_new_version(ws, place):
    assert workspace.put(ws, workspace.sort([place / "test_batch.bin"])) is None


def launch(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "zoo.ch09_pipeline", *arguments],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def in_training(process, folder):
    """Waits until the first epoch is behind it, and saved."""
    for _ in range(6000):
        saved = (folder / "runs").glob("*-unfinished/checkpoints/*")
        if any(path.stem.isdigit() for path in saved):
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)


def test_a_killed_run_goes_on_and_meanwhile_others_are_refused(ws, place, capfd):
    """The second run says so; plain DVC refuses by its own lock; then everything is killed."""
    PIL.Image.new("RGB", (50, 40), "red").save(place / "cat.png")
    workspace.put(ws, {"new": [place / "cat.png", place / "data_batch_1.bin"]})
    process = launch(ws, "swap", "nodropout", "--epochs", "6")
    try:
        in_training(process, ws)
        os.killpg(process.pid, signal.SIGSTOP)  # so that it is at work as long as this takes
        in_use = r"in use by another command \(run, process \d+, since"
        with pytest.raises(RunError, match=in_use):
            workspace.run(ws)
        with pytest.raises(RunError, match=in_use):
            commands.swap("modern", None, ws)
        plain = subprocess.run(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=ws,
            env=engine.environment(ws),
            capture_output=True,
            text=True,
        )
        assert plain.returncode
        assert "is busy, it is being blocked by" in plain.stderr
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (ws / "model/weights.safetensors").exists()
    assert params.read(ws).model["recipe"] == "nodropout"

    (ws / "dvc.lock").write_text("schema: '2.0'\nstages: [half")  # as if killed while writing
    workspace.run(ws)
    out = capfd.readouterr().out
    assert stages_run(out) == ["train", "evaluate", "predict"]
    assert "epoch 1:" not in out
    assert "epoch 6:" in out
    assert not engine.git(ws, "status", "--porcelain")
    assert not broken(ws, ws / "predictions/predictions.csv")
    names = [line.split(",")[0] for line in (ws / "predictions/predictions.csv").open()]
    assert names == ["name", "cat.png", *(f"data_batch_1.bin:{n}" for n in range(40))]
    rows = json.loads((ws / "model/history.json").read_text())
    assert [row["epoch"] for row in rows] == list(range(1, 7))


def test_reproduce_gives_the_same_bits_from_the_record_alone(ws, capfd):
    """An unbroken training in a clean folder ends as the one that was killed."""
    commands.reproduce(ws / "predictions/predictions.csv")
    out = capfd.readouterr().out
    assert stages_run(out) == ["prepare", "train", "evaluate", "predict"]
    assert "model: the same bits" in out
    assert "predictions: the same bits" in out


def test_old_predictions_keep_their_provenance(ws, place):
    """Their model and data come from DVC's cache and git's history."""
    old = place / "old/predictions.csv"
    assert not broken(ws, old)
    made = record.read(old)
    kept = trace.cached(engine.cache(ws), made["model"]["md5"])
    with spoiled(kept, flip):
        assert f"of that time: {kept} was changed" in broken(ws, old)["model"]
    hidden = kept.rename(kept.with_name("hidden"))
    assert f"model/weights.safetensors of that time: {kept} is missing" in broken(ws, old)["model"]
    hidden.rename(kept)
    assert not broken(ws, old)


def test_models_lists_each_version_with_its_data(ws, capsys):
    versions = workspace.models(ws)
    assert [v.recipe for v in versions][-1] == "nodropout"
    assert versions[0].recipe == "book"
    assert versions[0].weights != versions[-1].weights
    data = [v.commit for v in workspace.data_versions(ws)]
    assert len(data) == 3
    assert (versions[0].data, versions[-1].data) == (data[0], data[-1])
    commands.models(ws)
    out = capsys.readouterr().out
    assert "nodropout" in out
    assert versions[0].run[:8] in out


class Page(html.parser.HTMLParser):
    """Collects what a page refers to, its texts and its tags."""

    def __init__(self):
        super().__init__()
        self.links, self.texts, self.tags = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_report_is_one_page_that_needs_nothing_else(ws, place):
    evil = place / "<b>&evil.bin"
    shutil.copyfile(place / "data_batch_1.bin", evil)
    workspace.put(ws, {"train": [evil]})
    commands.report(None, ws)
    text = (ws / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert len(page.links) == 5
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "table" in page.tags
    assert not {"script", "b", "link"} & page.tags
    assert any("<b>&evil.bin" in data for data in page.texts)
    assert "nodropout" in text
    assert "BROKEN" not in text


def test_a_run_without_the_parameters_committed_is_told_from_others(ws):
    """Who runs plain DVC on changed parameters gets predictions, but no provenance."""
    made = record.read(ws / "predictions/predictions.csv")
    now = params.read(ws)
    params.write(ws, dataclasses.replace(now, device="auto"))
    again = record.make(ws, "dvc repro")
    assert again["uncommitted"] == "params.yaml"
    engine.git(ws, "checkout", "params.yaml")
    assert made["uncommitted"] == ""


def test_commits_have_an_author_without_git_settings(tmp_path, monkeypatch):
    """Where git knows no name, commits have the pipeline's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert "GIT_DIR" not in engine.environment(tmp_path)
    engine.git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("a")
    engine.commit(tmp_path, "One", "a")
    author = engine.git(tmp_path, "log", "-1", "--format=%an %ae")
    assert author == "zoo pipeline zoo@localhost" or engine.git(tmp_path, "config", "user.name")
    engine.git(tmp_path, "config", "user.name", "Ada")
    (tmp_path / "a").write_text("b")
    engine.commit(tmp_path, "Two", "a")
    assert engine.git(tmp_path, "log", "-1", "--format=%an") == "Ada"


def test_a_missing_extra_is_said_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install -e '\.\[pipeline\]'"):
        workspace.init(tmp_path / "new", CHOSEN)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not empty"):
        workspace.init(tmp_path, CHOSEN)
    assert [p.name for p in Path(tmp_path).iterdir()] == ["thesis.tex"]
