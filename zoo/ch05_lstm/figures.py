"""The pictures of chapter 5: curves, weights, gates, gradients through time, a map of characters.

Each takes arrays and gives a Figure that stands alone. Axes: V characters, H hidden units, T steps.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import COLOURS, GREY, INK, NORMAL, SMALL, page, plain

SHOWN = {"\n": "⏎", " ": "␣", "\x02": "START", "\x03": "END", "\x04": "BLANK", "\t": "⇥"}


def name_of(character: str) -> str:
    """How a character is written in a picture."""
    return SHOWN.get(character, character)


def weights(
    before: np.ndarray, after: np.ndarray, characters: Sequence[str], caption: str = ""
) -> Figure:
    """Heat maps of the decoder's kernel [H, V] before and after training, on one scale of colour.

    The book draws the same as two pictures of a square centimetre a weight.
    """
    before, after = np.asarray(before), np.asarray(after)
    if before.shape != after.shape or before.shape[1:] != (len(characters),):
        raise ValueError(
            f"got kernels {before.shape} and {after.shape}, expected two of (hidden, "
            f"{len(characters)})"
        )
    figure = page(10.0, 0.1 * len(characters) + 0.7, "the decoder's weights", caption)
    grid = figure.subplots(1, 2, sharey=True)
    bound = float(np.quantile(abs(after), 0.995)) or 1.0
    for axes, kernel, when in zip(grid, (before, after), ("before", "after"), strict=True):
        image = axes.imshow(
            kernel.T, cmap="RdBu", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest"
        )
        plain(axes, f"hidden unit, {when} training").spines[:].set_visible(False)
        axes.tick_params(length=0)
    grid[0].set_yticks(range(len(characters)), [name_of(c) for c in characters], size=5)
    for label in grid[0].get_yticklabels():
        label.set_parse_math(False)
    bar = figure.colorbar(image, ax=grid, pad=0.01, aspect=40)
    bar.ax.tick_params(labelsize=NORMAL, color=GREY, labelcolor=INK)
    bar.outline.set_visible(False)
    return figure


def embedding_map(
    points: np.ndarray, shares: np.ndarray, characters: Sequence[str], caption: str = ""
) -> Figure:
    """Characters at their embeddings' two principal coordinates [V, 2], coloured by their kind."""
    kinds = {
        "vowels": lambda c: c in "aeiouAEIOU",
        "other letters": str.isalpha,
        "digits": str.isdigit,
        "space and line break": str.isspace,
        "marks": lambda c: c in "\x02\x03\x04",
        "punctuation": lambda c: True,
    }
    kind = [next(name for name, test in kinds.items() if test(c)) for c in characters]
    title = f"the embeddings' two main axes ({100 * shares.sum():.0f} % of their variance)"
    figure = page(6.5, 5.4, title, caption)
    axes = plain(
        figure.subplots(), *(f"axis {n + 1} ({100 * s:.0f} %)" for n, s in enumerate(shares))
    )
    for name, colour in zip(kinds, COLOURS, strict=True):
        chosen = [n for n, k in enumerate(kind) if k == name]
        if chosen:
            axes.scatter(*points[chosen].T, s=8, color=colour, label=name)
    for (x, y), character, k in zip(points, characters, kind, strict=True):
        colour = COLOURS[list(kinds).index(k)]
        axes.annotate(
            name_of(character),
            (x, y),
            (3, 3),
            textcoords="offset points",
            size=NORMAL,
            color=colour,
            parse_math=False,
        )
    legend = axes.legend(fontsize=SMALL, labelcolor=INK, facecolor="white")
    legend.get_frame().set(edgecolor="none", alpha=0.8)
    return figure


def gates(
    activations: Mapping[str, np.ndarray], sentence: str, units: int = 24, caption: str = ""
) -> Figure:
    """What the gates do while a sentence is read: rows are hidden units, columns characters.

    Args:
        activations: [T, H] by the gate's name; in [0, 1], or in [-1, 1] for `cell` and `new`.
        sentence: Its T characters.
        units: How many units, those that the first gate varies most in.
        caption: What model this is.
    """
    for name, values in activations.items():
        if len(values) != len(sentence):
            raise ValueError(f"{name} has {len(values)} steps, expected {len(sentence)}")
    first = np.asarray(next(iter(activations.values())))
    chosen = np.argsort(-first.var(axis=0))[:units]
    height = 0.06 * len(chosen) + 0.25
    figure = page(
        max(0.13 * len(sentence) + 1.0, 4.0), (height + 0.15) * len(activations), "", caption
    )
    grid = figure.subplots(len(activations), 1, sharex=True, squeeze=False).ravel()
    for axes, (name, values) in zip(grid, activations.items(), strict=True):
        signed = name in ("cell", "new")
        image = axes.imshow(
            np.asarray(values)[:, chosen].T,
            aspect="auto",
            cmap="RdBu" if signed else "Blues",
            vmin=-1 if signed else 0,
            vmax=1,
            interpolation="nearest",
        )
        plain(axes, "", name).spines[:].set_visible(False)
        axes.set_yticks([])
        axes.tick_params(length=0)
        bar = figure.colorbar(image, ax=axes, pad=0.01, ticks=[-1, 0, 1] if signed else [0, 1])
        bar.ax.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
        bar.outline.set_visible(False)
    grid[-1].set_xticks(range(len(sentence)), [name_of(c) for c in sentence], size=NORMAL)
    for label in grid[-1].get_xticklabels():
        label.set_parse_math(False)
    return figure


def gradient_norms(norms: Mapping[str, np.ndarray], caption: str = "") -> Figure:
    """The norm of d loss_T / d h_t by distance T - t, on a logarithmic scale.

    Args:
        norms: [T] by name, in the order of time.
        caption: What these are.
    """
    figure = page(6.5, 3.8, "how far back a mistake is felt", caption)
    axes = figure.subplots()
    steps = len(next(iter(norms.values())))
    distance = np.arange(steps)[::-1]
    figures.draw_curves(
        axes,
        {n: np.asarray(y, float) for n, y in norms.items()},
        distance,
        "characters back, T − t",
        "norm of d loss / d h at t",
    )
    values = np.concatenate([np.asarray(y) for y in norms.values()])
    if (values > 0).any():
        axes.set_yscale("log")
        axes.set_ylim(max(values[values > 0].min(), 1e-12), None)
    axes.invert_xaxis()
    return figure
