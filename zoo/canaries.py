"""Programs that some version of JAX computes wrongly on some device, or refuses, or crashes on.

`python -m zoo doctor` runs each of them on every device that is here, as plain `jax.jit` compiles
it and under zoo's options. A new one is a function that returns a `Case`, with the public report
in its docstring, and an entry of `CANARIES`; what ends the process comes last there.
"""

import contextlib
import faulthandler
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from zoo.common import device

SECONDS = 30
"""How long a canary may take to be compiled and computed; an idle core takes a tenth of one."""
_LENGTH = 160  # of a message of JAX
_BARRIER = "put jax.lax.optimization_barrier between its steps"


class Case(NamedTuple):
    """A program and its inputs, with what exact arithmetic gives."""

    program: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    expected: Any  # float64 where the program gives floats, in the same structure
    tolerance: float = 0.03  # relative; what TF32 and bfloat16 round is within it
    rounded: tuple[tuple[str, float], ...] = ()  # precisions that are no error, with tolerances
    used: bool = True  # whether zoo's models have such a program
    avoid: str = "install another JAX"  # what to do where zoo's options do not help


def constant_product() -> Case:
    """A product with a constant matrix, multiplied by its operand and summed.

    Off by orders of magnitude on CPUs in jaxlib 0.10.2 to 0.12.0.1; no public report is known.
    """
    half = _normal(5, 60, 60)
    x = half + half.transpose(0, 2, 1)

    def program(x: jax.Array) -> jax.Array:
        return jnp.sum((x @ jnp.full_like(x, 0.5)) * x, -1)

    return Case(program, (x,), 0.5 * np.sum(_sum(x, -1) * x.astype(np.float64), -1))


def vmapped_product() -> Case:
    """Products with 32,769 vectors in `jax.vmap`, squared and summed.

    The last one is wrong on CPUs in jaxlib 0.10.2: jax-ml/jax#39103.
    """
    matrix, rows = _normal(3, 3), _normal(32_769, 3)

    def program(matrix: jax.Array, rows: jax.Array) -> jax.Array:
        return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)

    products = rows.astype(np.float64) @ matrix.T.astype(np.float64)
    return Case(program, (matrix, rows), np.sum(products**2, -1))


def shifted_write() -> Case:
    """A part of an array written one row further down, then reshaped.

    On CPUs the copy reads what it has written: openxla/xla#49176.
    """
    x = np.arange(128, dtype=np.int32).reshape(8, 16)

    def program(x: jax.Array) -> jax.Array:
        base = x + 1
        return base.at[1:].set(base[:-1]).reshape(1, 8, 16)

    expected = np.concatenate([x[:1], x[:-1]])[None] + 1
    return Case(program, (x,), expected, used=False, avoid="use jnp.concatenate for it")


def nested_slices() -> Case:
    """A slice of a slice whose start is beyond its end.

    The start is not clamped to the inner slice: jax-ml/jax#40849, openxla/xla#49121.
    """
    x, start, inner = np.arange(10, dtype=np.float32), np.array(3, np.int32), np.array(5, np.int32)

    def program(x: jax.Array, start: jax.Array, inner: jax.Array) -> jax.Array:
        return lax.dynamic_slice(lax.dynamic_slice(x, (start,), (4,)), (inner,), (1,))

    advice = "clamp the start by jnp.clip"
    return Case(program, (x, start, inner), np.array([6.0]), used=False, avoid=advice)


