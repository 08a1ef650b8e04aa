import csv
import json
import shutil

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from zoo.common import run

CHAPTER = "ch03_mnist_ae_rbm"
SMALL = ["--data", "sample", "--hidden", 12, "--batch-size", 50, "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A finished run of two epochs, made in a process of its own, and what it printed."""
    done = zoo(CHAPTER, "train", *SMALL, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    (folder,) = (place / "runs" / CHAPTER).iterdir()
    return folder, done.stdout


def names(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


def test_train_leaves_a_whole_run_folder(trained):
    folder, out = trained
    assert "sample" in out.splitlines()[0]
    assert "epoch 2: " in out
    assert f"next: python -m zoo.{CHAPTER} predict 7.png --run " in out
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"train_loss", "test_loss", "train_accuracy", "test_accuracy"} <= set(rows[0])
    assert names(folder) >= {"curves", "confusion", "digits", "mistakes"}


def test_evaluate_writes_the_books_table_and_pictures(trained, command):
    folder, _ = trained
    done = command(CHAPTER, "evaluate", "--run", folder, "--images", 5)
    assert done.status == 0, done.err
    with open(folder / "probabilities.csv") as file:
        rows = list(csv.DictReader(file))
    accuracy = run.read_metrics(folder)[-1]["test_accuracy"]
    guessed = np.array([[float(row[f"p{k}"]) for k in range(10)] for row in rows])
    assert len(rows) == 297
    assert (rows[51]["batch"], rows[51]["number"]) == ("1", "1")
    np.testing.assert_allclose(guessed.sum(1), 1, atol=1e-5)
    assert [int(row["guess"]) for row in rows] == list(guessed.argmax(1))
    right = np.mean([row["guess"] == row["label"] for row in rows])
    np.testing.assert_allclose(right, accuracy, atol=1e-6)
    written = sorted((folder / "images").iterdir())
    assert len(written) == 5
    for path in written:
        batch, number, label, guess = map(int, path.stem.split(" - "))
        row = rows[50 * batch + number]
        assert (int(row["label"]), int(row["guess"])) == (label, guess)
        assert label != guess
        assert PIL.Image.open(path).size == (28, 28)
    assert f"accuracy {accuracy:.4f}" in done.out
    mistakes = [
        (float(p.max()), row["guess"])
        for p, row in zip(guessed, rows, strict=True)
        if row["guess"] != row["label"]
    ]
    share, guess = max(mistakes)
    assert f"read as {guess} with {share:.4f}" in done.out.split("mistakes:")[1][:80]
    assert json.loads((folder / "evaluation.json").read_text())["test_accuracy"] == right
    command(CHAPTER, "evaluate", "--run", folder, "--images", 60, "--which", "all")
    assert len(list((folder / "images").iterdir())) == 60
    assert any(path.stem.startswith("0 - 49 - ") for path in (folder / "images").iterdir())


def test_predict_reads_picture_files(trained, place, command):
    folder, _ = trained
    picture = PIL.Image.new("L", (200, 200), 240)
    PIL.ImageDraw.Draw(picture).rectangle((70, 40, 90, 160), fill=20)
    picture.save(place / "one.png")
    done = command(CHAPTER, "predict", place / "one.png", "--run", folder, "--top", 10)
    shares = [float(line.split()[1]) for line in done.out.splitlines() if line.startswith("  ")]
    assert "dark on bright" in done.out
    assert len(shares) == 10
    assert shares == sorted(shares, reverse=True)
    np.testing.assert_allclose(sum(shares), 1, atol=1e-4)
    assert "predict" in names(folder)
    published = command(CHAPTER, "predict", place / "one.png", "--run", "published")
    assert published.status == 0, published.err
    assert "name at least one picture" in command(CHAPTER, "predict").err


def test_figures_draws_a_run_again(trained, command, place):
    shutil.copytree(trained[0], place / "copy")
    (place / "copy" / "figures" / "curves.png").unlink()
    assert command(CHAPTER, "figures", "--run", place / "copy").status == 0
    assert (place / "copy" / "figures" / "curves.png").stat().st_size > 10_000


def test_bench_prints_rates(command):
    done = command(CHAPTER, "bench", "--hidden", 12, "--seconds", 0.05)
    assert "training" in done.out
    assert "inference" in done.out


def test_help_teaches_every_command(command):
    out = command(CHAPTER, "--help").out
    for name in ("train", "evaluate", "predict", "figures", "bench", "autoencoder", "rbm"):
        assert name in out
    flags = command(CHAPTER, "autoencoder", "train", "--help").out
    assert "--recipe {modern,book}" in flags
    assert "--noise" in flags


def test_an_error_that_a_user_can_mend_is_one_line(command, trained):
    line = ("autoencoder", "train", "--resume", trained[0], "--data", "sample")
    done = command(CHAPTER, *line)
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert f"is a run of {CHAPTER}, expected one of {CHAPTER}/autoencoder" in done.err
    assert "Traceback" not in done.err
