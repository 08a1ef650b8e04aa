"""The feed-forward net on the command line: train, evaluate, predict, figures, sweep, bench."""

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from zoo.ch03_mnist_ae_rbm import feedforward, pictures
from zoo.ch03_mnist_ae_rbm import train as networks
from zoo.ch03_mnist_ae_rbm.commands import (
    FEEDFORWARD,
    fit_network,
    measure_speed,
    restore,
    restore_with_data,
)
from zoo.ch03_mnist_ae_rbm.sweep import sweep as train_all
from zoo.common import cli, device, fit, run
from zoo.common.data import DataError, Dataset, digest, mnist
from zoo.common.device import Name as DeviceName

SWEEP = "ch03_mnist_ae_rbm/sweep"


def train(config: feedforward.Config, options: cli.Options) -> None:
    """Train the feed-forward net on MNIST; Ctrl-C saves, --resume DIR goes on.

    Recipe `book` is the book's program, `modern` has the same widths and what helps them. The
    chapter's exercises are flags: --objective, --hidden 500 200 50, --epochs, --batch-size.
    """
    dataset = mnist.load(options.data, options.data_dir)
    folder, state = fit_network(FEEDFORWARD, config, options, dataset)
    drawn = _draw(folder, config, state, dataset)
    print(f"trained in {folder}; pictures: {', '.join(map(str, drawn))}")


def evaluate(
    trained: cli.Trained, images: int = 200, which: Literal["mistakes", "all"] = "mistakes"
) -> None:
    """Measure a trained net on its test images; write probabilities.csv and digits as pictures.

    As the book's program does, each image's probabilities are written with six decimals, and
    pictures are named BATCH - NUMBER - LABEL - GUESS.

    Args:
        trained: which model
        images: the most pictures to write; 0 for none
        which: pictures of the mistakes alone, the surest first, or of all images in their order
    """
    from zoo.ch03_mnist_ae_rbm import figures

    folder, config, state, dataset = restore_with_data(FEEDFORWARD, trained, feedforward.Config)
    test, size = dataset.test, config.batch_size
    means = fit.make_evaluate(networks.losses(config)[1], size)(state, test)
    probabilities = networks.predict_probabilities(config, state.params, test["image"])
    labels, guesses = test["label"], probabilities.argmax(-1)
    lines = ["batch,number,label,guess," + ",".join(f"p{k}" for k in dataset.classes)]
    for n, row in enumerate(probabilities):
        shares = ",".join(f"{p:.6f}" for p in row)
        lines.append(f"{n // size},{n % size},{labels[n]},{guesses[n]},{shares}")
    run.write(folder / "probabilities.csv", "\n".join(lines) + "\n")
    mistakes = figures.worst_first(labels, probabilities)
    chosen = (mistakes if which == "mistakes" else np.arange(len(labels)))[: max(images, 0)]
    written = pictures.write_digits(
        folder / "images",
        (
            (f"{n // size} - {n % size} - {labels[n]} - {guesses[n]}", test["image"][n])
            for n in chosen
        ),
    )
    accuracy = float((guesses == labels).mean())
    print(
        f"test loss {means['loss']:.4f}, accuracy {accuracy:.4f} "
        f"({len(mistakes):,} mistakes in {len(labels):,} images)"
    )
    print("the worst mistakes:")
    for n in mistakes[:10]:
        p = probabilities[n]
        print(
            f"  image {n}: a {labels[n]} read as {guesses[n]} with {p[guesses[n]]:.4f}; "
            f"{labels[n]} got {p[labels[n]]:.4f}"
        )
    results = {"description": dataset.description, "test_accuracy": accuracy}
    results |= {"test_loss": means["loss"], "mistakes": len(mistakes)}
    run.write_json(folder / "evaluation.json", results)
    drawn = _draw(folder, config, state, dataset, probabilities)
    print(f"written to {folder}: probabilities.csv, evaluation.json, {written} pictures in images/")
    print(f"drawn: {', '.join(map(str, drawn))}")


def predict(
    images: Annotated[tuple[Path, ...], tyro.conf.Positional], trained: cli.Trained, top: int = 3
) -> None:
    """Read the digit in each picture file; any size, dark on bright or bright on dark.

    Args:
        images: picture files, one digit on each; the ink is cut out and centred as in MNIST
        trained: which model
        top: how many classes to list
    """
    from zoo.ch03_mnist_ae_rbm import figures
    from zoo.common import figures as common

    if not images:
        raise DataError("name at least one picture: python -m zoo.ch03_mnist_ae_rbm predict 7.png")
    digits, notes = zip(*map(pictures.read_digit, images), strict=True)
    folder, config, state, content = restore(FEEDFORWARD, trained, feedforward.Config)
    classes = content["data"]["classes"]
    probabilities = networks.predict_probabilities(config, state.params, np.stack(digits))
    for path, note, p in zip(images, notes, probabilities, strict=True):
        print(f"{path} ({note})")
        for best in np.argsort(-p)[:top]:
            print(f"  {classes[best]}  {p[best]:.6f}")
    shown = slice(0, 40)
    drawn = figures.answers(
        np.stack(digits)[shown],
        probabilities.argmax(1)[shown],
        probabilities[shown],
        classes,
        "what the net sees and says",
        f"model of {folder}",
    )
    print(f"drawn to {common.save(drawn, folder / 'figures' / 'predict.png')}")


