"""Ratings of movies as matrices; how well they are predicted, and how well movies are ranked.

Axes: U users, M movies, K negatives; N examples and V visible units, which are users and movies
or, for an item-based machine, movies and users. In a matrix of ratings, uint8, 0 is where there
is none, 1 the lowest of the rating scale, 2 the next: of MovieLens, the ratings themselves.
Predictions and scores are float [U, M], higher for what is recommended first.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from zoo.ch03_mnist_ae_rbm.rbm import model
from zoo.common import fit
from zoo.common.data import DataError, movielens
from zoo.common.data.own_ratings import OwnRatings
from zoo.common.settings import Scale

UNKNOWN = 255
"""Stands for the rating of a pair that is known without its value: above any."""
TOP = 10
MOVIELENS = Scale()
MOST_CELLS = 2**30
"""Bytes of a matrix of ratings; training holds one for each part and what is made of them."""


class Table(NamedTuple):
    """A data set as matrices; what is tested on has a matrix of its own, and 0 in the other."""

    train: np.ndarray  # uint8 [U, M]
    test: np.ndarray  # uint8 [U, M]
    users: np.ndarray  # int32 [U], the ids in the files
    movies: np.ndarray  # int32 [M], the ids in the files, of those that anybody rated


class Candidates(NamedTuple):
    """A movie that each user saw, held out, among movies that the user did not see."""

    held: np.ndarray  # int32 [U], column of the matrix of ratings
    negative: np.ndarray  # int32 [U, K], columns too


@dataclasses.dataclass(frozen=True)
class Ratings:
    """Ratings as the machine of a configuration reads them."""

    data: movielens.MovieLens | OwnRatings
    table: Table
    train: fit.Batch
    """`rating`, uint8 [N, V]."""
    test: fit.Batch
    """`rating` as in `train` and what is held out, see `training.held_out`; empty if nothing is."""

    name = property(lambda self: self.data.name)
    source = property(lambda self: self.data.source)
    split = property(lambda self: self.data.split)
    description = property(lambda self: self.data.description)
    titles = property(lambda self: self.data.titles)
    users = property(lambda self: getattr(self.data, "users", {}))
    items = property(lambda self: getattr(self.data, "items", {}))
    """Ids of users and movies by number, where they are other than the numbers."""
    scale = property(lambda self: getattr(self.data, "scale", ()))
    """As of `Config.rating_scale`."""

    def _asdict(self) -> dict[str, Any]:
        # For `digest`: the fingerprint is that of the data, whatever the recipe makes of them.
        return self.data._asdict()


def read(config: model.Config, data: movielens.MovieLens | OwnRatings) -> Ratings:
    """The ratings, and what a machine of this kind can be tested on, if anything."""
    table = make_table(data)
    train, test = {"rating": examples(config, table.train)}, {}
    if config.units == "softmax" and data.test:
        test = train | {"target": examples(config, table.test)}
    elif "negative" in data.test and config.example == "user":
        test = train | candidates(data, table)._asdict()
    return Ratings(data, table, train, test)


def make_table(data: movielens.MovieLens | OwnRatings) -> Table:
    """The ratings as matrices; users and movies in the order of their ids.

    Raises:
      DataError: the matrices would not fit in memory.
    """
    parts = [part for part in (data.train, data.test) if part]
    ids = {k: [part[k] for part in parts] for k in ("user", "item")}
    ids["item"] += [part["negative"].ravel() for part in parts if "negative" in part]
    users, movies = (np.unique(np.concatenate(some)) for some in ids.values())
    if len(users) * len(movies) > MOST_CELLS:
        raise DataError(
            f"{data.description}: got a matrix of {len(users):,} users and {len(movies):,} movies, "
            f"expected at most {MOST_CELLS:,} cells: leave out users and movies with few ratings"
        )

    def matrix(part: dict[str, np.ndarray]) -> np.ndarray:
        values = np.zeros((len(users), len(movies)), np.uint8)
        if part:
            at = movielens.dense(part["user"], users), movielens.dense(part["item"], movies)
            # Of a set without values none is used, not even that of a held-out pair.
            values[at] = part["rating"] if "rating" in data.train else UNKNOWN
        return values

    return Table(matrix(data.train), matrix(data.test), users, movies)


def examples(config: model.Config, rating: np.ndarray) -> np.ndarray:
    """Ratings [U, M] with the machine's examples as rows, [N, V]."""
    return np.ascontiguousarray(rating.T if config.example == "item" else rating)


