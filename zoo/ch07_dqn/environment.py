"""The maze as an environment: reset and step as pure functions of (key, state, action, params).

A step against a wall stays where it is and costs `bump`; entering a site gives its own reward.
Reaching the goal terminates; after `limit` steps an episode is cut off (truncated), which says
nothing about the value of the last site.

Axes: S sites, A = 4 actions, K places in the list of starts, 1 or S.
"""

from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.maze import Maze


class Params(NamedTuple):
    """What stays the same during an episode: the maze and what is paid in it."""

    maze: Maze
    rewards: jax.Array  # float32 [S], for entering each site
    bump: jax.Array  # float32 [], for walking against a wall
    starts: jax.Array  # int32 [K], sites where an episode may start, and then what is never read
    choices: jax.Array  # int32 [], how many of them there are; one is drawn
    limit: jax.Array  # int32 [], steps


class State(NamedTuple):
    """Where the walker is, and for how long."""

    site: jax.Array  # int32 []
    time: jax.Array  # int32 [], steps since the episode began


Step = tuple[jax.Array, State, jax.Array, jax.Array, jax.Array, dict[str, jax.Array]]
"""Gymnasium's five, with the state: observation, state, reward, terminated, truncated, info."""


class Walk(NamedTuple):
    """Where a policy leads from the entrance."""

    sites: jax.Array  # int32 [S + 1]; they stay the goal once it is reached
    length: jax.Array  # int32 [], steps to the goal, -1 if it is not reached
    shortest: jax.Array  # int32 [], of a shortest way, -1 if there is none


class Summary(TypedDict):
    """How several walks compare with the shortest ways."""

    solved: float  # share that reaches the goal
    optimal: float  # share that takes a shortest way
    ratio: float | None  # mean of length to optimum over those solved, None if there are none


def modern(maze: Maze, limit: int = 500, spread: bool = False) -> Params:
    """Clean rewards: every step costs 1, so the best return is minus the length of the way.

    Episodes are cut off after `limit` steps; `spread`, they start all over the maze.
    """
    rewards = jnp.full(maze.exits.size, -1.0)
    return Params(maze, rewards, jnp.float32(-1.0), *starts(maze, spread), jnp.int32(limit))


def starts(maze: Maze, spread: bool) -> tuple[jax.Array, jax.Array]:
    """Where an episode may start, the entrance or all floor but the goal: int32 [K] and int32 [].

    The number says how many of the sites count, since the size of an array must not depend on the
    maze.
    """
    if not spread:
        return maze.start[None], jnp.int32(1)
    floor = (maze.exits.reshape(-1) != 0).at[maze.goal].set(False)
    places = jnp.flatnonzero(floor, size=floor.size, fill_value=maze.start)
    return places.astype(jnp.int32), jnp.maximum(floor.sum(), 1).astype(jnp.int32)


def reset(key: jax.Array, params: Params) -> tuple[jax.Array, State]:
    """A new episode: the observation, which is the number of the site, and the state."""
    starts = params.starts
    one = len(starts) == 1  # then nothing need be drawn, which every step would pay for
    site = starts[0] if one else starts[jax.random.randint(key, (), 0, params.choices)]
    return site, State(site, jnp.int32(0))


def step(key: jax.Array, state: State, action: jax.Array, params: Params) -> Step:
    """One move; nothing in it is random, the key is unused.

    `info` has `legal`, bool [A], the moves that are open now. An episode that ended does not start
    again by itself.
    """
    exits = params.maze.exits.reshape(-1)
    open_ = exits[state.site] >> action.astype(jnp.uint8) & 1 == 1
    width = params.maze.exits.shape[1]
    site = jnp.where(open_, state.site + jnp.asarray(mazes.deltas(width))[action], state.site)
    reward = jnp.where(open_, params.rewards[site], params.bump)
    time = state.time + 1
    terminated = site == params.maze.goal
    truncated = ~terminated & (time >= params.limit)
    info = {"legal": mazes.legal(exits[site])}
    return site, State(site, time), reward, terminated, truncated, info


def step_and_reset(key: jax.Array, state: State, action: jax.Array, params: Params) -> Step:
    """`step`, and a new episode where one ended: site and state are then those of its beginning.

    `info["last"]` is the site that the step itself led to.
    """
    last, state, reward, terminated, truncated, info = step(key, state, action, params)
    first, fresh = reset(key, params)
    ended = terminated | truncated
    site = jnp.where(ended, first, last)
    state = State(site, jnp.where(ended, fresh.time, state.time))
    return site, state, reward, terminated, truncated, info | {"last": last}


def optimal_values(params: Params, discount: float, rounds: int = 1000) -> jax.Array:
    """The best return from each site and action, float32 [S, A], by value iteration.

    Q(s, a) = r + discount * max_b Q(s', b), without the term at the goal; `limit` is left out.
    Of a wall's site the values mean nothing.
    """
    exits = params.maze.exits
    to, open_ = mazes.neighbours(exits), mazes.legal(exits.reshape(-1))
    reward = jnp.where(open_, params.rewards[to], params.bump)
    goes_on = discount * (to != params.maze.goal)  # nothing is worth anything behind the goal

    def improve(_, q):
        return reward + goes_on * q.max(-1)[to]

    return jax.lax.fori_loop(0, rounds, improve, jnp.zeros_like(reward))


def walk(maze: Maze, policy: jax.Array) -> Walk:
    """Follows a policy, one action for each site [S], from the entrance.

    A policy that comes back to a site never ends, so as many steps as sites are enough.
    """
    to = jnp.take_along_axis(mazes.neighbours(maze.exits), policy[:, None], 1)[:, 0]

    def move(site: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        site = jnp.where(site == maze.goal, site, to[site])
        return site, site

    _, sites = jax.lax.scan(move, maze.start, length=len(to))
    sites = jnp.concatenate([maze.start[None], sites])
    arrived = sites == maze.goal
    length = jnp.where(arrived.any(), jnp.argmax(arrived), -1)
    return Walk(sites, length, mazes.solve(maze).reshape(-1)[maze.start])


def summary(length: ArrayLike, shortest: ArrayLike) -> Summary:
    """Of the walks [N] in several mazes: how many reach the goal, and by how long a way."""
    length, shortest = np.asarray(length), np.asarray(shortest)
    solved = length >= 0
    ratio = length[solved] / shortest[solved]
    return {
        "solved": float(solved.mean()),
        "optimal": float((solved & (length == shortest)).mean()),
        "ratio": float(ratio.mean()) if solved.any() else None,
    }
