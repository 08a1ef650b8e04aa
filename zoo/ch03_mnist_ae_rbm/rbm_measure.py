"""Those who predict ratings or rank films in chapter 3: the Boltzmann machines and the baselines.

They see only the training matrix of a table; the test matrix goes to `ratings.rmse` and `ranking`.

Axes: U users, F films.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from zoo.ch03_mnist_ae_rbm import baselines, ratings, rbm, rbm_train

USER, ITEM = "RBM, user-based", "RBM, item-based"
RANKED = "RBM"

CHOSEN = {"leave-one-out": (50, 1000.0), "full": (100, 500.0)}
"""Neighbours and penalty of the baselines, the best on a part of the training pairs held out."""


def predict_by_machine(config: rbm.Config, rating: np.ndarray) -> np.ndarray:
    """Trains a machine on ratings [U, F] and gives what it expects of every pair, [U, F]."""
    given = ratings.examples(config, rating)
    config = rbm_train.sized(config, given)
    state = rbm_train.train(config, {"rating": given})
    return ratings.predict(config, state.params, rating)


def machines(epochs: int | None = None, seed: int = 0) -> dict[str, rbm.Config]:
    """The configurations that are measured, by the name of their row."""
    named = {USER: "modern", ITEM: "item", RANKED: "ranking"}
    changes = {"seed": seed} | ({} if epochs is None else {"epochs": epochs})
    return {row: dataclasses.replace(rbm.RECIPES[r], **changes) for row, r in named.items()}


def rating_errors(
    table: ratings.Table, epochs: int | None = None, seed: int = 0
) -> Iterator[tuple[str, float]]:
    """(name, RMSE) of each that predicts ratings: the baselines, then the two machines."""
    simple = {
        "mean of all ratings": baselines.global_mean,
        "user's mean": baselines.user_mean,
        "film's mean": baselines.item_mean,
        "biased matrix factorisation": baselines.matrix_factorisation,
    }
    for name, predict in simple.items():
        yield name, ratings.rmse(predict(table.train), table.test)
    both = []
    for name in (USER, ITEM):
        both.append(predict_by_machine(machines(epochs, seed)[name], table.train))
        yield name, ratings.rmse(both[-1], table.test)
    yield "mean of both machines", ratings.rmse(np.mean(both, axis=0), table.test)


def rankings(
    rating: np.ndarray, protocol: str, epochs: int | None = None, seeds: int = 1
) -> Iterator[tuple[str, int, np.ndarray]]:
    """(name, seed, scores [U, F]) of each that ranks films, given the pairs rated, [U, F]."""
    seen = (rating > 0).astype(np.uint8)
    neighbours, penalty = CHOSEN[protocol]
    yield "popularity", 0, baselines.popularity(seen)
    yield f"item-kNN (cosine, {neighbours} neighbours)", 0, baselines.item_knn(seen, neighbours)
    yield f"EASE (penalty {penalty:g})", 0, baselines.ease(seen, penalty)
    for seed in range(seeds):
        config = machines(epochs, seed)[RANKED]
        yield RANKED, seed, predict_by_machine(config, seen)
