"""Gradient descent in chapter 2: the worked example, the parabola, the chain rule, batches.

The example is a line through 0, y = W x, at x = 1, 2, 3, 4, where the targets are x / 2. Its sum
of squared errors is the parabola 30 (W - 1/2)^2, so its slope is 60 (W - 1/2), and 90 at W = 2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo.common import ops

INPUTS = (1.0, 2.0, 3.0, 4.0)
TARGETS = (0.5, 1.0, 1.5, 2.0)


def sse(w: jax.Array | float) -> jax.Array:
    """The sum of squared errors at the weight `w`: 67.5 at 2, 68.403 at 2.01, 66.603 at 1.99."""
    return jnp.sum((jnp.array(TARGETS) - w * jnp.array(INPUTS)) ** 2)


def largest_rate(function: Callable[[jax.Array], jax.Array], x: float) -> float:
    """The learning rate 2 / f''(x) above which descent on a parabola diverges.

    A step multiplies the distance to the bottom by 1 - rate f''. So below 1 / f'' it comes nearer
    from one side, at 1 / f'' it arrives at once, up to 2 / f'' it comes nearer from both sides;
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


def chain(w1: jax.Array, w2: jax.Array, i: float, target: float) -> jax.Array:
    """The end of the chapter's chain i -> f -> g -> o: one input, two units and one output.

    f = sigmoid(w1 i), g = sigmoid(w2 f), o = (g - target)^2; the book draws the chain without
    naming its functions.
    """
    return (jax.nn.sigmoid(w2 * jax.nn.sigmoid(w1 * i)) - target) ** 2


def chain_rule(
    w1: jax.Array, w2: jax.Array, i: float, target: float
) -> tuple[jax.Array, jax.Array]:
    """do/dw1 and do/dw2 by hand, backwards; `jax.grad` gives the same.

    do/dw2 = do/dg dg/dw2 and do/dw1 = do/dg dg/df df/dw1.
    """
    f = jax.nn.sigmoid(w1 * i)
    g = jax.nn.sigmoid(w2 * f)
    do_dg = 2.0 * (g - target)
    slope_g = g * (1.0 - g)
    dg_df, df_dw1 = slope_g * w2, f * (1.0 - f) * i
    return do_dg * dg_df * df_dw1, do_dg * slope_g * f


def noisy_line(key: jax.Array, count: int = 256) -> tuple[jax.Array, jax.Array]:
    """Points [count] between -1 and 1 and, at each, x / 2 with normal noise of deviation 0.3."""
    x_key, noise_key = jax.random.split(key)
    x = jax.random.uniform(x_key, (count,), minval=-1.0, maxval=1.0)
    return x, 0.5 * x + 0.3 * jax.random.normal(noise_key, (count,))


def line_loss(params: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean squared error of the line params[0] x + params[1] at points x, targets y, [points]."""
    ops.check_shape("targets", y, x.shape)
    return jnp.mean((params[0] * x + params[1] - y) ** 2)


def batch_descent(
    key: jax.Array, params: jax.Array, data: tuple, rate: float, batch_size: int, epochs: int
) -> jax.Array:
    """Descent on `line_loss` by batches, in a new order each epoch; the path [steps + 1, 2].

    A batch of all points is batch gradient descent, of one point the stochastic one, and what
    lies between is called mini-batch descent.

    Args:
      key: for the orders.
      params: where it starts, [2].
      data: x and y, both [points].
      rate: the learning rate.
      batch_size: divides the number of points.
      epochs: passes over the points.
    """
    x, y = data

    def epoch(params, key):
        order = jax.random.permutation(key, len(x)).reshape(-1, batch_size)
        return jax.lax.scan(step, params, order)

    def step(params, rows):
        new = params - rate * jax.grad(line_loss)(params, x[rows], y[rows])
        return new, new

    _, path = jax.lax.scan(epoch, params, jax.random.split(key, epochs))
    return jnp.concatenate([params[None], path.reshape(-1, *params.shape)])