def moved_write() -> Case:
    """A part of sums written at computed places, then rolled.

    GPUs take one place for the other: openxla/xla#49119.
    """
    x = np.random.default_rng(0).integers(-50, 50, (33, 7, 16), np.int32)
    starts = tuple(np.asarray(start, np.int32) for start in (20, 5, 1, 3))

    def program(x: jax.Array, *starts: jax.Array) -> jax.Array:
        sums = jnp.flip(jnp.cumsum(jnp.flip(x, 2), axis=2, dtype=jnp.int32), 2)
        sums = lax.pad(sums, jnp.int32(0), [(-3, -1, 0), (1, 2, 0), (-2, -3, 0)])
        part = lax.dynamic_slice(sums, (0, 0, 0), (14, 4, 7)) * 3 - 1
        return jnp.roll(lax.dynamic_update_slice(sums, part, starts[:3]), starts[3], axis=1)

    sums = np.flip(np.cumsum(np.flip(x, 2), axis=2), 2)[3:-1, :, 2:-3]
    sums = np.pad(sums, [(0, 0), (1, 2), (0, 0)])
    written = sums.copy()
    written[15:, 5:9, 1:8] = sums[:14, :4, :7] * 3 - 1  # the first start is clamped to 29 - 14
    return Case(program, (x, *starts), np.roll(written, 3, 1), used=False, avoid=_BARRIER)


def clamped_write() -> Case:
    """A part of an array written at a constant place beyond its end.

    GPUs do not clamp the place: openxla/xla#49120.
    """
    x = (np.arange(3 * 127 * 33) * 7919 % 10_007 - 5_000).astype(np.int32).reshape(3, 127, 1, 33)

    def program(x: jax.Array) -> jax.Array:
        row = x[:, 94]
        part = lax.dynamic_slice(row, (0, 0, 0), (1, 1, 8)) * 3 - 1
        return lax.dynamic_update_slice(row, part, (1, 1, 31))

    expected = x[:, 94].copy()
    expected[1, 0, 25:] = x[0, 94, 0, :8] * 3 - 1
    return Case(program, (x,), expected, used=False, avoid="write within the array")


def scaled_bias() -> Case:
    """A product plus a bias, both multiplied by a constant.

    On GPUs cuBLASLt multiplies the product alone: openxla/xla#46110, jax-ml/jax#39336.
    """
    matrix, rows, bias = _normal(32, 15), _normal(100, 15), 100 * _normal(32)

    def program(matrix: jax.Array, rows: jax.Array, bias: jax.Array) -> tuple[jax.Array, ...]:
        vectors = jax.vmap(lambda row: 0.1 * (matrix @ row + bias))(rows)
        return vectors, 0.1 * (rows @ matrix.T + bias)

    expected = 0.1 * (rows.astype(np.float64) @ matrix.T.astype(np.float64) + bias)
    avoid = "set XLA_FLAGS=--xla_gpu_autotune_level=3, or install another JAX"
    return Case(program, (matrix, rows, bias), (expected, expected), avoid=avoid)


def column_bias() -> Case:
    """A product plus a bias for each row, turned and read in two orders.

    On GPUs cuBLASLt adds it to each column: openxla/xla#46897.
    """
    matrix, bias, order = _normal(8, 8), 10 * _normal(8), np.arange(4, dtype=np.int32)

    def program(matrix: jax.Array, bias: jax.Array, *orders: jax.Array) -> tuple[jax.Array, ...]:
        product = lax.dot_general(matrix, matrix, (((0,), (1,)), ((), ()))) + bias[:, None]
        return tuple(product.T[order] for order in orders)

    product = np.einsum("ki,jk->ij", *2 * [matrix.astype(np.float64)]) + bias[:, None]
    expected = product.T[order], product.T[order[::-1]]
    return Case(program, (matrix, bias, order, order[::-1].copy()), expected)


def masked_rows() -> Case:
    """Rows of two arrays, normalized, masked and followed by more rows; their maximum besides.

    Triton takes the mask of another row: jax-ml/jax#40588, and jax-ml/jax#39486 for two results.
    """
    x, more = _normal(508, 512), _normal(4, 512)
    first, rest = np.ones(1, bool), np.arange(507) % 3 > 0

    def program(
        x: jax.Array, more: jax.Array, first: jax.Array, rest: jax.Array
    ) -> tuple[jax.Array, ...]:
        valid = jnp.concatenate([first, rest])[:, None]
        normal = x * lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)
        rows = jnp.concatenate([jnp.where(valid, normal, 0), more])
        return rows, jnp.max(rows, -1)

    exact = x.astype(np.float64)
    normal = exact / np.sqrt(np.mean(exact**2, -1, keepdims=True) + 1e-6)
    rows = np.concatenate([normal * np.concatenate([first, rest])[:, None], more])
    return Case(program, (x, more, first, rest), (rows, rows.max(-1)), used=False, avoid=_BARRIER)


