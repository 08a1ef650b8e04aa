"""The pictures of the second chapter's studies: activations, descent, and the solvers' race.

Axes: T steps, S solvers, R learning rates, H x W points of a contour map.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.ch02_basic_nn.figures import legend_beside, write_title
from zoo.common import figures as common
from zoo.common.figures import BLUE, INK, NORMAL, ORANGE, PALE, SMALL, page, plain

LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
COLOURS = (*common.COLOURS, INK)
"""With one of LINES each, for the solvers."""
LEAST = 1e-12
"""Lower costs are drawn here."""


class Map(NamedTuple):
    """The values of a function of two numbers, for contour lines."""

    x: np.ndarray  # [W]
    y: np.ndarray  # [H]
    z: np.ndarray  # [H, W], not below 0
    minimum: tuple[float, float]


@common.own_style
def activations(curves: Mapping[str, tuple[np.ndarray, ...]], caption: str = "") -> Figure:
    """Functions by name, each as x, its values and its derivative there, all [points]."""
    figure = page(10.0, 4.3, caption=caption)
    grid = figure.subplots(2, -(-len(curves) // 2)).ravel()
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    for axes, (name, (x, y, slope)) in zip(grid, curves.items(), strict=False):
        axes.axhline(0, color=PALE, linewidth=0.7)
        axes.axvline(0, color=PALE, linewidth=0.7)
        axes.plot(x, y, color=BLUE, label="value")
        axes.plot(x, slope, "--", color=ORANGE, label="derivative")
        axes.set_xticks([-4, -2, 0, 2, 4])
        write_title(plain(axes), name)
    legend_beside(figure, grid[0])
    return figure


@common.own_style
def overlays(
    x: np.ndarray, panels: Mapping[str, Mapping[str, np.ndarray]], caption: str = ""
) -> Figure:
    """Under each title, functions by name with their values [points] at `x`, in one picture."""
    figure = page(3.3 * len(panels), 2.9, caption=caption)
    for axes, (title, curves) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        common.draw_curves(axes, curves, x, "", "")
        axes.set_ylim(max(axes.get_ylim()[0], -2), min(axes.get_ylim()[1], 6))
        write_title(axes, title)
    return figure


@common.own_style
def parabolas(
    w: np.ndarray, cost: np.ndarray, paths: Mapping[str, tuple[np.ndarray, ...]], caption: str = ""
) -> Figure:
    """The cost over the weight w, both [points], and paths by title: weights and their costs."""
    figure = page(10.5, 2.9, caption=caption)
    grid = figure.subplots(1, len(paths), sharey=True)
    for axes, (title, (weights, costs)) in zip(grid, paths.items(), strict=True):
        axes.plot(w, cost, color=PALE, linewidth=2)
        axes.plot(weights, costs, "o-", color=ORANGE, linewidth=0.9, markersize=4)
        axes.plot(weights[0], costs[0], "o", color=BLUE, markersize=6)
        write_title(plain(axes, "weight W"), title)
        # A path that diverges leaves the frame.
        axes.set(xlim=(w[0], w[-1]), ylim=(-0.04 * max(cost), max(cost)))
    grid[0].set_ylabel("sum of squared errors")
    return figure


def _draw_map(axes: Axes, ground: Map) -> None:
    heights = np.log10(ground.z + 1e-3 * np.ptp(ground.z))
    darkest = heights.min() + 2.2 * np.ptp(heights)  # the paths must stand out
    axes.contourf(ground.x, ground.y, heights, 12, cmap="Greys", vmax=darkest)
    axes.plot(*ground.minimum, "*", color="white", markeredgecolor=INK, markersize=11, zorder=5)
    axes.set(xlim=ground.x[[0, -1]], ylim=ground.y[[0, -1]], xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


@common.own_style
def batches(
    ground: Map,
    paths: Mapping[str, np.ndarray],
    costs: Mapping[str, tuple[np.ndarray, ...]],
    caption: str = "",
) -> Figure:
    """Paths [T, 2] by name on the map; the cost of each by how many examples it has seen."""
    figure = page(8.6, 3.4, caption=caption)
    left, right = figure.subplots(1, 2)
    _draw_map(left, ground)
    left.set_xlabel("slope", size=NORMAL, color=INK)
    left.set_ylabel("intercept", size=NORMAL, color=INK)
    for order, (name, colour) in enumerate(zip(paths, COLOURS, strict=False)):
        line = {"color": colour, "linewidth": 1.2, "zorder": 4 - order}
        left.plot(*paths[name].T, **line)
        right.plot(*costs[name], label=name, **line)
    plain(right, "examples seen", "mean squared error of all").set_yscale("log")
    right.legend(fontsize=SMALL, labelcolor=INK, frameon=False)
    return figure


def _draw_paths(axes: Axes, title: str, ground: Map, paths: Mapping[str, np.ndarray]) -> None:
    _draw_map(axes, ground)
    for (solver, path), colour in zip(paths.items(), COLOURS, strict=False):
        axes.plot(*path.T, label=solver, color=colour, linewidth=1.3)
        axes.plot(*path[-1], "o", color=colour, markersize=5, zorder=6)
    write_title(axes, title)


def _draw_costs(axes: Axes, x: np.ndarray | None, costs: Mapping[str, np.ndarray]) -> None:
    for (solver, cost), colour, line in zip(costs.items(), COLOURS, LINES, strict=False):
        shown = np.where(np.isfinite(cost), np.maximum(cost, LEAST), np.nan)
        steps = np.arange(len(cost)) if x is None else x
        axes.plot(steps, shown, label=solver, linewidth=1.4, color=colour, linestyle=line)


@common.own_style
def race(
    maps: Mapping[str, Map],
    paths: Mapping[str, Mapping[str, np.ndarray]],
    costs: Mapping[str, Mapping[str, np.ndarray]],
    caption: str = "",
) -> Figure:
    """By problem and solver, the paths [T, 2] on its map; below them the costs [T]."""
    figure = page(10.0, 5.6, caption=caption)
    grid = figure.add_gridspec(2, 12, height_ratios=(1.2, 1))
    wide, narrow = 12 // len(maps), 12 // len(costs)
    for place, (name, ground) in enumerate(maps.items()):
        axes = figure.add_subplot(grid[0, wide * place : wide * (place + 1)])
        _draw_paths(axes, name, ground, paths[name])
    for place, (name, curves) in enumerate(costs.items()):
        axes = figure.add_subplot(grid[1, narrow * place : narrow * (place + 1)])
        _draw_costs(axes, None, curves)
        axes.set(yscale="log", ylim=(LEAST, None))
        write_title(plain(axes, "step", "" if place else "cost"), name)
    legend_beside(figure, axes)
    return figure


@common.own_style
def rates(
    rates: np.ndarray, costs: Mapping[str, Mapping[str, np.ndarray]], caption: str = ""
) -> Figure:
    """By problem and solver, the cost [R] after the last step over the learning rate [R]."""
    figure = page(10.0, 2.9, caption=caption)
    grid = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, (name, last) in zip(grid, costs.items(), strict=True):
        _draw_costs(axes, rates, last)
        axes.set(xscale="log", yscale="log", ylim=(LEAST / 2, 1e3))
        write_title(plain(axes, "learning rate"), name)
    grid[0].set_ylabel("last cost")
    legend_beside(figure, grid[0])
    return figure


@common.own_style
def frames(
    maps: Mapping[str, Map],
    paths: Mapping[str, Mapping[str, np.ndarray]],
    steps: Sequence[int],
    caption: str = "",
) -> Iterator[Figure]:
    """The frames of an animation: a picture of each of these steps, with the paths until then."""
    for step in steps:
        figure = page(9.0, 2.6, f"step {step}", caption)
        grid = figure.subplots(1, len(maps), squeeze=False)[0]
        for axes, (name, ground) in zip(grid, maps.items(), strict=True):
            until = {solver: path[: step + 1] for solver, path in paths[name].items()}
            _draw_paths(axes, name, ground, until)
        legend_beside(figure, grid[0])
        yield figure
