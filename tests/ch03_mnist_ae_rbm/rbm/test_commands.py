"""The Boltzmann machine on the command line, on the built-in sample."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm.rbm import RECIPES, ratings, task
from zoo.ch03_mnist_ae_rbm.rbm.task import TASK
from zoo.common import cli, commands, run
from zoo.common.data import DataError, movielens
from zoo.common.settings import SettingError
from zoo.common.trained import load

CHAPTER = "ch03_mnist_ae_rbm"
OPTIONS = cli.Options(data="sample", device="cpu")
SMALL = {"hidden": 12, "epochs": 1, "steps": (1,), "batch_size": 100}


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A folder with a finished run for each recipe; one was trained as a user does it."""
    for recipe in ("modern", "ranking"):
        config = dataclasses.replace(RECIPES[recipe], **SMALL)
        commands.train(TASK, config, dataclasses.replace(OPTIONS, out=place / recipe))
    flags = ("--recipe", "item", "--data", "sample", "--hidden", 12, "--epochs", 1, "--steps", 1)
    done = zoo(CHAPTER, "rbm", "train", *flags, "--out", "item")
    assert done.returncode == 0, done.stderr
    assert "test RMSE" in done.stdout
    return place


@pytest.fixture(scope="module")
def hundred():
    dataset = movielens.load("ml-100k", "sample")
    return dataset, ratings.make_table(dataset)


@pytest.fixture
def recommend(command, trained):
    def recommend(recipe, *flags):
        return command(CHAPTER, "rbm", "recommend", "--run", trained / recipe, *flags)

    return recommend


@pytest.mark.parametrize("recipe", ["modern", "item", "ranking"])
def test_train_leaves_a_whole_run_folder(trained, recipe):
    rows = run.read_metrics(trained / recipe)
    assert [row["epoch"] for row in rows] == [1]
    name = "test_hit_rate" if recipe == "ranking" else "test_squared_error"
    assert {name, "train_squared_error", "examples_per_second"} <= set(rows[0])
    content = json.loads((trained / recipe / "config.json").read_text())
    assert content["chapter"] == "ch03_mnist_ae_rbm/rbm"
    assert content["config"]["visible"] == (300 if recipe == "item" else 250)
    assert content["data"]["source"] == "sample"
    drawn = {path.stem for path in (trained / recipe / "figures").iterdir()}
    own = "hits" if recipe == "ranking" else "predicted"
    assert drawn == {"curves", "themes", "alike", own}


def table_rows(out):
    """Titles, ids and scores that a command printed."""
    found = []
    for line in out.splitlines():
        if match := re.match(r"(.*?\(\d{4}\)) +(\d+) +([\d.]+) ", line):
            found.append((match[1], int(match[2]), float(match[3])))
    return found


@pytest.mark.parametrize("recipe", ["modern", "item", "ranking"])
def test_recommend_lists_movies_that_the_user_did_not_rate(recipe, recommend, hundred):
    rows = table_rows(recommend(recipe, "--user", 42, "--count", 10).out)
    assert len(rows) == 10
    scores = [score for _, _, score in rows]
    assert scores == sorted(scores, reverse=True)
    if recipe != "ranking":
        dataset, table = hundred
        row = list(table.users).index(42)
        rated = set(table.movies[(table.train[row] > 0) | (table.test[row] > 0)].tolist())
        assert not rated & {movie for _, movie, _ in rows}
        assert 1 <= min(scores) <= max(scores) <= 5
        assert all(dataset.titles[movie] == title for title, movie, _ in rows)


def test_recommend_lists_all_that_is_left_and_no_more(recommend, hundred):
    _, table = hundred
    rows = table_rows(recommend("modern", "--user", 1, "--count", 1000).out)
    rated = (table.train[0] > 0) | (table.test[0] > 0)
    assert {movie for _, movie, _ in rows} == set(table.movies[~rated].tolist())


@pytest.mark.parametrize("recipe", ["modern", "item"])
def test_recommend_takes_likes_of_someone_who_is_not_in_the_data(recipe, recommend, hundred):
    titles = hundred[0].titles
    out = recommend(recipe, "--likes", f"{titles[7].lower()}=5", f"{titles[12]}=1").out
    assert f"5  {titles[7]}" in out
    assert f"1  {titles[12]}" in out
    movies = {movie for _, movie, _ in table_rows(out)}
    assert len(movies) == 10
    assert not movies & {7, 12}


