"""The Boltzmann machine on the command line: train, evaluate, recommend, figures, bench."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.ch03_mnist_ae_rbm import ranking, ratings, rbm, rbm_train
from zoo.ch03_mnist_ae_rbm.rbm_evaluate import evaluate
from zoo.ch03_mnist_ae_rbm.rbm_recommend import recommend, recommend_as_the_book
from zoo.ch03_mnist_ae_rbm.rbm_runs import CHAPTER, batches, load, restore
from zoo.common import bench as timing
from zoo.common import cli, device, fit, run
from zoo.common.device import Name as DeviceName

__all__ = ["bench", "evaluate", "figures", "recommend", "train"]

BOOKS_INTERVAL = 100
"""The book's program prints every so many iterations."""
WARM_UP = 1.0
"""Seconds that `bench` does not count."""


def train(config: rbm.Config, options: cli.Options) -> None:
    """Train the Boltzmann machine on ratings of films; Ctrl-C saves, --resume DIR goes on.

    Recipe `modern` predicts ratings of MovieLens 100K and recommends to anyone, `item` predicts
    them better, `ranking` ranks films of MovieLens 1M, `book` is the book's machine.
    """
    mesh = run.devices(options)
    print(f"Loading {config.dataset} ...")
    dataset, table = load(config, options.data, options.data_dir)
    print(dataset.description)
    count = int(np.count_nonzero(table.train) + np.count_nonzero(table.test))
    users, films = table.train.shape
    print(f"{count:,} ratings, {users:,} users, {films:,} films")
    data, test = batches(config, dataset, table)
    config = rbm_train.sized(config, data["rating"])
    folder, state = run.train(
        CHAPTER,
        config,
        options,
        dataset,
        rbm_train.start(config, data["rating"])[1],
        functools.partial(_train, config, data, test, mesh),
        steps=fit.steps_per_epoch(data, config.batch_size, mesh),
    )
    _measure(config, state.params, dataset, table)
    if config.recipe == "book":
        recommend_as_the_book(config, state.params, dataset, table)
    drawn = _draw(folder, config, state, dataset, table)
    print(f"trained in {folder}; pictures: {', '.join(str(path) for path in drawn)}")


def _train(config, data, test, mesh, state, follow) -> fit.State:
    if config.recipe == "book":
        print("Training RBM...")
        inner = follow
        follow = lambda reports: inner(_count_iterations(int(state.step), reports))  # noqa: E731
    options = {"state": state, "mesh": mesh, "follow": follow}
    return rbm_train.train(config, data, test, **options)


def _count_iterations(done: int, reports: Iterator[fit.Progress]) -> Iterator[fit.Progress]:
    """Passes the reports on and prints, as the book does, iterations 1, 101, 201 and so on."""
    for progress in reports:
        step = int(progress.state.step)
        for iteration in range(done, step):
            if iteration % BOOKS_INTERVAL == 0:
                print(f"Iteration {iteration + 1}")
        done = step
        yield progress


def _measure(config, params, dataset, table) -> None:
    """Prints how well the ratings that were held out are predicted, or the films ranked."""
    if not dataset.test:
        return
    expected = ratings.predict(config, params, table.train)
    if config.units == "softmax":
        count = len(dataset.test["user"])
        print(f"test RMSE {ratings.rmse(expected, table.test):.4f} ({count:,} ratings)")
    elif "negative" in dataset.test:
        found = ranking.leave_one_out(expected, ranking.candidates(dataset, table))
        print(f"hit rate@10 {found['hit_rate']:.4f}, nDCG@10 {found['ndcg']:.4f}")


def figures(trained: cli.Trained) -> None:
    """Draw a run again: curves, what hidden units stand for, films alike, predicted ratings."""
    folder, config, state, dataset, table = restore(trained)
    for path in _draw(folder, config, state, dataset, table):
        print(path)


def _draw(folder, config, state, dataset, table) -> list[Path]:
    from zoo.ch03_mnist_ae_rbm import rbm_figures
    from zoo.common import figures as common

    caption = dataset.description
    films = ratings.film_vectors(config, state.params, table.train)
    names = [dataset.titles[int(film)] for film in table.films]
    popular = np.argsort(-(table.train > 0).sum(0), kind="stable")[: rbm_figures.POPULAR]
    names, films = [names[film] for film in popular], films[popular]
    drawings: dict[str, Any] = {
        "curves": rbm_figures.learning_curves(run.read_metrics(folder), caption),
        "themes": rbm_figures.themes(films, names, caption),
        "alike": rbm_figures.alike(films, names, caption),
    }
    if config.units == "softmax" and dataset.test:
        expected = ratings.predict(config, state.params, table.train)
        drawings["predicted"] = rbm_figures.predicted(expected, table.test, caption)
    return [
        common.save(drawing, folder / "figures" / f"{name}.png")
        for name, drawing in drawings.items()
    ]


def bench(config: rbm.Config, device_name: DeviceName = "auto", seconds: float = 10.0) -> None:
    """Time training by CD-1 on random ratings, as many as MovieLens 1M has; compilation apart.

    Args:
        config: what to time
        device_name: what computes
        seconds: how long to train
    """
    device.use(device_name)
    rng = np.random.default_rng(0)
    highest = 1 if config.units == "binary" else 5
    rating = rng.integers(1, highest + 1, (6_040, config.visible), np.uint8)
    rating *= rng.random(rating.shape) < 0.045
    config = dataclasses.replace(config, steps=(1,), epochs=10**5)
    rates, compile_seconds, spent = [], 0.0, 0.0

    def follow(reports: Iterator[fit.Progress]) -> fit.State:
        nonlocal compile_seconds, spent
        for progress in reports:
            compile_seconds += progress.compile_seconds
            spent += progress.seconds
            if spent > WARM_UP:
                rates.append(progress.steps * config.batch_size / progress.seconds)
            if spent > seconds and rates:
                return progress.state

    state = rbm_train.train(config, {"rating": rating}, follow=follow)
    low, high = timing.quartiles(rates)
    batch = jax.numpy.asarray(rating[: config.batch_size])
    inference = timing.time_call(rbm.predict_ratings, state.params, batch, runs=50, warmup=5)
    fast, slow = (config.batch_size / second for second in inference.quartiles)
    timing.print_table(
        f"recipe {config.recipe}, {config.visible:,} x {config.hidden} units, batches of "
        f"{config.batch_size}, {device.describe(device.current())}, JAX {jax.__version__}",
        ("", "examples/s, median", "quartiles", "compilation, s"),
        [
            ("training, CD-1", f"{np.median(rates):,.0f}", f"{low:,.0f} to {high:,.0f}",
             f"{compile_seconds:.2f}"),
            ("predicted ratings", f"{config.batch_size / inference.median:,.0f}",
             f"{slow:,.0f} to {fast:,.0f}", f"{inference.compile_seconds:.2f}"),
        ],
    )  # fmt: skip
