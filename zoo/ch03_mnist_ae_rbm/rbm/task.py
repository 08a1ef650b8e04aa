"""What zoo has to know of the Boltzmann machine: ratings, predictions, pictures."""

import dataclasses
import functools
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch03_mnist_ae_rbm.rbm import model, ratings, training
from zoo.ch03_mnist_ae_rbm.rbm.ratings import Ratings
from zoo.common import fit, run, settings
from zoo.common.data import DataError, files, movielens, own_ratings
from zoo.common.data.own_ratings import OwnRatings
from zoo.common.task import Arrays, Loop, Prediction, Task, Weights, called
from zoo.common.trained import BATCH, Trained

BOOKS_INTERVAL = 100
"""The book's program prints every so many iterations."""


def load(config: model.Config, data: str, data_dir: Path | None) -> Ratings:
    """The ratings that the configuration names: a file of one's own, or of MovieLens.

    Raises:
      DataError: the set has no such split, or no rating values where the machine needs them.
    """
    if config.ratings:
        return ratings.read(config, _own(config, data))
    if config.titles or config.rating_scale:
        raise DataError("got titles or a rating scale without ratings: name a file by --ratings")
    splits = (*movielens.FOLDS, "all") if config.dataset == "ml-100k" else ("leave-one-out", "all")
    if config.split not in ("auto", *splits):
        raise DataError(f"{config.dataset} has no split {config.split}: use {', '.join(splits)}")
    found = movielens.load(config.dataset, data, data_dir, config.split)
    if config.units == "softmax" and "rating" not in found.train:
        raise DataError(
            f"{found.description}: softmax units need the values; use --units binary or "
            "--dataset ml-100k"
        )
    return ratings.read(config, found)


def _own(config: model.Config, data: str) -> OwnRatings:
    if data in ("real", "sample"):
        raise DataError(f"got --data {data} and --ratings {config.ratings}, expected one of them")
    found = own_ratings.load(
        config.ratings, config.titles, config.split, config.rating_scale, config.seed
    )
    if config.units == "softmax" and "rating" not in found.train:
        raise DataError(f"{found.description}: softmax units need ratings; use --recipe ranking")
    return found


def fill(config: model.Config, dataset: Ratings) -> model.Config:
    """The configuration with the data's number of units and, of one's own, their scale."""
    config = sized(config, dataset.train["rating"])
    if not config.ratings:
        return config
    found: dict[str, Any] = {"rating_scale": dataset.scale}
    for name in ("ratings", "titles"):
        if path := getattr(config, name):
            found[name] = str(files.expand(path).absolute())
    return dataclasses.replace(config, **found)


def sized(config: model.Config, rating: np.ndarray) -> model.Config:
    """The configuration for examples [N, V]: as many visible units, and no larger a batch."""
    examples, units = rating.shape
    batch_size = min(config.batch_size, examples)
    return dataclasses.replace(config, visible=units, batch_size=batch_size)


def random(config: model.Config, count: int) -> fit.Batch:
    """Random ratings, as dense as those of MovieLens 1M."""
    rng = np.random.default_rng(0)
    highest = config.scale_of_ratings.values
    rating = rng.integers(1, highest + 1, (count, config.visible), np.uint8)
    return {"rating": rating * (rng.random(rating.shape) < 0.045)}


@functools.cache
def predictions(config: model.Config) -> dict[str, Prediction]:
    """The expected rating of every visible unit, given the known ones; or the probability of 1."""
    name = "probability" if config.units == "binary" else "rating"

    def predict(weights: Weights, inputs: Arrays) -> Arrays:
        given = ratings.prepare(config, inputs)["rating"]
        found = model.apply(weights["params"], given)
        if config.rating_scale and config.units == "softmax":
            found = ratings.on_scale(found, config.scale_of_ratings)
        return {name: found}

    inputs = {"rating": jax.ShapeDtypeStruct((config.visible,), np.uint8)}
    of = "a user's of each movie" if config.example == "user" else "a movie's by each user"
    scale = config.scale_of_ratings
    counted = "" if (scale.lowest, scale.step) == (1, 1) else f", which stand for {scale}"
    given = f"from 1 to {scale.values}{counted} (0: none)"
    about = f"the expected {name}, {of}, given the known ratings {given}"
    return {"predict": Prediction(about, inputs, predict)}


def predict(config: model.Config, params: model.Params, rating: np.ndarray) -> np.ndarray:
    """What the machine expects of every pair, float32 [U, M], given the ratings [U, M].

    For binary units the probability of 1; else a rating on the scale of the data.
    """
    # An item-based machine sees a movie as an example, so all users' ratings go in at once.
    function, given = predictions(config)["predict"].function, ratings.examples(config, rating)
    found = fit.predict(function, {"params": params}, {"rating": given}, BATCH)
    (expected,) = found.values()
    return expected.T if config.example == "item" else expected


def predict_newcomers(
    config: model.Config, params: model.Params, rating: np.ndarray, given: np.ndarray
) -> np.ndarray:
    """What the machine expects of people who are not in the data, of every movie, float32 [N, M].

    Args:
      config: of the machine.
      params: its parameters.
      rating: the others' ratings [U, M].
      given: those of the newcomers [N, M].

    Raises:
      SettingError: the machine is item-based and its units are binary.
    """
    if config.example == "user":
        return predict(config, params, given)
    if config.units == "binary":
        raise settings.SettingError(
            "an item-based machine with binary units has no unit for someone who is not in its "
            f"data: `{TASK.command} train --recipe ranking` makes a user-based one"
        )
    rated = [np.flatnonzero(row) for row in given]
    some = [
        model.likeness(params, jnp.asarray(rating.T[where]), jnp.asarray(row[where]))
        for where, row in zip(rated, given, strict=True)
    ]
    return np.stack(some) @ predict(config, params, rating)


