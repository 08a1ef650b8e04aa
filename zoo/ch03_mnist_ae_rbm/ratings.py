"""Ratings of films as matrices, and the error of those that are predicted (chapter 3).

Axes: U users, F films; N examples and V visible units, which are users and films or, for an
item-based machine, films and users. In a matrix of ratings, uint8, 0 is where there is none.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from zoo.ch03_mnist_ae_rbm import rbm
from zoo.common import fit
from zoo.common.data import movielens

UNKNOWN = 5
"""Stands for the rating of a pair that is known without its value."""


class Table(NamedTuple):
    """A data set as matrices; what is tested on has a matrix of its own, and 0 in the other."""

    train: np.ndarray
    """uint8 [U, F]"""
    test: np.ndarray
    """uint8 [U, F]"""
    users: np.ndarray
    """int32 [U], the ids in the files."""
    films: np.ndarray
    """int32 [F], the ids in the files, of those that anybody rated."""


def table(data: movielens.MovieLens) -> Table:
    """The ratings of a MovieLens set as matrices; users and films in the order of their ids."""
    parts = [part for part in (data.train, data.test) if part]
    users, films = (np.unique(np.concatenate([p[k] for p in parts])) for k in ("user", "item"))

    def matrix(part: dict[str, np.ndarray]) -> np.ndarray:
        values = np.zeros((len(users), len(films)), np.uint8)
        if part:
            at = movielens.dense(part["user"], users), movielens.dense(part["item"], films)
            # Of a set without values none is used, not even that of a held-out pair.
            values[at] = part["rating"] if "rating" in data.train else UNKNOWN
        return values

    return Table(matrix(data.train), matrix(data.test), users, films)


def split_at_random(whole: Table, share: float, seed: int, by_user: bool = False) -> Table:
    """Moves a share of the training ratings into the test matrix, in place of what is there.

    Args:
      whole: its test matrix is not looked at.
      share: of all ratings or, `by_user`, of each user's (rounded), that is to be tested on.
      seed: of the choice.
      by_user: each user gives the same share.
    """
    rng = np.random.default_rng(seed)
    user, film = np.nonzero(whole.train)
    order = rng.permutation(len(user))
    if by_user:
        order = order[np.argsort(user[order], kind="stable")]
        counts = np.bincount(user, minlength=len(whole.users))
        place = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = order[place < np.rint(share * counts)[user[order]]]
    else:
        chosen = order[: round(share * len(user))]
    train, test = whole.train.copy(), np.zeros_like(whole.train)
    at = user[chosen], film[chosen]
    test[at], train[at] = train[at], 0
    return whole._replace(train=train, test=test)


def examples(config: rbm.Config, rating: np.ndarray) -> np.ndarray:
    """Ratings [U, F] as the machine reads them, [N, V]: 1 to 5, or 1 where it is `liked`."""
    if config.units == "binary":
        rating = (rating >= config.liked).astype(np.uint8)
    return np.ascontiguousarray(rating.T if config.example == "item" else rating)


def predict(config: rbm.Config, params: rbm.Params, rating: np.ndarray) -> np.ndarray:
    """What the machine expects of every pair, float32 [U, F], given the ratings [U, F].

    Ratings from 1 to 5; for binary units the probability of 1.
    """
    given = jnp.asarray(examples(config, rating))
    batch = min(100, len(given))
    expected = fit.predict(lambda batch: rbm.predict_ratings(params, batch), given, batch)
    return expected.T if config.example == "item" else expected


def rmse(predicted: np.ndarray, test: np.ndarray) -> float:
    """Root of the mean squared error over the ratings of `test` [U, F]; predictions clipped."""
    where = test > 0
    if not where.any():
        raise ValueError("there is no rating to test on: choose a split that holds some out")
    error = predicted[where].clip(1, 5) - test[where].astype(np.float64)
    return float(np.sqrt((error**2).mean()))


def film_vectors(config: rbm.Config, params: rbm.Params, rating: np.ndarray) -> np.ndarray:
    """What each film is to the hidden units, float32 [F, H].

    For a user-based machine its weights; of the K values' weights, how much more a higher rating
    moves the unit than a lower one (the slope of a line through them). For an item-based one the
    log-odds of the units, given all ratings of the film, less their mean over the films.
    """
    if config.example == "item":
        visible, rated = rbm.encode(examples(config, rating), len(params["kernel"]))
        inputs = rbm.hidden_inputs(params, visible, rated)
        return np.asarray(inputs - inputs.mean(0))
    values = np.arange(1.0, len(params["kernel"]) + 1)
    slope = values - values.mean() if len(values) > 1 else values
    return np.tensordot(slope / (slope**2).sum(), np.asarray(params["kernel"]), 1)
