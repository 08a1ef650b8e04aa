"""The picture that only the feed-forward net draws: digits with what it makes of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import BLUE, INK, NORMAL, ORANGE, PALE, SMALL, page, plain


@figures.own_style
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
