import csv
import dataclasses
import json
import types

import jax
import numpy as np
import pytest

from studies import ch03_baselines as baselines
from studies import ch03_rbm, ch03_sweep
from studies.ch03_rbm import split_at_random
from studies.ch03_sweep import train_all
from zoo.ch03_mnist_ae_rbm import TASKS, Config, autoencoder
from zoo.ch03_mnist_ae_rbm.rbm import RECIPES, ratings
from zoo.ch03_mnist_ae_rbm.rbm.task import TASK
from zoo.common.data import mnist, movielens
from zoo.common.figures import save

DIGITS = TASKS[0]
SMALL = {"hidden": (16,), "epochs": 2, "batch_size": 30}


@pytest.fixture(scope="module")
def digits():
    return mnist.load("sample")


@pytest.fixture(scope="module")
def few(digits):
    return {name: array[:120] for name, array in digits.train.items()}


@pytest.fixture(scope="module")
def table():
    return ratings.make_table(movielens.load("ml-100k", "sample"))


# Many networks at once.


def test_each_lane_of_a_sweep_is_the_run_that_train_makes(few, digits):
    test = {name: array[:40] for name, array in digits.test.items()}
    base = Config(**SMALL)
    configs = [
        dataclasses.replace(base, learning_rate=rate, weight_decay=decay, seed=seed)
        for rate, decay, seed in ((1e-3, 0.0, 0), (1e-2, 0.3, 5))
    ]
    *_, last = train_all(DIGITS, configs, few, test)
    assert last.number == 2
    for lane, config in enumerate(configs):
        rows = []

        def follow(reports, rows=rows):
            rows += [progress for progress in reports if progress.metrics is not None]
            return rows[-1].state

        state = DIGITS.train(config, few, test, follow=follow)
        for ours, swept in zip(
            jax.tree.leaves(state.params), jax.tree.leaves(last.states.params), strict=True
        ):
            np.testing.assert_allclose(swept[lane], ours, rtol=1e-3, atol=1e-5)
        for name, value in rows[-1].metrics.items():
            np.testing.assert_allclose(last.metrics[name][lane], value, rtol=1e-3)


def test_a_sweep_refuses_what_is_not_of_one_shape(few):
    a = Config(**SMALL)
    with pytest.raises(ValueError, match="at least one"):
        next(train_all(DIGITS, [], few))
    with pytest.raises(ValueError, match=r"differs from the first in \['hidden'\]"):
        next(train_all(DIGITS, [a, dataclasses.replace(a, hidden=(9,))], few))
    with pytest.raises(ValueError, match="another network"):
        next(train_all(DIGITS, [a, autoencoder.Config()], few))


