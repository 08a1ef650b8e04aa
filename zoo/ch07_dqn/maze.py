"""Mazes as data: generation, distances, ways, pictures in text.

A maze is a grid of sites. In a maze of *cells* every site is a room and a wall lies between two
rooms or it does not; `tiles` makes of it the book's grid, where walls are sites themselves: 5x10
cells give 11x21 tiles, entered in the west and left in the east.

What makes and solves mazes is pure, for `jax.jit` and `jax.vmap`; the rest works on NumPy arrays.
Axes: H rows, W columns of sites; S = H * W sites, numbered row by row; A = 4 actions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

ACTIONS = ("east", "south", "north", "west")
"""In the book's order; it calls the step to the next row north."""
MOVES = np.array([(0, 1), (1, 0), (-1, 0), (0, -1)], np.int32)
_BACK = np.array([3, 2, 1, 0])  # the way back of each action
_FAR = np.iinfo(np.int32).max - 1  # the distance of what isn't reached yet


class Maze(NamedTuple):
    """The ways through a grid of sites; batches of mazes have a leading axis."""

    exits: jax.Array  # uint8 [H, W], bit a is set where action a is open
    start: jax.Array  # int32 [], the site where one enters
    goal: jax.Array  # int32 []


def deltas(width: int) -> np.ndarray:
    """By how much each action changes the number of the site, int32 [A]."""
    return MOVES[:, 0] * width + MOVES[:, 1]


