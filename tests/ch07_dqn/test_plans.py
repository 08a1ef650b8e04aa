"""Plans of mazes: read as written, as cells, and what is wrong with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn import plans
from zoo.common.data import DataError

COUNT = 20


@pytest.mark.parametrize("method", ["depth-first", "prim"])
def test_a_plan_is_read_as_it_was_written(method):
    maze = mazes.many(jnp.arange(COUNT), rows=4, columns=6, method=method, grid="cells")
    for number in range(COUNT):
        cells = jax.tree.map(lambda part: part[number], maze)  # noqa: B023
        whole = jax.tree.map(np.asarray, mazes.tiles(cells))
        found = plans.parse(plans.plan(whole))
        back = mazes.cells(found)
        for part, again, same, expected in zip(whole, found, back, cells, strict=True):
            np.testing.assert_array_equal(part, again)
            np.testing.assert_array_equal(same, expected)
        sites = mazes.shortest(cells)
        assert mazes.over_tiles(whole, back, sites) == mazes.walk_over_tiles(cells, sites)[1]
        assert mazes.over_tiles(whole, back, sites) == mazes.shortest(whole)


def test_ends_may_lie_in_cells():
    whole = plans.parse("#####\n#S  #\n### #\n#G  #\n#####")
    cells = mazes.cells(whole)
    assert (int(cells.start), int(cells.goal)) == (0, 2)
    walk = mazes.over_tiles(whole, cells, mazes.shortest(cells))
    assert walk == mazes.shortest(whole)
    assert (walk[0], walk[-1]) == (int(whole.start), int(whole.goal))


def test_even_sizes_get_a_wall_and_other_grids_are_no_cells():
    maze = plans.parse("S G \n    \n")
    assert maze.exits.shape == (3, 5)
    assert not maze.exits[2].any()
    assert not maze.exits[:, 4].any()
    assert mazes.cells(maze) is None
    assert mazes.cells(plans.parse("#####\n# SG#\n#####")) is None  # begins between two cells


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts: found 0 'S', expected one"),
        ("S G S", "starts: found 2 'S', expected one"),
        ("S  ", "goals: found 0 'G', expected one"),
        ("SG\n#", "line 2: found 1 characters, expected 2, as in the longest line"),
        ("SG\n#.", r"line 2, column 2: found '\.', expected '#', a space, 'S' or 'G'"),
        ("S#G", "S: found no way to G"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_with_its_place(text, message):
    with pytest.raises(DataError, match=f"^mine.txt: {message}"):
        plans.parse(text, "mine.txt")
