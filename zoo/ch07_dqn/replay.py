"""The memory of a DQN: a ring of transitions, as arrays in the state.

Axes: N places in the ring.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Memory(NamedTuple):
    """The last N items that were remembered; an item is any pytree of arrays."""

    items: Any  # the item's pytree, each leaf with a leading axis N
    added: jax.Array  # int32 [], items remembered so far, with those already overwritten


def empty(capacity: int, item: Any) -> Memory:
    """A ring for `capacity` items like `item`, which is not stored.

    Raises:
      ValueError: the capacity is below 1.
    """
    if capacity < 1:
        raise ValueError(f"got a capacity of {capacity}, expected at least 1 (the book's is 2,000)")
    items = jax.tree.map(lambda a: jnp.zeros((capacity, *jnp.shape(a)), jnp.result_type(a)), item)
    return Memory(items, jnp.int32(0))


def capacity(memory: Memory) -> int:
    """N, the places of the ring."""
    return len(jax.tree.leaves(memory.items)[0])


def size(memory: Memory) -> jax.Array:
    """How many items are in it, int32 [], at most N."""
    return jnp.minimum(memory.added, capacity(memory))


def remember(memory: Memory, item: Any) -> Memory:
    """Adds an item, in the place of the oldest one if the ring is full."""
    place = memory.added % capacity(memory)
    items = jax.tree.map(lambda ring, a: ring.at[place].set(a), memory.items, item)
    return Memory(items, memory.added + 1)


def remember_all(memory: Memory, items: Any) -> Memory:
    """Adds several items, with a leading axis of at most N, one after the other.

    Raises:
      ValueError: they are more than the ring has places.
    """
    count = len(jax.tree.leaves(items)[0])
    if count > capacity(memory):
        raise ValueError(
            f"got {count} items at once for {capacity(memory)} places, expected no more than that"
        )
    places = (memory.added + jnp.arange(count)) % capacity(memory)
    rings = jax.tree.map(lambda ring, a: ring.at[places].set(a), memory.items, items)
    return Memory(rings, memory.added + count)


def sample(key: jax.Array, memory: Memory, batch_size: int) -> Any:
    """Items drawn with replacement, all equally likely, with a leading axis `batch_size`.

    There must be one at least: of an empty memory it gives the zeros that it began with.
    """
    return jax.tree.map(lambda a: a[:, 0], sample_runs(key, memory, batch_size, 1))


def sample_runs(key: jax.Array, memory: Memory, batch_size: int, length: int) -> Any:
    """Runs of `length` items that were remembered one after the other, [batch_size, length, ...].

    There must be so many items at least.
    """
    full = capacity(memory)
    begin = jnp.maximum(memory.added - full, 0)
    runs = jnp.maximum(size(memory) - length + 1, 1)
    # Counted by age, so that no run goes from the newest item on to the oldest one.
    first = begin + jnp.floor(jax.random.uniform(key, (batch_size,)) * runs).astype(jnp.int32)
    places = (first[:, None] + jnp.arange(length)) % full
    return jax.tree.map(lambda ring: ring[places], memory.items)
