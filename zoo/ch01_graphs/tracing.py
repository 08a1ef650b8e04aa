"""From a JAX function to its graph, by `jax.make_jaxpr` and the public part of `jax.extend.core`.

An equation that holds functions is a cluster. Where it calls one function once (jit, custom_jvp,
custom_vjp, remat) the edges run straight into it and out of it. A loop or a branch (scan, while,
cond, and any other) has ports, since its inner functions do not see its operands as they are. A
function that is called twice is shown twice.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch01_graphs.graph import Graph, Node
from zoo.ch01_graphs.walk import Place, Walk


def trace(
    fn: Callable[..., Any], *args: Any, values: bool = False, gradients: bool = False
) -> Graph:
    """The graph of `fn(*args)`, complete to the innermost equation.

    Args:
      fn: any function of arrays, or pytrees of them, that JAX can trace.
      *args: its arguments; without values, shapes (`jax.ShapeDtypeStruct`) are enough.
      values: also compute what each node gives, equation by equation; inside of loops, and of
        branches that are not taken, nothing is known.
      gradients: also differentiate the function's scalar result with respect to what each node
        gives, in one backward pass; implies `values`. Inside of loops, branches and functions with
        a derivative of their own there is none: their results have one.

    Raises:
      ValueError: gradients are asked for and the result (of a tuple: the first) is no float
        scalar, or values are and an argument is only a shape.
    """
    closed, results = jax.make_jaxpr(fn, return_shape=True)(*args)
    inputs = _input_names(fn, args)
    outputs = [f"result{_path(path)}" for path, _ in jax.tree_util.tree_leaves_with_path(results)]
    walk = Walk()
    walk.function(closed, inputs, outputs)
    found, slopes = {}, {}
    if gradients:
        _check_scalar(results)
    if values or gradients:
        leaves = [_known(name, x) for name, x in zip(inputs, jax.tree.leaves(args), strict=True)]

        def evaluate(zeros: Mapping[Place, jax.Array]) -> tuple[Any, dict[Place, Any]]:
            again = Walk(zeros)
            wires = again.function(closed, inputs, outputs, leaves)
            return wires[0].value if wires else None, again.values

        with jax.debug_key_reuse(False):  # the caller's keys are only looked at
            if gradients:
                zeros = {place: jnp.zeros(a.shape, a.dtype) for place, a in walk.live.items()}
                slopes, found = jax.grad(evaluate, has_aux=True)(zeros)
            else:
                _, found = evaluate({})
    return Graph(tuple(_filled(walk.nodes, found, slopes)), tuple(walk.edges), tuple(walk.clusters))


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path)


def _input_names(fn: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """The path of each input, such as `params['kernel']`, in the order of the tree's leaves."""
    try:
        named = inspect.signature(fn).bind(*args).arguments
    except (TypeError, ValueError):  # a built-in function has no signature
        named = {f"argument {i}": value for i, value in enumerate(args)}
    return [
        f"{name}{_path(path)}"
        for name, value in named.items()
        for path, _ in jax.tree_util.tree_leaves_with_path(value)
    ]


def _known(name: str, leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise ValueError(
            f"argument {name} is only a shape, {leaf.shape}, expected an array: pass one, or trace "
            "without values and gradients"
        )
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)


def _check_scalar(results: Any) -> None:
    first = results[0] if isinstance(results, tuple) and results else results
    shape, dtype = getattr(first, "shape", None), getattr(first, "dtype", np.void)
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        got = jax.tree.map(lambda a: f"{a.dtype}{list(a.shape)}", first)
        raise ValueError(
            f"the result is {got}, expected one float without axes to differentiate: take a sum or "
            "a mean, or return it first in a tuple"
        )


def _filled(
    nodes: Sequence[Node], values: Mapping[Place, Any], gradients: Mapping[Place, Any]
) -> Iterator[Node]:
    for at, node in enumerate(nodes):
        arrays = (
            array._replace(
                value=_numbers(values.get((at, i))), gradient=_numbers(gradients.get((at, i)))
            )
            for i, array in enumerate(node.arrays)
        )
        yield node._replace(arrays=tuple(arrays))


def _numbers(value: Any) -> np.ndarray | None:
    if value is None:
        return None
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return np.asarray(value)
