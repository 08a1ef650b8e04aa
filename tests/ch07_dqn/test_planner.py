"""The planner against NumPy, exact weights against value iteration, and a run that must learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch07_dqn import environment, planner
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.planner_train import (
    held_out,
    make_batch,
    solver,
    summary,
    test_mazes,
    train,
)
from zoo.common.data import DataError

test_mazes.__test__ = False  # no test, whatever pytest makes of its name

TINY = planner.Config(
    rows=4,
    columns=4,
    rounds=16,
    walkers=32,
    walk_steps=8,
    capacity=128,
    batch_size=32,
    learning_rate=2e-2,
    epochs=3,
    epoch_steps=100,
)


def exact(discount):
    """Weights under which the rounds are value iteration: actions look at their neighbour."""
    kernel = np.zeros((3, 3, planner.PLANES + 1, planner.ACTIONS), np.float32)
    for action, (down, right) in enumerate(mazes.MOVES):
        kernel[1 + down, 1 + right, 0, action] = discount
        kernel[1, 1, 1 + planner.ACTIONS, action] = 1 + discount  # at the goal: v = 0
    return {"round": {"kernel": jnp.array(kernel), "bias": jnp.full(4, -1.0)}}


@pytest.fixture(scope="module")
def maze():
    return test_mazes(TINY, 20)


@pytest.fixture(scope="module")
def trained():
    rows = []

    def follow(reports):
        for report in reports:
            rows.append(report.metrics)
        return report.state

    return train(TINY, follow=follow), rows


def test_the_exact_weights_give_the_values_of_value_iteration(maze):
    image = planner.image(maze.exits, maze.goal)
    values = planner.apply(exact(0.8), image, rounds=60).reshape(20, 16, 4)
    for n in range(3):
        own = jax.tree.map(lambda a, n=n: a[n], maze)
        best = environment.optimal_values(environment.modern(own), 0.8)
        legal = np.asarray(mazes.legal(own.exits.reshape(-1)))[:-1]  # the goal itself apart
        np.testing.assert_allclose(values[n][:-1][legal], best[:-1][legal], atol=1e-3)


def test_the_exact_weights_solve_larger_mazes_too():
    large = dataclasses.replace(TINY, rows=5, columns=7, extra=0.2)
    tried = solver(60)(exact(0.95), test_mazes(large, 30))
    assert summary(tried) == {"solved": 1.0, "ratio": 1.0, "optimal": 1.0}


@pytest.mark.parametrize("channels", [1, 3])
def test_rounds_equal_numpy(channels, maze, getkey):
    config = dataclasses.replace(TINY, channels=channels)
    params = planner.init(getkey(), config)
    image = np.asarray(planner.image(maze.exits[:2], maze.goal[:2]), np.float64)
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
    found = planner.apply(params, jnp.asarray(image, jnp.float32), rounds=4)
    np.testing.assert_allclose(found, q[..., 0], rtol=1e-4, atol=1e-5)


def test_gradients_agree_with_finite_differences(getkey):
    with jax.enable_x64(True):
        batch = planner.example(dataclasses.replace(TINY, rows=3, columns=3))
        exits = np.array([[[3, 11, 8], [7, 13, 10], [5, 9, 12]]] * 2, np.uint8)
        image = np.asarray(planner.image(jnp.asarray(exits), jnp.array([8, 4])), np.float64)
        batch |= {"image": jnp.asarray(image), "target": jnp.full((2, 2), 0.3)}
        shapes = jax.tree.map(jnp.shape, planner.init(getkey(), TINY))
        kernel = 0.1 * np.random.default_rng(0).normal(size=shapes["round"]["kernel"])
        params = {"round": {"kernel": jnp.asarray(kernel), "bias": jnp.arange(4.0) / 10}}
        check_grads(
            jax.jit(lambda p: planner.loss(p, batch, rounds=2)[0]),
            (params,),
            order=1,
            modes=["rev"],
        )


def test_targets_by_hand(trained, maze):
    state, _ = trained
    walks = jax.tree.map(lambda a: a[:8], state.memory.items)
    batch = make_batch(walks, state, TINY)
    values = planner.apply(state.target, planner.image(walks.exits, walks.goal), rounds=TINY.rounds)
    for n, t in ((0, 0), (3, 2), (7, 5)):
        site = int(walks.site[n, t + 1])
        legal = np.asarray(mazes.legal(walks.exits[n].reshape(-1)[site]))
        best = np.asarray(values[n].reshape(16, 4)[site])[legal].max()
        expected = -1.0 + TINY.discount * (0.0 if walks.terminated[n, t] else best)
        np.testing.assert_allclose(batch["target"][n, t], expected, rtol=1e-5)


def test_it_learns_to_solve_mazes_that_it_never_saw(trained, maze):
    state, rows = trained
    assert rows[-1]["test_solved"] > 0.5
    memory = state.memory.items
    outside = jax.vmap(held_out)(memory.exits)
    assert outside.any()
    assert (memory.weight[outside] == 0).all()
    assert (memory.weight[~outside].sum(-1) > 0).mean() > 0.8
    assert jax.vmap(held_out)(maze.exits).all()


def test_walks_go_through_open_walls_and_stop_at_the_goal(trained):
    walks = jax.tree.map(np.asarray, trained[0].memory.items)
    to = np.asarray(jax.vmap(mazes.neighbours)(walks.exits))
    number = np.arange(len(to))[:, None]
    following = to[number, walks.site[:, :-1], walks.action]
    alive = walks.site[:, :-1] != walks.goal[:, None]
    assert np.array_equal(walks.site[:, 1:][alive], following[alive])
    assert (walks.weight[~alive] == 0).all()
    assert np.array_equal(walks.terminated, walks.site[:, 1:] == walks.goal[:, None])


def test_one_maze_in_sixteen_is_held_out():
    seeds = jnp.arange(4000)
    drawn = jax.jit(lambda seeds: mazes.many(seeds, rows=5, columns=5, grid="cells"))(seeds)
    assert abs(jax.vmap(held_out)(drawn.exits).mean() - 1 / 16) < 0.015


def test_the_target_network_is_copied_when_it_should_be(trained):
    state, _ = trained
    assert int(state.step) % TINY.target_every == 0
    pairs = zip(*map(jax.tree.leaves, (state.target, state.params)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_where_mazes_are_too_few_none_can_be_held_out():
    with pytest.raises(DataError, match="too few"):
        test_mazes(dataclasses.replace(TINY, rows=1, columns=2), 2)


def test_a_wrong_shape_is_named(getkey):
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3, 5\), expected"):
        planner.apply(planner.init(getkey(), TINY), jnp.zeros((2, 3, 3, 5)))
