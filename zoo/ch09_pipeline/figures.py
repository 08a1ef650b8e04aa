"""The pictures of chapter 9: f(arrays) -> Figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from zoo.common import figures


def training(rows: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """Loss and accuracy (%) on the training pictures after each epoch.

    Args:
        rows: the lines of history.json, 1 or more.
        caption: what data these are.
    """
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
        names: of the versions, 1 or more.
        shares: their accuracies in [0, 1].
        caption: what data these are.
    """
    figure = figures.page(max(4.0, 0.9 * len(names)), 2.6, caption=caption)
    axes = figures.plain(figure.subplots(), "", "test accuracy (%)")
    percent = [100 * share for share in shares]
    bars = axes.bar(range(len(names)), percent, color=figures.BLUE, width=0.6)
    axes.bar_label(bars, [f"{p:.1f}" for p in percent], padding=2, size=figures.SMALL)
    axes.set_xticks(range(len(names)), names)
    for label in axes.get_xticklabels():
        label.set(parse_math=False, size=figures.SMALL)
    axes.set_ylim(0, 100)
    axes.set_xlim(-0.7, len(names) - 0.3)
    return figure
