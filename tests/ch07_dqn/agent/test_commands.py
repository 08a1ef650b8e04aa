"""The commands of the agents on one run of two mazes, which all of them only read."""

import itertools
import json

import jax
import numpy as np
import PIL.Image
import pytest

from zoo import ch07_dqn as dqn
from zoo.ch07_dqn.agent import commands, model, task
from zoo.common import cli, figures, run, trained
from zoo.common import commands as common
from zoo.common.data import DataError
from zoo.common.settings import SettingError

CONFIG = model.Config(
    rows=2,
    columns=3,
    mazes=2,
    limit=40,
    discount=0.9,
    epochs=4,
    epoch_steps=500,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents") / "run"
    common.train(task.TASK, CONFIG, cli.RunOptions(out=folder))
    return folder


@pytest.fixture
def which(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return cli.TrainedModel(run=folder)


@pytest.fixture
def few_frames(monkeypatch):
    """GIFs of three frames."""
    animate = figures.animate

    def short(frames, *arguments):
        return animate(itertools.islice(frames, 3), *arguments)

    monkeypatch.setattr(figures, "animate", short)


def test_train_leaves_a_whole_run_folder_with_pictures(folder):
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert {"loss", "solved", "tiles_solved", "at_goal"} <= set(rows[0])
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"curve", "values", "optimum", "visits", "path"}
    assert json.loads((folder / "summary.json").read_text())["step"] == 2000
    about = json.loads((folder / "config.json").read_text())["data"]
    assert about["description"] == "2x3 cells, depth-first, seeds 0 to 1"


def test_evaluate_and_play(which, few_frames, capsys):
    commands.evaluate(which)
    found = json.loads((which.run / "evaluation.json").read_text())
    assert found["agents"] == 2
    assert f"{round(2 * found['solved'])} of 2 agents reach the goal" in capsys.readouterr().out
    commands.play(which, agent=1)
    out = capsys.readouterr().out
    assert "██" in out
    assert "the shortest way has" in out
    with PIL.Image.open(which.run / "figures" / "walk.gif") as walk:
        assert walk.n_frames == 3


def test_an_agent_that_the_run_has_not_is_named(which):
    for command in (commands.play, commands.figures):
        with pytest.raises(DataError, match="agent 2, expected one of the model's, 0 to 1"):
            command(which, agent=2)


def test_figures_draws_another_agent(which, capsys):
    before = (which.run / "figures" / "values.png").read_bytes()
    commands.figures(which, agent=1)
    assert (which.run / "figures" / "values.png").read_bytes() != before
    assert "values.png" in capsys.readouterr().out


def test_the_predicted_values_are_those_of_the_first_agent(folder):
    found = trained.load(folder)
    assert found.params["dense"][0]["kernel"].shape == (35, 32)
    _, tried = task.greedy(found)
    values = found.predict(obs=np.arange(35))["values"]
    np.testing.assert_allclose(values, tried.values[0], atol=1e-6)


@pytest.mark.parametrize("recipe", model.RECIPES)
def test_the_network_of_each_recipe_is_asked_by_sites(recipe):
    config = model.RECIPES[recipe]
    batch = task.random(config, 5)
    weights = {"params": model.init(jax.random.key(0), config)}
    values = task.predictions(config)["values"].function(weights, {"obs": batch["obs"]})["values"]
    assert values.shape == (5, 4)
    assert np.isfinite(task.losses(config, 1)[0](weights["params"], batch, None)[0])


def test_a_published_agent_plays_evaluates_and_is_drawn(folder, tmp_path, monkeypatch, few_frames):
    path = trained.publish(folder, into=tmp_path)
    monkeypatch.setattr(trained, "_path", lambda task: path)
    monkeypatch.chdir(tmp_path)
    which = cli.TrainedModel(run="published")
    commands.evaluate(which)
    commands.play(which)
    commands.figures(which)
    drawn = {p.name for p in (tmp_path / "runs/ch07_dqn/published/figures").iterdir()}
    assert drawn == {"values.png", "optimum.png", "path.png", "walk.gif"}


def test_the_published_agent_goes_the_shortest_way():
    found = dqn.pretrained()
    _, tried = task.greedy(found)
    assert tried.walk.length == tried.walk.shortest
    values = dqn.apply(found.params, np.arange(231))
    np.testing.assert_allclose(values, tried.values[0], atol=1e-5)


def test_the_map_of_a_seed_and_its_solution(capsys):
    commands.show_map(seed=3, rows=2, columns=3, solve=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(len(line) == 14 for line in lines[:5])
    steps = int(lines[-1].split()[-2])
    assert sum(line.count("·") for line in lines) == steps - 1
    with pytest.raises(SettingError, match="1x1 cells"):
        commands.show_map(rows=1, columns=1)


def test_bench_times_the_loop_too(capsys):
    with jax.debug_key_reuse(False):  # each timed call begins with the same keys
        commands.COMMANDS["bench"](CONFIG, "cpu", seconds=0.1)
    out = capsys.readouterr().out
    for row in ("training", "inference", "loop"):
        assert f"\n{row} " in out


def test_help_names_every_command(command):
    done = command("ch07_dqn", "--help")
    for name in ("train", "play", "evaluate", "figures", "map", "bench", "export", "planner"):
        assert f" {name} " in done.out
