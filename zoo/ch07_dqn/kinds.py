"""The kind of maze that a configuration names: `rows`, `columns`, `method` and `extra`."""

from typing import Any

import jax

from zoo.ch07_dqn import maze as mazes
from zoo.common import settings
from zoo.common.settings import SettingError

LARGEST = 2**20
"""Most cells of a maze."""


def check(config: Any) -> None:
    """Refuses what no maze, and no run through mazes, can have; for `__post_init__`.

    Raises:
      SettingError: names the fields and their values.
    """
    settings.check(config)
    if not 2 <= (cells := config.rows * config.columns) <= LARGEST:
        raise SettingError(
            f"got a maze of {config.rows}x{config.columns} cells, expected "
            f"{'at least 2' if cells < 2 else f'at most {LARGEST:,}'} cells"
        )
    if config.epsilon_min > config.epsilon:
        raise SettingError(
            f"got epsilon {config.epsilon:g} and epsilon_min {config.epsilon_min:g}, expected "
            "epsilon_min to be at most epsilon"
        )
    if config.epochs * config.epoch_steps >= 2**31:
        raise SettingError(
            f"got {config.epochs:,} epochs of {config.epoch_steps:,} steps, expected at most "
            f"{2**31 - 1:,} steps in all"
        )


def generate(key: jax.Array, config: Any, grid: str = "tiles") -> mazes.Maze:
    """A random maze of the configuration's kind."""
    options = {"method": config.method, "extra": config.extra, "grid": grid}
    return mazes.generate(key, config.rows, config.columns, **options)


def describe(config: Any) -> str:
    """The kind in words: "5x10 cells, depth-first"."""
    if getattr(config, "maze", ""):
        return f"a maze of your own, {2 * config.rows + 1}x{2 * config.columns + 1} tiles"
    loops = f", {config.extra:.0%} of the other walls opened" if config.extra else ""
    return f"{config.rows}x{config.columns} cells, {config.method}{loops}"
