"""The pictures of chapter 6: learning curves, the confusion matrix, filters and what is predicted.

Axes: N images of 32x32 pixels and 3 colours, uint8 [N, 32, 32, 3]; K classes. Probabilities are
float [N, K], the softmax of the logits. In all pictures blue is right and orange is wrong. What has
another shape, type or range than described raises a `ValueError`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import BLUE, INK, NORMAL, ORANGE, PALE, SMALL, draw_image, page, plain

CAT = 3
KEYS = ("epoch", "train_loss", "test_loss", "train_accuracy", "test_accuracy")


def learning_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """The chapter's figure: cost (nats) and accuracy (%) after each epoch.

    Args:
        metrics: The lines of metrics.jsonl, each with the keys of `KEYS`.
        caption: What data these are.
    """
    if not metrics:
        raise ValueError("got no lines of metrics, expected one for each epoch")
    for number, line in enumerate(metrics, 1):
        if missing := [key for key in KEYS if key not in line]:
            raise ValueError(f"line {number} of metrics lacks {missing}, expected {list(KEYS)}")
    sets, epoch = ("train", "test"), [line["epoch"] for line in metrics]
    cost = {name: [line[f"{name}_loss"] for line in metrics] for name in sets}
    accuracy = {name: [100 * line[f"{name}_accuracy"] for line in metrics] for name in sets}
    accuracy = {f"{name}, last {y[-1]:.1f} %": y for name, y in accuracy.items()}
    figure = page(8.0, 3.4, caption=caption)
    left, right = figure.subplots(1, 2)
    figures.draw_curves(left, cost, epoch, "epoch", "cost, cross-entropy (nats)")
    figures.draw_curves(right, accuracy, epoch, "epoch", "accuracy (%)")
    right.set_ylim(0, 100)
    return figure


def confusion(labels: Any, predictions: Any, classes: Sequence[str], caption: str = "") -> Figure:
    """The confusion matrix of true labels [N] and predicted labels [N]; rows are true classes."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    _check_labels("labels", labels, labels.size, classes)
    _check_labels("predictions", predictions, labels.size, classes)
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return figures.confusion_matrix(counts, classes, caption)


def cats(
    images: Any, probabilities: Any, classes: Sequence[str], caption: str = "", label: int = CAT
) -> Figure:
    """The chapter's table of ten cats: for each picture the most probable class and its share.

    Args:
        images: Pictures of one class, [N, 32, 32, 3].
        probabilities: What the model predicts for them, [N, K].
        classes: The K names.
        caption: What data these are.
        label: The class that all pictures are of; CIFAR-10's cats, unless another is given.
    """
    images, probabilities = _check(images, probabilities, classes)
    _check_labels("label", np.array([label]), 1, classes)
    guesses, shares = probabilities.argmax(1), probabilities.max(1)
    columns = min(5, len(images))
    rows = math.ceil(len(images) / columns)
    title = f"{(guesses == label).sum()} of {len(images)} recognised as {classes[label]}"
    figure = page(max(1.5 * columns, 3.2), 1.63 * rows, title, caption)
    grid = _grid(figure, rows, columns)
    for axes, image, guess, share in zip(grid, images, guesses, shares, strict=False):
        mark, colour = ("✓", BLUE) if guess == label else ("✗", ORANGE)
        draw_image(axes, image, f"{mark} {classes[guess]} {100 * share:.0f} %", colour, NORMAL)
    return figure


def filters(kernel: Any, caption: str = "") -> Figure:
    """The first layer's filters [5, 5, 3, F] as colour tiles, each scaled to its own range."""
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim != 4 or kernel.shape[2] != 3 or not kernel.size:
        raise ValueError(f"kernel has shape {kernel.shape}, expected (5, 5, 3, filters)")
    if not np.isfinite(kernel).all():
        raise ValueError("kernel has values that are not finite, expected finite ones")
    height, width, _, count = kernel.shape
    low, high = kernel.min((0, 1, 2)), kernel.max((0, 1, 2))
    tiles = (kernel - low) / np.where(high > low, high - low, 1)
    columns = min(8, count)
    rows = math.ceil(count / columns)
    title = f"{count} filters of {height}x{width} pixels, each scaled to its own range"
    figure = page(max(0.75 * columns, 5.2), 0.75 * rows, title, caption)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    grid = _grid(figure, rows, columns)
    for axes, tile in zip(grid, np.moveaxis(tiles, -1, 0), strict=False):
        draw_image(axes, tile)
    return figure


