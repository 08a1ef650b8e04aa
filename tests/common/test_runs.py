"""`python -m zoo runs` and `runs compare`."""

import json
import os
import shutil

import pytest
from PIL import Image

from zoo.common import run, runs
from zoo.common.data import DataError

METRICS = [
    {"epoch": 1, "step": 5, "train_loss": 2.0, "test_loss": 1.5, "test_accuracy": 0.25},
    {"epoch": 2, "step": 10, "train_loss": 1.0, "test_loss": 0.75, "test_accuracy": 0.5},
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(folder, second, chapter="ch06_cnn", metrics=METRICS, **config):
    (folder / "checkpoints").mkdir(parents=True)
    config = {"recipe": "modern", "epochs": 3, "seed": 0, **config}
    data = {"name": "drawn shapes", "source": "sample", "description": "ten drawn shapes"}
    content = {"chapter": chapter, "config": config, "data": data, "versions": {"jax": "1"}}
    (folder / "config.json").write_text(json.dumps(content))
    run.write_metrics(folder, metrics)
    saved = folder / "checkpoints" / "10.safetensors"
    saved.write_text("")
    os.utime(saved, (second, second))
    return folder


def test_the_table_has_the_last_trained_first_and_says_what_each_reached(here, capsys):
    runs.table()
    assert "no run here" in capsys.readouterr().out
    make(here / "runs/ch06_cnn/a", 1_000_000)
    make(here / "runs/ch06_cnn/speedrun/b", 3_000_000, "ch06_cnn/speedrun", recipe="speedrun")
    make(here / "far/c", 2_000_000, "ch08_vae", [{"epoch": 1, "step": 1, "test_loss": 99.5}])
    run.remember(here / "far/c")
    runs.table()
    out = capsys.readouterr().out
    title, header, *rows, following = out.splitlines()
    assert title == "3 runs"
    assert header.split()[0] == "model"
    assert [row.split()[0] for row in rows] == ["ch06_cnn/speedrun", "ch08_vae", "ch06_cnn"]
    assert "drawn shapes, sample" in rows[0]
    assert "2/3  test accuracy 50.00 %" in rows[0]
    assert "test loss 99.5000" in rows[1]
    assert rows[1].endswith(" far/c")
    assert rows[2].endswith("runs/ch06_cnn/a")
    assert following == "next: python -m zoo runs compare FOLDER FOLDER"
    runs.table("ch06_cnn")
    assert capsys.readouterr().out.startswith("2 runs")
    runs.table("ch05_lstm")
    assert "no run of ch05_lstm here" in capsys.readouterr().out
    shutil.rmtree(here / "far")
    (here / "runs/ch06_cnn/a/config.json").write_text("{")
    runs.table()
    assert capsys.readouterr().out.startswith("1 run\n")


@pytest.mark.parametrize(
    ("chapter", "line", "shown"),
    [
        ("ch02_basic_nn", {"train_loss": 0.5, "train_accuracy": 0.75}, "train accuracy 75.00 %"),
        ("ch03_mnist_ae_rbm/autoencoder", {"test_mse": 0.002}, "test squared error 0.0020"),
        ("ch03_mnist_ae_rbm/rbm", {"test_squared_error": 0.81}, "test RMSE 0.9000"),
        ("ch03_mnist_ae_rbm/rbm", {"test_hit_rate": 0.7}, "test hit rate 0.7000"),
        ("ch05_lstm", {"test_bits": 1.5, "test_accuracy": 0.5}, "test bits per character 1.5000"),
        ("ch05_lstm", {"train_loss": 2.0}, "train loss 2.0000"),  # without a test
        ("ch07_dqn", {"loss": 0.0, "reward": -1.0, "solved": 0.95}, "success rate 0.9500"),
        ("ch07_dqn/planner", {"loss": 0, "test_solved": 1}, "success rate in held-out mazes 1.0"),
        ("ch08_vae", {"test_loss": 99.5, "test_kl": 20.0}, "test loss 99.5000"),
        ("ch08_vae/conv", {"test_loss": 9.0, "test_bits_per_dim": 4.5}, "bits per dimension 4.5"),
        ("ch99_none", {"test_loss": 1.0}, "test loss 1.0000"),  # of another version of zoo
        ("ch06_cnn", {}, " -  "),
    ],
)
def test_each_model_shows_the_figure_that_says_how_good_it_is(chapter, line, shown, here, capsys):
    make(here / "a", 1, chapter, [{"epoch": 1, "step": 1} | line])
    run.remember(here / "a")
    runs.table()
    assert shown in capsys.readouterr().out


def test_two_runs_are_compared(here, capsys):
    first = make(here / "runs/ch06_cnn/a", 1, learning_rate=0.1)
    second = make(here / "elsewhere/a", 2, metrics=METRICS[:1], learning_rate=0.2, filters=[1, 2])
    runs.compare(first, second)
    settings, measured, drawn = capsys.readouterr().out.split("\n\n")
    assert settings.splitlines()[0] == "Settings that differ"
    assert "ch06_cnn/a" in settings.splitlines()[1]
    assert "elsewhere/a" in settings.splitlines()[1]
    lines = {line.split()[0]: line.split()[1:] for line in settings.splitlines()[2:]}
    assert lines == {"learning_rate": ["0.1", "0.2"], "filters": ["-", "[1,", "2]"]}
    told = {" ".join(line.split()[:1]): line.split()[1:] for line in measured.splitlines()[2:]}
    assert told["epoch"] == ["2", "1"]
    assert told["test_accuracy"] == ["50.00", "%", "25.00", "%"]
    assert "drawn to runs/compare.png" in drawn
    with Image.open("runs/compare.png") as picture:
        assert picture.width > 1000


def test_what_cannot_be_compared_is_said(here):
    first = make(here / "a", 1)
    second = make(here / "b", 2, "ch08_vae", [{"epoch": 1, "step": 1, "kl": 1.0}])
    with pytest.raises(DataError, match="no metric in common"):
        runs.compare(first, second)
    with pytest.raises(DataError, match="twice, expected two runs"):
        runs.compare(first, first / ".")
    with pytest.raises(run.RunError, match="is no run folder"):
        runs.compare(first, here)
