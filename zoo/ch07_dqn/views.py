"""What commands and notebook show of a trained agent: its walk, a shortest way, the walk live."""

import time
from collections.abc import Sequence

import numpy as np

from zoo.ch07_dqn import maze as mazes


def shortest(maze: mazes.Maze) -> list[int]:
    """The sites of a shortest way from entrance to goal; the first alone if there is none."""
    distance = np.asarray(mazes.solve(maze)).reshape(-1)
    to = np.asarray(mazes.neighbours(maze.exits))
    sites = [int(maze.start)]
    while distance[sites[-1]] > 0:
        nexts = to[sites[-1]]
        sites.append(int(nexts[distance[nexts] == distance[sites[-1]] - 1][0]))
    return sites


def until_goal(sites: np.ndarray, goal: int) -> list[int]:
    """The sites of a walk up to the goal, or all of them if it is not among them."""
    found = np.flatnonzero(np.asarray(sites) == goal)
    return np.asarray(sites)[: found[0] + 1 if len(found) else None].tolist()


def double(maze: mazes.Maze, sites: Sequence[int]) -> tuple[mazes.Maze, list[int]]:
    """A maze of cells as tiles, and a walk through its cells as one over tiles."""
    tiles = mazes.tiles(maze)
    width, columns = tiles.exits.shape[1], maze.exits.shape[1]
    cells = [divmod(site, columns) for site in sites]
    points = [(2 * r + 1, 2 * c + 1) for r, c in cells]
    walk = [int(tiles.start)]
    for n, (row, column) in enumerate(points):
        if n:
            before = points[n - 1]
            walk.append((before[0] + row) // 2 * width + (before[1] + column) // 2)
        walk.append(row * width + column)
    if sites[-1] == int(maze.goal):
        walk.append(int(tiles.goal))
    return tiles, walk


def show(maze: mazes.Maze, sites: Sequence[int], seconds: float = 0.05) -> None:
    """A walk in the terminal, live; without a terminal, its last picture alone."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()

    def picture(step: int) -> Text:
        marks = dict.fromkeys(sites[:step], "·")
        marks |= {int(maze.start): "S", int(maze.goal): "G", sites[step]: "@"}
        return Text(f"{mazes.draw(maze, marks)}\nstep {step} of {len(sites) - 1}", no_wrap=True)

    last = len(sites) - 1
    if not console.is_terminal:
        print(picture(last).plain)
        return
    with Live(picture(0), console=console, refresh_per_second=30) as live:
        for step in range(len(sites)):
            live.update(picture(step), refresh=True)
            time.sleep(seconds)
