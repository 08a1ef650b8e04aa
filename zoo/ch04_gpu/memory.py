"""Memory and arithmetic: BLAS levels 1, 2 and 3, ways to walk through memory, the chapter's toy.

The book explains with them why a GPU that computes faster need not be faster: a vector operation
waits for memory, a product of matrices does not. Axes: n numbers in a vector.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch04_gpu import products
from zoo.common import bench, device, keys

LINE = 16  # float32 numbers in a cache line of 64 bytes


def toy(items: int, cpu: float = 2.0, gpu: float = 4.0, lanes: int = 1000) -> tuple[float, float]:
    """Nanoseconds for `items` additions, one after the other and side by side: (CPU, GPU).

    The book's: three at 2 ns each make 6 ns on its CPU, and 4 ns on its GPU, which does them at
    once. So a GPU that needs twice the time for one is ahead from three on, while it has room
    (`lanes`) for all; beyond, it goes around again.
    """
    return items * cpu, math.ceil(items / lanes) * gpu


class Level(NamedTuple):
    """A level of BLAS, as a function for JAX and one for NumPy."""

    name: str
    function: Callable[..., Any]
    in_numpy: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]  # of the operands
    flops: int
    numbers: int  # float32, read and written
    donate: tuple[int, ...] = ()  # operands that the result takes the place of


def _axpy(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # in place, as JAX does with `donate`
    y += 2.0 * x
    return y


def levels(n: int) -> list[Level]:
    """The three levels, with n numbers in the largest operand; m is the root of n.

    Level 1, y = a x + y in place: 2 n FLOPs on 3 n numbers. Level 2, A x: 2 m^2 on m^2 + 2 m.
    Level 3, A B: 2 m^3 on 3 m^2.
    """
    m = math.isqrt(n)
    return [
        Level("1: a x + y", lambda x, y: 2.0 * x + y, _axpy, ((n,), (n,)), 2 * n, 3 * n, (1,)),
        Level("2: A x", jnp.matmul, np.matmul, ((m, m), (m,)), 2 * m * m, m * m + 2 * m),
        Level("3: A B", jnp.matmul, np.matmul, ((m, m), (m, m)), 2 * m**3, 3 * m * m),
    ]


def blas(names: tuple[device.Name, ...], n: int, runs: int) -> list[dict[str, Any]]:
    """The three levels in NumPy and in JAX on each device: seconds, GFLOP/s, GB/s."""
    rng = np.random.default_rng(0)
    rows = []
    for level in levels(n):
        arrays = [rng.standard_normal(shape, np.float32) for shape in level.shapes]
        times = {"NumPy": products.clock(lambda: level.in_numpy(*arrays), least=runs)}  # noqa: B023
        for name in names:
            device.use(name)
            times[f"JAX, {name}"] = bench.time_call(
                level.function, *map(jnp.array, arrays), runs=runs, warmup=2, donate=level.donate
            ).seconds
        for who, seconds in times.items():
            spread, moved = bench.spread(seconds), 4 * level.numbers
            row = {"level": level.name, "who": who, **spread}
            row["flops_per_byte"] = level.flops / moved
            row["gflops"] = level.flops / spread["median"] / 1e9
            row["gbytes"] = moved / spread["median"] / 1e9
            rows.append(row)
    return rows


def orders(n: int) -> Mapping[str, np.ndarray]:
    """Orders in which n numbers are read, int32 [n], each number once; n is a multiple of 16.

    Strided: every 16th number, a cache line apart, then again from the next one on.
    """
    place = np.arange(n, dtype=np.int32)
    return {
        "sequential": place,
        "strided": place.reshape(-1, LINE).T.ravel(),
        "random": np.random.default_rng(0).permutation(place),
    }


def patterns(names: tuple[device.Name, ...], n: int, runs: int) -> list[dict[str, Any]]:
    """The sum of n numbers, read by index in each of the `orders`; nanoseconds a number.

    All three run the same compiled code on the same numbers; only the index differs.
    """
    n -= n % LINE
    rows = []
    for name in names:
        device.use(name)
        x = jax.random.normal(keys.derive(0, "numbers"), (n,))
        first = None
        for order, index in orders(n).items():
            timing = bench.time_call(gather_sum, x, jnp.asarray(index), runs=runs, warmup=2)
            first = first or timing.median
            row = {"device": name, "order": order, "numbers": n, **bench.spread(timing.seconds)}
            row["nanoseconds"] = 1e9 * timing.median / n
            row["ratio"] = timing.median / first
            rows.append(row)
    return rows


def gather_sum(x: jax.Array, index: jax.Array) -> jax.Array:
    """The sum of `x` at the places `index`, which must lie within it."""
    return x.at[index].get(mode="promise_in_bounds").sum()


def copy_bandwidth(n: int = 2**25, runs: int = 10) -> float:
    """Bytes per second, read and written, of x + 1 on n float32 numbers, far more than a cache.

    In place: memory that is new to the process costs several times as much on a CPU.
    """
    timing = bench.time_call(lambda x: x + 1.0, jnp.zeros(n), runs=runs, warmup=2, donate=(0,))
    return 8.0 * n / timing.median
