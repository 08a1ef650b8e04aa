"""The command line: one run end to end in processes, the other commands within this one."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from zoo.ch05_lstm import commands, copy_task, drawing, figures, model
from zoo.ch05_lstm.train import start
from zoo.common import checkpoint, cli, run
from zoo.common.data import DataError

CHAPTER = "ch05_lstm"
# Stops are looked for between compiled calls; how long these are changes no result. No pictures.
SHORT_CALLS = """
import functools, runpy
from zoo.ch05_lstm import drawing
from zoo.common import fit
fit.iterate = functools.partial(fit.iterate, call_seconds=0.03)
drawing.draw = lambda *_: []
runpy.run_module("zoo.ch05_lstm", run_name="__main__")
"""
STEPS = (216_000 - 1) // 16  # in an epoch of a text of 240,000 characters
SMALL = ["--hidden", "8", "--embedding", "4", "--batch-size", "1", "--chunk", "16"]
SMALL += ["--epochs", "2", "--text", "words.txt", "--device", "cpu", "--glorot"]


@pytest.fixture(scope="module")
def words(place):
    """A text of 240,000 characters: words drawn from a small dictionary."""
    rng = np.random.default_rng(0)
    known = ["to", "be", "or", "not", "that", "is", "the", "question", "whether\n", "tis"]
    string = " ".join(rng.choice(known, 60_000))[:240_000]
    (place / "words.txt").write_text(string, encoding="utf-8")
    return string


@pytest.fixture(scope="module")
def trained(zoo, place, words):
    """A finished run of two epochs, and what it printed."""
    done = zoo(CHAPTER, "train", *SMALL, "--out", "whole")
    assert done.returncode == 0, done.stderr
    return place / "whole", done.stdout


@pytest.fixture
def at(trained, place, monkeypatch):
    """Says which run to take, with `place` as the working folder and cache."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("ZOO_CACHE", str(place / "cache"))
    return cli.Trained(run=trained[0])


def outcome(folder):
    """The final state as arrays and the metrics that do not depend on the clock."""
    config = commands.saved_config(folder)
    state, _ = checkpoint.restore(folder, start(config, 1)[1])
    state = state._replace(key=jax.random.key_data(state.key))
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in run.read_metrics(folder)]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)], rows


def test_train_leaves_a_whole_run_folder_with_pictures_and_a_text(trained, words):
    folder, out = trained
    assert "words.txt, 240,000 characters; first 90 %" in out
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["test_loss"] < rows[0]["test_loss"] < 2.0
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"curves", "weights", "embedding", "gradients", "gates"}
    assert len((folder / "sample.txt").read_text()) == 300
    assert commands.saved_config(folder).vocabulary == 3 + len(set(words))


