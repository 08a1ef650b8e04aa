"""The speed run on the command line."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import PIL.Image
import pytest

from zoo.ch06_cnn import commands, runs, speedrun, speedrun_commands
from zoo.common import checkpoint, cli, pretrained, run
from zoo.common.data import DataError, Dataset

TINY = ["--recipe", "speedrun-cpu", "--data", "sample", "--device", "cpu", "--width", "2",
        "--epochs", "2", "--batch-size", "100", "--views", "flips"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A finished run on the sample, and what it printed."""
    done = zoo("ch06_cnn", "train", *TINY, "--target", "0.01", "--out", place / "fast")
    assert done.returncode == 0, done.stderr
    return place / "fast", done.stdout


def test_train_takes_the_speed_run_and_says_whether_the_target_was_reached(trained):
    folder, out = trained
    assert "target 1.00%: reached" in out
    config = runs.saved_config(folder)
    assert config == dataclasses.replace(
        speedrun.SPEEDRUNS["speedrun-cpu"], width=2, epochs=2, batch_size=100, views="flips"
    )
    assert [row["epoch"] for row in run.read_metrics(folder)] == [1, 2]
    assert {p.stem for p in (folder / "figures").iterdir()} >= {"curves", "confusion", "filters"}
    accuracy = json.loads((folder / "evaluation.json").read_text())["test_accuracy"]
    guesses, labels = (np.loadtxt(folder / f"test{n}.txt") for n in ("Pred", "Actual"))
    np.testing.assert_allclose(accuracy, (guesses == labels).mean())


def test_a_finished_run_is_resumed_predicted_drawn_and_published(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(trained[0], folder)
    config = runs.saved_config(folder)
    assert runs.recipe_of(["train", f"--resume={folder}"]) == "speedrun-cpu"
    options = cli.Options(data="sample", device="cpu", resume=folder)
    assert commands.train_run(config, options)[0] == folder
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    PIL.Image.fromarray(picture).save("a.png")
    which = cli.Trained(run=folder, device="cpu")
    commands.predict((tmp_path / "a.png",), which)
    assert (folder / "figures" / "predict-a.png").exists()
    path = pretrained.publish(folder, tmp_path / "published")
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["command"].startswith("python -m zoo.ch06_cnn train --recipe speedrun-cpu")
    assert str(trained[0]) not in path.with_suffix(".json").read_text()
    state = runs.restore(which)[2]
    like = {"params": state.stats["average"], "moments": state.stats["moments"]}
    halves = jax.tree.map(lambda a: a.astype("float16"), like)
    loaded = checkpoint.load_weights(path, halves)
    jax.tree.map(np.testing.assert_array_equal, loaded, halves)


@pytest.mark.parametrize(
    ("arguments", "recipe"),
    [
        (["train"], ""),
        (["train", "--recipe", "book"], "book"),
        (["train", "--recipe=speedrun", "--width", "8"], "speedrun"),
        (["train", "--resume", "nowhere"], ""),
    ],
)
def test_the_recipe_is_read_off_the_command_line(arguments, recipe):
    assert runs.recipe_of(arguments) == recipe


def test_split_all_trains_on_all_five_files_and_says_what_it_needs(monkeypatch):
    rng = np.random.default_rng(0)

    def part(count):
        images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return {"image": images, "label": rng.integers(0, 10, count).astype(np.uint8)}

    held = Dataset("CIFAR-10", "real", "holdout", "", part(8), part(2), ("a",) * 10)
    monkeypatch.setattr(runs.cifar10, "load", lambda **_: held)
    monkeypatch.setattr(runs.cifar10, "first_thousand", lambda _: part(3))
    config = speedrun.Config(split="all")
    found = runs.load(config)
    assert len(found.train["label"]) == 10
    assert len(found.test["label"]) == 3
    np.testing.assert_array_equal(found.train["image"][8:], held.test["image"])
    monkeypatch.setattr(runs.cifar10, "first_thousand", lambda _: None)
    with pytest.raises(DataError, match=r"test_batch.first1000.bin"):
        runs.load(config)


@pytest.fixture
def tiny(monkeypatch):
    """The commands' data set, 48 pictures to train on and 20 to test on, and a configuration."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 68).astype(np.uint8)
    images = (rng.integers(0, 100, (68, 32, 32, 3)) + 15 * labels[:, None, None, None]).astype("u1")
    train = {"image": images[:48], "label": labels[:48]}
    test = {"image": images[48:], "label": labels[48:]}
    dataset = Dataset("CIFAR-10", "real", "holdout", "pictures", train, test, ("a",) * 10)
    monkeypatch.setattr(speedrun_commands, "load", lambda *_: dataset)
    return speedrun.Config(width=2, epochs=2, batch_size=16, precision="float32", views="flips")


def test_seeds_are_repeated_once_and_kept(tiny, tmp_path, capsys, monkeypatch):
    out = tmp_path / "speedrun.json"
    speedrun_commands.repeat(tiny, seeds=2, target=0.0, device_name="cpu", out=out)
    assert "2 seeds" in capsys.readouterr().out
    (rows,) = json.loads(out.read_text())["rows"].values()
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[0]["train_loss"] != rows[1]["train_loss"]
    assert rows[0]["compile_seconds"] > 0 == rows[1]["compile_seconds"]
    monkeypatch.setattr(speedrun_commands, "_runs", lambda *a, **_: [None] * len(a[2]))
    speedrun_commands.repeat(tiny, seeds=2, target=1.1, device_name="cpu", out=out)
    assert "target 110.00%: missed" in capsys.readouterr().out
    other = dataclasses.replace(tiny, width=4)
    with pytest.raises(DataError, match="results of another config"):
        speedrun_commands.repeat(other, seeds=1, device_name="cpu", out=out)


def test_ablation_goes_on_where_it_stopped_and_compares_by_seed(tiny, tmp_path, monkeypatch):
    asked = []

    def runs(config, dataset, seeds, warm_up):
        for seed in seeds:
            asked.append((config, seed))
            accuracy = 0.9 + 0.01 * seed - (0.02 if config.shift == 0 else 0.0)
            yield {
                "seed": seed, "test_accuracy": accuracy, "seconds": 2.0, "compile_seconds": 1.0,
                "train_loss": [1.0],
            }  # fmt: skip

    monkeypatch.setattr(speedrun_commands, "_runs", runs)
    out = tmp_path / "ablation.json"
    options = {"rows": ("all ideas", "no shifts"), "device_name": "cpu", "out": out}
    speedrun_commands.ablation(tiny, seeds=1, **options)
    speedrun_commands.ablation(tiny, seeds=2, **options)
    assert [seed for _, seed in asked] == [0, 0, 1, 1]
    table = out.with_suffix(".md").read_text()
    assert "| all ideas | 2 | 90.50 ± 0.71 % |  | 2.0 |" in table
    assert "| no shifts | 2 | 88.50 ± 0.71 % | -2.00 | 2.0 |" in table
    with pytest.raises(DataError, match="'nothing', expected one of: all ideas"):
        speedrun_commands.ablation(tiny, rows=("nothing",), device_name="cpu", out=out)


def test_each_row_of_the_ablation_changes_a_field(tiny):
    for name, change in speedrun_commands.ABLATIONS.items():
        assert (dataclasses.replace(speedrun.Config(), **change) != speedrun.Config()) == bool(
            change
        ), name
