"""The pictures of the feed-forward net: curves, digits with their probabilities, confusions.

Axes: N images of 28x28 pixels, uint8 or float in [0, 1]; K classes. Blue is right, orange wrong.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import BLUE, INK, NORMAL, ORANGE, PALE, SMALL, page, plain


def learning_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """Loss and share of wrong answers (%) after each epoch, from the lines of metrics.jsonl.

    Raises:
        ValueError: When there is no line, or one lacks a key.
    """
    keys = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    epoch, values = columns(metrics, keys)
    figure = page(8.0, 3.4, caption=caption)
    left, right = figure.subplots(1, 2)
    figures.draw_curves(left, {"train": values[0], "test": values[1]}, epoch, "epoch", "loss")
    wrong = dict(zip(("train", "test"), 100 * (1 - values[2:]), strict=True))
    series = {f"{name}, last {shares[-1]:.2f} %": shares for name, shares in wrong.items()}
    figures.draw_curves(right, series, epoch, "epoch", "wrong answers (%)")
    if min(shares.min() for shares in wrong.values()) > 0:
        logarithmic(right)
    else:
        right.set_ylim(0, None)
    return figure


def columns(
    metrics: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> tuple[list[int], np.ndarray]:
    """The epochs and, [keys, epochs], the values of some keys in the lines of metrics.jsonl.

    Raises:
        ValueError: When there is no line, or one lacks a key.
    """
    if not metrics:
        raise ValueError("got no lines of metrics, expected one for each epoch")
    for number, line in enumerate(metrics, 1):
        if missing := [key for key in ("epoch", *keys) if key not in line]:
            raise ValueError(f"line {number} of metrics lacks {missing}, expected {list(keys)}")
    values = np.array([[line[key] for key in keys] for line in metrics], float).T
    return [line["epoch"] for line in metrics], values


def logarithmic(axes: Axes) -> None:
    """A logarithmic scale with its numbers written out."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "25" else "")
    axes.tick_params(which="minor", labelsize=NORMAL, labelcolor=INK)


def answers(
    images: Any,
    labels: Any,
    probabilities: Any,
    classes: Sequence[str],
    title: str = "",
    caption: str = "",
) -> Figure:
    """Digits, each with its three most probable classes as bars; the true class is blue.

    Raises:
        ValueError: When there is no image, or the shapes do not agree.
    """
    images, labels = figures.check_images(images), np.asarray(labels)
    probabilities = np.asarray(probabilities, np.float64)
    expected = (len(images), len(classes))
    if probabilities.shape != expected or labels.shape != expected[:1]:
        raise ValueError(
            f"got labels {labels.shape} and probabilities {probabilities.shape}, expected "
            f"{expected[:1]} and {expected} for {len(images)} images and {len(classes)} classes"
        )
    columns = min(4, len(images))
    rows = math.ceil(len(images) / columns)
    figure = page(max(2.0 * columns, 4.0), 0.95 * rows, title, caption)
    grid = figure.subplots(
        rows, 2 * columns, squeeze=False, gridspec_kw={"width_ratios": [1, 1.2] * columns}
    ).reshape(-1, 2)
    for cell in grid.ravel():
        cell.set_axis_off()
    for (left, right), image, label, row in zip(grid, images, labels, probabilities, strict=False):
        figures.draw_image(left, image)
        _bars(right, row, classes, int(label))
    return figure


def _bars(axes: Axes, probabilities: np.ndarray, classes: Sequence[str], label: int) -> None:
    top = np.argsort(-probabilities, kind="stable")[:3]
    if label not in top:
        top[-1] = label
    colours = [BLUE if k == label else ORANGE if k == top[0] else PALE for k in top]
    shares = 100 * probabilities[top]
    drawn = axes.barh(range(len(top)), shares, color=colours, height=0.7)
    axes.bar_label(drawn, [f"{s:.2f} %" for s in shares], padding=2, size=SMALL, color=INK)
    axes.set_axis_on()
    plain(axes)
    axes.set_yticks(range(len(top)), [classes[k] for k in top])
    axes.tick_params(axis="y", labelsize=NORMAL, length=0)
    for k, text in zip(top, axes.get_yticklabels(), strict=True):  # its bar may be too short to see
        text.set(color=BLUE if k == label else INK, fontweight="bold" if k == label else "normal")
    axes.set_ylim(len(top) - 0.4, -0.6)
    axes.set_xlim(0, 170)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def confusion(labels: Any, predictions: Any, classes: Sequence[str], caption: str = "") -> Figure:
    """The confusion matrix of true labels [N] and predicted labels [N]; rows are true classes."""
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    return figures.confusion_matrix(counts, classes, caption)
