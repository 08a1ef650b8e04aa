"""Activation functions and their derivatives against the formulas, in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch02_basic_nn import activations

X = np.array([[-5.0, -2.0, -0.5], [0.3, 1.0, 4.0]])
S = 1 / (1 + np.exp(-X))
T = (np.exp(X) - np.exp(-X)) / (np.exp(X) + np.exp(-X))
PHI = np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))(X)
DENSITY = np.exp(-(X**2) / 2) / math.sqrt(2 * math.pi)
POSITIVE = (X > 0).astype(float)
FORMULAS = {  # the value and the derivative
    "step": (POSITIVE, 0 * X),
    "linear": (0.5 * X, 0 * X + 0.5),
    "relu": (X * POSITIVE, POSITIVE),
    "leaky_relu": (np.where(X > 0, X, 0.01 * X), np.where(X > 0, 1, 0.01)),
    "prelu": (np.where(X > 0, X, 0.25 * X), np.where(X > 0, 1, 0.25)),
    "sigmoid": (S, S * (1 - S)),
    "tanh": (T, 1 - T**2),
    "tanh_misprinted": (1 + 2 * np.exp(-2 * X), -4 * np.exp(-2 * X)),
    "swish": (X * S, S + X * S * (1 - S)),
    "gelu": (X * PHI, PHI + X * DENSITY),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_derivative_are_the_formulas(name):
    function = getattr(activations, name)
    value, slope = FORMULAS[name]
    with jax.enable_x64(True):
        np.testing.assert_allclose(function(jnp.asarray(X)), value, rtol=1e-10, atol=1e-14)
        actual = activations.derivative(function, jnp.asarray(X))
        assert actual.shape == X.shape
        np.testing.assert_allclose(actual, slope, rtol=1e-10, atol=1e-14)


def test_at_zero_the_step_is_up():
    assert activations.step(jnp.zeros(())) == 1


def test_softmax_is_a_share_and_its_jacobian_diag_p_less_p_p():
    x = jnp.array([0.3, -1.2, 2.0, 0.0])
    p = activations.softmax(x)
    np.testing.assert_allclose(p, np.exp(x) / np.exp(x).sum(), rtol=1e-6)
    expected = np.diag(p) - np.outer(p, p)
    np.testing.assert_allclose(jax.jacobian(activations.softmax)(x), expected, atol=1e-6)
    np.testing.assert_allclose(activations.softmax(jnp.array([1e4, 0.0])), [1, 0])


def test_prelu_learns_its_slope_where_x_is_negative():
    gradient = jax.vmap(jax.grad(activations.prelu, 1), (0, None))
    np.testing.assert_allclose(gradient(jnp.array([-3.0, 2.0]), 0.25), [-3, 0])


def test_tanh_is_a_sigmoid_stretched_and_its_misprint_is_not():
    x = jnp.linspace(-3, 3, 13)
    np.testing.assert_allclose(
        activations.tanh(x), 2 * activations.sigmoid(2 * x) - 1, rtol=1e-5, atol=1e-6
    )
    misprinted = activations.tanh_misprinted(x)
    assert (misprinted > 1).all()
    assert (jnp.diff(misprinted) < 0).all()
    assert activations.tanh_misprinted(0.0) == 3