def stacked_vectors() -> Case:
    """Cross products, stacked, of which one part is joined to a sum.

    XLA's compiler for GPUs refuses it in jaxlib 0.10.2: jax-ml/jax#39157.
    """
    x = _normal(1, 100, 3)

    def program(x: jax.Array) -> jax.Array:
        z = x / jnp.sum(x * x, axis=-1, keepdims=True)
        y = jnp.cross(z, x + 1)
        part = jnp.stack([y, z, y], -1)[..., 0, :]
        return jnp.concatenate([part, jnp.sum(x, axis=-1)[..., None]], -1)

    exact = x.astype(np.float64)
    z = exact / np.sum(exact**2, -1, keepdims=True)
    y = np.cross(z, exact + 1)
    parts = [y[..., :1], z[..., :1], y[..., :1], _sum(x, -1)]
    return Case(program, (x,), np.concatenate(parts, -1), used=False, avoid=_BARRIER)


def bfloat16_convolution() -> Case:
    """A convolution of images with 3x3 kernels in bfloat16.

    cuDNN has no algorithm for some of them: jax-ml/jax#37922.
    """
    return _convolution(None)._replace(avoid="convolve in float32 or float16")


def mixed_convolution() -> Case:
    """A convolution in bfloat16 whose result is float32.

    XLA refuses it for CUDA, see jax-ml/jax#37922.
    """
    return _convolution(jnp.float32)._replace(used=False, avoid="cast the result instead")


def _convolution(result: Any) -> Case:
    images = _normal(2, 8, 8, 4).astype(jnp.bfloat16)
    kernels = _normal(3, 3, 4, 8).astype(jnp.bfloat16)

    def program(images: jax.Array, kernels: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            images,
            kernels,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            preferred_element_type=result,
        )

    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    expected = np.einsum("bhwcij,ijcd->bhwd", windows, kernels.astype(np.float64))
    return Case(program, (images, kernels), expected)


def rounded_product() -> Case:
    """A product of float32 matrices, whose operands tensor cores round.

    No error, but three digits in TF32 and two in bfloat16: jax-ml/jax#12008, jax-ml/jax#4873.
    """
    x = 1 + np.random.default_rng(0).random((256, 256), np.float32)
    rounded = ("TF32", 2.0**-11), ("bfloat16", 2.0**-8)
    avoid = "set JAX_DEFAULT_MATMUL_PRECISION=float32 if that is too coarse"
    return Case(jnp.matmul, (x, np.eye(256, dtype=np.float32)), x, 1e-5, rounded, avoid=avoid)


def filter_gradient() -> Case:
    """The gradient of 5x5 kernels over images of three channels, with float32 products requested.

    On an H100 XLA takes the fastest of cuDNN's algorithms, and one of them (its engine 17) is off
    by a thousandth, whatever precision is requested; no public report is known.
    """
    images, grads = _normal(16, 32, 32, 3), _normal(16, 30, 30, 32)

    def program(images: jax.Array, grads: jax.Array) -> jax.Array:
        def product(kernels: jax.Array) -> jax.Array:
            convolved = lax.conv_general_dilated(
                images,
                kernels,
                (1, 1),
                [(1, 1), (1, 1)],
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                precision="highest",
            )
            return jnp.sum(convolved * grads)

        return jax.grad(product)(jnp.zeros((5, 5, 3, 32)))

    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (30, 30), (1, 2))
    expected = np.einsum("bijchw,bhwd->ijcd", windows, grads.astype(np.float64), optimize=True)
    rounded = (("less than float32", 0.03),)
    avoid = "set XLA_FLAGS=--xla_gpu_autotune_level=0 if that is too coarse"
    return Case(program, (images, grads), expected, 1e-4, rounded, avoid=avoid)


