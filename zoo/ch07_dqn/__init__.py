"""Chapter 7: a DQN that solves mazes; `from zoo import ch07_dqn as dqn`."""

from zoo.ch07_dqn import environment, maze, planner, replay
from zoo.ch07_dqn.model import (
    RECIPES,
    Config,
    apply,
    choose,
    coordinates,
    example,
    init,
    loss,
    n_step_return,
    td_error,
    td_target,
)
from zoo.ch07_dqn.pretrained import pretrained
from zoo.ch07_dqn.train import greedy, train

__all__ = [
    "RECIPES",
    "Config",
    "apply",
    "choose",
    "coordinates",
    "environment",
    "example",
    "greedy",
    "init",
    "loss",
    "maze",
    "n_step_return",
    "planner",
    "pretrained",
    "replay",
    "td_error",
    "td_target",
    "train",
]
