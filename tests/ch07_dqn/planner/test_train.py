"""The planner's loop: targets, walks, held-out mazes, and a run that must learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.planner import model, task
from zoo.ch07_dqn.planner.train import (
    TESTED,
    Walk,
    explore,
    held_out,
    held_out_mazes,
    iterate,
    make_batch,
    make_optimizer,
    start,
    step,
)
from zoo.common import fit
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


explored = jax.jit(explore, static_argnums=2)


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
    outside = np.asarray(jax.vmap(held_out)(walks.exits))
    assert outside.any()
    assert np.array_equal(walks.weight, alive & ~outside[:, None])
    assert not walks.weight[:, 1:][walks.terminated[:, :-1]].any()  # nothing behind the goal
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


SHORT = dataclasses.replace(
    TINY,
    rounds=5,
    walkers=64,
    walk_steps=6,
    capacity=192,
    batch_size=8,
    target_every=2,
    epochs=2,
    epoch_steps=3,
)


@pytest.fixture(scope="module")
def by_hand():
    """The states after 0 to 6 updates, and what the updates gave."""
    state, one = start(SHORT), jax.jit(lambda state: step(state, SHORT))
    states, infos = [state], []
    for _ in range(6):
        state, info = one(state)
        states.append(state)
        infos.append(jax.tree.map(float, info))
    return states, infos


@pytest.fixture(scope="module")
def reports():
    return list(iterate(SHORT, start(SHORT)))


def same(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    )


def test_the_target_network_is_copied_after_every_second_update_and_not_between(by_hand):
    states, _ = by_hand
    for number, state in enumerate(states[1:], 1):
        assert int(state.step) == number
        assert same(state.params, states[number - 1].params) is (number == 1)  # at a rate of 0
        if number % 2 == 0:
            assert same(state.target, state.params)
        else:
            assert same(state.target, states[number - 1].target)
            assert number == 1 or not same(state.target, state.params)


def test_metrics_by_hand(by_hand, reports):
    states, infos = by_hand
    for epoch, report in enumerate(reports):
        state, own = states[3 * epoch + 3], infos[3 * epoch : 3 * epoch + 3]
        pairs = zip(*map(jax.tree.leaves, (report.state.params, state.params)), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        for name in ("loss", "td_error"):
            mean = np.mean([info[name] for info in own])
            np.testing.assert_allclose(report.metrics[name], mean, rtol=1e-3)
        # Memory has the walks of an epoch.
        at_goal = np.asarray(report.state.memory.items.terminated).any(-1).mean()
        np.testing.assert_allclose(report.metrics["walks_at_goal"], at_goal, rtol=1e-5)


def test_the_share_of_the_mazes_solved_by_hand(trained):
    state, rows = trained
    maze = jax.tree.map(np.asarray, held_out_mazes(TINY, TESTED))
    seen = model.image(maze.exits, maze.goal)
    values = np.asarray(model.apply(state.params, seen, rounds=TINY.rounds))
    solved = [arrives(maze, values, n) for n in range(TESTED)]
    assert abs(rows[-1]["test_solved"] - np.mean(solved)) < 1.5 / TESTED  # there may be a near tie
    assert rows[0]["test_solved"] != rows[-1]["test_solved"]


def test_an_update_takes_the_loss_of_a_walk_from_memory():
    """With a place for one walk, and for two: then both are drawn."""
    one = dataclasses.replace(
        SHORT, walkers=1, capacity=1, batch_size=4, target_every=100, learning_rate=0.1
    )
    update = jax.jit(step, static_argnums=1)

    def cost(state, walks, config):
        """Of the network before the update."""
        return float(model.loss(state.params, make_batch(walks, state, config), rounds=5)[0])

    state, found = start(one), []
    for _ in range(5):
        before, (state, info) = state, update(state, one)
        found.append(cost(before, state.memory.items, one))
        np.testing.assert_allclose(info["loss"], found[-1], rtol=1e-4, atol=1e-6)
    assert sum(value > 0 for value in found) > 1
    two, odd = dataclasses.replace(one, capacity=2), 0
    state = start(two)
    for _ in range(5):
        before, (state, info) = state, update(state, two)
        place = (int(state.memory.added) - 1) % 2
        new = jax.tree.map(lambda a, n=place: a[n : n + 1], state.memory.items)
        odd += abs(info["loss"] - cost(before, new, two)) > 1e-4
    assert odd > 1


def arrives(maze, values, n):
    """Whether the greedy way from the entrance of a maze leads to its goal."""
    legal = np.asarray(mazes.legal(maze.exits[n].reshape(-1)))
    policy = np.where(legal, values[n].reshape(16, 4), -np.inf).argmax(-1)
    site = int(maze.start[n])
    for _ in range(16):
        down, right = mazes.MOVES[policy[site]]
        site += 4 * down + right
        if site == maze.goal[n]:
            return True
    return False


def test_memory_wraps_and_has_new_mazes_at_every_update(by_hand):
    states, _ = by_hand
    third, fourth, sixth = (np.asarray(states[n].memory.items.exits) for n in (3, 4, 6))
    assert int(states[6].memory.added) == 384
    assert np.array_equal(fourth[64:], third[64:])  # the oldest made room
    assert np.array_equal(fourth[:64], sixth[:64])
    assert len({maze.tobytes() for maze in np.concatenate([third, sixth])}) > 128


@pytest.mark.parametrize(
    ("number", "epsilon"), [(0, 0.9), (5, 0.65), (10, 0.4), (15, 0.15), (20, 0.15), (27, 0.15)]
)
def test_epsilon_falls_as_a_line_to_the_middle_of_the_run(number, epsilon, trained, getkey):
    config = dataclasses.replace(
        SHORT,
        walkers=300,
        capacity=300,
        walk_steps=8,
        epochs=3,
        epoch_steps=10,
        epsilon=0.9,
        epsilon_min=0.15,
    )
    state = trained[0]._replace(step=jnp.int32(number))
    # Walks are chosen by the newest network: the target is of another opinion.
    state = state._replace(target=jax.tree.map(lambda a: -a, state.target))
    walks = jax.tree.map(np.asarray, explored(getkey(), state, config))
    values = model.apply(state.params, model.image(walks.exits, walks.goal), rounds=config.rounds)
    values, before = np.asarray(values).reshape(300, 16, 4), walks.site[:, :-1]
    rows = np.arange(300)[:, None]
    legal = np.asarray(mazes.legal(walks.exits.reshape(300, -1)))[rows, before]
    best = np.where(legal, values[rows, before], -np.inf).argmax(-1)
    alive = before != walks.goal[:, None]
    assert np.take_along_axis(legal, walks.action[..., None], -1)[alive].all()
    chance = (epsilon * (1 - 1 / legal.sum(-1)))[alive]
    others = (walks.action != best)[alive].sum()
    assert abs(others - chance.sum()) < 5 * np.sqrt((chance * (1 - chance)).sum())


def test_walks_begin_in_any_cell_alike(trained, getkey):
    config = dataclasses.replace(SHORT, walkers=1600, capacity=1600, walk_steps=1)
    counts = np.bincount(explored(getkey(), trained[0], config).site[:, 0], minlength=16)
    assert abs(((counts - 100) ** 2 / 100).sum() - 15) < 5 * np.sqrt(2 * 15)


def walk_by_hand(sites, actions, weights):
    """One walk through the maze of 1x4 cells whose goal is in the east."""
    sites = np.array([sites])
    return Walk(
        exits=jnp.array([[[1, 9, 9, 8]]], jnp.uint8),
        goal=jnp.array([3]),
        site=jnp.asarray(sites),
        action=jnp.array([actions]),
        terminated=jnp.asarray(sites[:, 1:] == 3),
        weight=jnp.array([weights], jnp.float32),
    )


def test_targets_stop_at_the_goal_and_look_at_open_moves_of_the_frozen_network(getkey):
    config = dataclasses.replace(TINY, rows=1, columns=4, rounds=3, discount=0.5)
    state = start(config)
    target = model.init(getkey(), config)
    target["round"]["bias"] = jnp.array([1.0, 9.0, 8.0, 2.0])  # the walls look best
    walks = walk_by_hand([1, 0, 1, 2, 3, 3], [3, 0, 0, 0, 3], [1, 1, 1, 1, 0])
    batch = make_batch(walks, state._replace(target=target), config)
    image = model.image(walks.exits, walks.goal)
    values = np.asarray(model.apply(target, image, rounds=3))[0, 0]
    east, west = values[:, 0], values[:, 3]
    best = [east[0], max(east[1], west[1]), max(east[2], west[2])]
    expected = [*(-1 + 0.5 * np.array(best)), -1, -1]
    np.testing.assert_allclose(batch["target"][0], expected, rtol=1e-5)
    assert batch["site"].tolist() == [[1, 0, 1, 2, 3]]
    assert batch["weight"].tolist() == [[1, 1, 1, 1, 0]]


def test_the_solver_clips_and_its_rate_rises_and_falls():
    """Adam by hand: large gradients, of one number and of many, then small ones."""
    config = dataclasses.replace(TINY, epochs=4, epoch_steps=10, clip=0.5, learning_rate=0.1)
    solver, rng = make_optimizer(config), np.random.default_rng(0)
    params = {"a": np.zeros(3, np.float32), "b": np.zeros((2, 2), np.float32)}
    state, mean, square = solver.init(params), np.zeros(7), np.zeros(7)
    update = jax.jit(solver.update)
    for number in range(42):
        size = 5.0 if number < 3 else 0.01 if number % 2 else 0.3
        grad = (size * rng.normal(size=7)).astype(np.float32)
        found, state = update({"a": grad[:3], "b": grad[3:].reshape(2, 2)}, state)
        grad = np.float64(grad) * min(1.0, 0.5 / np.linalg.norm(np.float64(grad)))
        mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
        power = number + 1
        slope = mean / (1 - 0.9**power) / (np.sqrt(square / (1 - 0.999**power)) + 1e-8)
        if number < 4:  # a tenth of the run
            rate = 0.1 * number / 4
        else:
            rate = 0.05 * (1 + np.cos(np.pi * min(1.0, (number - 4) / 36)))
        both = np.concatenate([np.ravel(found["a"]), np.ravel(found["b"])])
        np.testing.assert_allclose(both, -rate * slope, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("updates", "rise"), [(5, 1), (400, 40), (1200, 100)])
def test_the_rate_rises_for_a_hundred_updates_or_a_tenth_of_the_run(updates, rise):
    config = dataclasses.replace(TINY, epochs=1, epoch_steps=updates, learning_rate=0.1)
    solver = make_optimizer(config)

    def update(state, _):  # of a gradient that is always 1 Adam makes the rate itself
        change, state = solver.update(jnp.ones(()), state)
        return state, -change

    _, found = jax.lax.scan(update, solver.init(jnp.zeros(())), length=updates + 1)
    number = np.arange(updates + 1)
    fall = 0.05 * (1 + np.cos(np.pi * (number - rise) / (updates - rise)))
    expected = np.where(number < rise, 0.1 * number / rise, fall)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_where_mazes_are_too_few_none_can_be_held_out():
    with pytest.raises(DataError, match="too few"):
        held_out_mazes(dataclasses.replace(TINY, rows=1, columns=2), 2)


def test_a_state_with_all_epochs_behind_it_is_refused(trained):
    with pytest.raises(fit.FinishedError, match="at step 300, and 3 epochs of 100 steps"):
        task.TASK.train(TINY, {}, state=trained[0])
