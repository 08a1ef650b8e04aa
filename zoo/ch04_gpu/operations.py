"""The operations that the book's chapter lists, timed forward and backward, at three sizes.

Convolution in one and two dimensions, max pooling, dropout, ReLU, batch normalisation and the
matrix product, as `zoo.common.ops` has them. FLOPs are counted by formula: a multiplication and an
addition are two; a comparison, a sum or a random number is one for each number that comes out. Of
bytes only those are counted that no implementation can avoid: each operand read once, each result
written once. A backward pass is the pull-back of a gradient, with what it needs of the forward one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo.ch04_gpu import precision
from zoo.common import bench, device, keys, ops
from zoo.common.data import DataError

SIZES = {"small": 4, "medium": 32, "large": 128}
"""Images in the batch; the matrices are 32 times as wide."""


class Operation(NamedTuple):
    """One to be timed: `function(key, *args)`, and its count."""

    name: str
    function: Callable[..., jax.Array]
    shapes: tuple[tuple[int, ...], ...]  # of args
    flops: int  # of the forward pass, for each number that comes out
    backward: int  # times the forward pass
    products: bool = False  # whether it makes any, whose precision can be set


def operations(size: str) -> list[Operation]:
    """The chapter's operations at one of `SIZES`.

    Raises:
      DataError: there is no such size.
    """
    if size not in SIZES:
        raise DataError(f"got the size {size!r}, expected one of {', '.join(SIZES)}")
    batch = SIZES[size]
    width = 32 * batch
    square, maps, sequence = (width, width), (batch, 32, 32, 32), (batch, 1024, 32)
    taps, kernel, channels = (5, 32, 32), (3, 3, 32, 32), (32,)
    return [
        Operation("matrix product", _product, (square, square), 2 * width, 2, True),
        Operation("conv1d", _conv1d, (sequence, taps), 2 * 5 * 32, 2, True),
        Operation("conv2d", _conv2d, (maps, kernel), 2 * 9 * 32, 2, True),
        Operation("max pooling", lambda key, x: ops.max_pool2d(x), (maps,), 4, 1),
        Operation("dropout", lambda key, x: ops.dropout(key, x, 0.5), (maps,), 3, 1),
        Operation("ReLU", lambda key, x: jax.nn.relu(x), (maps,), 1, 1),
        Operation("batch norm", _batch_norm, (maps, channels, channels), 7, 2),
    ]


def _product(key: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    return a @ b


def _conv1d(key: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return ops.conv1d(x, kernel)


def _conv2d(key: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return ops.conv2d(x, kernel)


def _batch_norm(key: jax.Array, x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    stats = {"mean": jnp.zeros_like(scale), "var": jnp.ones_like(scale)}
    params = {"scale": scale, "bias": bias}
    return ops.batch_norm(params, stats, x, training=True)[0]


def backward(function: Callable[..., jax.Array]) -> Callable[..., tuple[jax.Array, ...]]:
    """Gradients of (key, args, gradient of the result) for all args."""

    def pull(key: jax.Array, args: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, ...]:
        return jax.vjp(lambda *args: function(key, *args), *args)[1](g)

    return pull


def measure(operation: Operation, runs: int = 10) -> dict[str, Any]:
    """Forward and backward seconds with GFLOP/s and GB/s, on the device in use."""
    arg_key, key = jax.random.split(keys.derive(0, "operation"))
    arg_keys = jax.random.split(arg_key, len(operation.shapes))
    pairs = zip(arg_keys, operation.shapes, strict=True)
    args = tuple(jax.random.normal(k, shape) for k, shape in pairs)
    out = jax.eval_shape(operation.function, key, *args)
    g = jnp.ones(out.shape)  # the gradient of the result, which the pull-back starts from
    flops = operation.flops * math.prod(out.shape)
    row: dict[str, Any] = {"operation": operation.name, "shape": list(operation.shapes[0])}
    pull, inside = backward(operation.function), sum(a.nbytes for a in args)
    for name, function, given, count, moved in (
        ("forward", operation.function, (key, *args), flops, inside + g.nbytes),
        # What comes out of a backward pass is as large as the arguments.
        ("backward", pull, (key, args, g), operation.backward * flops, 2 * inside + g.nbytes),
    ):
        timing = bench.time_call(function, *given, runs=runs, warmup=2)
        row[name] = {
            **bench.spread(timing.seconds),
            "compile_seconds": timing.compile_seconds,
            "gflops": count / timing.median / 1e9,
            "gbytes": moved / timing.median / 1e9,
        }
    return row


def run(names: tuple[device.Name, ...], sizes: tuple[str, ...], runs: int) -> list[dict[str, Any]]:
    """A row for each operation, size, device and precision that the device makes products in."""
    rows = []
    for size in sizes:
        for operation in operations(size):
            for name in names:
                device.use(name)
                for kind, setting in precision.compared(operation.products).items():
                    with jax.default_matmul_precision(setting):
                        measured = measure(operation, runs)
                    rows.append({"size": size, "device": name, "precision": kind, **measured})
    return rows
