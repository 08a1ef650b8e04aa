"""The book's programs: all steps of gradient descent in one compiled call."""

import functools
from typing import Any

import jax
import numpy as np
import optax

from zoo.ch02_basic_nn import model
from zoo.common import device, fit, keys

History = dict[str, np.ndarray]


def start(config: model.Config) -> model.Params:
    """The parameters before the first step: the given ones in float64, or drawn ones."""
    if config.weights is None or config.hidden:
        return model.init(keys.derive(config.seed, "weights"), config)
    return {"output": {"kernel": np.array(config.weights)[:, None]}}


def cast(config: model.Config, tree: Any) -> Any:
    """The arrays of a tree as NumPy arrays of `config.dtype`."""
    return jax.tree.map(lambda a: np.asarray(a, config.dtype), tree)


def run_program(config: model.Config, batch: fit.Batch) -> tuple[model.Params, History]:
    """Gradient descent on one batch for `config.steps` steps.

    Args:
      config: one of `RECIPES`, or changed by `dataclasses.replace`.
      batch: as `model.loss` takes it; all of it is used in each step.

    Returns:
      The parameters after the last step, and what each step saw *before* its update: `loss` and
      `accuracy`, [steps], and `output`, the probabilities of a 1, [steps, B]. The book's programs
      print `output[-1]`. All are NumPy arrays of `config.dtype`.

    Raises:
      NonFiniteError: the loss became infinite or not a number.
      ValueError: a shape is wrong.
    """
    params, scan = cast(config, start(config)), device.jit(scan_steps, static_argnums=2)
    # Around the call alone: a global switch would give other code float64 too.
    with jax.enable_x64(config.dtype == "float64"):
        params, history = jax.device_get(scan(params, cast(config, batch), config))
    finite = np.isfinite(history["loss"])
    if not finite.all():
        raise fit.NonFiniteError(
            f"the loss was not finite at step {finite.argmin() + 1}: try a smaller --learning-rate"
        )
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise fit.NonFiniteError("the last update was not finite: try a smaller --learning-rate")
    return params, history


def scan_steps(
    params: model.Params, batch: model.Batch, config: model.Config
) -> tuple[model.Params, dict[str, jax.Array]]:
    """The loop of `run_program`, to be compiled, on arrays of the right dtype."""
    gradient = jax.value_and_grad(functools.partial(model.loss, cost=config.cost), has_aux=True)

    def step(params, _):
        (value, metrics), grads = gradient(params, batch)
        seen = {"loss": value, **metrics}
        seen["output"] = jax.nn.sigmoid(model.apply(params, batch["input"]))
        updates = jax.tree.map(lambda g: -config.learning_rate * g, grads)
        return optax.apply_updates(params, updates), seen

    return jax.lax.scan(step, params, length=config.steps)
