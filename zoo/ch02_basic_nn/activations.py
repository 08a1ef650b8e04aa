"""The activation functions of chapter 2, and their derivatives by JAX.

All but `softmax` work on each number by itself, so they take arrays of any shape. `README.md` lists
what the book prints differently.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

relu = jax.nn.relu
"""max(x, 0) (Nair & Hinton 2010); JAX takes 0 for the derivative at 0."""
sigmoid = jax.nn.sigmoid
"""1 / (1 + exp(-x)); its derivative is s (1 - s), at most 1/4."""
tanh = jnp.tanh
"""2 / (1 + exp(-2x)) - 1 = 2 sigmoid(2x) - 1; its derivative is 1 - t^2, at most 1."""
swish = jax.nn.silu
"""x sigmoid(x), also called SiLU (Ramachandran et al. 2017, arXiv:1710.05941)."""
gelu = functools.partial(jax.nn.gelu, approximate=False)
"""x Phi(x), Phi the normal distribution (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
softmax = jax.nn.softmax
"""exp(x_i) / sum_j exp(x_j) over the last axis; its Jacobian is diag(p) - p p^T."""


def step(x: jax.Array) -> jax.Array:
    """1 where x >= 0, else 0. Its derivative is 0 wherever it has one: nothing can learn by it."""
    return jnp.where(x >= 0, 1.0, 0.0)


def linear(x: jax.Array, slope: float = 0.5) -> jax.Array:
    """The slope times x; the chapter's picture has 0.5."""
    return slope * x


def leaky_relu(x: jax.Array, slope: float = 0.01) -> jax.Array:
    """`x` where x >= 0, else slope x (Maas et al. 2013). The book's picture has the slope 0.1."""
    return jax.nn.leaky_relu(x, slope)


def prelu(x: jax.Array, slope: jax.Array | float = 0.25) -> jax.Array:
    """`leaky_relu` whose slope is learnt, from 0.25 on (He et al. 2015, arXiv:1502.01852).

    The derivative for the slope is x where x < 0, else 0.
    """
    return jnp.where(x >= 0, x, slope * x)


def tanh_misprinted(x: jax.Array) -> jax.Array:
    """2 (1 + exp(-2x)) - 1, as the book prints it: a product where the fraction should be.

    It falls from infinity to 1, where tanh rises from -1 to 1.
    """
    return 2.0 * (1.0 + jnp.exp(-2.0 * x)) - 1.0


def derivative(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """`jax.grad` of a function of one number at each number of `x`; has the shape of `x`."""
    return jax.vmap(jax.grad(function))(jnp.ravel(x)).reshape(jnp.shape(x))
