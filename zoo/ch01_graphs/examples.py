"""The book's first programs: functions, and the numbers that the book calls them with.

The repository adds 2 and 2.5, the text 1 and 2. The matrix programs use float32 in the repository
and float64 in the text; here it is float32, whose shortest decimals are the text's results.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS = np.array([[0.9, 0.7], [0.4, 0.2]], np.float32)
INPUT = np.array([5.0, 7.0], np.float32)
BIAS = np.float32(3.0)
GONUM_A = np.array([[3, 4, 5], [1, 2, 3]], np.float32)
GONUM_B = np.array([[1, 1, 8], [1, 2, -3], [5, 5, 7]], np.float32)


def add(a: jax.Array, b: jax.Array) -> jax.Array:
    """The first graph of the book: a + b."""
    return a + b


def matmul(w: jax.Array, x: jax.Array) -> jax.Array:
    """A layer's product W x: [O, I] with [I] gives [O]."""
    return w @ x


def affine(w: jax.Array, x: jax.Array, b: jax.Array) -> jax.Array:
    """A whole linear layer, W x + b, with a scalar b."""
    return w @ x + b


class Matrices(NamedTuple):
    """What the book's lines on Gonum compute, and do not print."""

    trace: jax.Array  # of b
    product: jax.Array  # a b, [2, 3]
    total: jax.Array  # a b + a
    last: jax.Array  # (a b + a) b^T


def gonum(a: jax.Array, b: jax.Array) -> Matrices:
    """The Gonum snippet: the trace of b; c = a b; c += a; c = c b^T."""
    product = a @ b
    total = product + a
    return Matrices(jnp.trace(b), product, total, total @ b.T)