def measure(trained: Trained, dataset: Ratings) -> dict[str, float]:
    """The error of held-out ratings, or how well held-out movies are ranked; printed, too."""
    if not dataset.test:
        return {}
    table = dataset.table
    expected = predict(trained.config, trained.params, table.train)
    if "target" in dataset.test:
        error = ratings.rmse(expected, table.test, trained.config.scale_of_ratings)
        print(f"test RMSE {error:.4f} ({np.count_nonzero(table.test):,} ratings)")
        return {"test_rmse": error}
    found = ratings.leave_one_out(expected, ratings.candidates(dataset.data, table))
    print(f"hit rate@10 {found['hit_rate']:.4f}, nDCG@10 {found['ndcg']:.4f}")
    return {f"test_{name}": value for name, value in found.items()}


def report(trained: Trained, dataset: Ratings) -> None:
    """Prints what `measure` finds, and ten movies if the recipe is the book's."""
    from zoo.ch03_mnist_ae_rbm.rbm import movies

    measure(trained, dataset)
    if (trained.config.recipe, trained.config.example) == ("book", "user"):
        movies.print_as_the_book(trained, dataset)


def watch(
    config: model.Config,
    dataset: Ratings,
    folder: Path,
    state: fit.State,
    reports: Iterator[fit.Progress],
) -> Iterator[fit.Progress]:
    """Passes the reports on; for the book's recipe it prints what the book's program prints."""
    if config.recipe != "book":
        yield from reports
        return
    rating = dataset.table.train
    users, movies = rating.shape
    print(f"{np.count_nonzero(rating):,} ratings, {users:,} users, {movies:,} movies")
    print("Training RBM...")
    done = int(state.step)
    for progress in reports:
        step = int(progress.state.step)
        for iteration in range(done, step):
            if iteration % BOOKS_INTERVAL == 0:
                print(f"Iteration {iteration + 1}")
        done = step
        yield progress


def pictures(trained: Trained, dataset: Ratings) -> dict[str, Any]:
    """Curves, what hidden units stand for, movies alike, predicted ratings."""
    from zoo.ch03_mnist_ae_rbm.rbm import figures

    config, params = trained.config, trained.params
    table, caption = dataset.table, dataset.description
    popular = np.argsort(-(table.train > 0).sum(0), kind="stable")[: figures.POPULAR]
    titles = [dataset.titles[int(movie)] for movie in table.movies[popular]]
    vectors = ratings.movie_vectors(config, params, table.train)[popular]
    drawings = {
        "themes": figures.themes(vectors, titles, caption),
        "alike": figures.alike(vectors, titles, caption),
    }
    if "target" in dataset.test:
        expected = predict(config, params, table.train)
        drawings["predicted"] = figures.predicted(
            expected, table.test, caption, config.scale_of_ratings
        )
    if metrics := run.read_metrics(trained.folder):
        drawings |= _curves(metrics, caption)
    return drawings


def _curves(metrics: list[dict[str, Any]], caption: str) -> dict[str, Any]:
    """Roots of the squared errors, of chains in training and of predictions in tests; hit rates."""
    from zoo.common import figures

    rows = [line | {k: v**0.5 for k, v in line.items() if "squared" in k} for line in metrics]
    label = "root of squared error: chains, test ratings"
    drawings = {"curves": figures.training_curves(rows, {"squared_error": label}, caption)}
    if "test_hit_rate" in metrics[0]:
        epoch, hits = zip(
            *((line["epoch"], line["test_hit_rate"]) for line in metrics), strict=True
        )
        series, label = {f"test, last {hits[-1]:.3f}": hits}, "hit rate among the first 10 of 100"
        drawings["hits"] = figures.curves(series, epoch, "epoch", label, caption=caption)
    return drawings


def _someone(dataset: Ratings) -> str:
    """A user of the data, as the shell takes it."""
    number = int(dataset.table.users[len(dataset.table.users) // 2])
    return shlex.quote(dataset.users.get(number, str(number)))


def result(line: Mapping[str, float]) -> dict[str, float]:
    """The RMSE of held-out ratings, or the hit rate of held-out movies."""
    if "test_squared_error" in line:
        return {"test RMSE": line["test_squared_error"] ** 0.5}
    return called("test hit rate", "test_hit_rate")(line)


TASK = Task(
    name="ch03_mnist_ae_rbm/rbm",
    model=model,
    about="a Boltzmann machine on ratings of movies",
    load=load,
    random=random,
    fill=fill,
    prepare=ratings.prepare,
    init=training.init,
    optimizer=training.optimizer,
    losses=training.losses,
    metrics=("squared_error",),
    result=result,
    loop=Loop(training.iterate),
    predictions=predictions,
    pictures=pictures,
    report=report,
    watch=watch,
    following=lambda dataset: (f"recommend --user {_someone(dataset)}",),
    unit="examples",
    epoch=943,
)