def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_bits(place, environment, trained):
    """A process is asked to end by SIGTERM behind its first epoch; another goes on."""
    with subprocess.Popen(
        [sys.executable, "-c", SHORT_CALLS, "train", *SMALL, "--out", "stopped"],
        cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while not checkpoint.latest(place / "stopped") and time.monotonic() < deadline:
            time.sleep(0.002)  # the first epoch's checkpoint is the last thing before the second
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "go on with --resume stopped" in err
    step = int(checkpoint.latest(place / "stopped").name.partition("-")[0])
    assert STEPS < step < 2 * STEPS
    subprocess.run(
        [sys.executable, "-c", SHORT_CALLS, "train", "--resume", "stopped", "--device", "cpu"],
        cwd=place, env=environment, check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    (leaves, rows), (expected, expected_rows) = map(outcome, (place / "stopped", trained[0]))
    assert all(np.array_equal(a, b) for a, b in zip(leaves, expected, strict=True))
    assert rows == expected_rows


def test_evaluate_scores_the_whole_validation_text(at, capsys):
    commands.evaluate(at)
    found = json.loads((at.run / "evaluation.json").read_text())
    assert found["characters"] == 24_000
    last = run.read_metrics(at.run)[-1]
    np.testing.assert_allclose(found["nats"], last["test_loss"], atol=1e-3)
    np.testing.assert_allclose(found["bits"], found["nats"] / np.log(2))
    assert found["reset_nats"] > found["nats"]
    assert f"{found['nats']:.4f} ({found['bits']:.4f})" in capsys.readouterr().out


def test_generate_writes_words_and_lists_the_next(at, capsys, words):
    commands.generate(at, prompt="to be", length=100, temperature=0.2)
    written = capsys.readouterr().out.partition("to be")[2]
    assert len(written) == 101
    known = {word.strip() for word in words.split()}
    assert sum(word in known for word in written.split()[1:-1]) >= 8
    commands.generate(at, next_word="that is que")
    listed = capsys.readouterr().out.splitlines()
    assert listed[1].endswith("question")
    assert float(listed[1].split()[0]) > 0.5
    for wrong in ({"length": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"next_word": ""}):
        with pytest.raises(DataError, match="expected"):
            commands.generate(at, **wrong)
    with pytest.raises(DataError, match="'z' "):
        commands.generate(at, prompt="zoo")


def test_figures_are_drawn_again(at, capsys, monkeypatch):
    monkeypatch.setattr(drawing, "gradients_of_cells", lambda *_: {"lstm": np.ones(6)})
    for path in (at.run / "figures").glob("*.png"):
        path.unlink()
    drawing.figures(at)
    assert capsys.readouterr().out.count(".png") == 5
    for path in (at.run / "figures").glob("*.png"):
        assert path.stat().st_size > 5_000


def test_the_books_recipe_trains_evaluates_and_says_why_it_has_one_output(
    at, place, capsys, monkeypatch
):
    monkeypatch.setattr(drawing, "gradients_of_cells", lambda *_: {"lstm": np.ones(6)})
    (place / "lines.txt").write_text("to be or not\nthat is\n" * 20)
    small = {"hidden": 8, "chunk": 6, "epochs": 2, "text": str(place / "lines.txt")}
    config = dataclasses.replace(model.RECIPES["book"], **small)
    commands.train(config, cli.Options(out=place / "book"))
    out = capsys.readouterr().out
    assert "the first 6 characters of 40 lines" in out
    trained = cli.Trained(run=place / "book")
    commands.generate(trained)
    said = capsys.readouterr().out
    assert out.partition("OUT ")[2].splitlines()[0] == said.partition("OUT ")[2].splitlines()[0]
    assert "takes no prompt" in said
    commands.evaluate(trained)
    found = json.loads((place / "book" / "evaluation.json").read_text())
    assert 0 < found["lowest"] < found["loss"] < 6 * np.log(14)


def test_the_copy_task_leaves_curves(at, place, capsys, monkeypatch):
    def train(delay, *, seeds, updates, hidden):
        assert (delay, seeds, updates, hidden) == (3, 1, 100, 4)
        for done in (50, 100):
            yield copy_task.Report(done, np.array([[0.5], [2.0]]), np.array([[0.9], [0.1]]))

    monkeypatch.setattr(copy_task, "train", train)
    commands.copy_task(3, seeds=1, updates=100, hidden=4, out=place / "copy")
    said = "update 100: nats per symbol 0.500 with chrono, 2.000 without (remembers nothing: 2.079)"
    assert said in capsys.readouterr().out
    content = json.loads((place / "copy" / "delay-3.json").read_text())
    assert content["nats"] == [[[0.5], [2.0]]] * 2
    assert (place / "copy" / "delay-3.png").stat().st_size > 5_000
    with pytest.raises(DataError, match="expected at least 1 of each"):
        commands.copy_task(0)


def test_bench_and_help_teach(at, capsys, monkeypatch):
    config = dataclasses.replace(model.RECIPES["modern"], hidden=8, glorot=True)
    commands.bench(config, "cpu", seconds=0.2)
    assert "characters/s" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["zoo", "--help"])
    with pytest.raises(SystemExit):
        cli.main("doc", {"train": commands.train, "copy-task": commands.copy_task})
    assert "Train a network to write" in capsys.readouterr().out


def test_what_a_user_can_mend_is_said(at, place):
    (place / "short.txt").write_text("to be")
    config = dataclasses.replace(model.RECIPES["modern"], text=str(place / "short.txt"))
    with pytest.raises(DataError, match=r"short\.txt has 4 characters.*at least 2,049"):
        commands.train(config, cli.Options())
    with pytest.raises(run.RunError, match="no trained model under runs/ch05_lstm"):
        commands.generate(cli.Trained())


def test_figures_refuse_what_they_cannot_draw():
    with pytest.raises(ValueError, match="no lines of metrics"):
        figures.learning_curves([])
    with pytest.raises(ValueError, match=r"expected two of \(hidden, 3\)"):
        figures.weights(np.zeros((2, 4)), np.zeros((2, 4)), "abc")
    with pytest.raises(ValueError, match="forget has 2 steps, expected 3"):
        figures.gates({"forget": np.zeros((2, 5))}, "abc")
    with pytest.raises(ValueError, match=r"expected \(2, 2, seeds\)"):
        figures.copy_curves([1, 2], np.zeros((2, 3, 1)), 5, 2.0)
