"""The first network against NumPy, against finite differences, and what it refuses."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo import ch02_basic_nn as nn
from zoo.ch02_basic_nn import model

X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], float)
Y = np.array([0, 0, 1, 1], float)
W = np.array([0.7, -1.2, 0.4])
COSTS = model.Cost.__args__


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_hand(cost):
    """The cost at W, and its gradient by the chain rule: dC/dp, dp/dz = p (1 - p), dz/dw = x."""
    p = sigmoid(X @ W)
    entropy = -np.mean(Y * np.log(p) + (1 - Y) * np.log(1 - p))
    value, dp = {
        "cross-entropy": (entropy, (p - Y) / (p * (1 - p)) / 4),
        "mean-square": (np.mean((Y - p) ** 2), 2 * (p - Y) / 4),
        "half-sum-square": (0.5 * np.sum((Y - p) ** 2), p - Y),
        "mean-signed": (np.mean(Y - p), -np.ones(4) / 4),
    }[cost]
    return value, X.T @ (dp * p * (1 - p))


def batch(dtype):
    return {"input": jnp.asarray(X, dtype), "label": jnp.asarray(Y, dtype)}


@pytest.mark.parametrize("cost", COSTS)
def test_each_cost_and_its_gradient_are_the_textbooks(cost):
    with jax.enable_x64(True):
        params = {"output": {"kernel": jnp.asarray(W)[:, None]}}
        loss = functools.partial(nn.loss, cost=cost)
        (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params, batch("float64"))
        expected, gradient = by_hand(cost)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(grads["output"]["kernel"][:, 0], gradient, rtol=1e-12)
        assert metrics["accuracy"] == np.mean((sigmoid(X @ W) > 0.5) == Y)


@pytest.mark.parametrize("cost", COSTS)
def test_gradients_agree_with_finite_differences_behind_a_hidden_layer(cost, getkey):
    with jax.enable_x64(True):
        params = nn.init(getkey(), nn.Config(hidden=5))
        params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
        data = batch("float64")
        loss = functools.partial(nn.loss, cost=cost)
        check_grads(lambda p: loss(p, data)[0], (params,), order=1, modes=["rev"])


def test_a_hidden_layer_is_tanh_between_two_products(getkey):
    params = nn.init(getkey(), nn.Config(hidden=5))
    first, second = (np.asarray(params[name]["kernel"], float) for name in ("hidden", "output"))
    assert first.shape == (3, 5)
    assert second.shape == (5, 1)
    logits = nn.apply(params, batch("float32")["input"])
    np.testing.assert_allclose(logits, (np.tanh(X @ first) @ second)[:, 0], rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_sure_and_wrong_outputs_stays_finite_and_keeps_its_gradient():
    """Where squared error's gradient vanishes: that is why it is the modern one."""
    params = {"output": {"kernel": jnp.array([[-1e4], [0.0], [0.0]])}}

    def gradient(cost):
        grads = jax.grad(lambda p: nn.loss(p, batch("float32"), cost=cost)[0])(params)
        return grads["output"]["kernel"][0, 0]

    assert np.isfinite(nn.loss(params, batch("float32"))[0])
    np.testing.assert_allclose(gradient("cross-entropy"), -0.5)
    assert gradient("mean-square") == 0


def test_the_example_is_the_toy_and_repeats_its_rows():
    toy = nn.example(nn.Config())
    np.testing.assert_array_equal(toy["input"], X)
    np.testing.assert_array_equal(toy["label"], Y)
    assert toy["input"].dtype == toy["label"].dtype == jnp.float32
    seven = nn.example(nn.Config(), 7)
    np.testing.assert_array_equal(seven["input"], np.concatenate([X, X[:3]]))


def test_the_numpy_programs_weights_are_numpys_of_seed_1():
    drawn = 2 * np.random.RandomState(1).random_sample(3) - 1
    np.testing.assert_array_equal(nn.RECIPES["numpy"].weights, drawn)
    text = nn.RECIPES["text"].weights
    assert np.abs(text - drawn).max() == pytest.approx(0.0019, abs=1e-4)  # the misprint
    np.testing.assert_allclose(text[1:], drawn[1:], rtol=1e-8)


def test_wrong_shapes_and_costs_are_named(getkey):
    params = nn.init(getkey(), nn.Config())
    data = batch("float32")
    with pytest.raises(ValueError, match=r"inputs have shape \(4, 2\), expected \(batch, 3\)"):
        nn.apply(params, data["input"][:, :2])
    with pytest.raises(ValueError, match=r"inputs have shape \(3,\), expected \(batch, 3\)"):
        nn.apply(params, data["input"][0])
    with pytest.raises(ValueError, match=r"inputs have shape \(4, 1, 3\), expected \(batch, 3\)"):
        nn.loss(params, data | {"input": data["input"][:, None]})
    for cost in COSTS:
        for shape in ((4, 1), (1, 4), (3,), (1,), ()):
            with pytest.raises(ValueError, match=r"labels have shape .*, expected \(4,\)"):
                nn.loss(params, data | {"label": jnp.zeros(shape)}, cost=cost)
    for cost in ("hinge", "Mean-Square", ""):
        with pytest.raises(ValueError, match=f"the cost '{cost}', expected one of cross-entropy"):
            nn.loss(params, data, cost=cost)
        with pytest.raises(ValueError, match=f"the cost '{cost}', expected one of cross-entropy"):
            nn.Config(cost=cost)


def test_recipes_differ_from_one_another_in_more_than_their_names():
    named = [dataclasses.replace(config, recipe="modern") for config in nn.RECIPES.values()]
    assert len(set(named)) == 4
