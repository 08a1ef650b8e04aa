"""The commands of the planner on one small run."""

import itertools
import json

import numpy as np
import pytest

from zoo.ch07_dqn.planner import commands, model, task, train
from zoo.common import cli, figures, trained
from zoo.common import commands as common
from zoo.common.settings import SettingError

CONFIG = model.Config(
    rows=4,
    columns=4,
    rounds=9,
    walkers=8,
    walk_steps=4,
    batch_size=8,
    capacity=16,
    epochs=1,
    epoch_steps=10,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planner") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "REPORTED", train.TESTED)
        common.train(task.TASK, CONFIG, cli.RunOptions(out=folder))
    return folder


def test_train_draws_curve_and_mazes(folder):
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"curve", "mazes"}


def test_evaluate_takes_mazes_of_other_kinds(folder, capsys):
    which = cli.TrainedModel(run=folder)
    commands.evaluate(which, count=200)
    assert "4x4 cells, depth-first, 9 rounds" in capsys.readouterr().out
    assert json.loads((folder / "evaluation-4x4.json").read_text())["rounds"] == 9
    commands.evaluate(which, count=20, extra=0.5, columns=5)
    path = folder / "evaluation-4x5-extra0.5.json"
    assert str(path) in capsys.readouterr().out
    assert json.loads(path.read_text())["rounds"] == 21
    with pytest.raises(SettingError, match="1x1 cells"):
        commands.evaluate(which, rows=1, columns=1)


def test_play_writes_the_walk(folder, capsys, monkeypatch):
    animate = figures.animate
    short = lambda frames, *rest: animate(itertools.islice(frames, 3), *rest)  # noqa: E731
    monkeypatch.setattr(figures, "animate", short)
    commands.play(cli.TrainedModel(run=folder), number=2)
    assert "the shortest way has" in capsys.readouterr().out
    assert (folder / "figures/walk.gif").exists()


def test_values_are_predicted_from_exits_and_goal(folder):
    found = trained.load(folder)
    maze = train.held_out_mazes(CONFIG, 3)
    values = found.predict(exits=maze.exits, goal=maze.goal)["values"]
    seen = model.image(maze.exits, maze.goal)
    np.testing.assert_allclose(values, model.apply(found.params, seen, rounds=9), atol=1e-6)


def test_the_published_planner_solves_mazes_it_has_not_seen():
    found = trained.published("ch07_dqn/planner")
    _, tried = task.walk(found, 200)
    solved = (np.asarray(tried.length) >= 0).mean()
    assert solved > found.about["metrics"]["test_solved"] - 0.02
    assert solved > 0.97
    assert found.dataset().train["exits"].shape == (200, 5, 5)  # those that its card describes
