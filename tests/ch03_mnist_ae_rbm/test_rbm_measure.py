import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm import baselines, rbm, rbm_evaluate, rbm_measure, rbm_train
from zoo.common.data import movielens


@pytest.fixture
def given(monkeypatch):
    """All that is shown to whoever predicts or is trained; nobody really is."""
    seen = []

    def look(config, rating):
        seen.append(rating)
        return rating.astype(float)

    monkeypatch.setattr(rbm_measure, "predict_by_machine", look)
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
    getattr(rbm_evaluate, protocol)(lambda *args, **options: data, epochs=None, seeds=2)
    train = {tuple(pair) for pair in zip(data.train["user"], data.train["item"], strict=True)}
    users, films = (
        np.unique(np.concatenate([part[k] for part in (data.train, data.test)]))
        for k in ("user", "item")
    )
    assert len(given) == matrices
    for matrix in given:
        rows, columns = np.nonzero(matrix)
        assert {*zip(users[rows], films[columns], strict=True)} == train


@pytest.mark.parametrize("protocol", ["_full", "_random"])
def test_random_splits_hide_what_they_test_on(given, protocol):
    name = "ml-100k" if protocol == "_full" else "ml-1m"
    data = movielens.load(name, "sample", None, "all")
    hidden = 0.2 if protocol == "_full" else 0.1
    getattr(rbm_evaluate, protocol)(lambda *args, **options: data, epochs=None, seeds=1)
    counts = {np.count_nonzero(matrix) for matrix in given}
    assert len(counts) == 1
    assert abs(counts.pop() / len(data.train["user"]) - (1 - hidden)) < 0.01


def test_a_set_without_rating_values_has_no_rows_of_errors():
    data = movielens.load("ml-1m", "sample", None, "all")
    data.train.pop("rating")
    assert rbm_evaluate._random(lambda *args, **options: data, None, 1)[1] == {}


@pytest.mark.parametrize("row", [rbm_measure.USER, rbm_measure.ITEM, rbm_measure.RANKED])
def test_the_machines_that_are_measured_are_the_recipes(row):
    config = rbm_measure.machines()[row]
    assert config is not None
    assert config == rbm.RECIPES[config.recipe]
    assert rbm_measure.machines(epochs=2, seed=7)[row].epochs == 2
    assert rbm_measure.machines(epochs=2, seed=7)[row].seed == 7


def test_a_machine_is_trained_on_what_it_is_given_and_on_nothing_else(monkeypatch):
    rating = np.array([[5, 0, 3], [0, 2, 0]], np.uint8)
    calls = []

    def train(config, data, *args, **options):
        calls.append((config, data, args, options))
        return rbm_train.start(config, data["rating"])[1]

    monkeypatch.setattr(rbm_train, "train", train)
    expected = rbm_measure.predict_by_machine(rbm.RECIPES["item"], rating)
    ((config, data, args, options),) = calls
    assert set(data) == {"rating"}
    assert (args, options) == ((), {})
    np.testing.assert_array_equal(data["rating"], rating.T)
    assert (config.visible, config.batch_size) == (2, 3)
    assert expected.shape == rating.shape


def test_mean_and_spread():
    assert rbm_evaluate.mean_and_spread([1.0, 3.0]) == (2.0, np.sqrt(2))
    assert rbm_evaluate.mean_and_spread([1.0]) == (1.0, 0.0)
