"""Chapter 7: a DQN that solves mazes; `from zoo import ch07_dqn as dqn`.

`dqn.planner` is one network for mazes that it has never seen, with the same names inside.
"""

import functools

from zoo.ch07_dqn import book, environment, maze, planner, replay
from zoo.ch07_dqn.agent import task as _agent
from zoo.ch07_dqn.agent.model import (
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
from zoo.ch07_dqn.agent.train import greedy, make_mazes
from zoo.ch07_dqn.planner import task as _planner
from zoo.common import trained

TASKS = (_agent.TASK, _planner.TASK)
train = TASKS[0].train
pretrained = functools.partial(trained.published, TASKS[0])