def _inside(rows: int, columns: int) -> np.ndarray:
    """Which actions stay on a grid, bool [S, A]."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    to = np.stack([row, column], -1)[:, None] + MOVES
    return np.all((to >= 0) & (to < (rows, columns)), axis=-1)


def depth_first(key: jax.Array, rows: int, columns: int) -> Maze:
    """A perfect maze of cells by randomised depth-first search: long winding corridors.

    Perfect: exactly one way leads from any cell to any other. The walk goes on to a random cell
    not yet seen, or back where there is none; each cell is entered and left once, so 2 S - 2 moves
    end it. It starts in the north-west, the goal is in the south-east.
    """
    size, inside = rows * columns, jnp.asarray(_inside(rows, columns))
    step, back = jnp.asarray(deltas(columns)), jnp.asarray(_BACK)

    def move(carry, chance):
        here, seen, came, exits = carry
        to = here + step
        free = inside[here] & ~seen[to]
        action = jnp.argmax(jnp.where(free, chance, -1.0))
        carve = free.any()
        following = jnp.where(carve, to[action], here + step[came[here]])
        enter = jnp.where(carve, following, size)  # out of range: nothing is written
        seen = seen.at[enter].set(True, mode="drop")
        came = came.at[enter].set(back[action], mode="drop")
        exits = exits.at[enter].add(jnp.uint8(1) << back[action].astype(jnp.uint8), mode="drop")
        leave = jnp.where(carve, here, size)
        exits = exits.at[leave].add(jnp.uint8(1) << action.astype(jnp.uint8), mode="drop")
        return (following, seen, came, exits), None

    chances = jax.random.uniform(key, (2 * size - 2, 4))
    seen, came = jnp.zeros(size, bool).at[0].set(True), jnp.zeros(size, jnp.int32)
    first = (jnp.int32(0), seen, came, jnp.zeros(size, jnp.uint8))
    (_, _, _, exits), _ = jax.lax.scan(move, first, chances)
    return Maze(exits.reshape(rows, columns), jnp.int32(0), jnp.int32(size - 1))


def prim(key: jax.Array, rows: int, columns: int) -> Maze:
    """A perfect maze of cells by Prim's algorithm with random weights: many short dead ends.

    It is the lightest tree that joins all cells; start and goal are those of `depth_first`.
    """
    size, inside = rows * columns, jnp.asarray(_inside(rows, columns))
    to = jnp.asarray(np.arange(size)[:, None] + deltas(columns))
    # A way has one weight in both directions: that of its east or south one.
    weight = jax.random.uniform(key, (size, 2))
    weight = jnp.concatenate([weight, weight[to[:, 2], 1, None], weight[to[:, 3], 0, None]], 1)

    def grow(carry, _):
        seen, exits = carry
        frontier = inside & seen[:, None] & ~seen[to]
        lightest = jnp.argmin(jnp.where(frontier, weight, 2.0))  # weights are below 1
        cell, action = jnp.divmod(lightest, 4)
        new = to[cell, action]
        bit = jnp.uint8(1) << action.astype(jnp.uint8)
        back = jnp.uint8(1) << (3 - action).astype(jnp.uint8)
        exits = exits.at[cell].add(bit).at[new].add(back)
        return (seen.at[new].set(True), exits), None

    first = (jnp.zeros(size, bool).at[0].set(True), jnp.zeros(size, jnp.uint8))
    (_, exits), _ = jax.lax.scan(grow, first, length=size - 1)
    return Maze(exits.reshape(rows, columns), jnp.int32(0), jnp.int32(size - 1))


def braid(key: jax.Array, maze: Maze, share: float) -> Maze:
    """Opens each remaining inner wall of a maze of cells with probability `share`: loops.

    In a perfect maze whoever arrives without going in circles came by the shortest way.
    """
    rows, columns = maze.exits.shape
    opened = jax.random.bernoulli(key, share, (rows, columns, 2))
    east = opened[..., 0].at[:, -1].set(False).astype(jnp.uint8)
    south = opened[..., 1].at[-1].set(False).astype(jnp.uint8)
    exits = maze.exits | east | south << 1
    exits |= jnp.roll(south, 1, 0) << 2 | jnp.roll(east, 1, 1) << 3
    return maze._replace(exits=exits)


def tiles(maze: Maze) -> Maze:
    """The book's grid: R x C cells become (2R + 1) x (2C + 1) tiles; walls are tiles without exits.

    One enters by tile (1, 0) and leaves by (2R - 1, 2C); both are gaps in the outer wall.
    """
    rows, columns = maze.exits.shape
    height, width = 2 * rows + 1, 2 * columns + 1
    floor = jnp.zeros((height, width), bool).at[1::2, 1::2].set(True)
    floor = floor.at[1::2, 2::2].set(maze.exits & 1 == 1)
    floor = floor.at[2::2, 1::2].set(maze.exits >> 1 & 1 == 1)
    floor = floor.at[1, 0].set(True).at[height - 2, width - 1].set(True)
    return Maze(open_between(floor), jnp.int32(width), jnp.int32((height - 1) * width - 1))


def open_between(floor: jax.Array) -> jax.Array:
    """The exits of tiles, uint8 [H, W]: those from floor to floor, bool [H, W]."""
    height, width = floor.shape
    around = jnp.pad(floor, 1)
    exits = jnp.zeros((height, width), jnp.uint8)
    for action, (down, right) in enumerate(MOVES.tolist()):
        beyond = around[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        exits |= (floor & beyond).astype(jnp.uint8) << action
    return exits


_METHODS = {"depth-first": depth_first, "prim": prim}


def generate(
    key: jax.Array,
    rows: int = 5,
    columns: int = 10,
    *,
    method: str = "depth-first",
    extra: float = 0.0,
    grid: str = "tiles",
) -> Maze:
    """A random maze of `rows` x `columns` cells; `jax.vmap` over keys gives many in one call.

    `method` is `depth-first` or `prim`, `grid` is `tiles` as in the book, or `cells`; `extra` is
    the share of the remaining inner walls that is opened too: above 0 the maze has loops.

    Raises:
      ValueError: the method or the grid is unknown, or the maze has fewer than 2 cells.
    """
    if method not in _METHODS or grid not in ("tiles", "cells"):
        raise ValueError(
            f"got method {method!r} and grid {grid!r}, expected one of {', '.join(_METHODS)} and "
            "tiles or cells"
        )
    if min(rows, columns) < 1 or rows * columns < 2:
        raise ValueError(f"got a maze of {rows}x{columns} cells, expected at least 2 cells")
    way_key, braid_key = jax.random.split(key)
    maze = _METHODS[method](way_key, rows, columns)
    if extra:
        maze = braid(braid_key, maze, extra)
    return tiles(maze) if grid == "tiles" else maze


def many(seeds: Any, **options: Any) -> Maze:
    """The mazes of several seeds [N], with a leading axis; `options` go to `generate`."""
    return jax.vmap(lambda seed: generate(jax.random.key(seed), **options))(jnp.asarray(seeds))


def legal(exits: jax.Array) -> jax.Array:
    """Which actions are open at a site, bool [..., A], of its `exits`, uint8 [...]."""
    return exits[..., None] >> jnp.arange(4, dtype=jnp.uint8) & 1 == 1


def neighbours(exits: jax.Array) -> jax.Array:
    """Where each action leads from each site, int32 [S, A]; against a wall one stays."""
    height, width = exits.shape
    here = jnp.arange(height * width)[:, None]
    return jnp.where(legal(exits.reshape(-1)), here + deltas(width), here)


def best_moves(maze: Maze, values: jax.Array) -> jax.Array:
    """The open action of the highest value at each site, int32 [S]; values are [S, A] in any form.

    Where nothing is open it is 0.
    """
    open_ = legal(maze.exits.reshape(-1))
    return jnp.argmax(jnp.where(open_, values.reshape(open_.shape), -jnp.inf), -1)


def solve(maze: Maze) -> jax.Array:
    """Moves from each site to the goal, by breadth-first search: int32 [H, W], -1 if cut off.

    All sites at the same distance are found at once, so it takes as many rounds as the longest way.
    """
    to, size = neighbours(maze.exits), maze.exits.size
    distance = jnp.full(size, _FAR, jnp.int32).at[maze.goal].set(0, mode="drop")

    def spread(carry):
        distance, _ = carry
        # `_FAR` - 1 at most, or adding 1 would overflow.
        nearer = jnp.minimum(distance, jnp.minimum(distance[to].min(-1), _FAR - 1) + 1)
        return nearer, (nearer != distance).any()

    distance, _ = jax.lax.while_loop(lambda c: c[1], spread, (distance, jnp.bool_(True)))
    return jnp.where(distance < _FAR, distance, -1).reshape(maze.exits.shape)


def shortest(maze: Maze) -> list[int]:
    """The sites of a shortest way from entrance to goal; the first alone if none leads there."""
    distance = np.asarray(solve(maze)).reshape(-1)
    to = np.asarray(neighbours(maze.exits))
    sites = [int(maze.start)]
    while distance[sites[-1]] > 0:
        nexts = to[sites[-1]]
        sites.append(int(nexts[distance[nexts] == distance[sites[-1]] - 1][0]))
    return sites


def until_goal(sites: ArrayLike, goal: int) -> list[int]:
    """The sites of a walk up to the goal, or all of them if it is not among them."""
    found = np.flatnonzero(np.asarray(sites) == goal)
    return np.asarray(sites)[: found[0] + 1 if len(found) else None].tolist()


def walk_over_tiles(maze: Maze, sites: Sequence[int]) -> tuple[Maze, list[int]]:
    """A maze of cells as tiles, and a walk through its cells as one over tiles."""
    whole = tiles(maze)
    return whole, over_tiles(whole, maze, sites)


def over_tiles(whole: Maze, maze: Maze, sites: Sequence[int]) -> list[int]:
    """A walk through the cells of a maze as one over its tiles `whole`."""
    width, columns = whole.exits.shape[1], maze.exits.shape[1]
    cells = 2 * np.stack(np.divmod(np.asarray(sites), columns), -1) + 1
    # Between two cells lies the tile in the middle.
    points = np.repeat(cells, 2, axis=0)[:-1]
    points[1::2] = (cells[:-1] + cells[1:]) // 2
    walk: list[int] = (points @ (width, 1)).tolist()
    first = [int(whole.start)] * (walk[0] != int(whole.start))  # a gap in the outer wall
    last = [int(whole.goal)] * (sites[-1] == int(maze.goal) and walk[-1] != int(whole.goal))
    return [*first, *walk, *last]


def cells(whole: Maze) -> Maze | None:
    """The maze of cells whose tiles these are; None if they are of none.

    Cells are the tiles in odd rows and columns, from 0; of a maze of cells every tile in an even
    row and column is a wall. One enters and leaves in a cell or by a gap in the outer wall.
    """
    exits = np.asarray(whole.exits)
    floor, (height, width) = exits != 0, exits.shape
    if height % 2 == 0 or width % 2 == 0 or floor[::2, ::2].any():
        return None
    ends = []
    for site in (whole.start, whole.goal):
        row, column = divmod(int(site), width)
        row, column = min(max(row, 1), height - 2), min(max(column, 1), width - 2)
        if row % 2 == 0 or column % 2 == 0:
            return None  # in a gap between two cells
        ends.append(jnp.int32(row // 2 * (width // 2) + column // 2))
    inside = floor.copy()
    inside[[0, -1]] = inside[:, [0, -1]] = False  # the gaps lead out
    found = np.zeros((height // 2, width // 2), np.uint8)
    for action, (down, right) in enumerate(MOVES.tolist()):
        beside = inside[1 + down : height + down : 2, 1 + right : width + right : 2]
        found |= (beside & inside[1::2, 1::2]).astype(np.uint8) << np.uint8(action)
    return Maze(jnp.asarray(found), *ends)


def draw(maze: Maze, marks: dict[int, str] | None = None) -> str:
    """A maze in text, two characters a tile: walls, `S`, `G`, and `marks` by the site's number.

    A maze of cells is drawn with its walls, as `tiles` has them.
    """
    exits, start, goal = (np.asarray(part) for part in maze)
    shown = {int(start): "S", int(goal): "G", **(marks or {})}
    at = {divmod(site, exits.shape[1]): mark for site, mark in shown.items()}
    wall = exits == 0
    if not wall.any():
        wall = np.pad(wall.repeat(2, 0).repeat(2, 1), (1, 0), constant_values=True)
        wall[1::2, 2::2] = exits & 1 == 0
        wall[2::2, 1::2] = exits >> 1 & 1 == 0
        wall[2::2, 2::2] = True
        at = {(2 * row + 1, 2 * column + 1): mark for (row, column), mark in at.items()}
    text = np.where(wall, "██", "  ").tolist()
    for (row, column), mark in at.items():
        if row < len(text):  # the book's goal may lie outside
            text[row][column] = f"{mark:<2}"
    return "\n".join(map("".join, text))