def high_rank_sum() -> Case:
    """A product of arrays of seven axes, summed over one of them.

    Ends the process on CPUs in jaxlib 0.10.2: jax-ml/jax#40412.
    """
    x, y = _normal(2, 3, 1, 2, 2, 8, 8, 8)

    def program(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(x * y, axis=3)

    return Case(program, (x, y), _sum(x.astype(np.float64) * y, 3)[:, :, :, 0])


def high_rank_product() -> Case:
    """An array of three axes times one of eight, summed over one of them.

    Ends the process on CPUs in jaxlib 0.10.2 and 0.11.0, or never returns: jax-ml/jax#39257.
    """
    x, y = np.abs(_normal(2, 4, 2)), np.abs(_normal(2, 4, 2, 9, 9, 9, 9, 9))

    def program(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.log(jnp.sum(x[..., None, None, None, None, None] * y, axis=2))

    expected = np.log(np.einsum("abc,abcdefgh->abdefgh", x.astype(np.float64), y))
    return Case(program, (x, y), expected)


CANARIES = (
    constant_product,
    vmapped_product,
    shifted_write,
    nested_slices,
    moved_write,
    clamped_write,
    scaled_bias,
    column_bias,
    masked_rows,
    stacked_vectors,
    bfloat16_convolution,
    mixed_convolution,
    rounded_product,
    filter_gradient,
    high_rank_sum,
    high_rank_product,
)


def name(canary: Callable[[], Case]) -> str:
    """What it is called in the report."""
    return canary.__name__.replace("_", " ")


def reports(canary: Callable[[], Case]) -> list[str]:
    """Where others have written of it, as "openxla/xla#46110"."""
    return re.findall(r"[\w-]+/[\w-]+#\d+", canary.__doc__ or "")


def check(case: Case, where: jax.Device, options: dict[str, str]) -> str:
    """The verdict on a case compiled with these options.

    It is "right", "in TF32" or another precision, "wrong: ..." or "refused: ...".
    """
    try:
        inputs = jax.device_put(case.inputs, where)
        results = jax.device_get(jax.jit(case.program, compiler_options=options)(*inputs))
    except Exception as error:  # jaxlib's error type is not public
        return f"refused: {' '.join(str(error).split())[:_LENGTH]}"
    found, expected = _numbers(results), _numbers(case.expected)
    off = np.abs(found - expected) / (np.abs(expected) + np.mean(np.abs(expected)))
    off = np.nan_to_num(off, nan=np.inf)
    for precision, tolerance in (("", case.tolerance), *case.rounded):
        if off.max() <= tolerance:
            return f"in {precision}" if precision else "right"
    worst, count = off.argmax(), np.count_nonzero(off > case.tolerance)
    example = f"{found[worst]:.4g} in place of {expected[worst]:.4g}"
    return f"wrong: {count:,} of {off.size:,} numbers, such as {example}"


def run(platform: str, number: int, options: bool, first: int) -> None:
    """Prints a line for each canary from the `first` on; some of them end the process.

    It is ended as well if one takes longer than `SECONDS`.

    Args:
      platform: of the device.
      number: of the device, as `jax.devices(platform)` counts.
      options: whether to compile with zoo's options.
      first: the number of a canary.
    """
    with contextlib.suppress(ImportError):  # Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what crashes leaves no file
    where = jax.devices(platform)[number]
    jax.config.update("jax_default_device", where)
    chosen = device.compiler_options(where.platform) if options else {}
    for canary in CANARIES[first:]:
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.stderr)
        print(f"{name(canary)}: {check(canary(), where, chosen)}", flush=True)
    faulthandler.cancel_dump_traceback_later()


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def _numbers(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)])


def _sum(x: np.ndarray, axis: int) -> Any:
    return np.sum(x, axis, np.float64, keepdims=True)
