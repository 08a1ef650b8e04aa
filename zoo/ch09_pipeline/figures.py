"""The pictures of chapter 9: how the model was trained, and what it says of the first pictures.

Each is f(arrays) -> Figure. Pictures are uint8 [N, 32, 32, 3].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from zoo.common import figures


def training(rows: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """Loss and accuracy (%) on the training pictures after each epoch.

    Args:
        rows: The lines of history.json.
        caption: What data these are.

    Raises:
        ValueError: When there is no line.
    """
    if not rows:
        raise ValueError("got no lines of history, expected one for each epoch")
    epoch = [row["epoch"] for row in rows]
    figure = figures.page(8.0, 3.0, caption=caption)
    left, right = figure.subplots(1, 2)
    loss = {"train": [row["train_loss"] for row in rows]}
    figures.draw_curves(left, loss, epoch, "epoch", "loss, as the recipe defines it")
    accuracy = {"train": [100 * row["train_accuracy"] for row in rows]}
    figures.draw_curves(right, accuracy, epoch, "epoch", "accuracy (%)")
    right.set_ylim(0, 100)
    return figure


def accuracies(names: Sequence[str], shares: Sequence[float], caption: str = "") -> Figure:
    """The test accuracy (%) of each version of the model, the oldest on the left.

    Args:
        names: What to call each version.
        shares: Their accuracies in [0, 1].
        caption: What data these are.

    Raises:
        ValueError: When there are none, or not as many of both.
    """
    if not names or len(names) != len(shares):
        raise ValueError(f"got {len(names)} names and {len(shares)} accuracies, expected as many")
    figure = figures.page(max(4.0, 0.9 * len(names)), 2.6, caption=caption)
    axes = figures.plain(figure.subplots(), "", "test accuracy (%)")
    percent = [100 * share for share in shares]
    drawn = axes.bar(range(len(names)), percent, color=figures.BLUE, width=0.6)
    axes.bar_label(drawn, [f"{p:.1f}" for p in percent], padding=2, size=figures.SMALL)
    axes.set_xticks(range(len(names)), names)
    for label in axes.get_xticklabels():
        label.set(parse_math=False, size=figures.SMALL)
    axes.set_ylim(0, 100)
    axes.set_xlim(-0.7, len(names) - 0.3)
    return figure


def predicted(
    images: Any, guesses: Sequence[str], shares: Sequence[float], caption: str = ""
) -> Figure:
    """Pictures under what the model calls each, with its probability (%)."""
    titles = [f"{guess}\n{100 * share:.0f} %" for guess, share in zip(guesses, shares, strict=True)]
    return figures.image_grid(np.asarray(images), titles, caption=caption)
