import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.common import solvers


def trajectory(optimizer, gradients, start):
    params = jnp.asarray(start)
    state = optimizer.init(params)
    path = []
    for gradient in gradients:
        updates, state = jax.jit(optimizer.update)(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        path.append(np.asarray(params))
    return np.stack(path)


@pytest.fixture
def gradients():
    return np.random.default_rng(3).normal(0, 4, (6, 5)).astype(np.float32)


START = np.array([0.3, -2.0, 1.0, 0.0, 5.0], np.float32)


@pytest.mark.parametrize(("l2", "clip"), [(0.0, None), (1e-3, None), (0.0, 5.0), (1e-3, 1.0)])
def test_rmsprop_is_gorgonias_arithmetic(gradients, l2, clip):
    w, c, path = START.astype(float), np.zeros(5), []
    for g in gradients.astype(float):
        c = 0.999 * c + 0.001 * g * g
        clipped = g if clip is None else np.minimum(np.maximum(g, -clip), clip)
        w = w - 0.01 * clipped / np.sqrt(c + 1e-8) - l2 * w
        path.append(w)
    actual = trajectory(solvers.rmsprop(0.01, l2=l2, clip=clip), gradients, START)
    np.testing.assert_allclose(actual, np.stack(path), rtol=2e-5)


def test_rmsprop_without_clip_and_decay_is_optax_with_four_options(gradients):
    options = {"decay": 0.999, "eps": 1e-8, "eps_in_sqrt": True, "initial_scale": 0.0}
    twin = trajectory(optax.rmsprop(0.01, **options), gradients, START)
    actual = trajectory(solvers.rmsprop(0.01), gradients, START)
    np.testing.assert_allclose(actual, twin, rtol=1e-5)


def test_the_first_step_of_rmsprop_is_31_6_times_the_rate():
    path = trajectory(solvers.rmsprop(0.001), np.full((1, 2), 3.0, np.float32), np.zeros(2))
    np.testing.assert_allclose(path[0], -0.001 * np.sqrt(1000), rtol=1e-4)


def test_rmsprop_says_that_it_needs_the_parameters():
    optimizer = solvers.rmsprop()
    with pytest.raises(ValueError, match="expected update"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@pytest.mark.parametrize(("batch", "doubled"), [(1, False), (100, False), (1, True), (100, True)])
def test_adam_is_gorgonias_arithmetic(gradients, batch, doubled):
    w, m, v, path = START.astype(float), np.zeros(5), np.zeros(5), []
    for t, g in enumerate(gradients.astype(float) / batch, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        mean, square = m / (1 - 0.9**t), v / (1 - 0.999**t)
        w = w - 0.01 * mean / (np.sqrt(square) + 1e-8) - 0.01 * mean * doubled
        path.append(w)
    actual = trajectory(solvers.adam(0.01, batch=batch, doubled=doubled), gradients, START)
    np.testing.assert_allclose(actual, np.stack(path), rtol=2e-5)


def test_the_doubled_step_of_a_gradient_of_3_at_rate_0_01_is_0_04():
    path = trajectory(solvers.adam(0.01, doubled=True), np.full((1, 1), 3.0, np.float32), [0.0])
    np.testing.assert_allclose(path[0], -0.04, rtol=1e-5)
