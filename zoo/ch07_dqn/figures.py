"""The pictures of chapter 7: mazes with what an agent knows of them, and how it came to know it.

Axes: H rows, W columns of tiles, A = 4 actions, M agents, E epochs, T steps of a walk.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from zoo.ch07_dqn import maze as mazes
from zoo.common import figures as common
from zoo.common.figures import BLUE, GREEN, GREY, INK, NORMAL, ORANGE, PALE, SMALL

_WALL, _FLOOR = "#3A3F4B", "#FFFFFF"


def _draw_maze(axes: Axes, maze: mazes.Maze) -> None:
    """Walls and floor of a maze of tiles, with S and G."""
    exits = np.asarray(maze.exits)
    axes.imshow(exits != 0, cmap=ListedColormap([_WALL, _FLOOR]), vmin=0, vmax=1)
    axes.set_axis_off()
    for site, text in ((maze.start, "S"), (maze.goal, "G")):
        if int(site) < exits.size:
            row, column = divmod(int(site), exits.shape[1])
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                size=NORMAL,
                color=INK,
                weight="bold",
                zorder=5,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )


def _maze_page(maze: mazes.Maze, title: str, caption: str, extra: float = 0.0) -> Figure:
    height, width = maze.exits.shape
    return common.page(6.5 + extra, 6.5 * height / width, title, caption)


def _points(sites: Sequence[int], width: int) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.divmod(np.asarray(sites), width)
    return column, row


def _check_floor(maze: mazes.Maze, array: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(array)
    if array.shape[0] != maze.exits.size:
        raise ValueError(
            f"{name} have shape {array.shape}, expected {maze.exits.size} sites of the maze first"
        )
    return array


def values(
    maze: mazes.Maze, values: np.ndarray, caption: str = "", title: str = "value and best move"
) -> Figure:
    """The value of each tile as a colour and its best open move as an arrow; values are [S, A]."""
    values = _check_floor(maze, values, "values")
    shape = maze.exits.shape
    legal = np.asarray(mazes.legal(maze.exits.reshape(-1)))
    best = np.where(legal, values, -np.inf)
    floor = legal.any(-1)
    floor[min(int(maze.goal), floor.size - 1)] = False
    value = np.where(floor, best.max(-1), np.nan).reshape(shape)
    figure = _maze_page(maze, title, caption, 0.9)
    axes = figure.subplots()
    _draw_maze(axes, maze)
    shown = axes.imshow(value, cmap="viridis")
    sites = np.flatnonzero(floor)
    x, y = _points(sites, shape[1])
    down, right = mazes.MOVES[best[sites].argmax(-1)].T
    axes.quiver(x, y, right, down, angles="xy", scale_units="xy", scale=1.6, pivot="mid",
                color="white", width=0.0035, edgecolor=INK, linewidth=0.3)  # fmt: skip
    bar = figure.colorbar(shown, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label("value of the best move", size=NORMAL, color=INK)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    return figure


def visits(maze: mazes.Maze, visits: np.ndarray, caption: str = "") -> Figure:
    """How often each tile was entered in training; visits are [S]."""
    visits = _check_floor(maze, visits, "visits").reshape(maze.exits.shape)
    figure = _maze_page(maze, f"visits in {int(visits.sum()):,} steps", caption, 0.9)
    axes = figure.subplots()
    _draw_maze(axes, maze)
    norm = LogNorm(1, max(10, visits.max()))
    shown = axes.imshow(np.where(visits > 0, visits, np.nan), cmap="YlOrRd", norm=norm)
    bar = figure.colorbar(shown, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label("times entered", size=NORMAL, color=INK)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    return figure


def path(maze: mazes.Maze, sites: Sequence[int], best: Sequence[int], caption: str = "") -> Figure:
    """The way that an agent took, beside a shortest one."""
    arrived = len(sites) and int(sites[-1]) == int(maze.goal)
    told = f"{len(sites) - 1} steps" if arrived else f"not there after {len(sites) - 1} steps"
    title = f"the agent's way: {told}; the shortest: {len(best) - 1}"
    figure = _maze_page(maze, title, caption)
    axes = figure.subplots()
    _draw_maze(axes, maze)
    width = maze.exits.shape[1]
    x, y = _points(best, width)
    axes.plot(x, y, color=PALE, linewidth=7, solid_capstyle="round", label="shortest")
    x, y = _points(sites, width)
    axes.plot(x, y, color=ORANGE, linewidth=2, label="agent")
    axes.plot(x[-1:], y[-1:], "o", color=ORANGE, markersize=7)
    return figure


def learning_curve(
    shares: np.ndarray, lengths: np.ndarray, steps: Sequence[int], caption: str = ""
) -> Figure:
    """From how much of the maze the greedy policy finds out, and how many agents find the goal.

    Args:
      shares: of the floor, [M, E]; median, quartiles and range over the agents are drawn.
      lengths: of the way from the entrance, [M, E], above 0 where the goal is reached.
      steps: of training, [E].
      caption: what mazes these are.
    """
    shares, lengths = np.asarray(shares), np.asarray(lengths)
    if shares.shape != lengths.shape or shares.shape[1:] != (len(steps),) or not shares.size:
        raise ValueError(
            f"shares {shares.shape}, lengths {lengths.shape} and {len(steps)} steps do not fit: "
            "expected (agents, epochs) twice, and as many steps as epochs"
        )
    count = len(shares)
    figure = common.page(5.5, 3.6, f"{count:,} agents" if count > 1 else "one agent", caption)
    axes = figure.subplots()
    low, first, median, third, high = np.quantile(shares, [0, 0.25, 0.5, 0.75, 1], axis=0)
    if count > 1:
        axes.fill_between(steps, low, high, color=BLUE, alpha=0.12, linewidth=0, label="range")
        axes.fill_between(
            steps, first, third, color=BLUE, alpha=0.3, linewidth=0, label="quartiles"
        )
    axes.plot(steps, median, color=BLUE, linewidth=1.6, label="tiles from which it finds out")
    axes.plot(steps, (lengths > 0).mean(0), color=ORANGE, linewidth=1.6, linestyle="--",
              label="agents at the goal")  # fmt: skip
    common.plain(axes, "steps of each agent", "share")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylim(-0.02, 1.02)
    axes.grid(axis="y", color=PALE, linewidth=0.5)
    axes.legend(fontsize=SMALL, labelcolor=INK, frameon=False, loc="lower right")
    return figure


def mends(solved: Mapping[str, float], home: Mapping[str, float], caption: str = "") -> Figure:
    """What each mend of the book's program does: shares of mazes solved, one line each."""
    names = list(solved)
    figure = common.page(6.5, 0.3 * len(names) + 0.6, "bugs mended one by one", caption)
    axes = figure.subplots()
    rows = np.arange(len(names))[::-1]
    axes.barh(rows + 0.2, [solved[n] for n in names], 0.36, color=ORANGE, label="mazes solved")
    axes.barh(rows - 0.2, [home[n] for n in names], 0.36, color=BLUE,
              label="tiles from which it finds out")  # fmt: skip
    axes.set_yticks(rows, names)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    common.plain(axes)
    axes.set_xlim(0, 1)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=PALE, linewidth=0.5)
    axes.legend(fontsize=SMALL, labelcolor=INK, frameon=False, loc="upper right")
    return figure


