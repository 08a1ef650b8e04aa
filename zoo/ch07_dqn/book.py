"""The book's program, bug by bug: what recipe `book` turns on and `studies.ch07_mends` turns off.

Axes: H rows, W columns of the maze, S = H * W sites, A = 4 actions, B transitions in a batch.
"""

from typing import Any

import jax
import jax.numpy as jnp

from zoo.ch07_dqn import environment, replay
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.agent import model
from zoo.ch07_dqn.maze import Maze

GOAL, WALL = 100.0, -100.0
LOWEST = -100.0
"""Its search for the best action starts from here."""


def make_params(
    key: jax.Array, maze: Maze, limit: int = 1000, spread: bool = False
) -> environment.Params:
    """Its rewards: goal 100, walls and the start -100, other floor 0 or -1, drawn once."""
    floor = -jax.random.bernoulli(key, 0.5, (maze.exits.size,)).astype(jnp.float32)
    rewards = jnp.where(maze.exits.reshape(-1) == 0, WALL, floor)
    rewards = rewards.at[maze.start].set(WALL).at[maze.goal].set(GOAL, mode="drop")
    starts = environment.starts(maze, spread)
    return environment.Params(maze, rewards, jnp.float32(WALL), *starts, jnp.int32(limit))


def transpose(maze: Maze) -> Maze:
    """The maze as its program walks it: rows and columns of start and goal exchanged.

    The start (row 1, column 0) becomes a tile of the upper wall; columns are bounded by the number
    of rows, 11 of 21, and the goal (row 20, column 9) lies outside of the 11 rows.
    """
    rows, columns = maze.exits.shape
    ways = mazes.legal(maze.exits)
    ways = ways.at[:, rows - 1 :, 0].set(False).at[:, rows:].set(False)
    exits = (ways << jnp.arange(4)).sum(-1).astype(jnp.uint8)
    exits = exits.at[0, 1].set(2)  # from the start south, into the maze
    return Maze(exits, jnp.int32(1), jnp.int32(rows * columns))


def choose(values: jax.Array, legal: jax.Array, chance: jax.Array) -> jax.Array:
    """Any action that is better than all before it in the list.

    Its search keeps each new maximum in a list that it never clears. Where no value is above -100
    the program crashes; here any legal action is taken then. Arguments as of `model.choose`.
    """
    seen = jnp.where(legal, values, LOWEST)
    before = jax.lax.cummax(jnp.concatenate([jnp.full(1, LOWEST), seen[:-1]]))
    records = legal & (values > before)
    return model.pick_one(jnp.where(records.any(), records, legal), chance[1])


def crossed_errors(value: jax.Array, target: jax.Array) -> jax.Array:
    """Errors of all pairs, [B, B]: a row of targets less a column of values, by broadcasting."""
    return target[None] - value[:, None]


def first_memories(memory: replay.Memory, batch_size: int) -> Any:
    """The first places of the ring, as its replay takes them: no sample."""
    places = jnp.arange(batch_size) % jnp.maximum(replay.size(memory), 1)
    return jax.tree.map(lambda ring: ring[places], memory.items)