@pytest.mark.parametrize(
    ("recipe", "flags", "message"),
    [
        ("modern", (), "expected either --user 42 or --likes"),
        ("modern", ("--user", 1, "--likes", "Heat"), "expected either --user 42"),
        ("modern", ("--user", 999), "no user 999; ids go from 1 to 300"),
        ("modern", ("--likes", "Casablanca"), "no movie 'Casablanca'; the nearest are 'Sample"),
        ("modern", ("--likes", "Heat=9"), "expected a title and a rating from 1 to 5"),
        ("modern", ("--user", 1, "--count", 0), "got count 0, expected at least 1"),
    ],
)
def test_what_a_user_can_mend_is_an_error_in_one_line(recipe, flags, message, recommend):
    done = recommend(recipe, *flags)
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert message in done.err
    assert "Traceback" not in done.err


def test_what_a_newcomer_gives_moves_what_an_item_based_machine_expects(trained, hundred):
    model, rating = load(trained / "item", TASK), hundred[1].train
    movies = np.argsort(-(rating > 0).sum(0))[:20]
    given = np.zeros((3, rating.shape[1]), np.uint8)
    given[1, movies], given[2, movies] = 1, 5
    found = task.predict_newcomers(model.config, model.params, rating, given)
    assert found.shape == given.shape
    means = found.mean(1)
    expected = task.predict(model.config, model.params, rating).mean()
    np.testing.assert_allclose(means[0], expected, rtol=1e-5)  # of someone of whom nothing is known
    assert means[1] < means[0] < means[2]
    binary = dataclasses.replace(model.config, units="binary")
    with pytest.raises(SettingError, match="binary units has no unit for someone"):
        task.predict_newcomers(binary, model.params, rating, given)


@pytest.mark.parametrize(("recipe", "name"), [("item", "test_rmse"), ("ranking", "test_hit_rate")])
def test_evaluate_measures_a_run(recipe, name, trained, command):
    done = command(CHAPTER, "rbm", "evaluate", "--run", trained / recipe)
    assert done.status == 0, done.err
    found = json.loads((trained / recipe / "evaluation.json").read_text())
    assert f"{found[name]:.4f}" in done.out
    last = run.read_metrics(trained / recipe)[-1]
    if recipe == "item":
        np.testing.assert_allclose(found[name] ** 2, last["test_squared_error"], rtol=1e-5)
    else:
        np.testing.assert_allclose(found[name], last["test_hit_rate"], atol=1e-6)


def test_figures_draws_a_run_again(trained, place, command):
    shutil.copytree(trained / "item", place / "copy")
    (place / "copy" / "figures" / "predicted.png").unlink()
    assert "predicted.png" in command(CHAPTER, "rbm", "figures", "--run", place / "copy").out
    assert (place / "copy" / "figures" / "predicted.png").stat().st_size > 5_000


def test_the_book_prints_what_the_book_prints(tmp_path, capsys):
    """Counts, an iteration in a hundred, ten movies with the titles that belong to their ids."""
    config = dataclasses.replace(RECIPES["book"], hidden=5, epochs=11, batch_size=30)
    model = commands.train(TASK, config, dataclasses.replace(OPTIONS, out=tmp_path / "book"))
    lines = capsys.readouterr().out.splitlines()
    dataset = movielens.load("ml-1m", "sample", None, "all")
    counts = f"{len(dataset.train['user']):,} ratings, 300 users, 250 movies"
    iterations = [line for line in lines if line.startswith("Iteration")]
    assert iterations == ["Iteration 1", "Iteration 101"]
    assert lines.index(counts) < lines.index("Training RBM...") < lines.index("Iteration 1")
    start = next(n for n, line in enumerate(lines) if line.startswith("for someone who likes"))
    found = dict(line.split(maxsplit=1) for line in lines[start + 1 : start + 11])
    assert all(dataset.titles[int(movie)] == title for movie, title in found.items())
    assert lines[start].removeprefix("for someone who likes ").rstrip(":") not in found.values()
    assert task.measure(model, model.dataset()) == {}  # nothing is held out


def test_bench_prints_rates(command):
    flags = ("--units", "binary", "--visible", 20, "--hidden", 4, "--seconds", 0.1)
    done = command(CHAPTER, "rbm", "bench", *flags)
    assert "training" in done.out
    assert "inference" in done.out


def test_a_split_or_values_that_are_missing_are_refused(monkeypatch):
    config = dataclasses.replace(RECIPES["modern"], split="leave-one-out")
    with pytest.raises(DataError, match="ml-100k has no split leave-one-out: use u1"):
        TASK.load(config, "sample", None)
    real = movielens.load

    def without_values(*args):
        data = real(*args)
        data.train.pop("rating")
        return data

    monkeypatch.setattr(movielens, "load", without_values)
    with pytest.raises(DataError, match="softmax units need the values; use --units binary"):
        TASK.load(dataclasses.replace(RECIPES["modern"], dataset="ml-1m"), "sample", None)


def test_importing_the_chapter_loads_nothing_heavy():
    code = (
        "import sys, zoo.ch03_mnist_ae_rbm, zoo.ch03_mnist_ae_rbm.rbm.commands; "
        "print([m for m in ('matplotlib', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
