"""The Q-networks and single transitions against tables worked by hand and NumPy in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch07_dqn.agent import model
from zoo.common.settings import SettingError

SMALL = {
    "site": dataclasses.replace(
        model.RECIPES["modern"], rows=1, columns=2, hidden=(5,), optimistic=False
    ),
    "coordinates": dataclasses.replace(
        model.RECIPES["mended"], rows=1, columns=2, hidden=(2, 6), bias=False
    ),
}


def to_numpy(params):
    return [{k: np.asarray(v, np.float64) for k, v in layer.items()} for layer in params["dense"]]


@pytest.mark.parametrize("name", SMALL)
def test_networks_equal_numpy(name, getkey):
    config = SMALL[name]
    params = model.init(getkey(), config)
    batch = model.example(config, 7)
    x = np.asarray(batch["obs"])
    x = np.eye(model.sites(config))[x] if name == "site" else x.astype(np.float64)
    act = np.tanh if config.activation == "tanh" else lambda a: np.maximum(a, 0)
    layers = to_numpy(params)
    for layer in layers[:-1]:
        x = act(x @ layer["kernel"] + layer.get("bias", 0))
    x = x @ layers[-1]["kernel"] + layers[-1].get("bias", 0)
    expected = x if name == "site" else x[..., 0]
    values = model.apply(params, batch["obs"], activation=config.activation)
    assert values.shape == (7, 4)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_the_books_network_has_the_books_sizes(getkey):
    shapes = [a.shape for a in jax.tree.leaves(model.init(getkey(), model.RECIPES["book"]))]
    assert shapes == [(4, 2), (2, 128), (128, 128), (128, 1)]
    assert sum(a * b for a, b in shapes) == 16_776


def test_coordinates_are_the_books():
    found = model.coordinates(jnp.int32(21 + 3), 21, 11, scaled=False)
    assert found.tolist() == [[3, 1, 1, 0], [3, 1, 0, 1], [3, 1, 0, -1], [3, 1, -1, 0]]
    corner = model.coordinates(jnp.int32(11 * 21 - 1), 21, 11)
    assert corner[:, :2].tolist() == [[1, 1]] * 4


def test_the_modern_network_begins_with_values_near_zero(getkey):
    config = model.RECIPES["modern"]
    values = model.apply(model.init(getkey(), config), jnp.arange(model.sites(config)))
    assert values.shape == (231, 4)
    assert (jnp.abs(values) < 0.02).all()


def test_a_wrong_observation_is_named(getkey):
    params = model.init(getkey(), SMALL["coordinates"])
    for obs in (jnp.zeros((3, 5)), jnp.zeros(4), jnp.zeros((3, 4), jnp.int32)):
        with pytest.raises(ValueError, match=r"expected floats of shape \(\.\.\., actions, 4\)"):
            model.apply(params, obs)
    params = model.init(getkey(), SMALL["site"])
    for obs in (jnp.zeros((3, 15)), jnp.zeros(3)):
        with pytest.raises(ValueError, match=r"float32 of shape .*, expected integers"):
            model.apply(params, obs)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("wrong", [(3, 1), (1, 3), (2,), (4,), ()])
def test_one_action_and_one_target_for_an_observation(name, wrong, getkey):
    config = SMALL[name]
    params, batch = model.init(getkey(), config), model.example(config, 3)
    loss = jax.jit(model.loss)
    for entry in ("action", "target"):
        other = batch | {entry: jnp.zeros(wrong, batch[entry].dtype)}
        with pytest.raises(ValueError, match=rf"{entry}s have shape .*, expected \(3,\)"):
            loss(params, other)
    obs = batch["obs"][:, None]  # else (3, 1) everywhere would agree
    with pytest.raises(ValueError, match=r"expected \(transitions, actions\)"):
        loss(params, {name: a[:, None] for name, a in batch.items()} | {"obs": obs})


def test_unknown_losses_and_activations_are_refused(getkey):
    params, batch = model.init(getkey(), SMALL["site"]), model.example(SMALL["site"])
    with pytest.raises(ValueError, match="kind 'absolute', expected one of huber, squared"):
        model.loss(params, batch, kind="absolute")
    with pytest.raises(ValueError, match="activation 'gelu', expected one of relu, tanh"):
        model.loss(params, batch, activation="gelu")


@pytest.mark.parametrize(
    "name",
    ["recipe", "method", "rewards", "network", "activation", "choice", "replay", "loss", "solver"],
)
def test_unknown_settings_are_refused(name):
    with pytest.raises(SettingError, match=f"the {name} 'other', expected one of "):
        dataclasses.replace(SMALL["site"], **{name: "other"})


# reward, discount, values of the target network, of the newest one, open actions: target
TABLE = [
    (1.0, 0.5, [1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 1, 1], 3.0),
    (1.0, 0.5, [1, 2, 3, 4], [9, 2, 3, 4], [1, 1, 1, 1], 1.5),  # double: another names the best
    (1.0, 0.5, [1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 0, 0], 2.0),  # only open moves
    (-2.0, 0.0, [1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 1, 1], -2.0),  # the goal was reached
    (0.0, 1.0, [-9, -8, -7, -6], [-1, -5, -5, -5], [1, 1, 1, 1], -9.0),
]


def test_targets_by_a_table():
    columns = [jnp.array(column, jnp.float32) for column in zip(*TABLE, strict=True)]
    reward, discount, values, choosing, legal, expected = columns
    found = jax.jit(jax.vmap(model.td_target))(reward, discount, values, choosing, legal == 1)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("rewards", "terminated", "ended", "expected"),
    [
        ([1, 2, 4], [0, 0, 0], [0, 0, 0], (1 + 1 + 1, 0.125, 2)),
        ([1, 2, 4], [0, 1, 0], [0, 1, 0], (1 + 1, 0.0, 1)),  # what comes after belongs to another
        ([1, 2, 4], [0, 0, 0], [1, 0, 0], (1, 0.5, 0)),  # cut off: the value goes on
        ([3], [1], [1], (3, 0.0, 0)),
    ],
)
def test_n_step_returns_by_a_table(rewards, terminated, ended, expected):
    found = model.n_step_return(
        jnp.array(rewards, jnp.float32), jnp.array(terminated) == 1, jnp.array(ended) == 1, 0.5
    )
    assert tuple(map(float, found)) == expected


@pytest.mark.parametrize("kind", ["huber", "squared"])
def test_loss_equals_numpy(kind, getkey):
    config = SMALL["site"]
    params, batch = model.init(getkey(), config), model.example(config, 6)
    values = np.asarray(model.apply(params, batch["obs"]), np.float64)
    error = np.asarray(batch["target"]) - values[np.arange(6), batch["action"]]
    costs = error**2
    if kind == "huber":
        costs = np.where(np.abs(error) < 1, costs / 2, np.abs(error) - 0.5)
    value, metrics = model.loss(params, batch, kind=kind)
    np.testing.assert_allclose(value, costs.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["td_error"], np.abs(error).mean(), rtol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_agree_with_finite_differences(name, getkey):
    config = SMALL[name]
    params, batch = model.init(getkey(), config), model.example(config, 4)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), params)
        obs = np.asarray(batch["obs"])
        obs = jnp.asarray(obs if name == "site" else obs.astype(np.float64))
        content = {"obs": obs, "action": jnp.array([0, 1, 2, 3]), "target": jnp.full(4, 0.3)}
        check_grads(
            jax.jit(lambda p: model.loss(p, content, activation="tanh", kind="squared")[0]),
            (wide,),
            order=1,
            modes=["rev"],
        )


def test_choices_by_hand():
    values, legal = jnp.array([3.0, 9.0, 5.0, 4.0]), jnp.array([True, False, True, True])

    def choice(first, second, epsilon):
        return int(model.choose(values, legal, jnp.array([first, second]), jnp.float32(epsilon)))

    assert choice(0.5, 0.0, 0.4) == 2  # greedy: the closed one is better, but closed
    assert [choice(0.5, u, 0.6) for u in (0.0, 0.3, 0.4, 0.99)] == [0, 0, 2, 3]
