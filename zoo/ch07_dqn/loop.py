"""The epochs of a DQN, of the agents and of the planner alike."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.common import fit

Epoch = Callable[[Any], tuple[Any, dict[str, jax.Array]]]
"""state -> the state an epoch later, and arrays whose means are the epoch's metrics."""


def iterate(
    config: Any,
    state: Any,
    prepare: Callable[[], Epoch],
    agents: int = 1,
    advice: str = "",
) -> Iterator[fit.Progress]:
    """Goes on from `state`, which stays valid, to the last epoch; reports means of the metrics.

    `prepare` compiles what makes an epoch, which may overwrite its argument. `advice` ends the
    message if the loss isn't finite.

    Raises:
      FinishedError: the state has all epochs behind it.
      NonFiniteError: the loss is infinite or not a number.
    """
    fit.check_unfinished(state, config.epochs, config.epoch_steps)
    began = time.perf_counter()
    epoch = prepare()
    compile_seconds = time.perf_counter() - began
    for number in range(int(state.step) // config.epoch_steps + 1, config.epochs + 1):
        began = time.perf_counter()
        state, arrays = epoch(jax.tree.map(jnp.copy, state))
        metrics = {name: float(value.mean()) for name, value in arrays.items()}
        # The loss alone would not show what the last update made.
        if not (np.isfinite(list(metrics.values())).all() and fit.finite(state)):
            raise fit.NonFiniteError(
                f"the loss is {metrics['loss']} in epoch {number}, or an update was not finite: "
                f"try a smaller --learning-rate than {config.learning_rate:g}{advice}"
            )
        seconds, steps = time.perf_counter() - began, config.epoch_steps * agents
        yield fit.Progress(state, number, steps, seconds, compile_seconds, metrics)
        compile_seconds = 0.0
