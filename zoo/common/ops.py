"""The operations that the book's networks are made of, as pure functions on arrays.

Axes: B batch, H rows, W columns, L length, C channels in, O channels out. Images are [B, H, W, C],
kernels [rows, columns, C, O], as in Flax; every function equals its `flax.linen` twin in value and
in gradient. On a CPU the convolution and the pooling use other formulations than on accelerators,
because XLA's own gradients are slow there; the results agree to rounding. They are differentiable
in reverse mode to any order (a custom rule takes the place of forward mode).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

_convolve = functools.partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
_Pair = tuple[int, int]
_Pads = tuple[_Pair, _Pair]


def check_shape(what: str, array: jax.Array, shape: Sequence[int | str], advice: str = "") -> None:
    """Refuses an array of another shape than `shape`, in which a name stands for any size.

    Losses check all arrays of a batch by it, since broadcasting would make a wrong loss of most
    wrong shapes: labels [B, 1] and probabilities [B] give [B, B]. Under `jax.jit` it costs nothing.

    Raises:
      ValueError: names what was found and what was expected.
    """
    found = jnp.shape(array)
    same = zip(found, shape, strict=False)
    if len(found) != len(shape) or any(isinstance(n, int) and m != n for m, n in same):
        expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        hint = f": {advice}" if advice else ""
        raise ValueError(f"{what} have shape {found}, expected {expected}{hint}")


def check_bytes(what: str, array: jax.Array) -> None:
    """Refuses an array that does not hold whole numbers, which bytes from 0 to 255 are.

    Raises:
      ValueError: names the type that was found.
    """
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"{what} are {dtype}, expected uint8 from 0 to 255: scaled ones go to the network as "
            "they are; where 1 is white, (255 * images).round().astype(uint8)"
        )


def check_floats(what: str, array: jax.Array) -> None:
    """Refuses whole numbers, such as the bytes of images that nobody scaled.

    Raises:
      ValueError: names the type that was found.
    """
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{what} are {dtype}, expected floats: `scale_pixels` makes them of bytes")


def check_integers(what: str, array: jax.Array, advice: str) -> None:
    """Refuses an array of fractions, as of labels.

    Raises:
      ValueError: names the type that was found.
    """
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(f"{what} are {dtype}, expected integers: {advice}")


def check_names(batch: Mapping[str, jax.Array], *names: str) -> None:
    """Refuses a batch in which an array is missing.

    Raises:
      ValueError: names what was found and what was expected.
    """
    if missing := [name for name in names if name not in batch]:
        found = ", ".join(batch) or "none"
        expected = ", ".join(names)
        raise ValueError(
            f"got the arrays {found}, expected {expected}: {', '.join(missing)} is missing"
        )


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    """Refuses a keyword that has none of its choices.

    Raises:
      ValueError: names them.
    """
    if value not in choices:
        raise ValueError(f"got the {what} {value!r}, expected one of {', '.join(choices)}")


SHARDS = "data"
"""The axis of `device.mesh`, over which `fit` splits a batch: each shard's loss sees its part."""


def shards() -> int:
    """How many parts the batch has been split into; 1 outside of a program of several shards."""
    return lax.axis_size(SHARDS) if _is_split() else 1


def shard() -> jax.Array | int:
    """The number of the part that is computed here, from 0."""
    return lax.axis_index(SHARDS) if _is_split() else 0


def mean_over_shards(tree: Any) -> Any:
    """The mean over the shards of the arrays of a tree, in one reduction; itself without shards.

    `fit` takes it of losses and gradients. A loss needs it where it isn't a mean over examples: in
    batch norm's moments, and where the number that it divides by depends on the examples.
    """
    if not _is_split():
        return tree
    flat, unravel = ravel_pytree(tree)
    return unravel(lax.pmean(flat, SHARDS))


def _is_split() -> bool:
    return SHARDS in jax.sharding.get_abstract_mesh().manual_axes


def _pair(value: int | Sequence[int]) -> _Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int | _Pair = 1,
    padding: int | _Pads = 0,
    dilation: int | _Pair = 1,
) -> jax.Array:
    """Cross-correlation of images [B, H, W, C] with `kernel` [rows, columns, C, O].

    Args:
      x: the images.
      kernel: the filters; they are not flipped, as everywhere in deep learning.
      stride: rows and columns that the kernel moves at a time.
      padding: zeros on every side, or ((top, bottom), (left, right)).
      dilation: distance between the kernel's taps.

    Returns:
      [B, H', W', O] with H' = (H + top + bottom - dilation * (rows - 1) - 1) // stride + 1.

    Raises:
      ValueError: the channels of images and kernel differ, or the kernel does not fit.
    """
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(
            f"images {x.shape} and kernel {kernel.shape} do not fit: expected (batch, height, "
            "width, channels) and (rows, columns, the same channels, filters)"
        )
    dtype = jnp.result_type(x, kernel)  # as in a product; XLA's convolution takes one type alone
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    stride, dilation = _pair(stride), _pair(dilation)
    for size, taps, gap, (low, high) in zip(
        x.shape[1:3], kernel.shape[:2], dilation, padding, strict=True
    ):
        if size + low + high < gap * (taps - 1) + 1:
            raise ValueError(
                f"a kernel of {taps} taps, {gap} apart, does not fit into {size} pixels with "
                f"padding {(low, high)}: use a smaller kernel or more padding"
            )
    return _conv2d(x, kernel, stride, tuple(map(tuple, padding)), dilation)


