"""The command line, as a user has it: each sub-command, and runs that are stopped in every way."""

import json
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

from zoo.ch06_cnn import commands, model, runs
from zoo.ch06_cnn.train import start
from zoo.common import checkpoint, run

SMALL = ["--data", "sample", "--filters", "4", "4", "4", "--hidden", "8", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A finished run of the modern recipe on the sample, and what it printed."""
    done = zoo("ch06_cnn", "train", *SMALL, "--epochs", 2, "--out", place / "trained")
    assert done.returncode == 0, done.stderr
    return place / "trained", done.stdout


def test_train_says_what_it_does_and_leaves_a_whole_run_folder(trained):
    folder, out = trained
    assert "sample" in out.splitlines()[0]
    assert [line.split(":")[0] for line in out.splitlines()[2:4]] == ["epoch 1", "epoch 2"]
    assert str(folder) in out
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
    names = {p.name for p in (folder / "figures").iterdir()}
    assert names == {f"{n}.png" for n in ("curves", "confusion", "cats", "filters", "predictions")}


def test_evaluate_writes_the_books_files(zoo, trained):
    folder, _ = trained
    done = zoo("ch06_cnn", "evaluate", "--run", folder)
    assert done.returncode == 0, done.stderr
    actual = np.loadtxt(folder / "testActual.txt", dtype=int)
    guesses = np.loadtxt(folder / "testPred.txt", dtype=int)
    accuracy = run.read_metrics(folder)[-1]["test_accuracy"]
    np.testing.assert_allclose((actual == guesses).mean(), accuracy, atol=1e-6)
    assert f"accuracy {accuracy:.4f}" in done.stdout


def test_predict_names_what_is_in_any_picture_file(zoo, place, trained):
    rng = np.random.default_rng(0)
    picture = PIL.Image.fromarray(rng.integers(0, 256, (70, 90, 3), np.uint8))
    for name in ("a.png", "b.jpg", "c.gif"):
        picture.save(place / name)
    done = zoo("ch06_cnn", "predict", "a.png", "b.jpg", "c.gif", "--run", trained[0], "--top", 5)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    shares = [float(line.split()[1]) for line in lines if "drawn" not in line]
    assert len(shares) == 15
    assert 0 < sum(shares[:5]) <= 1.001
    assert shares[:5] == sorted(shares[:5], reverse=True)
    assert (trained[0] / "figures" / "predict-a.png").exists()


def test_figures_draws_a_run_again(zoo, place, trained):
    shutil.copytree(trained[0], place / "copy")
    (place / "copy" / "figures" / "curves.png").unlink()
    done = zoo("ch06_cnn", "figures", "--run", "copy")
    assert done.returncode == 0, done.stderr
    assert (place / "copy" / "figures" / "curves.png").stat().st_size > 10_000


def test_bench_prints_rates(zoo):
    done = zoo("ch06_cnn", "bench", "--filters", 4, 4, 4, "--seconds", 2)
    assert done.returncode == 0, done.stderr
    assert "training" in done.stdout
    assert "inference" in done.stdout


def test_help_teaches_every_command_and_answers_quickly(zoo):
    zoo("ch06_cnn", "--help")
    began = time.monotonic()
    done = zoo("ch06_cnn", "--help")
    assert time.monotonic() - began < 3
    for command in ("train", "evaluate", "predict", "figures", "bench"):
        assert command in done.stdout
    assert "--recipe {modern,book}" in zoo("ch06_cnn", "train", "--help").stdout


def test_mnist_is_enlarged_to_the_networks_size():
    config = model.Config(dataset="mnist")
    digits = runs.load(config, "sample")
    assert digits.train["image"].shape[1:] == (32, 32, 3)
    assert digits.train["image"][:, 2:30, 2:30].max() == digits.train["image"].max()
    assert digits.train["image"][:, :2].max() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "real", "--data-dir", "nowhere"], "nowhere"),
        (["evaluate", "--run", "nowhere"], "nowhere is no run folder"),
        (["evaluate"], "no trained model under runs/ch06_cnn: run `python -m zoo.ch06_cnn train`"),
        (["train", "--resume", "nowhere"], "nowhere is no run folder"),
        (["train", *SMALL, "--device", "tpu"], "no tpu here"),
        (["train", *SMALL, "--devices", "7"], "a mesh of 7 devices was asked for"),
        (["train", *SMALL, "--batch-size", "99999"], "choose a batch size from 1 to"),
        (["train", *SMALL, "--epochs", "0"], "ask for more epochs"),
        (["train", "--data", "sample", "--split", "official"], "official"),
        (["train", *SMALL, "--learning-rate", "1e30", "--out", "bad"], "not finite at step"),
    ],
)
def test_what_a_user_can_mend_is_said_in_one_line(zoo, arguments, message):
    done = zoo("ch06_cnn", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_picture_that_is_none_is_refused_by_name(zoo, place, trained):
    (place / "notes.png").write_text("not a picture")
    done = zoo("ch06_cnn", "predict", "notes.png", "--run", trained[0])
    assert done.returncode == 1
    assert "notes.png can't be read as a picture" in done.stderr


def test_a_run_is_not_written_over_and_not_resumed_as_another(zoo, trained):
    folder, _ = trained
    again = zoo("ch06_cnn", "train", *SMALL, "--out", folder)
    assert again.returncode == 1
    assert "holds a run already" in again.stderr
    other = zoo(
        "ch06_cnn", "train", "--resume", folder, "--data", "sample", "--seed", 5, "--hidden", 9
    )
    assert other.returncode == 1
    assert "hidden is 8 there and 9 here; seed is 0 there and 5 here" in other.stderr


def test_resuming_a_finished_run_says_so_and_draws_it(zoo, place, trained):
    shutil.copytree(trained[0], place / "finished")
    done = zoo("ch06_cnn", "train", "--resume", "finished", "--data", "sample", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "all 2 epochs of this run are trained already" in done.stdout


def test_a_damaged_checkpoint_is_refused_with_the_reason(zoo, place, trained):
    shutil.copytree(trained[0], place / "damaged")
    newest = checkpoint.latest(place / "damaged")
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    done = zoo("ch06_cnn", "evaluate", "--run", "damaged")
    assert done.returncode == 1
    assert str(newest.name) in done.stderr
    assert "Traceback" not in done.stderr


# Runs that are stopped. The unbroken one is the measure: same parameters and metrics to the bit.

LONG = [*SMALL[:3], "8", "8", "8", *SMALL[6:], "--epochs", "6", "--batch-size", "20"]


def outcome(folder):
    """The final state as arrays and the metrics that do not depend on the clock."""
    config = runs.saved_config(folder)
    state, _ = checkpoint.restore(folder, start(config, 2500)[1])
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
        if any("tmp" in p.name for p in (folder / "checkpoints").glob("*")):
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


def test_a_run_folder_that_cannot_be_written_is_said(zoo, place):
    (place / "file").write_text("")
    done = zoo("ch06_cnn", "train", *SMALL, "--out", place / "file" / "run")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "file" in done.stderr


def test_reading_a_picture_keeps_its_middle_square(tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 200
    PIL.Image.fromarray(wide).save(tmp_path / "wide.png")
    small = commands.read_image(Path(tmp_path / "wide.png"))
    assert small.shape == (32, 32, 3)
    assert small[16, 4:28].min() > 190
