"""The Boltzmann machine on the command line, on the built-in sample."""

import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import pytest

from zoo.ch03_mnist_ae_rbm import ratings, rbm, rbm_commands, rbm_evaluate, rbm_runs
from zoo.common import cli, run
from zoo.common.data import DataError, movielens

OPTIONS = cli.Options(data="sample", device="cpu")
SMALL = {"hidden": 12, "epochs": 1, "steps": (1,), "batch_size": 100}


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """What a command sets for its process is set back."""
    before = jax.config.jax_default_device
    yield
    jax.config.update("jax_default_device", before)


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A folder with a finished run for each recipe; one was trained as a user does it."""
    for recipe in ("modern", "ranking"):
        config = dataclasses.replace(rbm.RECIPES[recipe], **SMALL)
        rbm_commands.train(config, dataclasses.replace(OPTIONS, out=place / recipe))
    flags = ("--recipe", "item", "--data", "sample", "--hidden", 12, "--epochs", 1, "--steps", 1)
    done = zoo("ch03_mnist_ae_rbm", "train", "rbm", *flags, "--out", "item")
    assert done.returncode == 0, done.stderr
    assert "test RMSE" in done.stdout
    return place


@pytest.fixture(scope="module")
def hundred():
    dataset = movielens.load("ml-100k", "sample")
    return dataset, ratings.table(dataset)


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
    assert drawn == {"curves", "themes", "alike"} | (
        {"predicted"} if recipe != "ranking" else set()
    )


def table_rows(out):
    """Titles, ids and scores that a command printed."""
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    return [(title, int(film), float(score)) for title, film, score, _ in cells if film]


@pytest.mark.parametrize("recipe", ["modern", "item", "ranking"])
def test_recommend_names_films_that_the_user_did_not_rate(trained, recipe, capsys, hundred):
    model = cli.Trained(run=trained / recipe)
    rbm_commands.recommend(model, user=42, count=10)
    rows = table_rows(capsys.readouterr().out)
    assert len(rows) == 10
    scores = [score for _, _, score in rows]
    assert scores == sorted(scores, reverse=True)
    if recipe != "ranking":
        dataset, table = hundred
        row = list(table.users).index(42)
        rated = set(table.films[(table.train[row] > 0) | (table.test[row] > 0)].tolist())
        assert not rated & {film for _, film, _ in rows}
        assert 1 <= min(scores) <= max(scores) <= 5
        for title, film, _ in rows:
            assert dataset.titles[film].startswith(title[:11])  # long ones are folded


def test_recommend_names_all_that_is_left_and_no_more(trained, capsys, hundred):
    _, table = hundred
    rbm_commands.recommend(cli.Trained(run=trained / "modern"), user=1, count=1000)
    rows = table_rows(capsys.readouterr().out)
    rated = (table.train[0] > 0) | (table.test[0] > 0)
    assert {film for _, film, _ in rows} == set(table.films[~rated].tolist())


def test_recommend_takes_likes_of_someone_who_is_not_in_the_data(trained, capsys):
    model = cli.Trained(run=trained / "modern")
    rbm_commands.recommend(model, likes=("sample film 007=5", "Sample Film 012 (1962)=1"))
    out = capsys.readouterr().out
    assert "5  Sample Film 007 (1957)" in out
    assert "1  Sample Film 012 (1962)" in out
    films = {film for _, film, _ in table_rows(out)}
    assert len(films) == 10
    assert not films & {7, 12}


@pytest.mark.parametrize(
    ("recipe", "asked", "message"),
    [
        ("modern", {}, "say for whom: --user 42, or --likes"),
        ("modern", {"user": 1, "likes": ("Heat",)}, "say for whom"),
        ("modern", {"user": 999}, "there is no user 999; ids go from 1 to 300"),
        (
            "modern",
            {"likes": ("Casablanca",)},
            "no film 'Casablanca'; the nearest are 'Sample Film",
        ),
        ("modern", {"likes": ("Sample Film 001=9",)}, "expected a title and a rating from 1 to 5"),
        ("modern", {"user": 1, "count": 0}, "0 films were asked for"),
        ("item", {"likes": ("Sample Film 001",)}, "no unit for someone who is not in its data"),
    ],
)
def test_what_a_user_can_mend_is_said(trained, recipe, asked, message):
    with pytest.raises(DataError, match=message):
        rbm_commands.recommend(cli.Trained(run=trained / recipe), **asked)


def test_figures_draws_a_run_again(trained, tmp_path, capsys):
    shutil.copytree(trained / "item", tmp_path / "copy")
    (tmp_path / "copy" / "figures" / "predicted.png").unlink()
    rbm_commands.figures(cli.Trained(run=tmp_path / "copy"))
    assert (tmp_path / "copy" / "figures" / "predicted.png").stat().st_size > 5_000
    assert "predicted.png" in capsys.readouterr().out


def test_the_book_prints_what_the_book_prints(tmp_path, capsys):
    """Counts, an iteration in a hundred, ten films with the titles that belong to their ids."""
    config = dataclasses.replace(rbm.RECIPES["book"], hidden=5, epochs=11, batch_size=30)
    rbm_commands.train(config, dataclasses.replace(OPTIONS, out=tmp_path / "book"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Loading ml-1m ..."
    dataset = movielens.load("ml-1m", "sample", None, "all")
    count = len(dataset.train["user"])
    assert lines[2] == f"{count:,} ratings, 300 users, 250 films"
    iterations = [line for line in lines if line.startswith("Iteration")]
    assert iterations == ["Iteration 1", "Iteration 101"]
    assert lines.index("Training RBM...") < lines.index("Iteration 1")
    start = next(n for n, line in enumerate(lines) if line.startswith("for someone who likes"))
    films = [line.split(maxsplit=1) for line in lines[start + 1 : start + 11]]
    assert all(dataset.titles[int(film)] == title for film, title in films)
    assert (
        lines[start].removeprefix("for someone who likes ").rstrip(":") not in dict(films).values()
    )


def test_evaluate_prints_tables_and_keeps_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(movielens, "FOLDS", ("u1",))
    result = tmp_path / "evaluation.json"
    options = {"data": "sample", "device_name": "cpu", "seeds": 1, "epochs": 1, "out": result}
    rbm_evaluate.evaluate(("leave-one-out",), **options)
    monkeypatch.setattr(rbm_evaluate, "rating_errors", lambda *_: iter([("user's mean", 1.05)]))
    rbm_evaluate.evaluate(("folds",), **options)
    out = capsys.readouterr().out
    kept = json.loads(result.read_text())
    assert set(kept) == {"leave-one-out", "folds"}
    rows = kept["leave-one-out"]["rows"]
    assert {"popularity", "RBM"} < set(rows)
    assert f"{rows['popularity']['hit_rate'][0]:.4f}" in out
    assert kept["folds"]["rows"] == {"user's mean": {"rmse": [1.05]}}
    assert "published: SVD" in out
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {"leave-one-out-hit_rate.png", "leave-one-out-ndcg.png", "folds-rmse.png"}


def test_bench_prints_rates(capsys, monkeypatch):
    monkeypatch.setattr(rbm_commands, "WARM_UP", 0.0)
    config = rbm.Config(units="binary", visible=20, hidden=4)
    rbm_commands.bench(config, "cpu", seconds=0.1)
    out = capsys.readouterr().out
    assert "training, CD-1" in out
    assert "predicted ratings" in out


def test_a_split_or_values_that_are_not_there_are_refused(monkeypatch):
    config = dataclasses.replace(rbm.RECIPES["modern"], split="leave-one-out")
    with pytest.raises(DataError, match="ml-100k has no split leave-one-out: use u1"):
        rbm_runs.load(config, "sample")
    real = movielens.load

    def without_values(*args):
        data = real(*args)
        data.train.pop("rating")
        return data

    monkeypatch.setattr(movielens, "load", without_values)
    with pytest.raises(DataError, match="softmax units need the values; use --units binary"):
        rbm_runs.load(dataclasses.replace(rbm.RECIPES["modern"], dataset="ml-1m"), "sample")


def test_an_error_is_one_line_for_the_user(trained, zoo):
    wrong = zoo("ch03_mnist_ae_rbm", "recommend", "--run", "item", "--user", 1234)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: there is no user 1234")
    assert "Traceback" not in wrong.stderr


def test_importing_the_model_loads_nothing_heavy():
    code = (
        "import sys, zoo.ch03_mnist_ae_rbm.rbm_commands; "
        "print([m for m in ('matplotlib', 'orbax', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