def conv1d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: int | _Pair = 0,
    dilation: int = 1,
) -> jax.Array:
    """Cross-correlation of sequences [B, L, C] with `kernel` [taps, C, O]; gives [B, L', O]."""
    ends = (padding, padding) if isinstance(padding, int) else padding
    row, taps = x[:, None], kernel[None]  # an image of one row
    pads, dilations = ((0, 0), ends), (1, dilation)
    return conv2d(row, taps, stride=(1, stride), padding=pads, dilation=dilations)[:, 0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv2d(x: jax.Array, kernel: jax.Array, stride: _Pair, padding: _Pads, dilation: _Pair):
    cpu = functools.partial(_conv2d_cpu, stride=stride, padding=padding, dilation=dilation)
    plain = functools.partial(_conv2d_plain, stride=stride, padding=padding, dilation=dilation)
    return lax.platform_dependent(x, kernel, cpu=cpu, default=plain)


def _conv2d_plain(x, kernel, stride, padding, dilation):
    return _convolve(x, kernel, stride, padding, rhs_dilation=dilation)


def _conv2d_cpu(x, kernel, stride, padding, dilation):
    rows, columns, channels, filters = kernel.shape
    if channels > 4:
        return _conv2d_plain(x, kernel, stride, padding, dilation)
    # Three colours fill a vector register badly: the kernel's rows become channels.
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height = (x.shape[1] - dilation[0] * (rows - 1) - 1) // stride[0] + 1
    reach = (height - 1) * stride[0] + 1
    starts = range(0, rows * dilation[0], dilation[0])
    x = jnp.concatenate([x[:, i : i + reach : stride[0]] for i in starts], axis=-1)
    kernel = kernel.transpose(1, 0, 2, 3).reshape(1, columns, rows * channels, filters)
    x, kernel = lax.optimization_barrier((x, kernel))  # XLA would undo the copies
    return _conv2d_plain(x, kernel, (1, stride[1]), ((0, 0), (0, 0)), (1, dilation[1]))


def _conv2d_forward(x, kernel, stride, padding, dilation):
    return _conv2d(x, kernel, stride, padding, dilation), (x, kernel)


def _conv2d_backward(stride, padding, dilation, residuals, g):
    def plain(x, kernel, g):
        return jax.vjp(lambda *a: _conv2d_plain(*a, stride, padding, dilation), x, kernel)[1](g)

    def cpu(x, kernel, g):
        return (
            _input_gradient(x.shape, kernel, g, stride, padding, dilation),
            _kernel_gradient(x, kernel.shape, g, stride, padding, dilation),
        )

    return lax.platform_dependent(*residuals, g, cpu=cpu, default=plain)


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)

# XLA's CPU backend is fast only for convolutions whose operands lie in memory as [B, H, W, C] and
# [rows, columns, C, O], and inside a compiled loop it does not bring them there by itself. So both
# gradients are written as such convolutions, with a barrier behind every transposition.


def _input_gradient(shape, kernel, g, stride, padding, dilation):
    """The gradient for images of `shape`: a convolution of `g` with the flipped kernel."""
    taps = kernel.shape[:2]
    if stride == dilation == (1, 1) and any(s < k for s, k in zip(g.shape[1:3], taps, strict=True)):
        return _input_gradient_of_small_map(shape, kernel, g, padding)
    pads = []
    for size, out, k, s, d, (low, _) in zip(
        shape[1:3], g.shape[1:3], taps, stride, dilation, padding, strict=True
    ):
        before = d * (k - 1) - low
        pads.append((before, size - (out - 1) * s - 1 + d * (k - 1) - before))
    flipped = lax.optimization_barrier(jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2))
    return _convolve(g, flipped, (1, 1), pads, lhs_dilation=stride, rhs_dilation=dilation)


def _input_gradient_of_small_map(shape, kernel, g, padding):
    """The same for a map smaller than the kernel: one product, then a sum of shifted maps.

    A convolution would mostly multiply padding.
    """
    rows, columns, channels, filters = kernel.shape
    batch, height, width, _ = g.shape
    spread = g.reshape(-1, filters) @ kernel.reshape(-1, filters).T
    spread = spread.reshape(batch, height, width, rows, columns, channels)
    x = jnp.zeros((batch, height + rows - 1, width + columns - 1, channels), g.dtype)
    for i in range(rows):
        for j in range(columns):
            x = x.at[:, i : i + height, j : j + width].add(spread[:, :, :, i, j])
    (top, _), (left, _) = padding
    return x[:, top : top + shape[1], left : left + shape[2]]


