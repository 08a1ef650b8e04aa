"""A race of solvers: on the first network, a narrow bowl, Rosenbrock's valley and Beale's plain.

The solvers are Optax's and, from `zoo.common.solvers`, Gorgonia's, which differ. A race runs every
solver at every learning rate in one compiled call.

Axes: S solvers, R learning rates, T steps, D coordinates of a point.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.ch02_basic_nn import model
from zoo.common import solvers as gorgonia

Rule = Callable[..., optax.GradientTransformation]  # of a learning rate, a number or traced

SOLVERS: Mapping[str, Rule] = {
    "SGD": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "Nesterov": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    "RMSProp": functools.partial(optax.rmsprop, decay=0.9),
    "Adam": optax.adam,
    "Gorgonia's RMSProp": gorgonia.rmsprop,
    "doubled Adam": functools.partial(gorgonia.adam, doubled=True),
}
"""A solver for each learning rate. The last is the bug that Gorgonia's Adam had until 0.9.18."""


class Problem(NamedTuple):
    """A function to minimise."""

    function: Callable[[jax.Array], jax.Array]  # [D] to a number
    start: tuple[float, ...]  # [D]
    minimum: tuple[float, ...] | None  # [D], where there is one
    window: tuple[float, float, float, float] | None  # left, right, bottom, top of its picture


def bowl(x: jax.Array) -> jax.Array:
    """x_0^2 + 50 x_1^2, over 2: a bowl that is 50 times as steep across as along."""
    return 0.5 * (x[0] ** 2 + 50.0 * x[1] ** 2)


def rosenbrock(x: jax.Array) -> jax.Array:
    """(1 - x_0)^2 + 100 (x_1 - x_0^2)^2: a bent valley, 0 at (1, 1) (Rosenbrock 1960)."""
    return (1.0 - x[0]) ** 2 + 100.0 * (x[1] - x[0] ** 2) ** 2


def beale(x: jax.Array) -> jax.Array:
    """sum_k (c_k - x_0 (1 - x_1^k))^2, c = 1.5, 2.25, 2.625: flat, 0 at (3, 0.5) (Beale 1958)."""
    powers = 1.0 - x[1] ** jnp.arange(1, 4)
    return jnp.sum((jnp.array([1.5, 2.25, 2.625]) - x[0] * powers) ** 2)


def first_network(weights: jax.Array) -> jax.Array:
    """The mean squared error of the first network with the weights [3], as in its `repo` recipe."""
    params = {"output": {"kernel": weights[:, None]}}
    return model.loss(params, model.example(model.Config()), cost="mean-square")[0]


PROBLEMS: Mapping[str, Problem] = {
    "first network": Problem(first_network, model.GO_WEIGHTS, None, None),
    "bowl": Problem(bowl, (-4.0, 1.0), (0.0, 0.0), (-4.6, 1.6, -1.5, 1.5)),
    "Rosenbrock": Problem(rosenbrock, (-1.2, 1.0), (1.0, 1.0), (-1.8, 1.8, -0.7, 2.0)),
    "Beale": Problem(beale, (1.0, 1.5), (3.0, 0.5), (-1.5, 4.5, -2.2, 2.0)),
}


class Race(NamedTuple):
    """The points of all solvers, step by step."""

    paths: jax.Array  # [S, R, T + 1, D], the start first
    costs: jax.Array  # [S, R, T + 1], the function's value there


def race(
    problems: Mapping[str, Problem],
    rates: jax.Array,
    steps: int,
    solvers: Mapping[str, Rule] = SOLVERS,
) -> dict[str, Race]:
    """Runs all solvers at all rates [R] on all problems; jit it to have it compiled in one."""

    def at_rate(problem: Problem, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        rules = [make(rate) for make in solvers.values()]
        values = jax.vmap(jax.value_and_grad(problem.function))  # of all solvers' points at once

        def step(carry, _):
            points, states = carry
            costs, grads = values(points)
            moved = [
                rule.update(grad, state, point)
                for rule, grad, state, point in zip(rules, grads, states, points, strict=True)
            ]
            new = points + jnp.stack([update for update, _ in moved])
            return (new, [state for _, state in moved]), (points, costs)

        start = jnp.array([problem.start] * len(rules))
        states = [rule.init(point) for rule, point in zip(rules, start, strict=True)]
        return jax.lax.scan(step, (start, states), length=steps + 1)[1]  # [T + 1, S, ...]

    def run(problem: Problem) -> Race:
        paths, costs = jax.vmap(functools.partial(at_rate, problem))(rates)
        return Race(paths.transpose(2, 0, 1, 3), costs.transpose(2, 0, 1))

    return {name: run(problem) for name, problem in problems.items()}


def best_rates(costs: np.ndarray) -> np.ndarray:
    """The number of each solver's best rate, [S], for costs [S, R, T + 1].

    The best has the lowest peak in the last tenth of the steps, of the rates at which the cost
    never climbed above where it began: a lucky landing after wild jumps does not count.
    """
    costs = np.asarray(costs)
    tame = costs.max(-1) <= costs[..., 0]  # not so where there is a NaN
    late = costs[..., -max(1, costs.shape[-1] // 10) :].max(-1)
    return np.where(tame, late, np.inf).argmin(-1)


def landscape(problem: Problem, size: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A problem's two axes [size] and its values [size, size] in its window, rows upwards."""
    assert problem.window is not None, "only a problem in the plane has a picture"
    left, right, bottom, top = problem.window
    x, y = np.linspace(left, right, size), np.linspace(bottom, top, size)
    grid = jnp.stack(jnp.meshgrid(jnp.asarray(x), jnp.asarray(y)), -1)
    return x, y, np.asarray(jax.vmap(jax.vmap(problem.function))(grid))
