import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm import ranking, ratings
from zoo.common.data import movielens


def textbook_rank(scores, held, negatives):
    """How many stand before the held-out film when the list is made film by film."""
    return sum(scores[film] >= scores[held] for film in negatives if film != held)


def test_ranks_are_those_of_a_list_made_by_hand():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, (20, 30)).astype(float)  # with many ties
    held = rng.integers(0, 30, 20)
    negative = rng.integers(0, 30, (20, 15))  # some are the held-out film itself
    assert (negative == held[:, None]).any()
    ranks = ranking.ranks(scores, ranking.Candidates(held, negative))
    for user in range(20):
        assert ranks[user] == textbook_rank(scores[user], held[user], negative[user])


def test_a_negative_that_is_the_held_out_film_does_not_push_it_down():
    scores = np.array([[0.1, 0.9]])
    candidates = ranking.Candidates(np.array([1]), np.array([[1, 1, 0]]))
    assert ranking.ranks(scores, candidates) == 0


def test_hit_rate_and_ndcg_of_known_ranks():
    scores = np.array([[4.0, 3, 2, 1], [1.0, 2, 3, 4], [1.0, 5, 3, 4]])
    candidates = ranking.Candidates(
        np.array([0, 0, 2]), np.array([[1, 2, 3], [1, 2, 3], [0, 1, 3]])
    )
    found = ranking.leave_one_out(scores, candidates, top=3)  # ranks 0, 3 and 2
    np.testing.assert_allclose(found["hit_rate"], 2 / 3)
    np.testing.assert_allclose(found["ndcg"], (1 + 0 + 1 / np.log2(4)) / 3)


def test_full_ranking_is_that_of_lists_made_by_hand():
    rng = np.random.default_rng(1)
    known = rng.integers(0, 3, (15, 40))  # 0 nothing, 1 train, 2 test
    known[3][known[3] == 2] = 0  # a user without test films does not count
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
        gain = sum(1 / np.log2(n + 2) for n, film in enumerate(order) if film in relevant)
        gains.append(gain / sum(1 / np.log2(n + 2) for n in range(min(10, len(relevant)))))
    found = ranking.full(scores, table)
    assert len(recalls) == 14
    np.testing.assert_allclose(found["recall"], np.mean(recalls))
    np.testing.assert_allclose(found["ndcg"], np.mean(gains))


def test_candidates_are_columns_of_the_table():
    data = movielens.load("ml-1m", "sample", None, "leave-one-out")
    table = ratings.table(data)
    held, negative = ranking.candidates(data, table)
    np.testing.assert_array_equal(table.films[held], data.test["item"])
    np.testing.assert_array_equal(table.films[negative], data.test["negative"])
    users = np.arange(len(held))
    assert (table.train[users, held] == 0).all()
    assert (table.train[users[:, None], negative] == 0).all()


def test_another_split_has_no_candidates():
    data = movielens.load("ml-100k", "sample")
    with pytest.raises(ValueError, match="split 'u1' has no negatives, expected leave-one-out"):
        ranking.candidates(data, ratings.table(data))


@pytest.mark.realdata
def test_of_the_real_negatives_those_that_are_the_held_out_film_are_156():
    try:
        data = movielens.load("ml-1m", "real", None, "leave-one-out")
    except movielens.files.DataError as error:
        pytest.skip(str(error))
    held, negative = ranking.candidates(data, ratings.table(data))
    assert negative.shape == (6040, 99)
    assert (negative == held[:, None]).sum() == 156
