"""The ring against a deque."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import book, replay


@pytest.mark.parametrize("count", [1, 4, 5, 6, 13])
def test_the_ring_holds_what_a_deque_holds(count):
    ring, queue = replay.empty(5, {"n": 0, "x": jnp.zeros(2)}), collections.deque(maxlen=5)
    remember = jax.jit(replay.remember)
    for n in range(count):
        ring = remember(ring, {"n": n, "x": jnp.array([n, -1.0])})
        queue.append(n)
    assert int(replay.size(ring)) == len(queue)
    assert set(ring.items["n"][: len(queue)].tolist()) == set(queue)
    expected = [ring.items["n"][i % len(queue)] for i in range(5)]
    assert book.first_memories(ring, 5)["n"].tolist() == expected
    assert np.array_equal(ring.items["x"][:, 0], ring.items["n"])


def test_all_that_is_remembered_is_drawn_equally_often(getkey):
    ring = replay.empty(5, 0)
    for n in range(8):
        ring = replay.remember(ring, n)
    drawn = np.bincount(replay.sample(getkey(), ring, 5000), minlength=8)
    assert (drawn[:3] == 0).all()
    assert np.abs(drawn[3:] - 1000).max() < 5 * np.sqrt(800)


@pytest.mark.parametrize("count", [3, 5, 8])
def test_runs_follow_one_another(getkey, count):
    ring = replay.empty(5, 0)
    for n in range(count):
        ring = replay.remember(ring, n)
    runs = np.asarray(replay.sample_runs(getkey(), ring, 200, 3))
    assert (np.diff(runs) == 1).all()
    assert set(runs[:, 0]) == set(range(max(0, count - 5), count - 2))


def test_many_at_once_equal_one_after_the_other():
    one = many = replay.empty(5, 0)
    for begin in (0, 3, 6):
        many = replay.remember_all(many, begin + jnp.arange(3))
    for n in range(9):
        one = replay.remember(one, n)
    assert np.array_equal(one.items, many.items)
    assert one.added == many.added
    with pytest.raises(ValueError, match="6 items at once for 5 places"):
        replay.remember_all(many, jnp.arange(6))


def test_a_ring_needs_a_place():
    assert replay.capacity(replay.empty(1, jnp.float32(0))) == 1
    with pytest.raises(ValueError, match="capacity of 0"):
        replay.empty(0, 0)
