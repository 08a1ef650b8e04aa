"""The kind of maze that a configuration names: `rows`, `columns`, `method` and `extra`."""

from typing import Any

import jax
import numpy as np

from zoo.ch07_dqn import maze as mazes
from zoo.common.data import DataError, Dataset


def check_counts(config: Any, *names: str) -> None:
    """Refuses a configuration in which one of these fields is below 1.

    Raises:
      DataError: names the field and its value.
    """
    for name in names:
        if (value := getattr(config, name)) < 1:
            flag = name.replace("_", "-")
            raise DataError(f"got --{flag} {value}, expected at least 1")


def generate(key: jax.Array, config: Any, grid: str = "tiles") -> mazes.Maze:
    """A random maze of the configuration's kind.

    Raises:
      DataError: it has fewer than 2 cells.
    """
    options = {"method": config.method, "extra": config.extra, "grid": grid}
    try:
        return mazes.generate(key, config.rows, config.columns, **options)
    except ValueError as error:  # commands print a DataError in one line
        raise DataError(str(error)) from error


def describe(config: Any) -> str:
    """The kind in words: "5x10 cells, depth-first"."""
    loops = f", {config.extra:.0%} of the other walls opened" if config.extra else ""
    return f"{config.rows}x{config.columns} cells, {config.method}{loops}"


def dataset(config: Any, description: str, exits: Any) -> Dataset:
    """The mazes that follow from a configuration, uint8 [mazes, H, W], as a data set."""
    train = {"exits": np.asarray(exits)}
    return Dataset("mazes", "generated", config.method, description, train, {}, ())