def predictions(
    images: Any, labels: Any, probabilities: Any, classes: Sequence[str], caption: str = ""
) -> Figure:
    """Pictures under their true class, each with the three most probable classes as bars."""
    images, probabilities = _check(images, probabilities, classes)
    labels = np.asarray(labels)
    _check_labels("labels", labels, len(images), classes)
    columns = min(3, len(images))
    rows = math.ceil(len(images) / columns)
    title = f"{(probabilities.argmax(1) == labels).sum()} of {len(images)} right"
    if columns == 3:
        title += " (true class blue, wrong answer orange)"
    figure = page(max(3.3 * columns, 3.3), 1.35 * rows, title, caption)
    grid = _grid(figure, rows, 2 * columns, width_ratios=[1, 1.2] * columns).reshape(-1, 2)
    for (left, bars), image, label, row in zip(grid, images, labels, probabilities, strict=False):
        draw_image(left, image, classes[label])
        _bars(bars, row, classes, 3, SMALL, label)
    return figure


def prediction(image: Any, probabilities: Any, classes: Sequence[str], caption: str = "") -> Figure:
    """One picture [32, 32, 3] and its five most probable classes [K] as bars."""
    image = np.asarray(image)
    if image.shape != (32, 32, 3):
        raise ValueError(f"image has shape {image.shape}, expected (32, 32, 3)")
    images, rows = _check(image[None], np.asarray(probabilities)[None], classes)
    figure = page(6.0, 2.4, caption=caption)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])
    draw_image(left, images[0])
    _bars(right, rows[0], classes, 5, NORMAL)
    right.set_xlabel("probability (%)", loc="left")
    return figure


def _grid(figure: Figure, rows: int, columns: int, **options: Any) -> np.ndarray:
    """Axes [rows * columns] without frames; some in the last row may stay empty."""
    grid = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for axes in grid:
        axes.set_axis_off()
    return grid


def _bars(
    axes: Axes,
    probabilities: np.ndarray,
    classes: Sequence[str],
    count: int,
    size: float,
    label: int | None = None,
) -> None:
    """The `count` most probable classes as bars with their shares in percent, the first on top.

    With the true `label`, its bar is blue and a wrong first one orange; without, the first is blue.
    """
    top = np.argsort(-probabilities, kind="stable")[:count]
    best = top[0] if label is None else label
    colours = [BLUE if k == best else ORANGE if k == top[0] else PALE for k in top]
    shares = 100 * probabilities[top]
    drawn = axes.barh(range(len(top)), shares, color=colours, height=0.7)
    axes.bar_label(drawn, [f"{s:.0f} %" for s in shares], padding=2, size=size, color=INK)
    axes.set_axis_on()
    plain(axes)
    axes.set_yticks(range(len(top)), [classes[k] for k in top], parse_math=False)
    axes.tick_params(axis="y", labelsize=size, length=0)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 130)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _check(
    images: Any, probabilities: Any, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    images, probabilities = np.asarray(images), np.asarray(probabilities)
    if images.ndim != 4 or images.shape[1:] != (32, 32, 3) or not len(images):
        raise ValueError(f"images have shape {images.shape}, expected (N, 32, 32, 3)")
    if images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}, expected uint8")
    expected = (len(images), len(classes))
    if probabilities.shape != expected:
        raise ValueError(f"probabilities have shape {probabilities.shape}, expected {expected}")
    probabilities = probabilities.astype(np.float64)
    sums = probabilities.sum(1)
    if not (probabilities.min() >= 0 and np.all(abs(sums - 1) < 0.02)):  # true for NaN, too
        got = f"from {probabilities.min():g}, with sums from {sums.min():g} to {sums.max():g}"
        raise ValueError(f"probabilities go {got}, expected 0 to 1 and sums of 1: apply softmax")
    return images, probabilities


def _check_labels(name: str, labels: np.ndarray, count: int, classes: Sequence[str]) -> None:
    if labels.shape != (count,) or not count:
        raise ValueError(f"{name} have shape {labels.shape}, expected ({count or 'N'},)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{name} are {labels.dtype}, expected integers")
    if labels.min() < 0 or labels.max() >= len(classes):
        got = f"from {labels.min()} to {labels.max()}"
        raise ValueError(f"{name} go {got}, expected 0 to {len(classes) - 1}")
