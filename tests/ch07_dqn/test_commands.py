"""The command line: one run end to end in processes, the other commands within this one."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from zoo.ch07_dqn import commands, mends, model, planner, planner_commands, runs, views
from zoo.ch07_dqn import maze as mazes
from zoo.common import figures, run
from zoo.common.data import DataError

CHAPTER = "ch07_dqn"
SIZES = ["--rows", 2, "--columns", 3, "--limit", 40, "--epoch-steps", 500, "--discount", 0.9]


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A finished run of two mazes, and what it printed."""
    arguments = [*SIZES, "--mazes", 2, "--epochs", 4, "--out", place / "trained"]
    done = zoo(CHAPTER, "train", *arguments, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return place / "trained", done.stdout


@pytest.fixture
def few_frames(monkeypatch):
    """Films of three frames."""
    animate = figures.animate

    def short(frames, *arguments):
        return animate(itertools.islice(frames, 3), *arguments)

    monkeypatch.setattr(figures, "animate", short)


@pytest.fixture
def at(trained, place, monkeypatch):
    monkeypatch.chdir(place)
    return runs.Trained(run=trained[0])


def test_train_leaves_a_whole_run_folder_with_pictures(trained):
    folder, out = trained
    assert out.startswith("2x3 cells, depth-first, seeds 0 to 1")
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert {"loss", "solved", "tiles_solved", "at_goal"} <= set(rows[0])
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"curve", "values", "optimum", "visits", "path"}
    assert json.loads((folder / "summary.json").read_text())["step"] == 2000


def test_evaluate_and_play(at, few_frames, capsys):
    commands.evaluate(at)
    found = json.loads((at.run / "evaluation.json").read_text())
    out = capsys.readouterr().out
    assert found["agents"] == 2
    assert f"{round(2 * found['solved'])} of 2 agents reach the goal" in out
    commands.play(at, agent=1)
    out = capsys.readouterr().out
    assert "██" in out
    assert "the shortest way has" in out
    with PIL.Image.open(at.run / "figures" / "walk.gif") as film:
        assert film.n_frames == 3
    with pytest.raises(DataError, match="agent 2, there are 0 to 1"):
        commands.play(at, agent=2)


def test_the_map_of_a_seed_and_its_solution(capsys):
    commands.show_map(seed=3, rows=2, columns=3, solve=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(len(line) == 14 for line in lines[:5])
    steps = int(lines[-1].split()[-2])
    assert sum(line.count("·") for line in lines) == steps - 1
    with pytest.raises(DataError, match="1x1 cells"):
        commands.show_map(rows=1, columns=1)


def test_an_epoch_is_a_whole_number_of_periods():
    config = model.Config(epoch_steps=150, target_every=100)
    with pytest.raises(DataError, match="must be a multiple"):
        commands.train(config, runs.Options())


def test_the_mends_lead_from_book_to_modern():
    lines = list(mends.ladder(model.RECIPES["book"]).values())
    assert lines[0] == model.RECIPES["book"]
    assert model.dataclasses.replace(lines[-1], recipe="modern") == model.RECIPES["modern"]
    assert len(set(lines)) == len(lines)


def test_mends_writes_table_and_figure(tmp_path, monkeypatch, capsys):
    shares = iter(np.linspace(0, 1, len(mends.MENDS)))

    def train(config):
        share = next(shares)
        lengths = np.where(np.arange(20) < 20 * share, 5, -1)[:, None]
        return SimpleNamespace(lengths=lengths, home=np.full((20, 1), share)), None

    monkeypatch.setattr(mends, "train", train)
    mends.mends(out=tmp_path)
    found = json.loads((tmp_path / "mends.json").read_text())
    assert list(found["solved"]) == list(mends.MENDS)
    assert list(found["solved"].values())[-1] == 1.0
    assert (tmp_path / "mends.png").exists()
    assert "as printed" in capsys.readouterr().out


def test_planner_commands(tmp_path, few_frames, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = planner.Config(rows=4, columns=4, rounds=9, walkers=8, walk_steps=4, batch_size=8,
                            capacity=16, epochs=1, epoch_steps=10)  # fmt: skip
    monkeypatch.setattr(planner_commands, "TESTED", planner_commands.planner_train.TRIED)
    planner_commands.train(config, runs.Options(out=tmp_path / "p"))
    assert {path.stem for path in (tmp_path / "p/figures").iterdir()} == {"curve", "mazes"}
    trained = runs.Trained(run=tmp_path / "p")
    planner_commands.evaluate(trained, count=200, rounds=9)
    assert "4x4 cells" in capsys.readouterr().out
    assert json.loads((tmp_path / "p/evaluation-4x4.json").read_text())["rounds"] == 9
    planner_commands.evaluate(trained, count=20, extra=0.5, rounds=9)
    assert "evaluation-4x4-extra0.5.json" in capsys.readouterr().out
    assert (tmp_path / "p/evaluation-4x4-extra0.5.json").exists()
    planner_commands.play(trained)
    assert (tmp_path / "p/figures/walk.gif").exists()
    assert runs.saved_config(tmp_path / "p") == config


def test_a_walk_through_cells_becomes_one_over_tiles(getkey):
    cells = mazes.generate(getkey(), 3, 4, grid="cells")
    tiles, walk = views.double(cells, views.shortest(cells))
    assert walk == views.shortest(tiles)


def test_help_names_every_command(zoo):
    done = zoo(CHAPTER, "--help")
    for name in ("train", "play", "evaluate", "figures", "map", "mends", "bench", "planner"):
        assert f" {name} " in done.stdout
