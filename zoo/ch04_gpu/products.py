"""Where a GPU starts to pay: products of square matrices by size, in NumPy and in JAX."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.common import bench, device

SMALLEST = 8


def clock(function: Callable[[], Any], seconds: float = 0.2, least: int = 5) -> tuple[float, ...]:
    """Seconds of each call; as many calls as fit into `seconds`, after one that is not timed.

    The function must wait for its own result.
    """
    function()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or (time.perf_counter() < end and len(times) < 1000):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return tuple(times)


def sizes(largest: int) -> list[int]:
    """8, 16, 32 ... up to `largest`.

    Raises:
      DeviceError: that is below 8.
    """
    if largest < SMALLEST:
        raise device.DeviceError(f"got a largest size of {largest}, expected at least {SMALLEST}")
    return [2**k for k in range(3, largest.bit_length()) if 2**k <= largest]


def seconds(
    size: int, names: tuple[device.Name, ...], budget: float = 0.3
) -> dict[str, dict[str, float]]:
    """Median and quartiles by contender: NumPy, JAX on each device, and that with the transfer.

    With the transfer, both matrices start as NumPy arrays and the product ends as one.
    """
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, size, size), np.float32)
    found = {"NumPy": clock(lambda: a @ b, budget)}
    for name in names:
        where = device.use(name)
        x, y = jax.device_put((a, b), where)
        # True float32 everywhere: a GPU's tensor cores would round the operands.
        with jax.default_matmul_precision("float32"):
            product = device.compile(jnp.matmul, x, y)

        def resident(product=product, x=x, y=y):
            return product(x, y).block_until_ready()

        def moved(product=product, where=where):
            return np.asarray(product(*jax.device_put((a, b), where)))

        found[f"JAX, {name}"] = clock(resident, budget)
        found[f"JAX, {name}, with transfer"] = clock(moved, budget)
    return {who: bench.spread(times) for who, times in found.items()}


def run(names: tuple[device.Name, ...], largest: int, budget: float = 0.3) -> list[dict[str, Any]]:
    """A row for each size."""
    return [
        {"size": size, "precision": "float32", "seconds": seconds(size, names, budget)}
        for size in sizes(largest)
    ]


def pays_from(rows: list[dict[str, Any]], who: str, against: str) -> int | None:
    """The smallest size from which on `who` is always faster than `against`; None if there is none.

    The rows are those of `run`, in the order of the sizes.
    """
    first = None
    for row in rows:
        ahead = row["seconds"][who]["median"] < row["seconds"][against]["median"]
        first = (first or row["size"]) if ahead else None
    return first
