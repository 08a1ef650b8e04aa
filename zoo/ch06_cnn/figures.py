"""The pictures of chapter 6: learning curves, the cats, filters and what is predicted.

Axes: N images of 32x32 pixels and 3 colours, uint8 [N, 32, 32, 3]; K classes. Probabilities are
float [N, K], the softmax of the logits. In all pictures blue is right and orange is wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import BLUE, INK, NORMAL, ORANGE, PALE, SMALL, draw_image, page, plain


@figures.own_style
def learning_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """The chapter's figure: cost and accuracy after each epoch, of the lines of metrics.jsonl."""
    panels = {"loss": "cost, cross-entropy (nats)", "accuracy": "accuracy (%)"}
    return figures.training_curves(metrics, panels, caption)


@figures.own_style
def cats(
    images: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    caption: str = "",
    label: int = 3,
) -> Figure:
    """The chapter's table of ten cats: for each picture the most probable class and its share.

    All pictures are of the class `label`: CIFAR-10's cats, unless another is given.
    """
    guesses, shares = probabilities.argmax(1), probabilities.max(1)
    columns = min(5, len(images))
    rows = -(-len(images) // columns)
    title = f"{(guesses == label).sum()} of {len(images)} recognised as {classes[label]}"
    figure = page(max(1.5 * columns, 3.2), 1.63 * rows, title, caption)
    grid = _grid(figure, rows, columns)
    for axes, image, guess, share in zip(grid, images, guesses, shares, strict=False):
        mark, colour = ("✓", BLUE) if guess == label else ("✗", ORANGE)
        draw_image(axes, image, f"{mark} {classes[guess]} {100 * share:.0f} %", colour, NORMAL)
    return figure


@figures.own_style
def filters(kernel: Any, caption: str = "") -> Figure:
    """The first layer's filters [5, 5, 3, F] as colour tiles, each scaled to its own range.

    Raises:
        ValueError: When the filters see no colours, as in a later layer.
    """
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        raise ValueError(f"kernel has shape {kernel.shape}, expected (5, 5, 3, filters)")
    low, high = kernel.min((0, 1, 2)), kernel.max((0, 1, 2))
    tiles = np.moveaxis((kernel - low) / np.where(high > low, high - low, 1), -1, 0)
    count, height, width, _ = tiles.shape
    about = f"{count} filters of {height}x{width} pixels, each scaled to its own range"
    return figures.image_grid(tiles, columns=8, caption=f"{about}; {caption}" if caption else about)


@figures.own_style
def predictions(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    caption: str = "",
) -> Figure:
    """Pictures under their true class, each with the three most probable classes as bars."""
    columns = min(3, len(images))
    rows = -(-len(images) // columns)
    title = f"{(probabilities.argmax(1) == labels).sum()} of {len(images)} right"
    if columns == 3:  # else the page is too narrow for it
        title += " (true class blue, wrong answer orange)"
    figure = page(max(3.3 * columns, 3.3), 1.35 * rows, title, caption)
    grid = _grid(figure, rows, 2 * columns, width_ratios=[1, 1.2] * columns).reshape(-1, 2)
    for (left, bars), image, label, row in zip(grid, images, labels, probabilities, strict=False):
        draw_image(left, image, classes[label])
        _bars(bars, row, classes, 3, SMALL, label)
    return figure


@figures.own_style
def prediction(
    image: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], caption: str = ""
) -> Figure:
    """One picture [32, 32, 3] and its five most probable classes [K] as bars."""
    figure = page(6.0, 2.4, caption=caption)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])
    draw_image(left, image)
    _bars(right, probabilities, classes, 5, NORMAL)
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
