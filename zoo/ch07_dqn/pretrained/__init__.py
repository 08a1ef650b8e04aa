"""The trained planner of chapter 7: 256 parameters that solve mazes they have never seen."""

from pathlib import Path
from typing import Any

import jax

from zoo.ch07_dqn import planner
from zoo.common.pretrained import Pretrained, load


def pretrained() -> Pretrained:
    """The planner of recipe `modern`; its weights are `params` of `planner.apply`."""
    return load(
        Path(__file__).parent,
        "planner",
        planner.Config,
        lambda config: planner.init(jax.random.key(0), config),
    )


def take(run: Path) -> tuple[str, Any, Any]:
    """What is to be published of a run: name, configuration, weights."""
    from zoo.ch07_dqn.runs import Trained, restore_planner

    _, config, state = restore_planner(Trained(run=run))
    return "planner", config, state.params
