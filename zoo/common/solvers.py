"""Gorgonia's solvers, which the book trains with, as Optax transformations.

They are not the textbook's: RMSProp keeps its epsilon inside the root, corrects no bias and clips
late; Adam divides by the batch first. What has no such quirk is taken from Optax itself.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class RMSPropState(NamedTuple):
    """What RMSProp carries from step to step."""

    mean_square: optax.Params  # like the parameters


def rmsprop(
    learning_rate: jax.Array | float = 1e-3, *, l2: float = 0.0, clip: float | None = None
) -> optax.GradientTransformation:
    """RMSProp as Gorgonia has it, with its epsilon inside the root.

    c <- 0.999 c + 0.001 g^2;  w <- w - rate g / sqrt(c + 1e-8) - l2 w

    The average c begins at 0 and is not corrected, so that the first step is sqrt(1000) = 31.6
    times the rate. Weight decay is not scaled by the rate.

    Args:
      learning_rate: of each step.
      l2: share of each weight that a step takes away.
      clip: bounds each element of g to [-clip, clip], after its square has gone into c.
    """

    def init(params: optax.Params) -> RMSPropState:
        return RMSPropState(jax.tree.map(jnp.zeros_like, params))

    def update(grads, state, params=None):
        if params is None:
            raise ValueError("got no parameters, expected update(grads, state, params): it decays")
        mean_square = jax.tree.map(
            lambda c, g: 0.999 * c + (1.0 - 0.999) * g**2, state.mean_square, grads
        )
        if clip is not None:  # after the average, as Gorgonia does it
            grads = jax.tree.map(lambda g: jnp.clip(g, -clip, clip), grads)
        updates = jax.tree.map(
            lambda g, c, w: -learning_rate * g / jnp.sqrt(c + 1e-8) - l2 * w,
            grads,
            mean_square,
            params,
        )
        return updates, RMSPropState(mean_square)

    return optax.GradientTransformation(init, update)


def adam(
    learning_rate: jax.Array | float = 1e-3, *, batch: int = 1, doubled: bool = False
) -> optax.GradientTransformation:
    """Adam as Gorgonia has it: of the gradient divided by `batch`, with epsilon 1e-8.

    Args:
      learning_rate: of each step.
      batch: what WithBatchSize was given. Adam hardly feels a scale, so it matters only where
        gradients are about as small as epsilon, or with `doubled`.
      doubled: the bug of all versions before 0.9.18: a second step, -rate times the mean gradient,
        is taken without the division by its deviation.
    """
    division = optax.scale(1.0 / batch)
    if not doubled:
        return optax.chain(division, optax.adam(learning_rate))
    return optax.chain(division, _scale_by_doubled_adam(), optax.scale(-learning_rate))


def _scale_by_doubled_adam() -> optax.GradientTransformation:
    inner = optax.scale_by_adam()

    def update(grads, state, params=None):
        updates, state = inner.update(grads, state, params)
        means = jax.tree.map(lambda m: m / (1.0 - 0.9 ** state.count.astype(m.dtype)), state.mu)
        return jax.tree.map(jnp.add, updates, means), state

    return optax.GradientTransformation(inner.init, update)
