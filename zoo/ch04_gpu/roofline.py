"""The roofline: what a machine can do at most, and where the models of the zoo stand below it.

A program that does I operations for each byte that it moves reaches at most
min(peak, I * bandwidth) (Williams, Waterman & Patterson 2009). The book's figures, in FLOPs per
word of float32, are a Xeon Phi's 2,400 GFLOP/s at 88 Gwords/s, 27 to 1, and a Maxwell GPU's 6,100
at 84, 72 to 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo import ch01_graphs as graphs
from zoo.ch04_gpu import machine, memory, models, precision
from zoo.common import bench, device, keys

BOOK = {"Xeon Phi": (2400.0, 88.0), "Maxwell": (6100.0, 84.0)}
"""GFLOP/s and Gwords/s of the book's two processors."""


class Count(NamedTuple):
    """Of one call: operations, bytes read and written, and how they were counted."""

    flops: float
    bytes: float
    source: str  # who counted the operations: "xla" or "graph"
    fused: bool  # whether the bytes are the compiled program's, or as if nothing was fused

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes


def count(function: Callable[..., Any], *args: Any) -> Count:
    """Operations and bytes of `function(*args)` on the device in use.

    XLA counts both: the operations before it optimises, while products are not yet library calls,
    which it takes for nothing on a CPU (padding zeros are left out); the bytes afterwards, when
    operations are fused for this device. But it counts the body of a loop once: where there is a
    scan, chapter 1's graph counts both, by the scan's length and as if nothing was fused. The graph
    also counts what this device's XLA does not.
    """
    with jax.disable_jit(False):
        graph = graphs.trace(function, *args)
        flops, moved = map(float, graphs.cost(graph))
        if any(c.primitive == "scan" and c.repeats > 1 for c in graph.clusters):
            return Count(flops, moved, "graph", False)
        lowered = device.jit(function).lower(*args)
        after = lowered.compile().cost_analysis() or {}
        before = lowered.cost_analysis() or _on_cpu(function, args) or {}
    source, fused = "xla" if "flops" in before else "graph", "bytes accessed" in after
    return Count(before.get("flops", flops), after.get("bytes accessed", moved), source, fused)


def _on_cpu(function: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, float] | None:
    """What XLA counts of the same program for a CPU; CUDA's plugin counts compiled ones alone."""
    try:
        cpu = device.devices("cpu")[0]
    except device.DeviceError:  # JAX_PLATFORMS leaves CPUs out
        return None
    shapes = jax.eval_shape(lambda *args: args, *args)
    with jax.default_device(cpu):
        return device.jit(function).lower(*shapes).cost_analysis()


def peaks(size: int = 0, numbers: int = 0) -> dict[str, float | None]:
    """Of the device in use: FLOP/s of products by precision, and bytes/s of memory.

    On a GPU also in tf32 and bfloat16, None where it has them not. `size` is that of the matrices
    (0: 2048 on a CPU, up to 8192 elsewhere), `numbers` how many are read from memory (0: several
    times a CPU's caches, up to 2^28 elsewhere).
    """
    on_gpu = device.current().platform != "cpu"
    if on_gpu:
        size = size or _fitting(8192, lambda size: 20 * size**2)
        numbers = numbers or _fitting(2**28, lambda n: 16 * n)
    size, numbers = size or 2048, numbers or memory.beyond_caches()
    found: dict[str, float | None] = {
        "float32": bench.matmul_peak(size),
        "bandwidth": memory.bandwidth(numbers),
        "tf32": None,
        "bfloat16": _product_peak(size, jnp.bfloat16, "default") if on_gpu else None,
    }
    if "tf32" in precision.available():
        found["tf32"] = _product_peak(size, jnp.float32, precision.TF32)
    return found


def _fitting(most: int, taken: Callable[[int], int]) -> int:
    """`most`, halved until so many bytes take half of the memory that JAX has on this device."""
    limit = machine.limit(device.current())
    while limit is not None and taken(most) > limit / 2:
        most //= 2
    return most


def _product_peak(size: int, dtype: Any, asked: str) -> float:
    a, b = jax.random.normal(keys.derive(0, "matrices"), (2, size, size)).astype(dtype)
    with jax.default_matmul_precision(asked):
        return 2.0 * size**3 / bench.time_call(jnp.matmul, a, b, runs=10, warmup=2).median


def place(model: models.Model, seconds: float = 0.5, examples: int = 4_000) -> dict[str, Any]:
    """One update of a model: its counts, and the rate that training reaches on the device."""
    size = model.batch_size
    data = model.random(max(min(examples, model.task.epoch), size))
    update = model.step({name: array[:size] for name, array in data.items()})
    counted = count(*update)
    trained, _ = bench.training(model.task, model.config, data, size, runs=3, seconds=seconds)
    gflops = counted.flops * trained.median / size / 1e9
    row = {"batch": size, "precision": precision.of(*update), **counted._asdict()}
    return row | {"intensity": counted.intensity, "gflops": gflops}


def bound(intensity: float, peak: float, bandwidth: float) -> float:
    """The roof over an intensity in FLOPs per byte: min(peak, intensity * bandwidth), FLOP/s."""
    return min(peak, intensity * bandwidth)
