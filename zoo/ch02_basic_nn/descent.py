"""Gradient descent in chapter 2: the worked example, the parabola, the chain rule, batches.

The example is a line through 0, y = W x, at x = 1, 2, 3, 4, where the targets are x / 2. Its sum
of squared errors is the parabola 30 (W - 1/2)^2, so its slope is 60 (W - 1/2), and 90 at W = 2.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

INPUTS = (1.0, 2.0, 3.0, 4.0)
TARGETS = (0.5, 1.0, 1.5, 2.0)


def errors(w: jax.Array | float) -> jax.Array:
    """Target less output for each input, [4]."""
    return jnp.array(TARGETS) - w * jnp.array(INPUTS)


def sse(w: jax.Array | float) -> jax.Array:
    """The sum of squared errors at the weight `w`: 67.5 at 2, 68.403 at 2.01, 66.603 at 1.99."""
    return jnp.sum(errors(w) ** 2)


def largest_rate(function: Callable[[jax.Array], jax.Array], x: float) -> float:
    """The learning rate 2 / f''(x) at which descent on a parabola begins to run away.

    A step takes the distance to the bottom times 1 - rate f''. So below 1 / f'' it comes nearer
    from one side, at 1 / f'' it is there at once, up to 2 / f'' it comes nearer from both sides;
    at 2 / f'' it jumps to and fro for ever, and above it the distance grows with each step.
    """
    return float(2.0 / jax.grad(jax.grad(function))(x))


def descend(
    function: Callable[[jax.Array], jax.Array], x: jax.Array | float, rate: float, steps: int
) -> jax.Array:
    """The points of gradient descent from `x`, [steps + 1, ...]: x <- x - rate f'(x)."""
    x = jnp.asarray(x, float)

    def step(x, _):
        new = x - rate * jax.grad(function)(x)
        return new, new

    _, path = jax.lax.scan(step, x, length=steps)
    return jnp.concatenate([x[None], path])


class Chain(NamedTuple):
    """The chapter's chain of one input, two units and one output."""

    i: jax.Array  # the input
    f: jax.Array  # sigmoid(w1 i)
    g: jax.Array  # sigmoid(w2 f)
    o: jax.Array  # (g - target)^2; the book draws the chain without naming its functions


def chain(w1: jax.Array, w2: jax.Array, i: float, target: float) -> Chain:
    """The values along the chain i -> f -> g -> o, forwards."""
    f = jax.nn.sigmoid(w1 * i)
    g = jax.nn.sigmoid(w2 * f)
    return Chain(jnp.asarray(i), f, g, (g - target) ** 2)


def chain_rule(
    w1: jax.Array, w2: jax.Array, i: float, target: float
) -> tuple[jax.Array, jax.Array]:
    """do/dw1 and do/dw2 by hand, backwards; `jax.grad` gives the same.

    do/dw2 = do/dg dg/dw2 and do/dw1 = do/dg dg/df df/dw1.
    """
    values = chain(w1, w2, i, target)
    do_dg = 2.0 * (values.g - target)
    slope_g = values.g * (1.0 - values.g)
    dg_df = slope_g * w2
    df_dw1 = values.f * (1.0 - values.f) * i
    return do_dg * dg_df * df_dw1, do_dg * slope_g * values.f


def noisy_line(key: jax.Array, count: int = 256) -> tuple[jax.Array, jax.Array]:
    """Points [count] between -1 and 1 and, at each, x / 2 with normal noise of deviation 0.3."""
    x_key, noise_key = jax.random.split(key)
    x = jax.random.uniform(x_key, (count,), minval=-1.0, maxval=1.0)
    return x, 0.5 * x + 0.3 * jax.random.normal(noise_key, (count,))


def line_loss(params: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean squared error of the line params[0] x + params[1]."""
    return jnp.mean((params[0] * x + params[1] - y) ** 2)


def batch_descent(
    key: jax.Array,
    params: jax.Array,
    x: jax.Array,
    y: jax.Array,
    *,
    batch_size: int,
    rate: float,
    epochs: int,
) -> jax.Array:
    """Descent on `line_loss` by batches, in a new order each epoch; the path [steps + 1, 2].

    A batch of all points is batch gradient descent, of one point the stochastic one, and what
    lies between is called mini-batch descent.

    Raises:
      ValueError: the batch size does not divide the number of points.
    """
    if batch_size < 1 or len(x) % batch_size:
        raise ValueError(f"got batches of {batch_size}, expected a divisor of {len(x)} points")

    def epoch(params, key):
        order = jax.random.permutation(key, len(x)).reshape(-1, batch_size)
        return jax.lax.scan(step, params, order)

    def step(params, rows):
        new = params - rate * jax.grad(line_loss)(params, x[rows], y[rows])
        return new, new

    _, path = jax.lax.scan(epoch, params, jax.random.split(key, epochs))
    return jnp.concatenate([params[None], path.reshape(-1, *params.shape)])
