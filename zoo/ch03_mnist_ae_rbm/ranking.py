"""How well films are ranked that people did see (chapter 3): hit rate, recall and nDCG.

Axes: U users, F films, K negatives. Scores are float [U, F], higher for what is recommended first.
"""

from typing import NamedTuple

import numpy as np

from zoo.ch03_mnist_ae_rbm.ratings import Table
from zoo.common.data import movielens

TOP = 10


class Candidates(NamedTuple):
    """A film that each user saw, held out, among films that the user did not see."""

    held: np.ndarray
    """int32 [U], column of the matrix of ratings."""
    negative: np.ndarray
    """int32 [U, K], columns too."""


def candidates(data: movielens.MovieLens, table: Table) -> Candidates:
    """The leave-one-out test of He et al. 2017 with the numbers of a table's columns.

    Raises:
      ValueError: the set was not split so, or not every user has a film held out.
    """
    if "negative" not in data.test:
        raise ValueError(f"split {data.split!r} has no negatives, expected leave-one-out")
    if not np.array_equal(data.test["user"], table.users):
        raise ValueError("the held-out films are not one of each user, in the users' order")
    held, negative = (movielens.dense(data.test[k], table.films) for k in ("item", "negative"))
    return Candidates(held, negative)


def ranks(scores: np.ndarray, candidates: Candidates) -> np.ndarray:
    """How many negatives stand before the held-out film, [U]; one of equal score does.

    A negative that is the held-out film itself (the real file has 156) does not count.
    """
    held, negative = candidates
    own = np.take_along_axis(scores, held[:, None], axis=1)
    others = np.take_along_axis(scores, negative, axis=1)
    return ((others >= own) & (negative != held[:, None])).sum(1)


def leave_one_out(scores: np.ndarray, candidates: Candidates, top: int = TOP) -> dict[str, float]:
    """`hit_rate`, the share of users whose film is among the first `top`, and `ndcg`.

    nDCG is the mean of 1 / log2(2 + rank) over all users, 0 for those that miss.
    """
    rank = ranks(scores, candidates)
    gain = np.where(rank < top, 1 / np.log2(2.0 + rank), 0.0)
    return {"hit_rate": float((rank < top).mean()), "ndcg": float(gain.mean())}


def full(scores: np.ndarray, table: Table, top: int = TOP) -> dict[str, float]:
    """`recall` and `ndcg` of the first `top` of all films that a user has not rated in training.

    Recall is the share of the user's test films among them; nDCG is the sum of 1 / log2(2 + rank)
    over those, divided by the most that it could be. Means over the users with a test film.
    """
    scores = np.where(table.train > 0, -np.inf, scores)
    first = np.argpartition(-scores, top, axis=1)[:, :top]
    best = np.take_along_axis(scores, first, axis=1)
    first = np.take_along_axis(first, np.argsort(-best, axis=1, kind="stable"), axis=1)
    found = np.take_along_axis(table.test > 0, first, axis=1)
    relevant = (table.test > 0).sum(1)
    discount = 1 / np.log2(2.0 + np.arange(top))
    ideal = np.cumsum(discount)[np.minimum(relevant, top) - 1]
    some = relevant > 0
    recall = found.sum(1)[some] / relevant[some]
    return {
        "recall": float(recall.mean()),
        "ndcg": float(((found @ discount)[some] / ideal[some]).mean()),
    }
