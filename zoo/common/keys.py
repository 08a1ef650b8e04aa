"""The one rule by which zoo derives the keys of its randomness.

A run has one seed. Each purpose has a name, its domain, and begins from the key that `derive` gives
for it; numbers, as of a step or an epoch, are folded in behind the name. A key made so is split or
drawn from once, never both. Without the names keys would meet: in this JAX
`jax.random.split(key, n)[i]` has the bits of `jax.random.fold_in(key, i)`, so the third of some
weights' keys would be that of step 2. The mazes of chapter 7 are data rather than part of a run:
the maze of a seed is that of `jax.random.key(seed)`.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np


def derive(seed: int | jax.Array, domain: str, *numbers: int | jax.Array) -> jax.Array:
    """The key of a purpose: that of `seed`, a number or a key, with the domain folded in first."""
    typed = isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key)
    key = seed if typed else jax.random.key(seed)
    key = jax.random.fold_in(key, np.uint32(zlib.crc32(domain.encode())))
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key


def of_content(key: jax.Array, arrays: jax.Array) -> jax.Array:
    """A key for each of the uint8 `arrays` [B, ...], which follows from its content: [B].

    What is drawn for an example then is the same whenever and wherever in a batch it comes.
    """
    rows = arrays.reshape(arrays.shape[0], -1).astype(jnp.uint32)
    # A sum with factors that are mixed as in xxHash; it wraps around, and only has to differ.
    factors = (jnp.arange(rows.shape[1], dtype=jnp.uint32) + 1) * jnp.uint32(2654435761)
    factors = (factors ^ factors >> 15) * jnp.uint32(2246822519)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, (rows * factors).sum(1, dtype=jnp.uint32))
