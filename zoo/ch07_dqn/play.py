"""Watching a walk: live in the terminal, and as a GIF."""

import time
from collections.abc import Sequence
from typing import Annotated

from zoo.ch07_dqn import maze as mazes
from zoo.common.settings import Bounds
from zoo.common.trained import Trained

Pause = Annotated[float, Bounds(0, 60)]
"""Seconds for a step; a GIF has room for 655."""
FRAMES = 60
"""Of a walk that does not arrive only so many steps are in the GIF."""


def play(
    trained: Trained, maze: mazes.Maze, sites: Sequence[int], seconds: float, caption: str
) -> None:
    """Shows a walk through tiles live, says how long it was, and writes figures/walk.gif."""
    from zoo.ch07_dqn import figures
    from zoo.common import figures as common

    show(maze, sites, seconds)
    arrived, best = sites[-1] == int(maze.goal), len(mazes.shortest(maze)) - 1
    where = "at the goal" if arrived else "not at the goal"
    shortest = f"the shortest way has {best}" if best else "no way leads to it"
    print(f"{where} after {len(sites) - 1} steps; {shortest}")
    frames = figures.walk(maze, sites if arrived else sites[:FRAMES], caption)
    path = trained.folder / "figures" / "walk.gif"
    print(f"written to {common.animate(frames, path, seconds)}")


def show(maze: mazes.Maze, sites: Sequence[int], seconds: float = 0.05) -> None:
    """A walk in the terminal, live; without a terminal, its last picture alone."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def picture(step: int) -> Text:
        marks = dict.fromkeys(sites[:step], "·")
        marks |= {int(maze.start): "S", int(maze.goal): "G", sites[step]: "@"}
        return Text(f"{mazes.draw(maze, marks)}\nstep {step} of {len(sites) - 1}", no_wrap=True)

    console = Console()
    if not console.is_terminal:
        print(picture(len(sites) - 1).plain)
        return
    with Live(picture(0), console=console, refresh_per_second=30) as live:
        for step in range(len(sites)):
            live.update(picture(step), refresh=True)
            time.sleep(seconds)
