"""The parts of an agent's step against NumPy in float64: targets, updates, exploration, replay.

The maze of 1x2 cells is a corridor of five tiles, 5 to 9: the entrance is 5, the goal 9.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import replay
from zoo.ch07_dqn.agent import model
from zoo.ch07_dqn.agent.train import Transition, act, init, learn, make_batch, make_params, step

EAST, SOUTH, NORTH, WEST = range(4)
GAMMA = 0.5
CORRIDOR = model.Config(
    rows=1,
    columns=2,
    hidden=(5,),
    optimistic=False,
    discount=GAMMA,
    capacity=3,
    batch_size=4,
    target_every=1,
    epoch_steps=1,
    learning_rate=1e-2,
)
BOOKS = {"network": "coordinates", "activation": "tanh"}
batch_of = jax.jit(make_batch, static_argnums=2)
learnt = jax.jit(learn, static_argnums=2)
stepped = jax.jit(step, static_argnums=1)
maze_of = functools.cache(lambda: jax.jit(make_params, static_argnums=0)(CORRIDOR, 0))


@functools.partial(jax.jit, static_argnums=2)
def acts(keys, agent, config, params):
    return jax.vmap(lambda key: act(key, agent, config, params))(keys)


def make(config):
    """An agent in its maze whose networks, the newest and the target, have different opinions."""
    agent, params = init(jax.random.key(10), config, maze_of()), maze_of()
    nets = [model.init(jax.random.key(seed), config) for seed in (11, 12)]
    return agent._replace(params=nets[0], target=nets[1]), params


def filled(agent, rows):
    """With rows (site, action, reward, following, terminated, ended) in memory."""
    memory = agent.memory
    for site, action, reward, following, terminated, ended in rows:
        whole = jnp.int32(site), jnp.int32(action), jnp.float32(reward), jnp.int32(following)
        item = Transition(*whole, jnp.bool_(terminated), jnp.bool_(ended))
        memory = replay.remember(memory, item)
    return agent._replace(memory=memory)


def values(config, net, site):
    """Of all actions at a site."""
    first, last = [{k: np.asarray(v, np.float64) for k, v in d.items()} for d in net["dense"]]
    if config.network == "site":
        return np.maximum(first["kernel"][site] + first["bias"], 0) @ last["kernel"] + last["bias"]
    x = np.asarray(model.coordinates(jnp.int32(site), 5, 3), np.float64)
    return (np.tanh(x @ first["kernel"] + first["bias"]) @ last["kernel"] + last["bias"])[:, 0]


def value_of(config, agent, site):
    """Of the best next action: of those open, east and west in the middle, or of all."""
    among = np.isin(range(4), (EAST, WEST)) | (not config.legal_moves)
    frozen = values(config, agent.target, site)
    naming = values(config, agent.params, site) if config.double else frozen
    return frozen[np.argmax(np.where(among, naming, -np.inf))]


BEFORE = [(5, EAST, -50, 6, 1, 1), (6, WEST, -60, 5, 0, 1)]  # in places that are used again
ENDINGS = [  # three steps, how many rewards count, where the value is taken
    ([(6, EAST, -1, 7, 0, 0), (7, WEST, -2, 6, 0, 0), (6, EAST, -4, 7, 0, 0)], 3, 7),
    ([(6, EAST, -1, 7, 0, 0), (7, EAST, -2, 8, 0, 0), (8, EAST, -4, 9, 1, 1)], 3, None),
    ([(7, EAST, -1, 8, 0, 0), (8, EAST, -2, 9, 1, 1), (5, EAST, -4, 6, 0, 0)], 2, None),
    ([(8, WEST, -1, 7, 0, 0), (7, WEST, -2, 6, 0, 1), (8, EAST, -4, 9, 1, 1)], 2, 6),
    ([(7, WEST, -1, 6, 0, 1), (8, EAST, -2, 9, 1, 1), (5, EAST, -4, 6, 0, 0)], 1, 6),
    ([(8, EAST, -1, 9, 1, 1), (5, EAST, -2, 6, 0, 0), (6, EAST, -4, 7, 0, 0)], 1, None),
]


@pytest.mark.parametrize(
    "changes",
    [{}, {"double": False}, {"legal_moves": False}, {"double": False, "legal_moves": False}, BOOKS],
    ids=["double", "plain", "all moves", "plain, all moves", "coordinates"],
)
def test_targets_of_three_steps_by_hand(changes, getkey):
    config = dataclasses.replace(CORRIDOR, n_step=3, **changes)
    agent, params = make(config)
    for rows, count, site in ENDINGS:
        # Of a ring of three places there is but one run of three, which begins at the oldest.
        batch = batch_of(getkey(), filled(agent, BEFORE + rows), config, params)
        rewards = sum(GAMMA**k * rows[k][2] for k in range(count))
        follows = 0.0 if site is None else GAMMA**count * value_of(config, agent, site)
        np.testing.assert_allclose(batch["target"], np.full(4, rewards + follows), rtol=1e-5)
        if config.network == "site":
            assert batch["obs"].tolist() == [rows[0][0]] * 4
            assert batch["action"].tolist() == [rows[0][1]] * 4
        else:  # of the action that was taken, and no other
            seen = model.coordinates(jnp.int32(rows[0][0]), 5, 3)[rows[0][1]]
            assert np.array_equal(batch["obs"], [[seen]] * 4)
            assert batch["action"].tolist() == [0] * 4


def test_the_two_networks_of_the_targets_differ_where_it_matters():
    agent, _ = make(CORRIDOR)
    found = {
        round(value_of(dataclasses.replace(CORRIDOR, double=d, legal_moves=m), agent, site), 6)
        for site in (6, 7)
        for d in (True, False)
        for m in (True, False)
    }
    assert len(found) >= 6


def test_replay_first_takes_the_first_places_again_and_again(getkey):
    config = dataclasses.replace(CORRIDOR, replay="first", capacity=5)
    agent, params = make(config)
    rows = [(6, EAST, -1, 7, 0, 0), (7, EAST, -2, 8, 0, 0), (8, EAST, -4, 9, 1, 1)]
    batch = batch_of(getkey(), filled(agent, rows), config, params)
    assert batch["obs"].tolist() == [6, 7, 8, 6]
    targets = [-1 + GAMMA * value_of(config, agent, 7), -2 + GAMMA * value_of(config, agent, 8)]
    np.testing.assert_allclose(batch["target"], [*targets, -4, targets[0]], rtol=1e-5)
    batch = batch_of(getkey(), filled(agent, rows + rows), config, params)
    assert batch["obs"].tolist() == [8, 7, 8, 6]  # the sixth lies in the first place


def test_replay_draws_from_all_of_memory(getkey):
    config = dataclasses.replace(CORRIDOR, capacity=5, batch_size=300)
    agent, params = make(config)
    rows = [(6, EAST, -1, 7, 0, 0), (7, EAST, -2, 8, 0, 0), (8, EAST, -4, 9, 1, 1)]
    counts = np.bincount(batch_of(getkey(), filled(agent, rows), config, params)["obs"])
    assert counts[:6].sum() == 0
    assert (np.abs(counts[6:] - 100) < 5 * np.sqrt(300 * 2 / 9)).all()


@pytest.mark.parametrize(
    ("kind", "solver"), [("huber", "rmsprop"), ("squared", "rmsprop"), ("huber", "adam")]
)
def test_an_update_by_hand(kind, solver, getkey):
    config = dataclasses.replace(CORRIDOR, loss=kind, solver=solver, batch_size=6)
    agent, params = make(config)
    # Errors below 1 and above it, where the losses differ.
    near = float(values(config, agent.params, 7)[WEST]) + 0.3
    agent = filled(agent, [(6, EAST, -9, 9, 1, 1), (7, WEST, near, 9, 1, 1)])
    key = getkey()
    batch = jax.tree.map(np.asarray, batch_of(jax.random.clone(key), agent, config, params))
    assert set(batch["obs"]) == {6, 7}
    after, _, value = learnt(key, agent, config, params)

    first, last = (
        {k: np.asarray(v, np.float64) for k, v in d.items()} for d in agent.params["dense"]
    )
    x = np.eye(15)[batch["obs"]]
    before = x @ first["kernel"] + first["bias"]
    hidden = np.maximum(before, 0)
    error = batch["target"] - (hidden @ last["kernel"] + last["bias"])[range(6), batch["action"]]
    costs, slope = error**2, -2 * error
    if kind == "huber":
        costs = np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)
        slope = -np.clip(error, -1, 1)
    np.testing.assert_allclose(value, costs.mean(), rtol=1e-5)
    out = np.eye(4)[batch["action"]] * slope[:, None] / 6
    back = (out @ last["kernel"].T) * (before > 0)
    grads = [
        {"kernel": x.T @ back, "bias": back.sum(0)},
        {"kernel": hidden.T @ out, "bias": out.sum(0)},
    ]
    for layer, grad, found in zip((first, last), grads, after["dense"], strict=True):
        for name, g in grad.items():
            root = np.sqrt(0.001 * g**2 + 1e-8) if solver == "rmsprop" else np.abs(g) + 1e-8
            expected = layer[name] - 1e-2 * g / root
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


def same(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    )


@pytest.mark.parametrize("n_step", [1, 3])
def test_nothing_is_learnt_before_there_are_n_transitions(n_step):
    config = dataclasses.replace(CORRIDOR, n_step=n_step)
    state, params = make(config)
    for number in range(1, 5):
        before = state
        state, _ = stepped(state, config, params)
        waits = number < n_step
        assert same(state.params, before.params) is waits
        assert same(state.opt_state, before.opt_state) is waits
        assert same(state.target, before.target)


def test_without_replay_nothing_is_learnt():
    config = dataclasses.replace(CORRIDOR, replay="never")
    before, params = make(config)
    state, info = stepped(before, config, params)
    assert same((state.params, state.opt_state), (before.params, before.opt_state))
    assert info["loss"] == 0


def actions(config, site, getkey, episodes=0, count=4000):
    """How often each action is taken at a site."""
    agent, params = make(config)
    place = agent.place._replace(site=jnp.int32(site))
    agent = agent._replace(place=place, episodes=jnp.int32(episodes))
    drawn = acts(jax.random.split(getkey(), count), agent, config, params)
    drawn = np.bincount(drawn, minlength=4)
    return drawn / count, values(config, agent.params, site)


@pytest.mark.parametrize(
    ("episodes", "epsilon"), [(0, 0.8), (1, 0.4), (2, 0.2), (3, 0.1), (4, 0.07), (30, 0.07)]
)
def test_epsilon_falls_with_each_episode_down_to_its_minimum(episodes, epsilon, getkey):
    config = dataclasses.replace(
        CORRIDOR, epsilon=0.8, epsilon_decay=0.5, epsilon_min=0.07, legal_moves=False
    )
    shares, found = actions(config, 7, getkey, episodes)
    expected = np.full(4, epsilon / 4)
    expected[np.argmax(found)] += 1 - epsilon
    assert (np.abs(shares - expected) < 5 * np.sqrt(expected * (1 - expected) / 4000)).all()


def test_only_open_moves_are_taken(getkey):
    config = dataclasses.replace(CORRIDOR, epsilon=0.6, epsilon_decay=1.0)
    shares, found = actions(config, 7, getkey)
    best, other = (EAST, WEST) if found[EAST] > found[WEST] else (WEST, EAST)
    assert shares[SOUTH] == shares[NORTH] == 0
    assert abs(shares[other] - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 4000)
    assert shares[best] == 1 - shares[other]
    assert actions(config, 5, getkey)[0].tolist() == [1, 0, 0, 0]


def test_a_running_maximum_is_taken_as_the_book_does(getkey):
    config = dataclasses.replace(CORRIDOR, choice="running-maximum", legal_moves=False)
    for site in (5, 6, 7, 8):
        shares, found = actions(config, site, getkey)
        records = [n for n in range(4) if all(found[n] > found[:n])]
        assert set(np.flatnonzero(shares).tolist()) == set(records)
        assert (np.abs(shares[records] - 1 / len(records)) < 0.05).all()
