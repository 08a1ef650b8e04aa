"""The pictures of chapter 7: mazes with what an agent knows of them, and how it came to know it.

Axes: H rows, W columns of tiles, S = H * W, A = 4 actions, M agents, E epochs.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter, StrMethodFormatter
from numpy.typing import ArrayLike

from zoo.ch07_dqn import maze as mazes
from zoo.common import figures as common
from zoo.common.figures import BLUE, GREEN, GREY, INK, NORMAL, ORANGE, PALE, SMALL

_COLOURS = ListedColormap(["#3A3F4B", "#FFFFFF"])  # of walls and floor
_LETTER: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "weight": "bold"}


def _draw_maze(axes: Axes, maze: mazes.Maze) -> None:
    """Walls and floor of a maze of tiles, with S and G."""
    exits, halo = np.asarray(maze.exits), [withStroke(linewidth=2.5, foreground="white")]
    axes.imshow(exits != 0, cmap=_COLOURS, vmin=0, vmax=1)
    axes.set_axis_off()
    for site, letter in ((int(maze.start), "S"), (int(maze.goal), "G")):
        if site < exits.size:  # the book's goal may lie outside
            row, column = divmod(site, exits.shape[1])
            axes.text(column, row, letter, zorder=5, size=NORMAL, path_effects=halo, **_LETTER)


@common.own_style
def _maze_page(maze: mazes.Maze, title: str, caption: str, bar: float = 0.0) -> tuple[Figure, Axes]:
    height, width = maze.exits.shape
    figure = common.page(6.5 + bar, 6.5 * height / width, title, caption)
    axes = figure.subplots()
    _draw_maze(axes, maze)
    return figure, axes


def _plot_sites(axes: Axes, maze: mazes.Maze, sites: Sequence[int], *style, **options) -> None:
    y, x = np.divmod(np.asarray(sites), maze.exits.shape[1])
    axes.plot(x, y, *style, **options)


def _colour_bar(axes: Axes, shown: AxesImage, label: str) -> None:
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label(label, size=NORMAL, color=INK)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)


@common.own_style
def values(
    maze: mazes.Maze, values: ArrayLike, caption: str = "", title: str = "value and best move"
) -> Figure:
    """The value of each tile as a colour and its best open move as an arrow; values are [S, A]."""
    legal = np.asarray(mazes.legal(maze.exits.reshape(-1)))
    best = np.where(legal, values, -np.inf)
    floor = np.any(legal, axis=-1)
    floor[min(int(maze.goal), floor.size - 1)] = False  # nothing follows the goal
    figure, axes = _maze_page(maze, title, caption, 0.9)
    value = np.where(floor, best.max(-1), np.nan)
    shown = axes.imshow(value.reshape(maze.exits.shape), cmap="viridis")
    sites = np.flatnonzero(floor)
    y, x = np.divmod(sites, maze.exits.shape[1])
    down, right = mazes.MOVES[best[sites].argmax(-1)].T
    look: dict[str, Any] = {"color": "white", "width": 0.0035, "edgecolor": INK, "linewidth": 0.3}
    axes.quiver(x, y, right, down, angles="xy", scale_units="xy", scale=1.6, pivot="mid", **look)
    _colour_bar(axes, shown, "value of the best move")
    return figure


@common.own_style
def visits(maze: mazes.Maze, visits: np.ndarray, caption: str = "") -> Figure:
    """How often each tile was entered in training; visits are [S]."""
    visits = np.reshape(visits, maze.exits.shape)
    figure, axes = _maze_page(maze, f"visits in {int(visits.sum()):,} steps", caption, 0.9)
    norm = LogNorm(1, max(10, visits.max()))  # from once to thousands of times
    shown = axes.imshow(np.where(visits > 0, visits, np.nan), cmap="YlOrRd", norm=norm)
    _colour_bar(axes, shown, "times entered")
    return figure


@common.own_style
def path(maze: mazes.Maze, sites: Sequence[int], best: Sequence[int], caption: str = "") -> Figure:
    """The way that an agent took, beside a shortest one."""
    arrived = int(sites[-1]) == int(maze.goal)
    steps = f"{len(sites) - 1} steps"
    length = steps if arrived else f"goal not reached after {steps}"
    title = f"the agent's way: {length}; the shortest: {len(best) - 1}"
    figure, axes = _maze_page(maze, title, caption)
    _plot_sites(axes, maze, best, color=PALE, linewidth=7, solid_capstyle="round")
    _plot_sites(axes, maze, sites, color=ORANGE, linewidth=2)
    _plot_sites(axes, maze, sites[-1:], "o", color=ORANGE, markersize=7)
    return figure


@common.own_style
def learning_curve(
    shares: np.ndarray, lengths: np.ndarray, steps: Sequence[int], caption: str = ""
) -> Figure:
    """From how much of the maze the greedy policy reaches the goal, and how many agents do.

    `shares` of the floor are [M, E], `lengths` of the way from the entrance too, above 0 where it
    leads to the goal, `steps` [E]. Of the agents' shares median, quartiles and range are drawn.
    """
    count = len(shares)
    figure = common.page(5.5, 3.6, f"{count:,} agents" if count > 1 else "one agent", caption)
    axes = figure.subplots()
    band: dict[str, Any] = {"color": BLUE, "linewidth": 0}
    low, first, median, third, high = np.quantile(shares, [0, 0.25, 0.5, 0.75, 1], axis=0)
    if count > 1:
        axes.fill_between(steps, low, high, alpha=0.12, label="range", **band)
        axes.fill_between(steps, first, third, alpha=0.3, label="quartiles", **band)
    arrived = (np.asarray(lengths) > 0).mean(0)
    series = {"tiles from which the goal is reached": median, "agents at the goal": arrived}
    common.draw_curves(axes, series, steps, "steps of each agent", "share")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylim(-0.02, 1.02)
    return figure


@common.own_style
def walk(maze: mazes.Maze, sites: Sequence[int], caption: str = "") -> Iterator[Figure]:
    """An episode, a figure for each step, for `common.animate`."""
    for step in range(len(sites)):
        figure, axes = _maze_page(maze, f"step {step}", caption)
        _plot_sites(axes, maze, sites[: step + 1], color=GREEN, linewidth=2.5, alpha=0.6)
        _plot_sites(axes, maze, sites[step : step + 1], "o", color=ORANGE, markersize=9)
        yield figure


@common.own_style
def gallery(pairs: Sequence[tuple[mazes.Maze, Sequence[int]]], caption: str = "") -> Figure:
    """Nine mazes of tiles with the ways that were walked in them."""
    height, width = pairs[0][0].exits.shape
    figure = common.page(6.5, 6.5 * height / width + 0.6, caption=caption)
    for axes, (maze, sites) in zip(figure.subplots(3, 3).ravel(), pairs, strict=True):
        _draw_maze(axes, maze)
        arrived = int(sites[-1]) == int(maze.goal)
        _plot_sites(axes, maze, sites, color=GREEN if arrived else ORANGE, linewidth=2)
        title = f"{len(sites) - 1} steps" if arrived else "goal not reached"
        axes.set_title(title, size=SMALL, color=INK if arrived else GREY, pad=2)
    return figure
