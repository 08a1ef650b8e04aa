"""Runs of chapter 7: options of the commands, and what a run folder says of its mazes."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.ch07_dqn import environment, model, planner, planner_train
from zoo.ch07_dqn.train import Run, start_run
from zoo.common import run
from zoo.common.device import Name as DeviceName

CHAPTER, PLANNER = "ch07_dqn", "ch07_dqn/planner"


@dataclasses.dataclass(frozen=True)
class Options:
    """What a command that trains takes beside the configuration."""

    device: DeviceName = "auto"
    """what computes"""
    out: Path | None = None
    """folder for the run; runs/ch07_dqn/TIME if not given"""
    resume: Path | None = None
    """folder of a run to go on with, under the configuration that it began with"""


@dataclasses.dataclass(frozen=True)
class Trained:
    """Which trained model."""

    run: Path | None = None
    """folder of the run; the newest one under runs/ if not given"""
    device: DeviceName = "auto"
    """what computes"""


class Mazes(NamedTuple):
    """What stands in for a data set in a run's folder."""

    name: str
    source: str
    split: str
    description: str
    exits: np.ndarray  # uint8 [mazes, H, W]


def describe(config: model.Config | planner.Config) -> str:
    """What mazes these are, in a line."""
    kind = f"{config.rows}x{config.columns} cells, {config.method}"
    loops = f", {config.extra:.0%} of the other walls opened" if config.extra else ""
    if isinstance(config, planner.Config):
        return f"mazes of {kind}{loops}, new ones at every step"
    last = config.maze_seed + config.mazes - 1
    seeds = f"seed {last}" if config.mazes == 1 else f"seeds {config.maze_seed} to {last}"
    return f"{kind}{loops}, {seeds}"


def mazes_of(config: model.Config | planner.Config) -> Mazes:
    """The mazes of a configuration; of a planner's, those that it is tried on."""
    if isinstance(config, planner.Config):
        exits = planner_train.test_mazes(config, planner_train.TRIED).exits
    else:
        exits = start_run(config)[1].maze.exits[:: config.agents]
    return Mazes("mazes", "generated", config.method, describe(config), np.asarray(exits))


def saved_config(folder: Path) -> model.Config | planner.Config:
    """The configuration that a run began with, of agents or of a planner."""
    try:
        return run.read_config(folder, PLANNER, planner.Config)[0]
    except run.RunError:
        return run.read_config(folder, CHAPTER, model.Config)[0]


def restore(trained: Trained) -> tuple[Path, model.Config, Run, environment.Params]:
    """The agents that were named, or the newest, in their mazes."""
    made = {}

    def like(config: model.Config) -> Run:
        first, made["params"] = start_run(config)
        return first

    folder, config, state, _ = run.restore(CHAPTER, trained, model.Config, like)
    return folder, config, state, made["params"]


def restore_planner(trained: Trained) -> tuple[Path, planner.Config, planner_train.State]:
    """The planner that was named, or the newest."""
    folder, config, state, _ = run.restore(PLANNER, trained, planner.Config, planner_train.start)
    return folder, config, state
