"""Mazes against plain Python: they are trees, distances are right, tiles equal cells."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import maze as mazes

ROWS, COLUMNS, COUNT = 4, 6, 50


@functools.cache
def drawn(method):
    options = {"rows": ROWS, "columns": COLUMNS, "method": method, "grid": "cells"}
    make = jax.jit(lambda seeds: mazes.many(seeds, **options))
    return jax.tree.map(np.asarray, make(jnp.arange(COUNT)))


solve_all = jax.jit(jax.vmap(mazes.solve))


@pytest.fixture(params=["depth-first", "prim"])
def cells(request):
    return drawn(request.param)


def edges(exits):
    """The ways of one maze as pairs of sites, each once in each direction."""
    rows, columns = exits.shape
    found = []
    for row in range(rows):
        for column in range(columns):
            for action, (down, right) in enumerate(mazes.MOVES.tolist()):
                if exits[row, column] >> action & 1:
                    to = row + down, column + right
                    assert 0 <= to[0] < rows
                    assert 0 <= to[1] < columns
                    found.append((row * columns + column, to[0] * columns + to[1]))
    return found


def distances(exits, goal):
    """Breadth-first search with a queue."""
    ways = collections.defaultdict(list)
    for a, b in edges(exits):
        ways[b].append(a)
    found, queue = {int(goal): 0}, collections.deque([int(goal)])
    while queue:
        site = queue.popleft()
        for before in ways[site]:
            if before not in found:
                found[before] = found[site] + 1
                queue.append(before)
    return np.array([found.get(n, -1) for n in range(exits.size)]).reshape(exits.shape)


def test_a_perfect_maze_is_a_tree(cells):
    for exits, goal in zip(cells.exits, cells.goal, strict=True):
        ways = edges(exits)
        assert {(b, a) for a, b in ways} == set(ways)
        assert len(ways) == 2 * (ROWS * COLUMNS - 1)
        assert (distances(exits, goal) >= 0).all()


def test_mazes_of_different_seeds_differ(cells):
    assert len({exits.tobytes() for exits in cells.exits}) == COUNT


def test_depth_first_has_longer_ways_than_prim():
    def mean(method):
        return solve_all(drawn(method))[:, 0, 0].mean()

    assert mean("depth-first") > 1.15 * mean("prim")


def test_solve_equals_a_queue(cells):
    solved = solve_all(cells)
    for n in range(5):
        assert np.array_equal(solved[n], distances(cells.exits[n], cells.goal[n]))


def test_tiles_are_the_books_and_double_each_way(cells):
    tiles = jax.tree.map(np.asarray, jax.jit(jax.vmap(mazes.tiles))(cells))
    assert tiles.exits.shape == (COUNT, 2 * ROWS + 1, 2 * COLUMNS + 1)
    for n in range(5):
        ways = edges(tiles.exits[n])
        assert {(b, a) for a, b in ways} == set(ways)
        long = distances(tiles.exits[n], tiles.goal[n])
        short = distances(cells.exits[n], cells.goal[n])
        # From tile to tile twice as far, and one step out of the maze.
        assert np.array_equal(long[1::2, 1::2], 2 * short + 1)
        assert long.ravel()[tiles.start[n]] == 2 * short[0, 0] + 2


def test_five_by_ten_cells_are_the_books_eleven_by_twenty_one_tiles(getkey):
    maze = mazes.generate(getkey())
    assert maze.exits.shape == (11, 21)
    assert divmod(int(maze.start), 21) == (1, 0)  # the book's {1 0}
    assert divmod(int(maze.goal), 21) == (9, 20)  # and {9 20}


def test_extra_openings_make_loops_and_no_way_out(getkey):
    maze = mazes.generate(getkey(), ROWS, COLUMNS, extra=0.5, grid="cells")
    ways = edges(np.asarray(maze.exits))
    assert {(b, a) for a, b in ways} == set(ways)
    assert len(ways) > 2 * (ROWS * COLUMNS - 1)
    full = mazes.generate(getkey(), ROWS, COLUMNS, extra=1.0, grid="cells")
    assert len(edges(np.asarray(full.exits))) == 2 * (ROWS * (COLUMNS - 1) + COLUMNS * (ROWS - 1))


def test_where_there_is_no_way_the_distance_is_minus_one():
    exits = jnp.array([[1, 8, 0, 0]], jnp.uint8)
    maze = mazes.Maze(exits, jnp.int32(3), jnp.int32(0))
    assert mazes.solve(maze).tolist() == [[0, 1, -1, -1]]


def test_a_maze_is_drawn_with_its_walls_and_marks():
    exits = jnp.array([[1, 10], [1, 12]], jnp.uint8)  # a U, open to the west
    maze = mazes.Maze(exits, jnp.int32(0), jnp.int32(2))
    expected = ["██████████", "██S     ██", "██████  ██", "██G   @ ██", "██████████"]
    assert mazes.draw(maze, {3: "@"}).splitlines() == expected
    tiles = mazes.draw(mazes.tiles(maze)).splitlines()
    assert tiles[1] == "S       ██"
    assert tiles[3] == "██      G "


def test_a_walk_through_cells_becomes_one_over_tiles(cells):
    for n in range(2):
        own = jax.tree.map(lambda a, n=n: a[n], cells)
        tiles, walk = mazes.walk_over_tiles(own, mazes.shortest(own))
        assert walk == mazes.shortest(tiles)
        stuck = mazes.walk_over_tiles(own, mazes.shortest(own)[:3])[1]
        assert stuck == walk[: len(stuck)]
        assert len(stuck) == 6


def test_what_is_no_maze_is_named(getkey):
    with pytest.raises(ValueError, match="1x1 cells, expected at least 2"):
        mazes.generate(getkey(), 1, 1)
    with pytest.raises(ValueError, match=r"method 'kruskal'.* depth-first, prim"):
        mazes.generate(getkey(), method="kruskal")
    with pytest.raises(ValueError, match=r"grid 'hexagons'.* tiles or cells"):
        mazes.generate(getkey(), grid="hexagons")
