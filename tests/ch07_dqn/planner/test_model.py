"""The planner's network against NumPy, and exact weights against value iteration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch07_dqn import environment
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.planner import model, task
from zoo.ch07_dqn.planner.train import held_out_mazes, solver
from zoo.common import fit
from zoo.common.settings import SettingError

TINY = model.Config(rows=4, columns=4, rounds=16)


def exact(discount):
    """Weights under which the rounds are value iteration: actions look at their neighbour."""
    kernel = np.zeros((3, 3, model.PLANES + 1, model.ACTIONS), np.float32)
    for action, (down, right) in enumerate(mazes.MOVES):
        kernel[1 + down, 1 + right, 0, action] = discount
        kernel[1, 1, 1 + model.ACTIONS, action] = 1 + discount  # at the goal: v = 0
    return {"round": {"kernel": jnp.array(kernel), "bias": jnp.full(4, -1.0)}}


@pytest.fixture(scope="module")
def maze():
    return held_out_mazes(TINY, 20)


def test_the_exact_weights_give_the_values_of_value_iteration(maze):
    image = model.image(maze.exits, maze.goal)
    values = model.apply(exact(0.8), image, rounds=60).reshape(20, 16, 4)
    for n in range(3):
        own = jax.tree.map(lambda a, n=n: a[n], maze)
        best = environment.optimal_values(environment.modern(own), 0.8)
        legal = np.asarray(mazes.legal(own.exits.reshape(-1)))[:-1]  # the goal itself apart
        np.testing.assert_allclose(values[n][:-1][legal], best[:-1][legal], atol=1e-3)


def test_the_exact_weights_solve_larger_mazes_too():
    large = dataclasses.replace(TINY, rows=5, columns=7, extra=0.2)
    tried = solver(60)(exact(0.95), held_out_mazes(large, 30))
    found = environment.summary(tried.length, tried.shortest)
    assert found == {"solved": 1.0, "ratio": 1.0, "optimal": 1.0}


@pytest.mark.parametrize("channels", [1, 3])
def test_rounds_equal_numpy(channels, maze, getkey):
    config = dataclasses.replace(TINY, channels=channels)
    params = model.init(getkey(), config)
    image = np.asarray(model.image(maze.exits[:2], maze.goal[:2]), np.float64)
    kernel, bias = (np.asarray(params["round"][k], np.float64) for k in ("kernel", "bias"))
    v = np.zeros((2, 4, 4, channels))
    for _ in range(4):
        x = np.pad(np.concatenate([v, image], -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
        q = np.zeros((2, 4, 4, 4 * channels)) + bias
        for i in range(3):
            for j in range(3):
                q += x[:, i : i + 4, j : j + 4] @ kernel[i, j]
        q = q.reshape(2, 4, 4, 4, channels)
        v = np.where(image[..., :4, None] > 0, q, -np.inf).max(-2)
    found = model.apply(params, jnp.asarray(image, jnp.float32), rounds=4)
    np.testing.assert_allclose(found, q[..., 0], rtol=1e-4, atol=1e-5)


def test_gradients_agree_with_finite_differences(getkey):
    with jax.enable_x64(True):
        batch = model.example(dataclasses.replace(TINY, rows=3, columns=3))
        exits = np.array([[[3, 11, 8], [7, 13, 10], [5, 9, 12]]] * 2, np.uint8)
        batch |= {"exits": jnp.asarray(exits), "goal": jnp.array([8, 4])}
        batch |= {"target": jnp.full((2, 2), 0.3)}
        shapes = jax.tree.map(jnp.shape, model.init(getkey(), TINY))
        kernel = 0.1 * np.random.default_rng(0).normal(size=shapes["round"]["kernel"])
        params = {"round": {"kernel": jnp.asarray(kernel), "bias": jnp.arange(4.0) / 10}}
        check_grads(
            jax.jit(lambda p: model.loss(p, batch, rounds=2)[0]),
            (params,),
            order=1,
            modes=["rev"],
        )


def test_parameters_of_16_bits_make_values_of_16_bits(maze, getkey):
    params = model.init(getkey(), TINY)
    image = model.image(maze.exits[:2], maze.goal[:2])
    wide = model.apply(params, image, rounds=4)
    narrow = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    found = model.apply(narrow, image, rounds=4)
    assert (wide.dtype, found.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(found.astype(jnp.float32), wide, rtol=0.02, atol=0.01)
    text = str(jax.make_jaxpr(lambda p: model.apply(p, image, rounds=4))(narrow))
    assert "conv_general_dilated" in text
    assert "f32[2,4,4,4]" not in text  # no round is computed in 32


def walked(maze):
    """A batch of three walks of four steps, with errors on both sides of 1."""
    rng = np.random.default_rng(0)
    return {
        "exits": maze.exits[:3],
        "goal": maze.goal[:3],
        "site": rng.integers(16, size=(3, 4)),
        "action": rng.integers(4, size=(3, 4)),
        "target": rng.normal(size=(3, 4)).astype(np.float32) * 2,
        "weight": np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], np.float32),
    }


def test_loss_equals_numpy_and_counts_what_has_a_weight(maze, getkey):
    params, batch = model.init(getkey(), TINY), walked(maze)
    values = model.apply(params, model.image(batch["exits"], batch["goal"]), rounds=5)
    values = np.asarray(values, np.float64).reshape(3, 16, 4)
    value = values[np.arange(3)[:, None], batch["site"], batch["action"]]
    error = (batch["target"] - value)[batch["weight"] == 1]
    assert (np.abs(error) < 1).any()
    assert (np.abs(error) > 1).any()
    costs = np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)
    found, metrics = model.loss(params, batch, rounds=5)
    np.testing.assert_allclose(found, costs.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["td_error"], np.abs(error).mean(), rtol=1e-5)
    # In tests too it is a mean over transitions, however many of them a batch has.
    testing = task.losses(dataclasses.replace(TINY, rounds=5), 1)[1]
    for size in (1, 2, 3):
        measured = fit.make_evaluate(testing, size)({"params": params}, batch)
        np.testing.assert_allclose(measured["loss"], costs.mean(), rtol=1e-5)
        np.testing.assert_allclose(measured["td_error"], np.abs(error).mean(), rtol=1e-5)


def test_mazes_that_are_held_out_teach_nothing(maze, getkey):
    batch = walked(maze) | {"weight": np.zeros((3, 4), np.float32)}
    (value, _), grads = jax.value_and_grad(model.loss, has_aux=True)(
        model.init(getkey(), TINY), batch, rounds=2
    )
    assert value == 0
    assert not any(a.any() for a in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("entry", "shape", "message"),
    [
        ("exits", (3, 16), r"exits have shape \(3, 16\), expected \(3, rows, columns\)"),
        ("exits", (2, 4, 4), r"goals have shape \(3,\), expected \(2,\)"),
        ("goal", (3, 1), r"goals have shape \(3, 1\), expected \(3,\)"),
        ("goal", (), r"goals have shape \(\), expected \(3,\)"),
        ("site", (3,), r"sites have shape \(3,\), expected \(3, transitions\)"),
        ("site", (1, 4), r"sites have shape \(1, 4\), expected \(3, transitions\)"),
        *[
            (name, shape, rf"{name}s have shape .*, expected \(3, 4\)")
            for name in ("action", "target", "weight")
            for shape in ((3, 1), (1, 4), (3,), (3, 4, 1))
        ],
    ],
)
def test_a_wrong_shape_of_an_entry_is_named(entry, shape, message, maze, getkey):
    batch = walked(maze)
    batch[entry] = np.zeros(shape, batch[entry].dtype)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.loss, model.init(getkey(), TINY), batch)


def test_a_wrong_shape_is_named(getkey):
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3, 5\), expected"):
        model.apply(model.init(getkey(), TINY), jnp.zeros((2, 3, 3, 5)))


@pytest.mark.parametrize("name", ["recipe", "method"])
def test_unknown_settings_are_refused(name):
    with pytest.raises(SettingError, match=f"the {name} 'other', expected one of "):
        dataclasses.replace(TINY, **{name: "other"})
