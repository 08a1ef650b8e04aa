"""Mazes of one's own: plans in text files, as configurations and runs keep them."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from zoo.ch07_dqn import maze as mazes
from zoo.common.data import DataError, files
from zoo.common.data.files import fault


def parse(text: str, name: str = "the maze") -> mazes.Maze:
    """A maze of tiles from its plan: `#` walls, spaces floor, one `S` and one `G`, a line a row.

    It gets walls at the right and below until it has odd numbers of rows and columns, as the
    book's grid has.

    Raises:
      DataError: says which line and column of `name` is wrong, or that no way leads to the goal.
    """
    lines = text.rstrip("\r\n").splitlines()
    width = max(map(len, lines), default=0)
    for number, line in enumerate(lines, 1):
        if len(line) != width:
            found, expected = f"{len(line)} characters", f"{width}, as in the longest line"
            raise fault(name, f"line {number}", found, expected)
        for column, letter in enumerate(line, 1):
            if letter not in "# SG":
                place = f"line {number}, column {column}"
                raise fault(name, place, repr(letter), "'#', a space, 'S' or 'G'")
    joined = "".join(lines)
    for letter, what in (("S", "start"), ("G", "goal")):
        if (count := joined.count(letter)) != 1:
            raise fault(name, f"{what}s", f"{count} {letter!r}", "one")
    plan = np.array([list(line) for line in lines])
    plan = np.pad(plan, [(0, 1 - size % 2) for size in plan.shape], constant_values="#")
    start, goal = (int(np.flatnonzero(plan == letter)[0]) for letter in "SG")
    exits = mazes.open_between(jnp.asarray(plan != "#"))
    maze = mazes.Maze(exits, jnp.int32(start), jnp.int32(goal))
    if int(mazes.solve(maze).reshape(-1)[start]) < 0:
        raise fault(name, "S", "no way to G", "one: take a '#' away")
    return maze


def plan(maze: mazes.Maze) -> str:
    """A maze of tiles as `parse` reads it."""
    letters = np.where(np.asarray(maze.exits) == 0, "#", " ")
    letters.flat[[int(maze.start), int(maze.goal)]] = "S", "G"
    return "\n".join(map("".join, letters.tolist()))


def own(config: Any) -> Any:
    """The configuration with the plan of the file that `config.maze` names in its place.

    So a run has its maze in config.json. `rows` and `columns` are those of cells that make a grid
    of as many tiles.

    Raises:
      DataError: the file can't be read, or is no plan of a maze, see `parse`.
    """
    if not config.maze or "\n" in config.maze:
        return config
    drawn = plan(read(config.maze))
    lines = drawn.splitlines()
    sizes = {"rows": len(lines) // 2, "columns": len(lines[0]) // 2}
    return dataclasses.replace(config, maze=drawn, **sizes)


def read(path: str | Path) -> mazes.Maze:
    """A maze of tiles from a file with its plan, see `parse` for it and for errors."""
    found = files.expand(path)
    try:
        text = files.read_bytes(found).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{files.printable(found)} is no text in UTF-8: {error}") from error
    return parse(text, files.printable(found))
