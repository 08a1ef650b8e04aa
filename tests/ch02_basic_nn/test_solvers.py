"""The race's paths against each solver's arithmetic in plain NumPy, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch02_basic_nn import model, solvers

RATES, STEPS = np.array([0.0005, 0.002]), 25


def slope(name, w):
    """The gradient of a problem by hand."""
    x, y = w[0], w[1]
    if name == "bowl":
        return np.array([x, 50 * y])
    if name == "Rosenbrock":
        return np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])
    if name == "Beale":
        k, c = np.arange(1, 4), np.array([1.5, 2.25, 2.625])
        error = c - x * (1 - y**k)
        return np.array([-2 * np.sum(error * (1 - y**k)), 2 * np.sum(error * x * k * y ** (k - 1))])
    inputs, labels = np.array(model.INPUTS, float), np.array(model.LABELS, float)
    p = 1 / (1 + np.exp(-(inputs @ w)))
    return inputs.T @ ((p - labels) / 2 * p * (1 - p))


def by_hand(solver, problem, rate):
    """The path of a solver, [STEPS + 1, D]; `a` and `b` are what it remembers."""
    w = np.array(solvers.PROBLEMS[problem].start)
    a, b, path = np.zeros_like(w), np.zeros_like(w), [w]
    for t in range(1, STEPS + 1):
        g = slope(problem, w)
        if solver == "SGD":
            w = w - rate * g
        elif solver == "momentum":  # as the book writes it: v = momentum v - rate g
            a = 0.9 * a - rate * g
            w = w + a
        elif solver == "Nesterov":
            a = 0.9 * a + g
            w = w - rate * (g + 0.9 * a)
        elif solver == "RMSProp":
            a = 0.9 * a + 0.1 * g**2
            w = w - rate * g / np.sqrt(a + 1e-8)
        elif solver == "Gorgonia's RMSProp":
            a = 0.999 * a + 0.001 * g**2
            w = w - rate * g / np.sqrt(a + 1e-8)
        else:
            a, b = 0.9 * a + 0.1 * g, 0.999 * b + 0.001 * g**2
            mean, square = a / (1 - 0.9**t), b / (1 - 0.999**t)
            w = w - rate * mean / (np.sqrt(square) + 1e-8) - rate * mean * (solver != "Adam")
        path.append(w)
    return np.stack(path)


@pytest.fixture(scope="module")
def races():
    """All solvers on all problems in float64, compiled in one call."""
    with jax.enable_x64(True):
        run = jax.jit(lambda rates: solvers.race(solvers.PROBLEMS, rates, STEPS))
        return jax.device_get(run(jnp.asarray(RATES)))


@pytest.mark.parametrize("problem", solvers.PROBLEMS)
@pytest.mark.parametrize("solver", solvers.SOLVERS)
def test_each_path_is_the_solvers_arithmetic(races, solver, problem):
    place = list(solvers.SOLVERS).index(solver)
    for r, rate in enumerate(RATES):
        actual = races[problem].paths[place, r]
        np.testing.assert_allclose(actual, by_hand(solver, problem, rate), rtol=1e-8)


def test_costs_are_the_functions_values_on_the_paths(races):
    for name, problem in solvers.PROBLEMS.items():
        with jax.enable_x64(True):
            points = races[name].paths[2, 1]
            expected = [problem.function(jnp.asarray(point)) for point in points[::8]]
        np.testing.assert_allclose(races[name].costs[2, 1, ::8], expected, rtol=1e-10)


def test_the_first_step_of_gorgonias_rmsprop_is_31_6_times_the_rate(races):
    path = races["bowl"].paths[list(solvers.SOLVERS).index("Gorgonia's RMSProp")]
    moved = np.abs(path[:, 1] - path[:, 0])
    np.testing.assert_allclose(moved, RATES[:, None] * np.sqrt([1000, 1000]), rtol=1e-4)


@pytest.mark.parametrize("name", ["bowl", "Rosenbrock", "Beale"])
def test_minima_are_where_they_are_said_to_be(name):
    problem = solvers.PROBLEMS[name]
    there = jnp.array(problem.minimum)
    assert problem.function(there) < 1e-10
    np.testing.assert_allclose(jax.grad(problem.function)(there), 0, atol=1e-5)
    left, right, bottom, top = problem.window
    for x, y in (problem.start, problem.minimum):
        assert left < x < right
        assert bottom < y < top


def test_the_first_networks_cost_is_its_repo_recipes():
    weights = jnp.array([0.7, -1.2, 0.4])
    p = 1 / (1 + np.exp(-(np.array(model.INPUTS) @ np.asarray(weights))))
    expected = np.mean((p - np.array(model.LABELS)) ** 2)
    np.testing.assert_allclose(solvers.first_network(weights), expected, rtol=1e-6)


def test_the_best_rate_is_low_at_last_and_never_climbs_above_the_start():
    slow, quick = np.linspace(1, 0.5, 31), np.linspace(1, 0.1, 31)
    wild, lucky = quick.copy(), slow.copy()
    wild[3] = 2.0  # ends lowest, but it had climbed
    lucky[-1] = 0.0  # only its last point is low
    broken = np.full(31, np.nan)
    broken[0] = 1.0
    costs = np.stack([[slow, wild, broken], [broken, lucky, quick]])
    np.testing.assert_array_equal(solvers.best_rates(costs), [0, 2])


def test_a_landscapes_rows_go_with_the_second_coordinate():
    x, y, z = solvers.landscape(solvers.PROBLEMS["bowl"], 5)
    assert z.shape == (5, 5)
    np.testing.assert_allclose(z, 0.5 * (x[None] ** 2 + 50 * y[:, None] ** 2), rtol=1e-5)
