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
from zoo.ch04_gpu import memory, models
from zoo.common import bench, device, keys

BOOK = {"Xeon Phi": (2400.0, 88.0), "Maxwell": (6100.0, 84.0)}
"""GFLOP/s and Gwords/s of the book's two processors."""


class Count(NamedTuple):
    """Of one call: operations, bytes read and written, and who counted."""

    flops: float
    bytes: float
    source: str  # "xla" or "graph"

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes


def count(function: Callable[..., Any], *args: Any) -> Count:
    """Operations and bytes of `function(*args)` on the device in use.

    XLA counts both: the operations before it optimises, while products are not yet library calls,
    which it takes for nothing on a CPU (padding zeros are left out); the bytes afterwards, when
    operations are fused. But it counts the body of a loop once: where there is a scan, chapter 1's
    graph counts both, by the scan's length and as if nothing was fused.

    Raises:
      DeviceError: XLA does not count for this kind of device.
    """
    graph = graphs.trace(function, *args)
    if any(c.primitive == "scan" and c.repeats > 1 for c in graph.clusters):
        flops, moved = graphs.cost(graph)
        return Count(float(flops), float(moved), "graph")
    with jax.disable_jit(False):
        lowered = device.jit(function).lower(*args)
        before, after = lowered.cost_analysis(), lowered.compile().cost_analysis()
    if before is None or after is None:
        raise device.DeviceError("XLA counts nothing on this device: choose --devices cpu")
    return Count(before["flops"], after["bytes accessed"], "xla")


def peaks(size: int = 0, numbers: int = 0) -> dict[str, float | None]:
    """Of the device in use: float32 FLOP/s, bytes/s of a copy; on a GPU also tf32 and bfloat16.

    `size` is that of the matrices (0: 2048 on a CPU, 8192 elsewhere), `numbers` how many are copied
    (0: 2^25 on a CPU, 2^28 elsewhere).
    """
    on_gpu = device.current().platform != "cpu"
    size, numbers = size or (8192 if on_gpu else 2048), numbers or 2 ** (28 if on_gpu else 25)
    found: dict[str, float | None] = {
        "float32": bench.matmul_peak(size),
        "bandwidth": memory.copy_bandwidth(numbers),
    }
    found["tf32"] = _product_peak(size, jnp.float32, "tensorfloat32") if on_gpu else None
    found["bfloat16"] = _product_peak(size, jnp.bfloat16, "default") if on_gpu else None
    return found


def _product_peak(size: int, dtype: Any, precision: str) -> float:
    a, b = jax.random.normal(keys.derive(0, "matrices"), (2, size, size)).astype(dtype)
    with jax.default_matmul_precision(precision):
        return 2.0 * size**3 / bench.time_call(jnp.matmul, a, b, runs=10, warmup=2).median


def place(model: models.Model, seconds: float = 0.5, examples: int = 4_000) -> dict[str, Any]:
    """One update of a model: its counts, and the rate that training reaches on the device."""
    size = model.batch_size
    data = model.random(max(min(examples, model.task.epoch), size))
    counted = count(*model.step({name: array[:size] for name, array in data.items()}))
    trained, _ = bench.training(model.task, model.config, data, size, runs=3, seconds=seconds)
    gflops = counted.flops * trained.median / size / 1e9
    return {"batch": size, **counted._asdict(), "intensity": counted.intensity, "gflops": gflops}


def bound(intensity: float, peak: float, bandwidth: float) -> float:
    """The roof over an intensity in FLOPs per byte: min(peak, intensity * bandwidth), FLOP/s."""
    return min(peak, intensity * bandwidth)
