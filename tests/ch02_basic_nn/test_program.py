"""The three programs' own numbers, and the compiled loop against a plain one."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import ch02_basic_nn as nn
from zoo.ch02_basic_nn.program import start
from zoo.common import fit

TOY = nn.example(nn.Config())
XOR = {"input": TOY["input"], "label": jnp.array([0.0, 1.0, 1.0, 0.0])}


@pytest.fixture(scope="module")
def trained():
    """Parameters and history of each recipe."""
    return {name: nn.run_program(config, TOY) for name, config in nn.RECIPES.items()}


def test_the_numpy_program_gives_all_eight_decimals_that_the_book_prints(trained):
    output = trained["numpy"][1]["output"]
    assert output.dtype == np.float64
    np.testing.assert_array_equal(
        output[-1].round(8), [0.00966449, 0.00786506, 0.99358898, 0.99211957]
    )


def test_the_repository_gives_all_six_decimals_that_its_program_prints(trained):
    output = trained["repo"][1]["output"]
    np.testing.assert_array_equal(output[-1].round(6), [0.013769, 0.011198, 0.990877, 0.988778])


def test_the_texts_program_cannot_learn(trained):
    _, history = trained["text"]
    np.testing.assert_array_equal(history["output"][-1].round(3), [0.716, 0.900, 0.839, 0.949])
    assert history["loss"][-1].round(3) == -0.351
    assert history["accuracy"][-1] == 0.5
    assert (np.diff(history["output"], axis=0) > 0).all()  # it pushes every output up
    assert (np.diff(history["loss"]) < 0).all()  # and calls that better


def test_the_texts_clip_at_5_could_never_act():
    """Each part of the gradient of mean (y - p) is a mean of p (1 - p) x, so at most 1/4."""
    grads = jax.grad(lambda p: nn.loss(p, TOY, cost="mean-signed")[0])(
        {"output": {"kernel": jnp.zeros((3, 1))}}
    )
    assert np.abs(grads["output"]["kernel"]).max() == 0.25


def test_modern_is_nearer_to_the_labels_than_any_program(trained):
    wrong = {
        name: np.abs(history["output"][-1] - TOY["label"]).max()
        for name, (_, history) in trained.items()
    }
    assert wrong["modern"] < 1e-3
    assert wrong["modern"] < min(wrong["numpy"], wrong["repo"]) / 10


def test_the_compiled_loop_is_the_eleven_lines_of_numpy():
    config = dataclasses.replace(nn.RECIPES["numpy"], steps=50)
    params, history = nn.run_program(config, TOY)
    x, y = np.asarray(TOY["input"], float), np.asarray(TOY["label"], float)
    w = np.array(config.weights)
    for step in range(50):
        p = 1 / (1 + np.exp(-(x @ w)))
        np.testing.assert_allclose(history["output"][step], p, rtol=1e-13)
        np.testing.assert_allclose(history["loss"][step], 0.5 * np.sum((y - p) ** 2), rtol=1e-13)
        w += x.T @ ((y - p) * p * (1 - p))
    np.testing.assert_allclose(params["output"]["kernel"][:, 0], w, rtol=1e-13)


def test_the_history_begins_before_the_first_update_and_ends_before_the_last():
    config = dataclasses.replace(nn.Config(), steps=3, seed=5)
    params, history = nn.run_program(config, TOY)
    assert history["output"].shape == (3, 4)
    first = nn.loss(start(config), TOY)[0]
    np.testing.assert_allclose(history["loss"][0], first, rtol=1e-6)
    assert nn.loss(params, TOY)[0] < history["loss"][-1]


def test_float64_does_not_leak_out(trained):
    assert trained["repo"][0]["output"]["kernel"].dtype == np.float64
    assert trained["modern"][0]["output"]["kernel"].dtype == np.float32
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == jnp.float32


def test_ten_thousand_steps_take_less_than_a_tenth_of_a_second_once_compiled(trained):
    seconds = []
    for _ in range(3):
        began = time.process_time()
        nn.run_program(nn.RECIPES["repo"], TOY)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.1


@pytest.mark.parametrize(("hidden", "right"), [(0, False), (8, True)])
def test_exclusive_or_needs_a_hidden_layer(hidden, right):
    _, history = nn.run_program(nn.Config(hidden=hidden), XOR)
    assert (history["accuracy"][-1] == 1) == right


def test_given_weights_are_for_one_layer_only():
    config = dataclasses.replace(nn.RECIPES["numpy"], hidden=2)
    assert start(config)["output"]["kernel"].shape == (2, 1)
    np.testing.assert_array_equal(
        start(nn.RECIPES["numpy"])["output"]["kernel"][:, 0], nn.RECIPES["numpy"].weights
    )


def diverging(steps):
    """A rate that no `Config` takes: with those that it takes, the output saturates before."""
    config = nn.Config(steps=steps)
    object.__setattr__(config, "learning_rate", float("inf"))
    return config


def test_a_last_update_that_is_not_finite_is_named():
    """Every loss is finite: only a next step would see what the update made."""
    with pytest.raises(fit.NonFiniteError, match="the last update was not finite"):
        nn.run_program(diverging(1), TOY)


def test_a_loss_that_is_not_finite_is_named_with_its_step():
    with pytest.raises(fit.NonFiniteError, match=r"not finite at step \d+: try a smaller"):
        nn.run_program(diverging(20), TOY)
