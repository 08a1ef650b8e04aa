import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm.rbm import model, ratings
from zoo.ch03_mnist_ae_rbm.rbm.task import predict
from zoo.common.data import movielens


@pytest.fixture(scope="module")
def hundred():
    return movielens.load("ml-100k", "sample")


@pytest.fixture(scope="module")
def table(hundred):
    return ratings.make_table(hundred)


def test_a_table_has_each_rating_in_its_place(hundred, table):
    for part, matrix in ((hundred.train, table.train), (hundred.test, table.test)):
        assert np.count_nonzero(matrix) == len(part["user"])
        for n in range(0, len(part["user"]), 97):
            row = list(table.users).index(part["user"][n])
            column = list(table.movies).index(part["item"][n])
            assert matrix[row, column] == part["rating"][n]
    assert not ((table.train > 0) & (table.test > 0)).any()
    assert (np.diff(table.users) > 0).all()
    assert (np.diff(table.movies) > 0).all()


def test_pairs_without_values_stand_as_fives(hundred):
    pairs = {name: hundred.train[name] for name in ("user", "item")}
    table = ratings.make_table(hundred._replace(train=pairs))
    assert set(np.unique(table.train)) == {0, ratings.UNKNOWN}
    assert set(np.unique(table.test)) == {0, ratings.UNKNOWN}


def test_examples_are_what_the_machine_reads():
    rating = np.array([[5, 0, 3], [4, 1, 0]], np.uint8)

    def read(config):
        return ratings.prepare(config, {"rating": ratings.examples(config, rating)})["rating"]

    np.testing.assert_array_equal(read(model.Config()), rating)
    np.testing.assert_array_equal(read(model.Config(example="item")), rating.T)
    book = model.Config(units="binary", liked=4)
    np.testing.assert_array_equal(read(book), [[1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(read(model.Config(units="binary")), [[1, 0, 1], [1, 1, 0]])


@pytest.mark.parametrize("example", ["user", "item"])
def test_predictions_are_the_machines_for_each_pair(example, getkey):
    rating = np.array([[5, 0, 3, 1], [0, 2, 0, 4], [1, 1, 0, 0]], np.uint8)
    units = 4 if example == "user" else 3
    config = model.Config(example=example, visible=units, hidden=2, scale=1.0)
    params = model.init(getkey(), config)
    expected = predict(config, params, rating)
    assert expected.shape == rating.shape
    given = rating if example == "user" else rating.T
    direct = np.asarray(model.apply(params, given))
    np.testing.assert_allclose(expected, direct if example == "user" else direct.T, rtol=1e-5)


def test_rmse_is_over_the_test_ratings_alone():
    predicted = np.array([[3.0, 99.0], [4.5, 6.0]])
    test = np.array([[1, 0], [5, 4]])
    np.testing.assert_allclose(ratings.rmse(predicted, test), np.sqrt((4 + 0.25 + 1) / 3))
    with pytest.raises(ValueError, match="no rating to test on"):
        ratings.rmse(predicted, np.zeros((2, 2)))


def test_movie_vectors_are_the_slopes_of_the_weights(getkey):
    config = model.Config(visible=4, hidden=3, scale=1.0)
    params = model.init(getkey(), config)
    vectors = ratings.movie_vectors(config, params, np.zeros((2, 4), np.uint8))
    slopes = np.polyfit(np.arange(1, 6), np.asarray(params["kernel"])[:, 2], 1)[0]
    np.testing.assert_allclose(vectors[2], slopes, atol=1e-5)
    binary = model.Config(units="binary", visible=4, hidden=3)
    params = model.init(getkey(), binary)
    vectors = ratings.movie_vectors(binary, params, np.zeros((2, 4), np.uint8))
    np.testing.assert_allclose(vectors, params["kernel"][0], rtol=1e-6)


def textbook_rank(scores, held, negatives):
    """How many stand before the held-out movie when the list is made movie by movie."""
    return sum(scores[movie] >= scores[held] for movie in negatives if movie != held)


def test_ranks_are_those_of_a_list_made_by_hand():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, (20, 30)).astype(float)  # with many ties
    held = rng.integers(0, 30, 20)
    negative = rng.integers(0, 30, (20, 15))  # some are the held-out movie itself
    assert (negative == held[:, None]).any()
    ranks = ratings.ranks(scores, ratings.Candidates(held, negative))
    for user in range(20):
        assert ranks[user] == textbook_rank(scores[user], held[user], negative[user])


def test_a_negative_that_is_the_held_out_movie_does_not_push_it_down():
    scores = np.array([[0.1, 0.9]])
    candidates = ratings.Candidates(np.array([1]), np.array([[1, 1, 0]]))
    assert ratings.ranks(scores, candidates) == 0


def test_hit_rate_and_ndcg_of_known_ranks():
    scores = np.array([[4.0, 3, 2, 1], [1.0, 2, 3, 4], [1.0, 5, 3, 4]])
    candidates = ratings.Candidates(
        np.array([0, 0, 2]), np.array([[1, 2, 3], [1, 2, 3], [0, 1, 3]])
    )
    found = ratings.leave_one_out(scores, candidates, top=3)  # ranks 0, 3 and 2
    np.testing.assert_allclose(found["hit_rate"], 2 / 3)
    np.testing.assert_allclose(found["ndcg"], (1 + 0 + 1 / np.log2(4)) / 3)


def test_the_tenth_place_is_the_last_that_counts():
    scores = np.arange(20, 0, -1.0)[None]  # the movie n stands at place n, from 0
    for held, hit, gain in ((0, 1, 1), (9, 1, 1 / np.log2(11)), (10, 0, 0)):
        candidates = ratings.Candidates(np.array([held]), np.delete(np.arange(20), held)[None])
        found = ratings.leave_one_out(scores, candidates)
        np.testing.assert_allclose([found["hit_rate"], found["ndcg"]], [hit, gain])


def test_candidates_are_columns_of_the_table():
    data = movielens.load("ml-1m", "sample", None, "leave-one-out")
    table = ratings.make_table(data)
    held, negative = ratings.candidates(data, table)
    np.testing.assert_array_equal(table.movies[held], data.test["item"])
    np.testing.assert_array_equal(table.movies[negative], data.test["negative"])
    users = np.arange(len(held))
    assert (table.train[users, held] == 0).all()
    assert (table.train[users[:, None], negative] == 0).all()


def test_another_split_has_no_candidates():
    data = movielens.load("ml-100k", "sample")
    with pytest.raises(ValueError, match="split 'u1' has no negatives, expected leave-one-out"):
        ratings.candidates(data, ratings.make_table(data))


@pytest.mark.realdata
def test_of_the_real_negatives_those_that_are_the_held_out_movie_are_156():
    try:
        data = movielens.load("ml-1m", "real", None, "leave-one-out")
    except movielens.files.DataError as error:
        pytest.skip(str(error))
    held, negative = ratings.candidates(data, ratings.make_table(data))
    assert negative.shape == (6040, 99)
    assert (negative == held[:, None]).sum() == 156


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "shape"), [("ml-100k", (943, 1682)), ("ml-1m", (6040, 3706))])
def test_the_real_sets_have_the_books_sizes(name, shape):
    try:
        data = movielens.load(name, "real", None, "all")
    except movielens.files.DataError as error:
        pytest.skip(str(error))
    assert ratings.make_table(data).train.shape == shape