def figures(trained: cli.Trained) -> None:
    """Draw a run again: curves, confusion matrix, the worst mistakes, the first test digits."""
    folder, config, state, dataset = restore_with_data(FEEDFORWARD, trained, feedforward.Config)
    for path in _draw(folder, config, state, dataset):
        print(path)


def _draw(folder, config, state, dataset, probabilities=None) -> list[Path]:
    from zoo.ch03_mnist_ae_rbm import figures
    from zoo.common import figures as common

    test, classes, caption = dataset.test, dataset.classes, dataset.description
    if probabilities is None:
        probabilities = networks.predict_probabilities(config, state.params, test["image"])
    images, labels, guesses = test["image"], test["label"], probabilities.argmax(-1)

    def answers(chosen: np.ndarray, title: str) -> Any:
        return figures.answers(
            images[chosen], labels[chosen], probabilities[chosen], classes, title, caption
        )

    worst, first = figures.worst_first(labels, probabilities)[:12], np.arange(min(12, len(labels)))
    drawings = {
        "curves": figures.feedforward_curves(run.read_metrics(folder), caption),
        "confusion": figures.confusion(labels, guesses, classes, caption),
        "digits": answers(first, "the first test digits: the true class is blue"),
    }
    if len(worst):
        drawings["mistakes"] = answers(worst, "the worst mistakes: blue is right, orange is said")
    return [
        common.save(drawing, folder / "figures" / f"{name}.png")
        for name, drawing in drawings.items()
    ]


def sweep(
    config: feedforward.Config,
    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3),
    weight_decays: tuple[float, ...] = (0.0, 0.1, 0.3),
    seeds: int = 1,
    data: Literal["auto", "real", "sample"] = "auto",
    data_dir: Path | None = None,
    device_name: DeviceName = "auto",
    out: Path | None = None,
) -> None:
    """Train many settings of one shape at once (vmap), and draw which is best.

    All rates with all decays, each with so many seeds; other flags hold for every run, and the
    config's own rate, decay and seed are not used. On a CPU it takes as long as one run after
    the other would; on a GPU hardly longer than one. A short one: sweep --epochs 5.

    Args:
        config: what all runs share
        learning_rates: peak (adamw) or constant rates
        weight_decays: of the kernels; one alone unless the solver is adamw
        seeds: runs of each setting, with seeds 0, 1, ...
        data: the real data set, the built-in sample, or what is there
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        device_name: what computes
        out: folder for the result; runs/ch03_mnist_ae_rbm/sweep/TIME if not given
    """
    from zoo.ch03_mnist_ae_rbm import figures
    from zoo.common import figures as common

    device.use(device_name)
    grid = list(itertools.product(learning_rates, weight_decays, range(seeds)))
    if not grid:
        raise DataError("a sweep needs at least one learning rate, one weight decay and one seed")
    if len(weight_decays) > 1 and config.solver != "adamw":
        raise DataError(f"{config.solver} has no weight decay: name one, --weight-decays 0")
    dataset = mnist.load(data, data_dir)
    print(dataset.description)
    about = {"description": dataset.description, "sha256": digest(dataset)}
    folder = run.create(SWEEP, config, about, out)
    print(f"{len(grid)} runs at once in {folder}, {device.describe(device.current())}")
    accuracies, lines = _train_settings(config, grid, dataset)
    run.write(folder / "sweep.csv", "\n".join(lines) + "\n")
    caption = f"{dataset.description}. Recipe {config.recipe}, {config.epochs} epochs."
    shape = (len(learning_rates), len(weight_decays), seeds)
    history = [accuracy.reshape(shape) for accuracy in accuracies]
    drawn = figures.sweep(history, learning_rates, weight_decays, caption)
    path = common.save(drawn, folder / "figures" / "sweep.png")
    print(f"written: {folder / 'sweep.csv'}, {path}")


def _train_settings(
    config: feedforward.Config, grid: list[tuple[float, float, int]], dataset: Dataset
) -> tuple[list[np.ndarray], list[str]]:
    """The settings' test accuracies after each epoch, and the lines of sweep.csv."""
    lanes = [
        dataclasses.replace(config, learning_rate=rate, weight_decay=decay, seed=seed)
        for rate, decay, seed in grid
    ]
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    lines = [",".join(("epoch", "learning_rate", "weight_decay", "seed", *names))]
    accuracies, began = [], time.perf_counter()
    for epoch in train_all(lanes, dataset.train, dataset.test):
        accuracy = epoch.metrics["test_accuracy"]
        accuracies.append(accuracy)
        for lane, setting in enumerate(grid):
            values = (f"{epoch.metrics[name][lane]:.6f}" for name in names)
            lines.append(",".join((str(epoch.number), *map(str, setting), *values)))
        rate, decay, seed = grid[int(np.nanargmax(accuracy))]
        spent = time.perf_counter() - began
        left = spent / epoch.number * (config.epochs - epoch.number)
        print(
            f"epoch {epoch.number}: best test accuracy {100 * np.nanmax(accuracy):.2f} % "
            f"(rate {rate:g}, decay {decay:g}, seed {seed}), {left:.0f} s left"
        )
    return accuracies, lines


def bench(
    config: feedforward.Config, device_name: DeviceName = "auto", seconds: float = 10.0
) -> None:
    """Time training and inference of the feed-forward net on random images; compilation apart.

    Args:
        config: what to time
        device_name: what computes
        seconds: how long to train
    """

    def logits(params, images: jax.Array) -> jax.Array:
        return feedforward.apply(params, networks.scale_pixels(images, config.pixels))

    measure_speed(config, logits, device_name, seconds)
