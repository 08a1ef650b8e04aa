"""The environment against a table, and value iteration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import book, environment
from zoo.ch07_dqn import maze as mazes

EAST, SOUTH, NORTH, WEST = range(4)
generate = jax.jit(mazes.generate, static_argnames=("rows", "columns", "extra"))


@pytest.fixture
def bend():
    """Three cells around a corner: 0 east to 1, 1 south to 3; cell 2 is the goal, west of 3."""
    exits = jnp.array([[1, 10], [1, 12]], jnp.uint8)
    return mazes.Maze(exits, jnp.int32(0), jnp.int32(2))


def play(params, actions, move=environment.step):
    key = jax.random.key(0)
    state = environment.reset(jax.random.clone(key), params)[1]
    rows = []
    for action in actions:
        step = move(jax.random.clone(key), state, jnp.int32(action), params)
        obs, state, reward, terminated, truncated, info = step
        rows.append((int(obs), float(reward), bool(terminated), bool(truncated)))
    return rows, state, info


def test_steps_by_a_table(bend):
    params = environment.modern(bend, limit=4)
    rows, state, info = play(params, [NORTH, EAST, SOUTH, WEST])
    assert rows == [
        (0, -1.0, False, False),  # against the wall
        (1, -1.0, False, False),
        (3, -1.0, False, False),
        (2, -1.0, True, False),  # the goal at the limit is no truncation
    ]
    assert int(state.time) == 4
    assert info["legal"].tolist() == [True, False, False, False]


def test_the_limit_truncates_and_does_not_terminate(bend):
    rows, _, _ = play(environment.modern(bend, limit=2), [EAST, WEST])
    assert rows[-1] == (0, -1.0, False, True)


def test_an_ended_episode_begins_anew(bend):
    params = environment.modern(bend, limit=3)
    rows, state, info = play(params, [EAST, SOUTH, WEST], environment.step_and_reset)
    assert rows[-1] == (0, -1.0, True, False)
    assert int(info["last"]) == 2
    assert state == environment.State(0, 0)


def check_uniform(sites, maze):
    """All floor but the goal is equally likely: chi-square, five standard deviations."""
    exits = np.asarray(maze.exits).ravel()
    floor = set(np.flatnonzero(exits).tolist()) - {int(maze.goal)}
    counts = np.bincount(sites, minlength=exits.size)
    assert set(np.flatnonzero(counts).tolist()) == floor
    expected, free = len(sites) / len(floor), len(floor) - 1
    square = ((counts[sorted(floor)] - expected) ** 2 / expected).sum()
    assert abs(square - free) < 5 * np.sqrt(2 * free)


@pytest.mark.parametrize("rewards", ["modern", "book"])
def test_spread_episodes_start_anywhere_alike_but_at_the_goal(rewards, getkey):
    reset = jax.jit(jax.vmap(jax.vmap(environment.reset, (0, None))))
    draw = functools.partial(generate, rows=2, columns=3, extra=0.4)  # floors of several sizes
    maze = jax.vmap(draw)(jax.random.split(getkey(), 3))
    key = getkey()
    make = {"modern": environment.modern, "book": functools.partial(book.make_params, key)}
    params = jax.vmap(functools.partial(make[rewards], spread=True))(maze)
    sites, state = reset(jax.random.split(getkey(), (3, 4000)), params)
    assert np.array_equal(sites, state.site)
    assert not state.time.any()
    for n in range(3):
        check_uniform(sites[n], jax.tree.map(lambda a, n=n: a[n], maze))


def test_new_episodes_of_a_walk_start_anywhere_alike(getkey):
    params = environment.modern(generate(getkey(), rows=1, columns=2), limit=1, spread=True)
    maze, key = params.maze, getkey()

    def move(state, number):
        step = environment.step_and_reset(
            jax.random.fold_in(key, number), state, number % 4, params
        )
        return step[1], step[1].site

    first = environment.State(maze.start, jnp.int32(0))
    check_uniform(jax.lax.scan(move, first, jnp.arange(4000))[1], maze)


def test_otherwise_they_start_at_the_entrance(getkey):
    maze = generate(getkey(), rows=2, columns=3)
    for params in (environment.modern(maze), book.make_params(getkey(), maze)):
        sites, _ = jax.vmap(environment.reset, (0, None))(jax.random.split(getkey(), 20), params)
        assert (sites == maze.start).all()


def test_value_iteration_gives_what_distances_say(getkey):
    maze = generate(getkey(), rows=3, columns=4, extra=0.3)
    params, discount = environment.modern(maze), 0.9
    values = jax.jit(environment.optimal_values)(params, discount).max(-1)
    distance = np.asarray(mazes.solve(maze)).ravel()
    floor = (np.asarray(maze.exits).ravel() != 0) & (distance > 0)
    expected = -(1 - discount**distance) / (1 - discount)
    np.testing.assert_allclose(values[floor], expected[floor], rtol=1e-4)


def test_the_best_policy_walks_the_shortest_way(getkey):
    maze = generate(getkey(), extra=0.2)
    policy = environment.optimal_values(environment.modern(maze), 0.99).argmax(-1)
    sites, length, shortest = environment.walk(maze, policy)
    assert length == shortest == mazes.solve(maze).reshape(-1)[maze.start]
    assert (sites[length:] == maze.goal).all()
    assert environment.walk(maze, jnp.zeros_like(policy)).length == -1


def test_a_summary_of_walks_by_hand():
    found = environment.summary(np.array([4, -1, 9, -1]), np.array([4, 6, 6, -1]))
    assert found == {"solved": 0.5, "optimal": 0.25, "ratio": 1.25}
    assert environment.summary(np.array([-1]), np.array([3]))["ratio"] is None
