import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm import ratings, rbm
from zoo.common.data import movielens


@pytest.fixture(scope="module")
def hundred():
    return movielens.load("ml-100k", "sample")


@pytest.fixture(scope="module")
def table(hundred):
    return ratings.table(hundred)


def test_a_table_has_each_rating_in_its_place(hundred, table):
    for part, matrix in ((hundred.train, table.train), (hundred.test, table.test)):
        assert np.count_nonzero(matrix) == len(part["user"])
        for n in range(0, len(part["user"]), 97):
            row = list(table.users).index(part["user"][n])
            column = list(table.films).index(part["item"][n])
            assert matrix[row, column] == part["rating"][n]
    assert not ((table.train > 0) & (table.test > 0)).any()
    assert (np.diff(table.users) > 0).all()
    assert (np.diff(table.films) > 0).all()


def test_pairs_without_values_stand_as_fives(hundred):
    pairs = {name: hundred.train[name] for name in ("user", "item")}
    table = ratings.table(hundred._replace(train=pairs))
    assert set(np.unique(table.train)) == {0, ratings.UNKNOWN}
    assert set(np.unique(table.test)) == {0, ratings.UNKNOWN}


def test_examples_are_what_the_machine_reads():
    rating = np.array([[5, 0, 3], [4, 1, 0]], np.uint8)
    softmax = ratings.examples(rbm.Config(), rating)
    np.testing.assert_array_equal(softmax, rating)
    by_item = ratings.examples(rbm.Config(example="item"), rating)
    np.testing.assert_array_equal(by_item, rating.T)
    book = ratings.examples(rbm.Config(units="binary", liked=4), rating)
    np.testing.assert_array_equal(book, [[1, 0, 0], [1, 0, 0]])
    seen = ratings.examples(rbm.Config(units="binary"), rating)
    np.testing.assert_array_equal(seen, [[1, 0, 1], [1, 1, 0]])


def test_a_random_split_moves_the_share_and_loses_nothing(table):
    split = ratings.split_at_random(table, 0.1, seed=3)
    np.testing.assert_array_equal(split.train + split.test, table.train)
    assert not ((split.train > 0) & (split.test > 0)).any()
    assert np.count_nonzero(split.test) == round(0.1 * np.count_nonzero(table.train))
    again, other = (ratings.split_at_random(table, 0.1, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(split.test, again.test)
    assert not np.array_equal(split.test, other.test)


def test_a_split_by_user_takes_the_share_of_each(table):
    split = ratings.split_at_random(table, 0.2, seed=0, by_user=True)
    np.testing.assert_array_equal(split.train + split.test, table.train)
    counts = (table.train > 0).sum(1)
    np.testing.assert_array_equal((split.test > 0).sum(1), np.rint(0.2 * counts))


@pytest.mark.parametrize("example", ["user", "item"])
def test_predictions_are_the_machines_for_each_pair(example, getkey):
    rating = np.array([[5, 0, 3, 1], [0, 2, 0, 4], [1, 1, 0, 0]], np.uint8)
    units = 4 if example == "user" else 3
    config = rbm.Config(example=example, visible=units, hidden=2, scale=1.0)
    params = rbm.init(getkey(), config)
    expected = ratings.predict(config, params, rating)
    assert expected.shape == rating.shape
    given = rating if example == "user" else rating.T
    direct = np.asarray(rbm.predict_ratings(params, given))
    np.testing.assert_allclose(expected, direct if example == "user" else direct.T, rtol=1e-5)


def test_rmse_is_over_the_test_ratings_alone():
    predicted = np.array([[3.0, 99.0], [4.5, 6.0]])
    test = np.array([[1, 0], [5, 4]])
    np.testing.assert_allclose(ratings.rmse(predicted, test), np.sqrt((4 + 0.25 + 1) / 3))
    with pytest.raises(ValueError, match="no rating to test on"):
        ratings.rmse(predicted, np.zeros((2, 2)))


def test_film_vectors_are_the_slopes_of_the_weights(getkey):
    config = rbm.Config(visible=4, hidden=3, scale=1.0)
    params = rbm.init(getkey(), config)
    vectors = ratings.film_vectors(config, params, np.zeros((2, 4), np.uint8))
    slopes = np.polyfit(np.arange(1, 6), np.asarray(params["kernel"])[:, 2], 1)[0]
    np.testing.assert_allclose(vectors[2], slopes, atol=1e-5)
    binary = rbm.Config(units="binary", visible=4, hidden=3)
    params = rbm.init(getkey(), binary)
    vectors = ratings.film_vectors(binary, params, np.zeros((2, 4), np.uint8))
    np.testing.assert_allclose(vectors, params["kernel"][0], rtol=1e-6)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "shape"), [("ml-100k", (943, 1682)), ("ml-1m", (6040, 3706))])
def test_the_real_sets_have_the_books_sizes(name, shape):
    try:
        data = movielens.load(name, "real", None, "all")
    except movielens.files.DataError as error:
        pytest.skip(str(error))
    assert ratings.table(data).train.shape == shape