def _kernel_gradient(x, shape, g, stride, padding, dilation):
    """The gradient for a kernel of `shape`: a convolution in which batch and channels swap."""
    pads = []
    for size, out, k, s, d, (low, _) in zip(
        x.shape[1:3], g.shape[1:3], shape[:2], stride, dilation, padding, strict=True
    ):
        pads.append((low, d * (k - 1) + s * (out - 1) + 1 - size - low))
    x, g = lax.optimization_barrier((x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)))
    return _convolve(x, g, dilation, pads, rhs_dilation=stride).transpose(1, 2, 0, 3)


def max_pool2d(x: jax.Array, window: int = 2, stride: int | None = None) -> jax.Array:
    """The largest value of each `window` x `window` cell of images [B, H, W, C], without padding.

    `stride` is the window's size if not given. The gradient goes to the first of equal values.
    """
    if x.ndim != 4 or min(x.shape[1:3]) < window:
        raise ValueError(
            f"images have shape {x.shape}, expected (batch, height, width, channels) "
            f"with at least {window} rows and columns for a window of {window}"
        )

    def plain(x):
        size, step = (1, window, window, 1), (1, stride or window, stride or window, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, size, step, "VALID")

    if stride in (None, window):  # XLA's gradient, a scatter, is slow on a CPU
        return lax.platform_dependent(x, cpu=lambda x: _max_of_cells(x, window), default=plain)
    return plain(x)


def _shifts(x, window):
    """The pixels of each cell as `window`**2 strided maps, row by row."""
    rows, columns = (size // window * window - window + 1 for size in x.shape[1:3])
    return [
        x[:, i : i + rows : window, j : j + columns : window]
        for i in range(window)
        for j in range(window)
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_of_cells(x, window):
    return functools.reduce(jnp.maximum, _shifts(x, window))


def _max_of_cells_forward(x, window):
    shifts = _shifts(x, window)
    largest = functools.reduce(jnp.maximum, shifts)
    first = jnp.full(largest.shape, len(shifts) - 1, jnp.int8)  # of equal ones, as Flax has it
    for n, shift in reversed(list(enumerate(shifts[:-1]))):
        first = jnp.where(shift == largest, jnp.int8(n), first)
    return largest, (first, x)


def _max_of_cells_backward(window, residuals, g):
    first, x = residuals
    batch, rows, columns, channels = g.shape
    place = jnp.arange(window**2, dtype=jnp.int8).reshape(1, 1, window, 1, window, 1)
    cells = jnp.where(first[:, :, None, :, None] == place, g[:, :, None, :, None], 0)
    image = cells.reshape(batch, rows * window, columns * window, channels)
    rest = ((0, x.shape[1] - rows * window), (0, x.shape[2] - columns * window))
    return (jnp.pad(image, ((0, 0), *rest, (0, 0))),)


_max_of_cells.defvjp(_max_of_cells_forward, _max_of_cells_backward)


def dropout(key: jax.Array | None, x: jax.Array, rate: float) -> jax.Array:
    """Sets each element to 0 with probability `rate` and divides the others by 1 - `rate`.

    So the expectation stays (Srivastava et al. 2014). Without a key `x` is returned as it is.

    Raises:
      ValueError: the rate is not between 0 and 1.
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"got the dropout rate {rate}, expected a share from 0 to 1")
    if key is None or rate == 0.0:
        return x
    if rate == 1.0:  # 0 / 0 would make the gradient NaN
        return jnp.zeros_like(x)
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0)


def batch_norm(
    params: dict[str, jax.Array],
    stats: dict[str, jax.Array],
    x: jax.Array,
    *,
    training: bool,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Normalises each channel of `x` [..., C] over all other axes (Ioffe & Szegedy 2015).

    y = (x - mean) / sqrt(var + epsilon) * scale + bias, with the batch's own (biased) moments in
    training, else with the running ones.

    Args:
      params: `scale` and `bias`, [C].
      stats: the running `mean` and `var`, [C].
      x: the activations.
      training: whether to use the batch's moments and to update `stats` with them.
      momentum: share of the running moments that stays at an update.
      epsilon: keeps the root away from 0.

    Returns:
      y and the statistics, updated in training.
    """
    mean, var = stats["mean"], stats["var"]
    if training:
        axes = tuple(range(x.ndim - 1))
        # One pass gives both moments. About a value of each channel, not about 0: their difference
        # would lose its digits where a channel lies far from 0 (9 % at mean 1000, deviation 1).
        near = mean_over_shards(lax.stop_gradient(x[(0,) * len(axes)]))
        moved = x - near
        mean, square = mean_over_shards((moved.mean(axes), (moved * moved).mean(axes)))
        var = jnp.maximum(square - mean * mean, 0.0)
        mean += near
        moments = lax.stop_gradient({"mean": mean, "var": var})
        stats = jax.tree.map(lambda a, b: momentum * a + (1.0 - momentum) * b, stats, moments)
    factor = params["scale"] * lax.rsqrt(var + epsilon)
    y = (x - mean) * factor + params["bias"]
    return y.astype(jnp.result_type(x, params["scale"], params["bias"])), stats  # not the moments'