def test_sweep_writes_each_run_and_epoch(command, place):
    flags = ["--hidden", 12, "--epochs", 2, "--batch-size", 50, "--data", "sample", "--seeds", 2]
    settings = ["--learning-rates", 1e-3, 1e-2, "--weight-decays", 0, 0.1, "--out", place / "sweep"]
    done = command("ch03_sweep", "sweep", *flags, *settings, package="studies")
    assert done.status == 0, done.err
    with open(place / "sweep" / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 8
    settings = {(row["learning_rate"], row["weight_decay"], row["seed"]) for row in rows}
    assert len(settings) == 8
    assert "8 runs at once" in done.out
    assert (place / "sweep" / "figures" / "sweep.png").stat().st_size > 5_000
    wrong = ("--recipe", "book", "--weight-decays", 0, 0.1)
    refused = command("ch03_sweep", "sweep", *wrong, package="studies")
    assert "rmsprop has no weight decay" in refused.err


@pytest.mark.parametrize("seeds", [1, 2])
def test_sweep_draws_means_and_the_best_decay_of_each_rate(seeds, tmp_path):
    accuracies = np.full((3, 2, 2, seeds), 0.9)
    accuracies[-1, 0, 1] = 0.95
    figure = ch03_sweep.draw(accuracies, (1e-3, 1e-2), (0.0, 0.1), "c")
    shown = [text.get_text().splitlines() for text in figure.axes[0].texts]
    assert [lines[0] for lines in shown] == ["90.00", "95.00", "90.00", "90.00"]
    assert all(len(lines) == seeds for lines in shown)
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["rate 0.001, decay 0.1", "rate 0.01, decay 0"]
    assert save(figure, tmp_path / "a.png").stat().st_size > 5_000
    with pytest.raises(ValueError, match=r"expected \(epochs, 3, 2, seeds\)"):
        ch03_sweep.draw(accuracies, (1, 2, 3), (0.0, 0.1))


# Who predicts ratings or ranks movies.


def test_a_random_split_moves_the_share_and_loses_nothing(table):
    split = split_at_random(table, 0.1, seed=3)
    np.testing.assert_array_equal(split.train + split.test, table.train)
    assert not ((split.train > 0) & (split.test > 0)).any()
    assert np.count_nonzero(split.test) == round(0.1 * np.count_nonzero(table.train))
    again, other = (split_at_random(table, 0.1, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(split.test, again.test)
    assert not np.array_equal(split.test, other.test)


def test_a_split_by_user_takes_the_share_of_each(table):
    split = split_at_random(table, 0.2, seed=0, by_user=True)
    np.testing.assert_array_equal(split.train + split.test, table.train)
    counts = (table.train > 0).sum(1)
    np.testing.assert_array_equal((split.test > 0).sum(1), np.rint(0.2 * counts))


def test_full_ranking_is_that_of_lists_made_by_hand():
    rng = np.random.default_rng(1)
    known = rng.integers(0, 3, (15, 40))  # 0 nothing, 1 train, 2 test
    known[3][known[3] == 2] = 0  # a user without test movies does not count
    train, test = (known == 1).astype(np.uint8), (known == 2).astype(np.uint8)
    scores = rng.permutation(15 * 40).reshape(15, 40).astype(float)
    table = ratings.Table(train, test, np.arange(15), np.arange(40))
    recalls, gains = [], []
    for user in range(15):
        relevant = set(np.flatnonzero(test[user]))
        if not relevant:
            continue
        order = [f for f in np.argsort(-scores[user]) if not train[user, f]][:10]
        recalls.append(len(relevant & set(order)) / len(relevant))
        gain = sum(1 / np.log2(n + 2) for n, movie in enumerate(order) if movie in relevant)
        gains.append(gain / sum(1 / np.log2(n + 2) for n in range(min(10, len(relevant)))))
    found = ch03_rbm.rank_all(scores, table)
    assert len(recalls) == 14
    np.testing.assert_allclose(found["recall"], np.mean(recalls))
    np.testing.assert_allclose(found["ndcg"], np.mean(gains))


@pytest.fixture
def given(monkeypatch):
    """All that is shown to whoever predicts or is trained; nobody really is."""
    seen = []

    def look(config, rating):
        seen.append(rating)
        return rating.astype(float)

    monkeypatch.setattr(ch03_rbm, "predict_by_machine", look)
    for name in (
        "global_mean",
        "item_mean",
        "matrix_factorisation",
        "popularity",
        "ease",
        "item_knn",
    ):
        real = getattr(baselines, name)

        def watched(rating, *args, real=real):
            seen.append(rating)
            return real(rating, *args)

        monkeypatch.setattr(baselines, name, watched)
    return seen


@pytest.mark.parametrize(
    ("protocol", "name", "split", "matrices"),
    [("_folds", "ml-100k", "u1", 5), ("_leave_one_out", "ml-1m", "leave-one-out", 5)],
)
def test_whoever_predicts_is_shown_the_training_ratings_alone(
    given, protocol, name, split, matrices, monkeypatch
):
    monkeypatch.setattr(movielens, "FOLDS", ("u1",))
    data = movielens.load(name, "sample", None, split)
    getattr(ch03_rbm, protocol)(lambda *args, **options: data, epochs=None, seeds=2)
    train = {tuple(pair) for pair in zip(data.train["user"], data.train["item"], strict=True)}
    users, movies = (
        np.unique(np.concatenate([part[k] for part in (data.train, data.test)]))
        for k in ("user", "item")
    )
    assert len(given) == matrices
    for matrix in given:
        rows, columns = np.nonzero(matrix)
        assert {*zip(users[rows], movies[columns], strict=True)} == train


@pytest.mark.parametrize("protocol", ["_full", "_random"])
def test_random_splits_hide_what_they_test_on(given, protocol):
    name = "ml-100k" if protocol == "_full" else "ml-1m"
    data = movielens.load(name, "sample", None, "all")
    hidden = 0.2 if protocol == "_full" else 0.1
    getattr(ch03_rbm, protocol)(lambda *args, **options: data, epochs=None, seeds=1)
    counts = {np.count_nonzero(matrix) for matrix in given}
    assert len(counts) == 1
    assert abs(counts.pop() / len(data.train["user"]) - (1 - hidden)) < 0.01


def test_newcomers_are_tested_on_what_was_not_given(monkeypatch):
    data = movielens.load("ml-100k", "sample", None, "all")
    whole = ratings.make_table(data).train
    new, known = whole[:60], whole[60:]
    asked, tested = [], []

    def predict(config, params, rating, own):
        np.testing.assert_array_equal(rating, known)
        asked.append(own)
        return np.full(own.shape, 3.0)

    monkeypatch.setattr(ch03_rbm, "predict_newcomers", predict)
    measured = ch03_rbm.ratings.rmse
    monkeypatch.setattr(
        ch03_rbm.ratings, "rmse", lambda a, test: tested.append(test) or measured(a, test)
    )
    found = ch03_rbm.newcomers_errors(known, new, epochs=1)
    assert set(found) >= {ch03_rbm.USER, ch03_rbm.ITEM}
    enough = new[(new > 0).sum(1) >= ch03_rbm.NEWCOMERS_RATINGS]
    assert [(own > 0).sum(1).max() for own in asked[::2]] == list(ch03_rbm.GIVEN)
    for own in asked:
        np.testing.assert_array_equal(own, np.where(own > 0, enough, 0))
        assert not ((own > 0) & (tested[0] > 0)).any()
    assert all((test == tested[0]).all() for test in tested)
    np.testing.assert_array_equal(tested[0] + asked[-1], enough)


def test_means_for_newcomers_are_those_of_the_others_and_their_own_deviation():
    known = np.array([[5, 0, 1], [3, 4, 0]], np.uint8)
    own = np.array([[0, 0, 0], [5, 0, 0]], np.uint8)
    means, moved = baselines.newcomers(known, own, damping=1.0).values()
    mean = 13 / 4
    np.testing.assert_allclose(means[0], [(8 + mean) / 3, (4 + mean) / 2, (1 + mean) / 2])
    np.testing.assert_allclose(moved[0], means[0])
    np.testing.assert_allclose(moved[1], means[0] + (5 - (8 + mean) / 3) / 2)


def test_a_set_without_rating_values_has_no_rows_of_errors():
    data = movielens.load("ml-1m", "sample", None, "all")
    data.train.pop("rating")
    assert ch03_rbm._random(lambda *args, **options: data, None, 1)[1] == {}


@pytest.mark.parametrize("row", [ch03_rbm.USER, ch03_rbm.ITEM, ch03_rbm.RANKED])
def test_the_machines_that_are_measured_are_the_recipes(row):
    config = ch03_rbm.machines()[row]
    assert config is not None
    assert config == RECIPES[config.recipe]
    assert ch03_rbm.machines(epochs=2, seed=7)[row].epochs == 2
    assert ch03_rbm.machines(epochs=2, seed=7)[row].seed == 7


def test_a_machine_is_trained_on_what_it_is_given_and_on_nothing_else(monkeypatch):
    rating = np.array([[5, 0, 3], [0, 2, 0]], np.uint8)
    calls = []

    def train(config, data, *args, **options):
        calls.append((config, data, args, options))
        return TASK.start(config, data)

    monkeypatch.setattr(ch03_rbm, "TASK", types.SimpleNamespace(train=train))
    expected = ch03_rbm.predict_by_machine(RECIPES["item"], rating)
    ((config, data, args, options),) = calls
    assert set(data) == {"rating"}
    assert (args, options) == ((), {})
    np.testing.assert_array_equal(data["rating"], rating.T)
    assert (config.visible, config.batch_size) == (2, 3)
    assert expected.shape == rating.shape


def test_mean_and_spread():
    assert ch03_rbm.mean_and_spread([1.0, 3.0]) == (2.0, np.sqrt(2))
    assert ch03_rbm.mean_and_spread([1.0]) == (1.0, 0.0)


def test_comparison_shows_each_value_and_the_means(tmp_path):
    rows = {"mean": [1.0, 1.2], "RBM, item-based": [0.9, 0.94]}
    figure = ch03_rbm.draw(rows, {"published: SVD": 0.934}, "RMSE", "a caption")
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["mean", "RBM, item-based", "published: SVD"]
    expected = [[1.0, 1.2], [1.1], [0.9, 0.94], [0.92], [0.934]]
    for line, values in zip(axes.lines, expected, strict=True):
        np.testing.assert_allclose(line.get_xdata(), values)
    assert axes.get_xlabel() == "RMSE"
    save(figure, tmp_path / "comparison.png")


def test_compare_prints_tables_and_keeps_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(movielens, "FOLDS", ("u1",))
    result = tmp_path / "comparison.json"
    options = {"data": "sample", "device": "cpu", "seeds": 1, "epochs": 1, "out": result}
    ch03_rbm.compare(("leave-one-out",), **options)
    monkeypatch.setattr(ch03_rbm, "rating_errors", lambda *_: iter([("user's mean", 1.05)]))
    ch03_rbm.compare(("folds",), **options)
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


# The baselines.


RATING = np.array([[5, 3, 0, 0], [4, 0, 2, 0], [0, 0, 0, 0]], np.uint8)


def test_means_are_over_what_is_rated():
    np.testing.assert_allclose(baselines.global_mean(RATING), np.full((3, 4), 3.5))
    np.testing.assert_allclose(baselines.user_mean(RATING)[:, 0], [4, 3, 3.5])
    np.testing.assert_allclose(baselines.item_mean(RATING)[0], [4.5, 3, 2, 3.5])


def test_matrix_factorisation_finds_the_factors_of_a_matrix_without_noise():
    rng = np.random.default_rng(0)
    true = rng.normal(3, 0.3, (40, 1)) + rng.normal(0, 0.3, 30)
    true = true + rng.normal(0, 0.5, (40, 2)) @ rng.normal(0, 0.5, (30, 2)).T
    known = rng.random((40, 30)) < 0.6
    predicted = baselines.matrix_factorisation(
        np.where(known, true, 0), factors=2, penalty=1e-4, sweeps=100
    )
    error = np.sqrt(((predicted - true)[~known] ** 2).mean())
    biases = baselines.matrix_factorisation(np.where(known, true, 0), 0, 1e-4, 30)
    assert error < 0.05 < np.sqrt(((biases - true)[~known] ** 2).mean())


def test_each_side_of_the_factorisation_is_the_least_squares_solution():
    rng = np.random.default_rng(1)
    known = (rng.random((3, 8)) < 0.7).astype(float)
    target, features = known * rng.normal(size=(3, 8)), rng.normal(size=(8, 2))
    bias, factors = baselines._regress(target, known, features, 0.3)
    for row in range(3):
        some = known[row] > 0
        x = np.column_stack([np.ones(some.sum()), features[some]])
        ridge = np.sqrt(0.3 * some.sum()) * np.eye(3)
        solved = np.linalg.lstsq(
            np.vstack([x, ridge]), np.append(target[row, some], np.zeros(3)), rcond=None
        )[0]
        np.testing.assert_allclose(np.append(bias[row], factors[row]), solved, rtol=1e-6)


SEEN = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 1, 0, 1]], np.uint8)


