"""A model of one's own: the task that CONTRIBUTING.md shows, through every command."""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo.ch10_deploy import export
from zoo.common import bench, checkpoint, commands, device, run, trained

ROOT = Path(__file__).parents[2]
MODEL = '''
"""A straight line."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Config:
    """The model and its training."""

    recipe: Literal["modern", "slow"] = "modern"
    """the whole configuration to start from"""
    learning_rate: float = 0.3
    """of each step"""
    epochs: int = 20
    """passes over the points"""
    batch_size: int = 10
    """points per update"""
    seed: int = 0
    """of the points and the weights"""


RECIPES = {"modern": Config(), "slow": Config("slow", learning_rate=0.001)}


def init(key, config):
    """A random slope through the origin."""
    return {"kernel": jax.random.normal(key), "bias": jnp.float32(0)}


def apply(params, x, key=None):
    """y of x, [B]."""
    return params["kernel"] * x + params["bias"]


def loss(params, batch, key=None):
    """Mean squared error; beside it the mean error."""
    error = apply(params, batch["x"]) - batch["y"]
    return (error**2).mean(), {"error": abs(error).mean()}


def example(config, size=2):
    """A small batch."""
    x = jnp.arange(size, dtype=jnp.float32)
    return {"x": x, "y": 2 * x + 1}
'''
INIT = """
from ch11_line.model import *
from ch11_line.task import TASK

TASKS = (TASK,)
"""
MAIN = """
from ch11_line import TASKS
from zoo.common import cli, commands

if __name__ == "__main__":
    cli.main("A line.", commands.make(TASKS[0]), TASKS)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package `ch11_line` in a temporary folder, importable here, too."""
    folder = tmp_path_factory.mktemp("packages")
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S
    )
    (folder / "ch11_line").mkdir()
    files = {"model": MODEL, "task": block, "__init__": INIT, "__main__": MAIN}
    for name, text in files.items():
        (folder / "ch11_line" / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def line(package, module):
    """Runs `python -m ch11_line ARGUMENTS` in the temporary folder."""

    def run(*arguments, status=0):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(package)
            patch.delenv("ZOO_DATA_DIR", raising=False)
            done = module("ch11_line", *arguments)
        assert done.status == status, done.err
        return done.out + done.err

    return run


@pytest.fixture(scope="module")
def folder(package, environment):
    """A run that a process of its own trained."""
    done = subprocess.run(
        [sys.executable, "-m", "ch11_line", "train", "--out", "run"],
        cwd=package,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in ("evaluate", "export"):
        assert f"next: python -m ch11_line {line} --run run" in done.stdout
    return package / "run"


def test_it_trains_and_evaluates(folder, line):
    rows = run.read_metrics(folder)
    assert len(rows) == 20
    assert rows[-1]["test_error"] < 0.01 < rows[0]["test_error"]
    assert "test error" in line("evaluate", "--run", "run")
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["test_loss"] == rows[-1]["test_loss"]


def test_the_next_command_can_be_pasted_whatever_the_folder_is_called(line):
    out = line("train", "--epochs", 1, "--out", "a run's [1] folder")
    (first, *_) = [text for text in out.splitlines() if text.startswith("next: ")]
    command = shlex.split(first.removeprefix("next: python -m ch11_line "))
    assert command == ["evaluate", "--run", "a run's [1] folder"]
    assert "test error" in line(*command)


def test_a_run_is_one_object_in_python(folder):
    from ch11_line import TASK

    model = trained.load(folder, TASK)
    found = model.predict(x=np.array([0.0, 0.5]))["y"]
    np.testing.assert_allclose(found, [1.0, 2.0], atol=0.02)
    assert model.params["kernel"].shape == ()
    assert int(model.state.step) == 200
    with pytest.raises(ValueError, match="got the inputs z, expected x"):
        model.predict(z=np.zeros(2))
    with pytest.raises(ValueError, match=r"x is float64 of shape \(2, 3\), expected float32"):
        model.predict(x=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="got 'curve', expected one of line"):
        model.predict("curve", x=np.zeros(2))


def test_it_is_timed_exported_and_published(folder, line, package):
    from ch11_line import TASK

    out = line("bench", "--seconds", 0.3)
    assert "points/s" in out
    assert "training" in out
    line("export", "--run", "run")
    exported = export.load(str(folder / "export"))
    found = exported.predict("line", {"x": np.array([0.5], np.float32)})["y"]
    np.testing.assert_allclose(found, trained.load(folder, TASK).predict(x=np.array([0.5]))["y"])
    (package / "runs" / "elsewhere.txt").unlink()
    out = line("evaluate", status=1)
    assert "no trained model of ch11_line here: run `python -m ch11_line train` first" in out
    line("publish", "--run", "run")
    card = json.loads((package / "ch11_line" / "pretrained" / "model.json").read_text())
    assert card["command"] == "python -m ch11_line train"
    assert card["metrics"]["evaluation"]["test_error"] < 0.01
    published = trained.published(TASK)
    np.testing.assert_allclose(published.predict(x=np.array([0.5]))["y"], found, atol=2e-3)
    assert "using the published model" in line("evaluate")
    assert "published model" not in line("evaluate", "--run", "published")


def test_the_newest_run_is_the_one_trained_last_wherever_it_is(line, package, tmp_path):
    line("train", "--epochs", 1, "--out", tmp_path / "first")
    line("train", "--epochs", 2)
    assert "model of runs/ch11_line/" in line("evaluate")
    line("train", "--epochs", 3, "--resume", tmp_path / "first")
    assert f"model of {tmp_path / 'first'} after 30 steps" in line("evaluate")
    for path in (tmp_path / "first").rglob("*"):
        if path.is_file():
            path.unlink()
    assert "model of runs/ch11_line/" in line("evaluate")


def test_a_finished_run_is_prolonged(line, package, tmp_path):
    from ch11_line import TASK

    line("train", "--epochs", 2, "--out", tmp_path / "run")
    before = run.read_metrics(tmp_path / "run")
    out = line("train", "--resume", tmp_path / "run", "--epochs", 4)
    assert "a new leg: 4 epochs in place of 2, from epoch 2 on" in out
    rows = run.read_metrics(tmp_path / "run")
    assert rows[:2] == before
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    about = run.about(tmp_path / "run")
    assert about["config"]["epochs"] == 4
    (leg,) = about["legs"]
    assert (leg["step"], leg["epochs"]) == (20, [2, 4])
    line("train", "--epochs", 4, "--out", tmp_path / "whole")  # at one rate: as in one go
    states = [trained.load(tmp_path / name, TASK).params for name in ("run", "whole")]
    assert states[0] == states[1]
    out = line("train", "--resume", tmp_path / "run", "--epochs", 3, status=1)
    assert "epochs is 4 there and 3 here" in out


def test_flags_change_the_recipe_and_a_resumed_run_keeps_its_own(folder, line, package):
    line("train", "--recipe", "slow", "--epochs", 2, "--out", "slow")
    config = json.loads((package / "slow" / "config.json").read_text())["config"]
    assert config == {
        "recipe": "slow",
        "learning_rate": 0.001,
        "epochs": 2,
        "batch_size": 10,
        "seed": 0,
    }
    assert "all 2 epochs of this run are trained already" in line("train", "--resume", "slow")
    out = line("train", "--resume", "slow", "--batch-size", 20, status=1)
    assert "batch_size is 10 there and 20 here" in out
    out = line("train", "--help")
    assert "(modern: 0.3, slow: 0.001)" in " ".join(out.split())
    out = line("train", "--recipe", "quick", status=1)
    assert "got the recipe 'quick', expected modern, slow" in out
    out = line("train", "--out", "run", status=1)
    assert "run holds a run already" in out


def test_a_damaged_published_model_is_refused(folder, line, package):
    from ch11_line import TASK

    line("publish", "--run", "run")
    weights = package / "ch11_line" / "pretrained" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(checkpoint.CheckpointError, match=r"model.safetensors has the sha256"):
        trained.published(TASK)
    weights.unlink()
    with pytest.raises(checkpoint.CheckpointError, match="no published model"):
        trained.published(TASK)


def test_rates_are_in_the_unit_of_the_task(monkeypatch):
    """An example of chapter 5 is a chunk of text; rates are in characters."""
    task = dataclasses.replace(trained.find("ch05_lstm"), timings=None)
    config = dataclasses.replace(task.recipes["modern"], hidden=4, embedding=2, chunk=7)
    state, tables = task.start(config, task.random(config, 32)), []
    slow, fast = bench.Rates((10.0,), 1.0), bench.Rates((20.0,), 1.0)
    monkeypatch.setattr(device, "use", lambda kind: None)
    monkeypatch.setattr(bench, "training", lambda *_, **__: (slow, state))
    monkeypatch.setattr(bench, "inference", lambda *_, **__: fast)
    monkeypatch.setattr(bench, "print_table", lambda *table: tables.append(table))
    commands.time_model(task, config)
    ((_, columns, rows),) = tables
    assert columns[1] == "characters/s, median"
    assert [row[:2] for row in rows] == [("training", "70"), ("inference", "140")]