def prepare(config: model.Config, data: fit.Batch) -> fit.Batch:
    """The data with `rating` as the units take it; if they are binary, 1 where it is `liked`."""
    if config.units == "softmax":
        return data
    return data | {"rating": (data["rating"] >= config.liked).astype(np.uint8)}


def movie_vectors(config: model.Config, params: model.Params, rating: np.ndarray) -> np.ndarray:
    """What each movie is to the hidden units, float32 [M, H].

    For a user-based machine its weights; of the K values' weights, how much more a higher rating
    moves the unit than a lower one (the slope of a line through them). For an item-based one the
    log-odds of the units, given all ratings of the movie, less their mean over the movies.
    """
    if config.example == "item":
        given = prepare(config, {"rating": examples(config, rating)})["rating"]
        inputs = model.hidden_inputs(params, *model.encode(given, len(params["kernel"])))
        return np.asarray(inputs - inputs.mean(0))
    values = np.arange(1.0, len(params["kernel"]) + 1)
    slope = values - values.mean() if len(values) > 1 else values
    return np.tensordot(slope / (slope**2).sum(), np.asarray(params["kernel"]), 1)


def on_scale(numbers: Any, scale: Scale) -> Any:
    """Ratings, counted from 1 in steps of the scale, in its own units."""
    return scale.step * numbers + (scale.lowest - scale.step)


def rmse(predicted: np.ndarray, test: np.ndarray, scale: Scale = MOVIELENS) -> float:
    """Root of the mean squared error over the ratings of `test` [U, M].

    Predictions, float [U, M], are in units of the scale, and clipped to it.
    """
    where = test > 0
    if not where.any():
        raise ValueError("there is no rating to test on: choose a split that holds some out")
    true = on_scale(test[where].astype(np.float64), scale)
    error = predicted[where].clip(scale.lowest, scale.highest) - true
    return float(np.sqrt((error**2).mean()))


def candidates(data: movielens.MovieLens | OwnRatings, table: Table) -> Candidates:
    """The leave-one-out test of He et al. 2017 with the numbers of a table's columns.

    Raises:
      ValueError: the set was not split so, or not every user has a movie held out.
    """
    if "negative" not in data.test:
        raise ValueError(f"split {data.split!r} has no negatives, expected leave-one-out")
    if not np.array_equal(data.test["user"], table.users):
        raise ValueError("the held-out movies are not one of each user, in the users' order")
    return Candidates(*(movielens.dense(data.test[k], table.movies) for k in ("item", "negative")))


def ranks(scores: np.ndarray, candidates: Candidates) -> np.ndarray:
    """How many negatives stand before the held-out movie, [U]; one of equal score does.

    A negative that is the held-out movie itself (the real file has 156) does not count.
    """
    held, negative = candidates
    own = np.take_along_axis(scores, held[:, None], axis=1)
    others = np.take_along_axis(scores, negative, axis=1)
    return ((others >= own) & (negative != held[:, None])).sum(1)


def leave_one_out(scores: np.ndarray, candidates: Candidates, top: int = TOP) -> dict[str, float]:
    """`hit_rate`, the share of users whose movie is among the first `top`, and `ndcg`.

    nDCG is the mean of 1 / log2(2 + rank) over all users, 0 for those that miss.
    """
    rank = ranks(scores, candidates)
    gain = np.where(rank < top, 1 / np.log2(2.0 + rank), 0.0)
    return {"hit_rate": float((rank < top).mean()), "ndcg": float(gain.mean())}
