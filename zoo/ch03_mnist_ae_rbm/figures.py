"""The pictures of chapter 3's feed-forward net and autoencoder.

Axes: N images of 28x28 pixels, uint8 or float in [0, 1]; K classes. Probabilities are float
[N, K], the softmax of the logits. In all pictures blue is right and orange is wrong.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import BLUE, INK, NORMAL, ORANGE, PALE, SMALL, page, plain


def feedforward_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """Loss and share of wrong answers (%) after each epoch, from the lines of metrics.jsonl.

    Raises:
        ValueError: When there is no line, or one lacks a key.
    """
    epoch, values = _columns(
        metrics, ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    )
    figure = page(8.0, 3.4, caption=caption)
    left, right = figure.subplots(1, 2)
    figures.draw_curves(left, {"train": values[0], "test": values[1]}, epoch, "epoch", "loss")
    wrong = 100 * (1 - values[2:])
    last = {
        f"train, last {wrong[0][-1]:.2f} %": wrong[0],
        f"test, last {wrong[1][-1]:.2f} %": wrong[1],
    }
    figures.draw_curves(right, last, epoch, "epoch", "wrong answers (%)")
    if wrong.min() > 0:
        _logarithmic(right)
    else:
        right.set_ylim(0, None)
    return figure


def autoencoder_curves(
    metrics: Sequence[Mapping[str, Any]], caption: str = "", **levels: float
) -> Figure:
    """Mean squared error of pixels in [0, 1] after each epoch; `levels` are lines to compare with.

    Raises:
        ValueError: When there is no line, or one lacks a key.
    """
    epoch, values = _columns(metrics, ("train_mse", "test_mse"))
    figure = page(5.5, 3.6, caption=caption)
    axes = figure.subplots()
    series = {"train": values[0], f"test, last {values[1][-1]:.5f}": values[1]}
    for name, level in levels.items():
        series[f"{name} {level:.5f}"] = np.full(len(epoch), level)
    figures.draw_curves(axes, series, epoch, "epoch", "mean squared error of pixels in [0, 1]")
    _logarithmic(axes)
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "25" else "")
    axes.tick_params(which="minor", labelsize=NORMAL, labelcolor=INK)


def _columns(
    metrics: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> tuple[list[int], np.ndarray]:
    if not metrics:
        raise ValueError("got no lines of metrics, expected one for each epoch")
    for number, line in enumerate(metrics, 1):
        if missing := [key for key in ("epoch", *keys) if key not in line]:
            raise ValueError(f"line {number} of metrics lacks {missing}, expected {list(keys)}")
    values = np.array([[line[key] for key in keys] for line in metrics], float).T
    return [line["epoch"] for line in metrics], values


def worst_first(labels: Any, probabilities: Any) -> np.ndarray:
    """Numbers of the images that are read wrongly, those first that the model is surest of."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]


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


def strips(
    rows: Mapping[str, Any],
    title: str = "",
    caption: str = "",
    wrong: Mapping[str, Sequence[bool]] | None = None,
) -> Figure:
    """Rows of as many images each, named at the left; those marked in `wrong` have orange frames.

    Raises:
        ValueError: When there is no row, or they differ in length.
    """
    checked = {name: figures.check_images(images) for name, images in rows.items()}
    lengths = {len(images) for images in checked.values()}
    if len(lengths) != 1:
        raise ValueError(f"got rows of {sorted(lengths)} images, expected rows of one length")
    (columns,) = lengths
    figure = page(0.62 * columns + 1.4, 0.62 * len(checked), title, caption)
    engine = figure.get_layout_engine()
    _, bottom, _, height = engine.get()["rect"]
    rect = (0.01, bottom, 0.98, height)  # the names must not touch the edge
    engine.set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0, rect=rect)
    grid = figure.subplots(len(checked), columns, squeeze=False)
    for line, (name, images) in zip(grid, checked.items(), strict=True):
        marks = (wrong or {}).get(name, [False] * columns)
        for axes, image, mark in zip(line, images, marks, strict=True):
            figures.draw_image(axes, image)
            if mark:
                axes.set_axis_on()
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(color=ORANGE, linewidth=2)
        line[0].text(
            -0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center",
            size=NORMAL, color=INK, parse_math=False,
        )  # fmt: skip
    return figure


def sweep(
    accuracies: Any, rates: Sequence[float], decays: Sequence[float], caption: str = ""
) -> Figure:
    """Test accuracy of a sweep: by rate and decay at the end, and by epoch.

    Args:
        accuracies: In [0, 1], [epochs, rates, decays, seeds].
        rates: The learning rates.
        decays: The weight decays.
        caption: What data these are.

    Raises:
        ValueError: When the accuracies have another shape.
    """
    accuracies = 100 * np.asarray(accuracies, float)
    if accuracies.shape[1:3] != (len(rates), len(decays)) or accuracies.ndim != 4:
        raise ValueError(
            f"accuracies have shape {accuracies.shape}, expected (epochs, {len(rates)}, "
            f"{len(decays)}, seeds)"
        )
    last = accuracies[-1]
    means, spreads, seeds = last.mean(-1), last.std(-1), last.shape[-1]
    title = f"{means.size} settings, " + (
        f"mean and deviation over {seeds} seeds" if seeds > 1 else "one seed each"
    )
    figure = page(8.6, max(3.2, 0.42 * len(rates) + 1.4), title, caption)
    left, right = figure.subplots(1, 2, width_ratios=[0.45 + 0.25 * len(decays), 1.6])
    low, high = means.min(), max(means.max(), means.min() + 1e-9)
    left.imshow(means, cmap="Blues", vmin=low - 0.3 * (high - low), vmax=high, aspect="auto")
    for (row, column), mean in np.ndenumerate(means):
        text = f"{mean:.2f}" + (f"\n±{spreads[row, column]:.2f}" if seeds > 1 else "")
        colour = "white" if mean > low + 0.45 * (high - low) else INK
        left.text(column, row, text, ha="center", va="center", size=SMALL, color=colour)
    plain(left, "weight decay", "learning rate").spines[:].set_visible(False)
    left.tick_params(length=0)
    left.set_xticks(range(len(decays)), [f"{d:g}" for d in decays])
    left.set_yticks(range(len(rates)), [f"{r:g}" for r in rates])
    best = means.argmax(1)
    curves = {
        f"rate {rate:g}, decay {decays[best[i]]:g}": accuracies[:, i, best[i]].mean(-1)
        for i, rate in enumerate(rates)
    }
    figures.draw_curves(right, curves, range(1, len(accuracies) + 1), "epoch", "test accuracy (%)")
    return figure
