"""The command line: one run end to end in processes, the other commands within this one."""

import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from zoo import load
from zoo.common import checkpoint, run

CHAPTER = "ch05_lstm"
# Stops are looked for between compiled calls; how long these are changes no result. No pictures.
SHORT_CALLS = """
import functools, runpy
from zoo.common import commands, fit
fit.iterate = functools.partial(fit.iterate, call_seconds=0.03)
commands.draw = lambda *_: []
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


def outcome(folder):
    """The final state as arrays and the metrics that do not depend on the clock."""
    state = load(folder).state
    state = state._replace(key=jax.random.key_data(state.key))
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in run.read_metrics(folder)]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)], rows


def test_train_leaves_a_whole_run_folder_with_pictures_and_a_text(trained, words):
    folder, out = trained
    assert "words.txt, 240,000 characters; first 90 %" in out
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] < 2.0
    # Ten words that are equally likely, of 4.7 characters in the mean with the space behind them.
    assert 0.97 < rows[-1]["test_loss"] / (np.log(10) / 4.7) < 1.03
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"curves", "weights", "embedding", "gradients", "gates"}
    assert len((folder / "sample.txt").read_text()) == 300
    assert load(folder).config.vocabulary == 3 + len(set(words))


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
    step = int(checkpoint.latest(place / "stopped").stem)
    assert STEPS < step < 2 * STEPS
    subprocess.run(
        [sys.executable, "-c", SHORT_CALLS, "train", "--resume", "stopped", "--device", "cpu"],
        cwd=place, env=environment, check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    (leaves, rows), (expected, expected_rows) = map(outcome, (place / "stopped", trained[0]))
    assert all(np.array_equal(a, b) for a, b in zip(leaves, expected, strict=True))
    assert rows == expected_rows


def test_evaluate_scores_the_whole_validation_text(trained, command):
    folder, _ = trained
    done = command(CHAPTER, "evaluate", "--run", folder)
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["characters"] == 24_000
    last = run.read_metrics(folder)[-1]
    np.testing.assert_allclose(found["nats"], last["test_loss"], atol=1e-3)
    np.testing.assert_allclose(found["bits"], found["nats"] / np.log(2))
    assert found["reset_nats"] > found["nats"]
    assert f"{found['nats']:.4f} ({found['bits']:.4f})" in done.out


def test_generate_writes_words_and_lists_the_next(trained, command, words):
    line = ("generate", "--run", trained[0])
    out = command(CHAPTER, *line, "--prompt", "to be", "--length", 100, "--temperature", 0.2).out
    written = out.partition("to be")[2]
    assert len(written) == 101
    known = {word.strip() for word in words.split()}
    assert sum(word in known for word in written.split()[1:-1]) >= 8
    listed = command(CHAPTER, *line, "--next-word", "that is que").out.splitlines()
    assert listed[1].endswith("question")
    assert float(listed[1].split()[0]) > 0.5
    for wrong in (("--length", 0), ("--temperature", -1), ("--top-p", 0), ("--next-word", "")):
        done = command(CHAPTER, *line, *wrong)
        assert (done.status, "expected" in done.err) == (1, True), wrong
    assert "'z' " in command(CHAPTER, *line, "--prompt", "zoo").err


def test_without_a_run_the_published_model_writes(command, place):
    (place / "runs" / "elsewhere.txt").unlink(missing_ok=True)
    done = command(CHAPTER, "generate", "--prompt", "ROMEO:", "--length", 40)
    assert "using the published model" in done.out
    assert len(done.out.partition("ROMEO:")[2]) == 41


def test_figures_are_drawn_again(trained, command):
    folder, _ = trained
    for path in (folder / "figures").glob("*.png"):
        path.unlink()
    assert command(CHAPTER, "figures", "--run", folder).out.count(".png") == 5
    for path in (folder / "figures").glob("*.png"):
        assert path.stat().st_size > 5_000


def test_the_books_recipe_trains_evaluates_and_says_why_it_has_one_output(command, place):
    (place / "lines.txt").write_text("to be or not\nthat is\n" * 20)
    small = ("--hidden", 8, "--chunk", 6, "--epochs", 2, "--text", "lines.txt")
    out = command(CHAPTER, "train", "--recipe", "book", *small, "--out", "book").out
    assert "the first 6 characters of 40 lines" in out
    said = command(CHAPTER, "generate", "--run", "book").out
    assert out.partition("OUT ")[2].splitlines()[0] == said.partition("OUT ")[2].splitlines()[0]
    assert "takes no prompt" in said
    assert command(CHAPTER, "evaluate", "--run", "book").status == 0
    found = json.loads((place / "book" / "evaluation.json").read_text())
    assert 0 < found["lowest"] < found["loss"] < 6 * np.log(14)


def test_bench_and_help_teach(command):
    out = command(CHAPTER, "bench", "--hidden", 8, "--glorot", "--seconds", 0.2).out
    assert "characters/s" in out
    assert "writing" in out
    for name in ("train", "evaluate", "generate", "figures", "bench", "export", "publish"):
        assert name in command(CHAPTER, "--help").out


def test_what_a_user_can_mend_is_said(command, place):
    (place / "short.txt").write_text("to be")
    done = command(CHAPTER, "train", "--text", "short.txt")
    assert done.status == 1
    assert "short.txt has 4 characters" in done.err
    assert "at least 2,049" in done.err