def test_popularity_counts_users():
    np.testing.assert_array_equal(baselines.popularity(SEEN)[2], [3, 3, 2, 1])


def test_item_knn_sums_cosines_of_the_movies_seen():
    scores = baselines.item_knn(SEEN, neighbours=4)
    cosine = np.zeros((4, 4))
    for a in range(4):
        for b in range(4):
            if a != b:
                both = (SEEN[:, a] * SEEN[:, b]).sum()
                cosine[a, b] = both / np.sqrt(SEEN[:, a].sum() * SEEN[:, b].sum())
    np.testing.assert_allclose(scores, SEEN @ cosine, rtol=1e-5, atol=1e-6)
    nearest = baselines.item_knn(SEEN, neighbours=1)
    kept = np.where(cosine == cosine.max(0), cosine, 0)
    np.testing.assert_allclose(nearest, SEEN @ kept, rtol=1e-5, atol=1e-6)


def test_ease_is_the_ridge_regression_of_each_movie_on_the_others():
    rng = np.random.default_rng(2)
    x = (rng.random((50, 6)) < 0.4).astype(np.uint8)
    scores = baselines.ease(x, penalty=3.0)
    for movie in range(6):
        others = np.delete(x, movie, axis=1).astype(float)
        gram = others.T @ others + 3.0 * np.eye(5)
        expected = others @ np.linalg.solve(gram, others.T @ x[:, movie])
        np.testing.assert_allclose(scores[:, movie], expected, rtol=1e-4, atol=1e-5)
