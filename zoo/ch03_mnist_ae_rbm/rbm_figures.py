"""The pictures of chapter 3's Boltzmann machine: learning, what units stand for, predictions.

Axes: F films, H hidden units, R ratings, U users.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import BLUE, GREY, INK, NORMAL, ORANGE, PALE, SMALL, page, plain

POPULAR = 300
"""So many of the most rated films are drawn: the weights of rare ones are mostly noise."""
PANELS, BARS = 6, 6
LONGEST = 28
"""Letters of a title."""


def learning_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """Root of the squared error by epoch, of chains in training and of predictions in the test.

    Where films are ranked there is a second panel with the hit rate.

    Args:
        metrics: The lines of metrics.jsonl; each has `train_squared_error`.
        caption: What data these are.

    Raises:
        ValueError: When there is no line.
    """
    if not metrics:
        raise ValueError("got no lines of metrics, expected one for each epoch")
    epoch = [line["epoch"] for line in metrics]

    def root(key: str) -> np.ndarray:
        return np.sqrt([line[key] for line in metrics])

    series = {"train: chain against data": root("train_squared_error")}
    ranked = "test_hit_rate" in metrics[0]
    if "test_squared_error" in metrics[0]:
        error = root("test_squared_error")
        series[f"test: predicted ratings, last {error[-1]:.3f}"] = error
    if not ranked:
        return figures.curves(series, epoch, "epoch", "root of squared error", caption=caption)
    figure = page(8.0, 3.4, caption=caption)
    left, right = figure.subplots(1, 2)
    figures.draw_curves(left, series, epoch, "epoch", "root of squared error")
    hits = [line["test_hit_rate"] for line in metrics]
    shown = {f"test, last {hits[-1]:.3f}": hits}
    figures.draw_curves(right, shown, epoch, "epoch", "hit rate among the first 10 of 100")
    return figure


def themes(vectors: Any, titles: Sequence[str], caption: str = "") -> Figure:
    """The hidden units that differ most between films: for each, the films that move it most.

    Args:
        vectors: Float [F, H], how strongly a film moves a unit.
        titles: Of the F films.
        caption: What data these are.

    Raises:
        ValueError: When there is not a title for each film.
    """
    vectors = _check(vectors, titles)
    units = np.argsort(-vectors.std(0), kind="stable")[:PANELS]
    panels = {}
    for unit in units:
        order = np.argsort(-vectors[:, unit], kind="stable")
        half = min(BARS // 2, len(order) // 2)
        some = np.concatenate([order[:half], order[len(order) - half :]])
        panels[f"hidden unit {unit}"] = [(titles[f], vectors[f, unit]) for f in some]
    return _bars(panels, "which films switch the unit on (blue) and off (orange)", caption)


def alike(vectors: Any, titles: Sequence[str], caption: str = "") -> Figure:
    """For six films, far from one another, the films whose vectors point the same way.

    Args:
        vectors: Float [F, H], those of the most rated films first.
        titles: Of the F films.
        caption: What data these are.

    Raises:
        ValueError: When there is not a title for each film.
    """
    vectors = _check(vectors, titles)
    centred = vectors - vectors.mean(0)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    cosine = (centred / np.maximum(norms, 1e-12)) @ (centred / np.maximum(norms, 1e-12)).T
    chosen = [0]
    while len(chosen) < min(PANELS, len(titles)):  # each the least like those before it
        first = cosine[: max(PANELS, len(titles) // 6), chosen].max(1)
        first[chosen] = np.inf
        chosen.append(int(first[: len(titles)].argmin()))
    panels = {}
    for film in chosen:
        order = [f for f in np.argsort(-cosine[film], kind="stable") if f != film][:BARS]
        panels[titles[film]] = [(titles[f], cosine[film, f]) for f in order]
    return _bars(panels, "cosine of the films' vectors", caption)


def predicted(expected: Any, ratings: Any, caption: str = "") -> Figure:
    """Predicted ratings by true rating: boxes of the quartiles, whiskers from 5 to 95 %.

    Args:
        expected: Float [U, F], what the machine predicts.
        ratings: [U, F], those that were held out, 0 where there is none.
        caption: What data these are.

    Raises:
        ValueError: When the shapes differ or there is no rating.
    """
    expected, ratings = np.asarray(expected), np.asarray(ratings)
    if expected.shape != ratings.shape or not (ratings > 0).any():
        got = f"{expected.shape} for {np.count_nonzero(ratings)} ratings of {ratings.shape}"
        raise ValueError(f"got predictions of shape {got}, expected one for each of some ratings")
    figure = page(5.5, 3.6, caption=caption)
    axes = plain(figure.subplots(), "true rating", "predicted rating")
    values = [v for v in range(1, 6) if (ratings == v).any()]
    groups = [expected[ratings == v].clip(1, 5) for v in values]
    axes.plot([1, 5], [1, 5], color=PALE, linewidth=1)
    drawn = axes.boxplot(
        groups, positions=values, widths=0.5, whis=(5, 95), showfliers=False, patch_artist=True
    )
    for box in drawn["boxes"]:
        box.set(facecolor="white", edgecolor=BLUE)
    for line in (*drawn["whiskers"], *drawn["caps"]):
        line.set_color(BLUE)
    for line in drawn["medians"]:
        line.set(color=ORANGE, linewidth=2)
    share = [len(group) / (ratings > 0).sum() for group in groups]
    axes.set_xticks(values, [f"{v}\n{s:.0%}" for v, s in zip(values, share, strict=True)])
    axes.set_xlim(0.5, 5.5)
    axes.set_ylim(0.9, 5.1)
    return figure


def comparison(
    rows: Mapping[str, Sequence[float]],
    published: Mapping[str, float],
    xlabel: str,
    caption: str = "",
) -> Figure:
    """One line for each method: its values as dots, their mean as a bar; published ones hollow.

    Args:
        rows: Values by method, one for each fold or seed.
        published: One value by method.
        xlabel: What is measured.
        caption: What data these are.

    Raises:
        ValueError: When there is no row.
    """
    if not rows:
        raise ValueError("got no rows, expected at least one method")
    names = [*rows, *published]
    figure = page(6.5, 0.28 * len(names) + 0.7, caption=caption)
    axes = plain(figure.subplots(), xlabel)
    for y, (name, values) in enumerate(rows.items()):
        colour = ORANGE if name.startswith("RBM") else BLUE
        axes.plot(values, [y] * len(values), "o", color=colour, markersize=4, alpha=0.6)
        axes.plot([np.mean(values)], [y], "|", color=colour, markersize=14, markeredgewidth=2)
    for y, value in enumerate(published.values(), len(rows)):
        axes.plot([value], [y], "o", markerfacecolor="white", color=GREY, markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color=PALE, linewidth=0.5)
    return figure


def _check(vectors: Any, titles: Sequence[str]) -> np.ndarray:
    vectors = np.asarray(vectors, float)
    if vectors.ndim != 2 or len(vectors) != len(titles) or not vectors.size:
        raise ValueError(f"vectors have shape {vectors.shape}, expected ({len(titles)}, hidden)")
    return vectors


def _bars(panels: Mapping[str, Sequence[tuple[str, float]]], xlabel: str, caption: str) -> Figure:
    """Small horizontal bar charts, two in a row, on one scale."""
    rows = -(-len(panels) // 2)
    most = max(len(bars) for bars in panels.values())
    figure = page(9.0, rows * (0.2 * most + 0.55), caption=caption)
    grid = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (title, bars) in zip(grid, panels.items(), strict=False):
        axes.set_axis_on()
        _draw_bars(axes, title, bars)
    for axes in grid[-2:]:
        axes.set_xlabel(xlabel, size=SMALL, color=INK)
    return figure


def _draw_bars(axes: Axes, title: str, bars: Sequence[tuple[str, float]]) -> None:
    plain(axes)
    values = [value for _, value in bars]
    colours = [BLUE if value >= 0 else ORANGE for value in values]
    axes.barh(range(len(bars)), values, color=colours, height=0.7)
    axes.set_yticks(range(len(bars)), [_short(name) for name, _ in bars])
    axes.tick_params(labelsize=SMALL, length=0)
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.set_title(_short(title), size=NORMAL, color=INK, loc="left", parse_math=False)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)


def _short(title: str) -> str:
    """A title that fits: without its year, or its end, where it is too long."""
    if len(title) > LONGEST:
        title = title.partition(" (")[0]
    return title if len(title) <= LONGEST else f"{title[: LONGEST - 1]}…"
