"""The bugs of the book's program, each against plain NumPy or by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch07_dqn import book
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.agent import model


def test_the_books_rewards(getkey):
    maze = mazes.generate(getkey())
    params = book.make_params(getkey(), maze)
    rewards, floor = np.asarray(params.rewards), np.asarray(maze.exits).ravel() != 0
    assert rewards[maze.goal] == 100
    assert rewards[maze.start] == -100
    assert (rewards[~floor] == -100).all()
    ordinary = np.delete(rewards, [int(maze.start), int(maze.goal)])[
        np.delete(floor, [int(maze.start), int(maze.goal)])
    ]
    assert set(ordinary) == {0.0, -1.0}
    assert 0.3 < (ordinary == 0).mean() < 0.7


def test_the_books_cost_compares_all_with_all(getkey):
    config = model.Config(rows=1, columns=2, hidden=(5,))
    params, batch = model.init(getkey(), config), model.example(config, 6)
    values = np.asarray(model.apply(params, batch["obs"]), np.float64)
    value = values[np.arange(6), batch["action"]]
    expected = np.mean([(t - v) ** 2 for t in np.asarray(batch["target"]) for v in value])
    found, _ = model.loss(params, batch, kind="squared", errors=book.crossed_errors)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_books_choice_is_a_member_of_the_running_maximum():
    def choices(values, legal):
        chances = jnp.stack([jnp.zeros(64), jnp.linspace(0, 0.999, 64)], -1)
        choose = jax.vmap(book.choose, (None, None, 0))
        return set(choose(jnp.array(values), jnp.array(legal), chances).tolist())

    everything = [True] * 4
    assert choices([1.0, 3.0, 2.0, 4.0], everything) == {0, 1, 3}
    assert choices([4.0, 3.0, 2.0, 1.0], everything) == {0}
    assert choices([1.0, 3.0, 2.0, 4.0], [False, True, True, True]) == {1, 3}
    assert choices([-200.0] * 4, [True, False, True, False]) == {0, 2}  # there it crashes


def test_rows_and_columns_are_exchanged(getkey):
    maze = book.transpose(mazes.generate(getkey()))
    assert divmod(int(maze.start), 21) == (0, 1)
    assert divmod(int(maze.goal), 21) == (11, 0)  # below the last row
    assert (maze.exits[:, 11:] == 0).all()
    assert (mazes.solve(maze) == -1).all()