def walk(maze: mazes.Maze, sites: Sequence[int], caption: str = "") -> Iterator[Figure]:
    """An episode, a figure for each step, for `common.animate`."""
    width = maze.exits.shape[1]
    for step in range(len(sites)):
        figure = _maze_page(maze, f"step {step}", caption)
        axes = figure.subplots()
        _draw_maze(axes, maze)
        x, y = _points(sites[: step + 1], width)
        axes.plot(x, y, color=GREEN, linewidth=2.5, alpha=0.6)
        axes.plot(x[-1:], y[-1:], "o", color=ORANGE, markersize=9)
        yield figure


def gallery(pairs: Sequence[tuple[mazes.Maze, Sequence[int]]], caption: str = "") -> Figure:
    """Several mazes of tiles with the ways that were walked in them, three in a row."""
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    height, width = pairs[0][0].exits.shape
    figure = common.page(6.5, rows * (6.5 / columns * height / width + 0.2), caption=caption)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(pairs) :]:
        axes.set_axis_off()
    for axes, (maze, sites) in zip(grid, pairs, strict=False):
        _draw_maze(axes, maze)
        x, y = _points(sites, width)
        there = int(sites[-1]) == int(maze.goal)
        axes.plot(x, y, color=GREEN if there else ORANGE, linewidth=2)
        told = f"{len(sites) - 1} steps" if there else "lost"
        axes.set_title(told, size=SMALL, color=INK if there else GREY, pad=2)
    return figure
