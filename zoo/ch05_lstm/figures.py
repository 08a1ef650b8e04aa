"""The pictures of chapter 5: weights, characters on a map, gates, gradients through time.

Each takes arrays and gives a Figure that stands alone. Axes: V characters, H hidden units, T steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure

from zoo.common.figures import (
    COLOURS,
    GREY,
    INK,
    NORMAL,
    SMALL,
    draw_curves,
    own_style,
    page,
    plain,
)

SHOWN = {"\n": "⏎", " ": "␣", "\x02": "START", "\x03": "END", "\x04": "BLANK", "\t": "⇥"}
KINDS = {  # of characters; the first whose test is true counts
    "vowels": lambda c: c in "aeiouAEIOU",
    "other letters": str.isalpha,
    "digits": str.isdigit,
    "space and line break": str.isspace,
    "marks": lambda c: c in "\x02\x03\x04",
    "punctuation": lambda c: True,
}


def _heat_map(axes: Axes, values: np.ndarray, low: float, high: float, xlabel="", ylabel=""):
    colours = "RdBu" if low < 0 else "Blues"
    image = axes.imshow(
        values, colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest"
    )
    plain(axes, xlabel, ylabel).spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def _bar(figure: Figure, image, axes, **options) -> None:
    bar = figure.colorbar(image, ax=axes, pad=0.01, **options)
    bar.ax.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
    bar.outline.set_visible(False)


def _name(axis: Axis, characters: Sequence[str], size: float) -> None:
    axis.set_ticks(range(len(characters)), [SHOWN.get(c, c) for c in characters], size=size)
    for label in axis.get_ticklabels():
        label.set_parse_math(False)  # a dollar sign would begin a formula
        if isinstance(axis, XAxis) and len(label.get_text()) > 1:
            label.set_rotation(90)  # START would cover its neighbours


@own_style
def weights(
    before: np.ndarray, after: np.ndarray, characters: Sequence[str], caption: str = ""
) -> Figure:
    """Heat maps of the decoder's kernel [H, V] before and after training, on one scale of colour.

    The book draws the same as two pictures of a square centimetre a weight.
    """
    figure = page(10.0, 0.1 * len(characters) + 0.7, "the decoder's weights", caption)
    grid = figure.subplots(1, 2, sharey=True)
    bound = float(np.quantile(abs(after), 0.995)) or 1.0  # so that a few do not pale all others
    for axes, kernel, when in zip(grid, (before, after), ("before", "after"), strict=True):
        image = _heat_map(axes, kernel.T, -bound, bound, f"hidden unit, {when} training")
    _name(grid[0].yaxis, characters, 6)
    _bar(figure, image, grid, aspect=40)
    return figure


@own_style
def embedding_map(
    points: np.ndarray, shares: np.ndarray, characters: Sequence[str], caption: str = ""
) -> Figure:
    """Characters at their embeddings' two principal coordinates [V, 2], coloured by their kind."""
    kind = [next(name for name, test in KINDS.items() if test(c)) for c in characters]
    title = f"the embeddings' two main axes ({100 * shares.sum():.0f} % of their variance)"
    figure = page(6.5, 5.4, title, caption)
    labels = [f"axis {n} ({100 * share:.0f} %)" for n, share in enumerate(shares, 1)]
    axes = plain(figure.subplots(), *labels)
    beside: dict[str, Any] = {"xytext": (3, 3), "textcoords": "offset points"}
    beside |= {"size": NORMAL, "parse_math": False}
    for name, colour in zip(KINDS, COLOURS, strict=True):
        chosen = [n for n, k in enumerate(kind) if k == name]
        if chosen:  # else the legend would name what is not drawn
            x, y = points[chosen].T
            axes.scatter(x, y, s=8, color=colour, label=name)
        for n in chosen:
            shown = SHOWN.get(characters[n], characters[n])
            axes.annotate(shown, points[n], color=colour, **beside)
    legend = axes.legend(fontsize=SMALL, labelcolor=INK, facecolor="white")
    legend.get_frame().set(edgecolor="none", alpha=0.8)
    return figure


@own_style
def gates(
    activations: Mapping[str, np.ndarray], sentence: Sequence[str], caption: str = ""
) -> Figure:
    """What the gates do while T characters are read: rows are hidden units, columns characters.

    `activations` are [T, H] by the gate's name, in [0, 1], or in [-1, 1] for `cell` and `new`.
    Shown are the 24 units that the first gate varies most in.
    """
    first = np.asarray(next(iter(activations.values())))
    chosen = np.argsort(-first.var(axis=0))[:24]
    width, height = max(0.13 * len(sentence) + 1.0, 4.0), 0.06 * len(chosen) + 0.4
    title = "the gates while a text is read, a row for each hidden unit"
    figure = page(width, height * len(activations), title, caption)
    grid = figure.subplots(len(activations), 1, sharex=True, squeeze=False).ravel()
    for axes, (name, values) in zip(grid, activations.items(), strict=True):
        low = -1 if name in ("cell", "new") else 0
        image = _heat_map(axes, np.asarray(values)[:, chosen].T, low, 1, ylabel=name)
        axes.set_yticks([])
        _bar(figure, image, axes, ticks=range(low, 2))
    _name(grid[-1].xaxis, sentence, NORMAL)
    return figure


@own_style
def gradient_norms(norms: Mapping[str, np.ndarray], caption: str = "") -> Figure:
    """The norm of d loss_T / d h_t by distance T - t: [T] by name, in the order of time."""
    figure = page(6.5, 3.8, "how far back a mistake is felt", caption)
    axes, values = figure.subplots(), np.stack([*norms.values()])
    distance = np.arange(values.shape[1])[::-1]
    draw_curves(axes, norms, distance, "characters back, T − t", "norm of d loss / d h at t")
    if (values > 0).any():
        axes.set_yscale("log")
        axes.set_ylim(max(values[values > 0].min(), 1e-12), None)  # below, float32 is noise
    axes.invert_xaxis()
    return figure
