"""The picture that only chapter 8 draws: the codes of digits in the plane."""

import numpy as np
from matplotlib.figure import Figure

from zoo.common.figures import INK, NORMAL, PALE, own_style, page, plain

# Ten colours that stay apart on white, for the ten digits (Tol 2021, "muted", and grey).
DIGITS = ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677"]
DIGITS += ["#882255", "#AA4499", "#777777"]


@own_style
def scatter(codes: np.ndarray, labels: np.ndarray, caption: str = "") -> Figure:
    """Mean codes [N, 2] of images, coloured by their labels [N], integers 0 to 9."""
    figure = page(5.6, 5.0, "where the digits lie: mean codes of the test images", caption)
    axes = plain(figure.subplots(), "first latent", "second latent")
    for digit, colour in enumerate(DIGITS):
        own = codes[labels == digit]
        axes.scatter(own[:, 0], own[:, 1], s=3, color=colour, alpha=0.6, linewidths=0)
        if len(own):
            box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colour}
            x, y = np.median(own, axis=0)
            axes.text(x, y, str(digit), ha="center", va="center", size=NORMAL, color=INK, bbox=box)
    axes.axhline(0, color=PALE, linewidth=0.6, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.6, zorder=0)
    axes.set_aspect("equal", adjustable="datalim")  # a unit of the prior is as long in both
    return figure
