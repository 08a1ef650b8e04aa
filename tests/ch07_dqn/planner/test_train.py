"""The planner's loop: targets, walks, held-out mazes, and a run that must learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.planner import model, task
from zoo.ch07_dqn.planner.train import (
    held_out,
    held_out_mazes,
    make_batch,
)
from zoo.common.data import DataError

TINY = model.Config(
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


@pytest.fixture(scope="module")
def maze():
    return held_out_mazes(TINY, 20)


@pytest.fixture(scope="module")
def trained():
    rows = []

    def follow(reports):
        for report in reports:
            rows.append(report.metrics)
        return report.state

    return task.TASK.train(TINY, {}, follow=follow), rows


def test_targets_by_hand(trained, maze):
    state, _ = trained
    walks = jax.tree.map(lambda a: a[:8], state.memory.items)
    batch = make_batch(walks, state, TINY)
    values = model.apply(state.target, model.image(walks.exits, walks.goal), rounds=TINY.rounds)
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
        held_out_mazes(dataclasses.replace(TINY, rows=1, columns=2), 2)


def test_more_walks_than_memory_has_places_are_refused():
    config = dataclasses.replace(TINY, walkers=129)
    with pytest.raises(DataError, match="129 items at once for 128 places"):
        task.TASK.train(config, {})
