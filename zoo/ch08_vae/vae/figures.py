"""The pictures that only chapter 8 draws: codes, and models by their number of latents."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from zoo.common.figures import INK, NORMAL, PALE, page, plain

# Ten colours that stay apart on white, for the ten digits (Tol 2021, "muted", and grey).
DIGITS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#777777",
)


def scatter(codes: Any, labels: Any, caption: str = "") -> Figure:
    """Mean codes [N, 2] of images, coloured by their labels [N], integers 0 to 9.

    Raises:
        ValueError: When a shape or a label is not as above.
    """
    codes, labels = np.asarray(codes), np.asarray(labels)
    if codes.ndim != 2 or codes.shape[1] != 2 or labels.shape != codes.shape[:1]:
        got = f"codes of shape {codes.shape} and labels of shape {labels.shape}"
        raise ValueError(f"got {got}, expected (N, 2) and (N,)")
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}, expected 0 to 9")
    figure = page(5.6, 5.0, "Where the digits lie: mean codes of the test images", caption)
    axes = plain(figure.subplots(), "first latent", "second latent")
    for digit in range(10):
        own = codes[labels == digit]
        axes.scatter(*own.T, s=3, color=DIGITS[digit], alpha=0.6, linewidths=0, label=str(digit))
    for digit in sorted(set(labels.tolist())):
        middle = np.median(codes[labels == digit], axis=0)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": DIGITS[digit]}
        axes.text(*middle, str(digit), ha="center", va="center", size=NORMAL, color=INK, bbox=box)
    axes.axhline(0, color=PALE, linewidth=0.6, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.6, zorder=0)
    axes.set_aspect("equal", adjustable="datalim")
    return figure
