"""The pictures of the Boltzmann machine: what units stand for, predictions.

Axes: M movies, H hidden units, U users.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from zoo.ch03_mnist_ae_rbm.rbm.ratings import MOVIELENS, on_scale
from zoo.common.figures import BLUE, GREY, INK, NORMAL, ORANGE, PALE, SMALL, own_style, page, plain
from zoo.common.settings import Scale

POPULAR = 300
"""So many of the most rated movies are drawn: the weights of rare ones are mostly noise."""
PANELS, BARS = 6, 6
LONGEST = 28
"""Letters of a title."""


@own_style
def themes(vectors: Any, titles: Sequence[str], caption: str = "") -> Figure:
    """The hidden units that differ most between movies: for each, the movies that move it most.

    Args:
        vectors: Float [M, H], how strongly a movie moves a unit; else a `ValueError`.
        titles: Of the M movies.
        caption: What data these are.
    """
    vectors = _check(vectors, titles)
    units = np.argsort(-vectors.std(0), kind="stable")[:PANELS]
    panels = {}
    for unit in units:
        order = np.argsort(-vectors[:, unit], kind="stable")
        half = min(BARS // 2, len(order) // 2)
        some = np.concatenate([order[:half], order[len(order) - half :]])
        panels[f"hidden unit {unit}"] = [(titles[m], vectors[m, unit]) for m in some]
    return _bars(panels, "which movies switch the unit on (blue) and off (orange)", caption)


@own_style
def alike(vectors: Any, titles: Sequence[str], caption: str = "") -> Figure:
    """For six movies, far from one another, the movies whose vectors point the same way.

    Args:
        vectors: Float [M, H], those of the most rated movies first; else a `ValueError`.
        titles: Of the M movies.
        caption: What data these are.
    """
    vectors = _check(vectors, titles)
    centred = vectors - vectors.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    cosine = centred @ centred.T
    chosen = [0]
    while len(chosen) < min(PANELS, len(titles)):  # each the least like those before it
        first = cosine[: max(PANELS, len(titles) // 6), chosen].max(1)
        first[chosen] = np.inf
        chosen.append(int(first[: len(titles)].argmin()))
    panels = {}
    for movie in chosen:
        order = [m for m in np.argsort(-cosine[movie], kind="stable") if m != movie][:BARS]
        panels[titles[movie]] = [(titles[m], cosine[movie, m]) for m in order]
    return _bars(panels, "cosine of the movies' vectors", caption)


@own_style
def predicted(expected: Any, ratings: Any, caption: str = "", scale: Scale = MOVIELENS) -> Figure:
    """Predicted ratings by true rating: boxes of the quartiles, whiskers from 5 to 95 %.

    Args:
        expected: Float [U, M], what the machine predicts, in units of the scale.
        ratings: [U, M], those that were held out, counted from 1, the lowest of the scale, 0 where
            there is none; some, else a `ValueError`.
        caption: What data these are.
        scale: Of the ratings.
    """
    expected, ratings = np.asarray(expected), np.asarray(ratings)
    if expected.shape != ratings.shape or not (ratings > 0).any():
        got = f"{expected.shape} for {np.count_nonzero(ratings)} ratings of {ratings.shape}"
        raise ValueError(f"got predictions of shape {got}, expected one for each of some ratings")
    figure = page(5.5, 3.6, caption=caption)
    axes = plain(figure.subplots(), "true rating", "predicted rating")
    ends, step = (scale.lowest, scale.highest), scale.step
    numbers = [v for v in range(1, scale.values + 1) if (ratings == v).any()]
    groups = [expected[ratings == v].clip(*ends) for v in numbers]
    values = [on_scale(v, scale) for v in numbers]
    axes.plot(ends, ends, color=PALE, linewidth=1)
    drawn = axes.boxplot(
        groups, positions=values, widths=step / 2, whis=(5, 95), showfliers=False, patch_artist=True
    )
    for box in drawn["boxes"]:
        box.set(facecolor="white", edgecolor=BLUE)
    for line in (*drawn["whiskers"], *drawn["caps"]):
        line.set_color(BLUE)
    for line in drawn["medians"]:
        line.set(color=ORANGE, linewidth=2)
    share = [len(group) / (ratings > 0).sum() for group in groups]
    axes.set_xticks(values, [f"{v:g}\n{s:.0%}" for v, s in zip(values, share, strict=True)])
    axes.set_xlim(ends[0] - step / 2, ends[1] + step / 2)
    axes.set_ylim(ends[0] - 0.025 * (ends[1] - ends[0]), ends[1] + 0.025 * (ends[1] - ends[0]))
    return figure


def _check(vectors: Any, titles: Sequence[str]) -> np.ndarray:
    vectors = np.asarray(vectors, float)
    if vectors.ndim != 2 or len(vectors) != len(titles) or not vectors.size:
        raise ValueError(f"vectors have shape {vectors.shape}, expected ({len(titles)}, hidden)")
    return vectors


@own_style
def _bars(panels: Mapping[str, Sequence[tuple[str, float]]], xlabel: str, caption: str) -> Figure:
    """Small horizontal bar charts, two in a row, on one scale."""
    rows = -(-len(panels) // 2)
    most = max(len(bars) for bars in panels.values())
    figure = page(9.0, rows * (0.2 * most + 0.55), caption=caption)
    grid = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, bars) in zip(grid, panels.items(), strict=False):
        names, values = zip(*bars, strict=True)
        plain(axes).axvline(0, color=GREY, linewidth=0.6)
        colours = [BLUE if value >= 0 else ORANGE for value in values]
        axes.barh(range(len(bars)), values, color=colours, height=0.7)
        axes.set_yticks(range(len(bars)), map(_short, names), parse_math=False)
        axes.tick_params(labelsize=SMALL, length=0)
        axes.locator_params(axis="x", nbins=5)
        axes.invert_yaxis()
        axes.set_title(_short(title), size=NORMAL, color=INK, loc="left", parse_math=False)
    for axes in grid[-2:]:
        axes.set_xlabel(xlabel, size=SMALL, color=INK)
    return figure


def _short(title: str) -> str:
    """A title that fits: without its year, or its end, where it is too long."""
    if len(title) > LONGEST:
        title = title.partition(" (")[0]
    return title if len(title) <= LONGEST else f"{title[: LONGEST - 1]}…"
