"""The picture that only chapter 8 draws: the codes of digits in the plane."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from zoo.common.figures import INK, NORMAL, PALE, own_style, page, plain

# Ten colours that stay apart on white, for the ten digits (Tol 2021, "muted", and grey).
DIGITS = ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677"]
DIGITS += ["#882255", "#AA4499", "#777777"]


@own_style
def scatter(
    codes: np.ndarray,
    labels: np.ndarray,
    caption: str = "",
    classes: Sequence[str] = tuple("0123456789"),
) -> Figure:
    """Mean codes [N, 2] of images, coloured by their labels [N], numbers of the `classes`.

    Beyond ten classes the colours begin again.
    """
    figure = page(5.6, 5.0, "where the classes lie: mean codes of the test images", caption)
    axes = plain(figure.subplots(), "first latent", "second latent")
    for label, name in enumerate(classes):
        own, colour = codes[labels == label], DIGITS[label % len(DIGITS)]
        axes.scatter(own[:, 0], own[:, 1], s=3, color=colour, alpha=0.6, linewidths=0)
        if len(own):
            style = "circle,pad=0.15" if len(name) == 1 else "round,pad=0.15"
            box = {"boxstyle": style, "facecolor": "white", "edgecolor": colour}
            x, y = np.median(own, axis=0)
            axes.text(x, y, name, ha="center", va="center", size=NORMAL, color=INK, bbox=box)
    axes.axhline(0, color=PALE, linewidth=0.6, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.6, zorder=0)
    axes.set_aspect("equal", adjustable="datalim")  # a unit of the prior is as long in both
    return figure
