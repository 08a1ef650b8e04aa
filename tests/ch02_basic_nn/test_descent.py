"""The worked example's right numbers, the limit of the learning rate, the chain rule, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch02_basic_nn import descent


def test_the_worked_example_has_its_right_numbers():
    for w, expected in ((2.0, 67.5), (2.01, 68.403), (1.99, 66.603)):
        np.testing.assert_allclose(descent.sse(w), expected, rtol=1e-6)
    slope = jax.grad(descent.sse)(2.0)
    assert slope == 90
    with jax.enable_x64(True):
        difference = (descent.sse(2.01) - descent.sse(2.0)) / 0.01
        np.testing.assert_allclose(difference, 90.3, rtol=1e-9)
    np.testing.assert_allclose(descent.descend(descent.sse, 2.0, 0.001, 1), [2, 1.91], rtol=1e-6)


@pytest.mark.parametrize("rate", [0.001, 0.01, 1 / 60, 0.03, 1 / 30, 0.036])
def test_a_step_on_the_parabola_scales_the_distance_by_1_less_60_rates(rate):
    with jax.enable_x64(True):
        path = descent.descend(descent.sse, 2.0, rate, 12)
        expected = 0.5 + 1.5 * (1 - 60 * rate) ** np.arange(13)
        np.testing.assert_allclose(path, expected, rtol=1e-9, atol=1e-12)


def test_descent_diverges_above_two_over_the_second_derivative_and_not_below():
    with jax.enable_x64(True):
        limit = descent.largest_rate(descent.sse, 2.0)
        np.testing.assert_allclose(limit, 2 / 60)
        for factor, ends in ((0.99, 0.0), (1.0, 1.5), (1.01, np.inf)):
            path = descent.descend(descent.sse, 2.0, factor * limit, 2_000)
            distance = np.abs(path[-1] - 0.5)
            if np.isinf(ends):
                assert distance > 1e10
            else:
                np.testing.assert_allclose(distance, ends, atol=1e-9)


def test_the_chain_rule_by_hand_is_jax_grad(getkey):
    for w1, w2, i, target in np.asarray(jax.random.normal(getkey(), (5, 4))):
        expected = jax.grad(descent.chain, (0, 1))(w1, w2, i, target)
        np.testing.assert_allclose(descent.chain_rule(w1, w2, i, target), expected, rtol=1e-5)
    f = 1 / (1 + np.exp(-0.45))
    g = 1 / (1 + np.exp(0.7 * f))
    np.testing.assert_allclose(descent.chain(0.3, -0.7, 1.5, 1.0), (g - 1) ** 2, rtol=1e-6)


@pytest.fixture
def line(getkey):
    return descent.noisy_line(getkey(), 24)


def descend(key, line, batch_size, epochs=3):
    return descent.batch_descent(key, jnp.array([-0.8, 0.8]), line, 0.1, batch_size, epochs)


def test_a_batch_of_all_points_is_gradient_descent_in_numpy(getkey, line):
    x, y = (np.asarray(a, float) for a in line)
    w, path = np.array([-0.8, 0.8]), [[-0.8, 0.8]]
    for _ in range(3):
        error = w[0] * x + w[1] - y
        w = w - 0.1 * 2 * np.array([np.mean(error * x), np.mean(error)])
        path.append(w)
    np.testing.assert_allclose(descend(getkey(), line, 24), path, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 8])
def test_small_batches_step_on_each_point_once_an_epoch_in_another_order(getkey, size):
    """At a rate so small that steps add up, an epoch is one step on all points, times batches."""
    x, y = descent.noisy_line(getkey(), 24)
    start = jnp.array([-0.8, 0.8])
    with jax.enable_x64(True):
        args = [jnp.asarray(np.asarray(a), jnp.float64) for a in (start, x, y)]
        path = descent.batch_descent(getkey(), args[0], args[1:], 1e-7, size, epochs=2)
        assert path.shape == (1 + 2 * 24 // size, 2)
        whole = jax.grad(descent.line_loss)(*args)
        for epoch in (1, 2):
            moved = path[epoch * 24 // size] - path[(epoch - 1) * 24 // size]
            np.testing.assert_allclose(moved, -1e-7 * (24 // size) * whole, rtol=1e-4)
        steps = np.diff(path, axis=0)
        assert not np.allclose(steps[: 24 // size], steps[24 // size :], rtol=1e-3)


@pytest.mark.parametrize("shape", [(24, 1), (1, 24), (23,), (1,), ()])
def test_targets_that_do_not_fit_the_points_are_named(shape, line):
    with pytest.raises(ValueError, match=r"targets have shape .*, expected \(24,\)"):
        descent.line_loss(jnp.ones(2), line[0], jnp.zeros(shape))


def test_points_of_the_line_lie_about_it(getkey):
    x, y = descent.noisy_line(getkey(), 4_000)
    slope, intercept = np.polyfit(x, y, 1)
    np.testing.assert_allclose([slope, intercept], [0.5, 0], atol=0.03)
    np.testing.assert_allclose(np.std(y - 0.5 * x), 0.3, rtol=0.05)
