"""The pictures of chapter 6: learning curves, the confusion matrix, filters and what is predicted.

Axes: N images of 32x32 pixels and 3 colours, uint8 [N, 32, 32, 3]; K classes. Probabilities are
float [N, K], the softmax of the logits. In all pictures blue is right and orange is wrong.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import BLUE, INK, NORMAL, ORANGE, PALE, SMALL, page, plain

CAT = 3
KEYS = ("epoch", "train_loss", "test_loss", "train_accuracy", "test_accuracy")


def learning_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """The chapter's figure: cost (nats) and accuracy (%) after each epoch.

    Args:
        metrics: The lines of metrics.jsonl, each with the keys of `KEYS`.
        caption: What data these are.

    Raises:
        ValueError: When there is no line, or one lacks a key.
    """
    if not metrics:
        raise ValueError("got no lines of metrics, expected one for each epoch")
    for number, line in enumerate(metrics, 1):
        if missing := [key for key in KEYS if key not in line]:
            raise ValueError(f"line {number} of metrics lacks {missing}, expected {list(KEYS)}")
    epoch = [line["epoch"] for line in metrics]
    values = np.array([[line[key] for key in KEYS[1:]] for line in metrics], float).T
    train_loss, test_loss = values[:2]
    train_accuracy, test_accuracy = 100 * values[2:]
    figure = page(8.0, 3.4, caption=caption)
    left, right = figure.subplots(1, 2)
    losses = {"train": train_loss, "test": test_loss}
    figures.draw_curves(left, losses, epoch, "epoch", "cost, cross-entropy (nats)")
    last = {
        f"train, last {train_accuracy[-1]:.1f} %": train_accuracy,
        f"test, last {test_accuracy[-1]:.1f} %": test_accuracy,
    }
    figures.draw_curves(right, last, epoch, "epoch", "accuracy (%)")
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
        probabilities: What the model says of them, [N, K].
        classes: The K names.
        caption: What data these are.
        label: The class that all pictures are of; CIFAR-10's cats, unless another is given.

    Raises:
        ValueError: When a shape, a type or a probability is not as above.
    """
    images, probabilities = _check(images, probabilities, classes)
    _check_labels("label", np.array([label]), 1, classes)
    answers = probabilities.argmax(1)
    columns = min(5, len(images))
    rows = math.ceil(len(images) / columns)
    title = f"{(answers == label).sum()} of {len(images)} recognised as {classes[label]}"
    figure = page(max(1.5 * columns, 3.2), 1.63 * rows, title, caption)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, answer, share in zip(
        grid, images, answers, probabilities.max(1), strict=False
    ):
        mark, colour = ("✓", BLUE) if answer == label else ("✗", ORANGE)
        text = f"{mark} {classes[answer]} {100 * share:.0f} %"
        figures.draw_image(axes, image, text, colour, NORMAL)
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
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, tile in zip(grid, np.moveaxis(tiles, -1, 0), strict=False):
        figures.draw_image(axes, tile)
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
    right = int((probabilities.argmax(1) == labels).sum())
    title = f"{right} of {len(images)} right"
    if columns == 3:
        title += " (true class blue, wrong answer orange)"
    figure = page(max(3.3 * columns, 3.3), 1.35 * rows, title, caption)
    grid = figure.subplots(
        rows, 2 * columns, squeeze=False, gridspec_kw={"width_ratios": [1, 1.2] * columns}
    ).reshape(-1, 2)
    for cell in grid.ravel():
        cell.set_axis_off()
    for (left, bars), image, label, row in zip(grid, images, labels, probabilities, strict=False):
        figures.draw_image(left, image, classes[label])
        _bars(bars, row, classes, 3, SMALL, label)
    return figure


def prediction(image: Any, probabilities: Any, classes: Sequence[str], caption: str = "") -> Figure:
    """One picture [32, 32, 3] and its five most probable classes [K] as bars."""
    image = np.asarray(image)
    if image.shape != (32, 32, 3):
        raise ValueError(f"image has shape {image.shape}, expected (32, 32, 3)")
    images, rows = _check(image[None], np.asarray(probabilities)[None], classes)
    figure = page(6.0, 2.4, caption=caption)
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1.4]})
    figures.draw_image(left, images[0])
    _bars(right, rows[0], classes, 5, NORMAL)
    right.set_xlabel("probability (%)", loc="left")
    return figure


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
    names = [classes[k] for k in top]
    shares = 100 * probabilities[top]
    drawn = axes.barh(range(len(top)), shares, color=colours, height=0.7)
    axes.bar_label(drawn, [f"{s:.0f} %" for s in shares], padding=2, size=size, color=INK)
    axes.set_axis_on()
    plain(axes)
    axes.set_yticks(range(len(top)), names)
    axes.tick_params(axis="y", labelsize=size, length=0)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 130)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)


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
    if not (probabilities.min() >= 0 and np.all(abs(sums - 1) < 0.02)):
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
