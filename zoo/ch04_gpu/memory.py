"""Memory and arithmetic: BLAS levels 1, 2 and 3, ways to walk through memory, the chapter's toy.

The book explains with them why a GPU that computes faster need not be faster: a vector operation
waits for memory, a product of matrices does not. Axes: n numbers in a vector.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch04_gpu import precision, products
from zoo.common import bench, device, keys

LINE = 16  # float32 numbers in a cache line of 64 bytes
BEYOND_GPU = 2**26
"""Numbers that take more than twice the cache of any GPU; its size doesn't reach JAX."""
PRODUCT = 2**22
"""Numbers that are enough for a product of matrices, which reads none of them from memory twice."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def toy(items: int, cpu: float = 2.0, gpu: float = 4.0, lanes: int = 1000) -> tuple[float, float]:
    """Nanoseconds for `items` additions, one after the other and side by side: (CPU, GPU).

    The book's: three at 2 ns each make 6 ns on its CPU, and 4 ns on its GPU, which does them at
    once. So a GPU that needs twice the time for one is ahead from three on, while it has room
    (`lanes`) for all; beyond, it goes around again.
    """
    return items * cpu, math.ceil(items / lanes) * gpu


def cache(cpus: Path = Path("/sys/devices/system/cpu")) -> int:
    """Bytes of the last-level caches of the cores that this process may use; 0 if nothing tells."""
    found = {}
    try:
        for core in os.sched_getaffinity(0):
            levels = (cpus / f"cpu{core}" / "cache").glob("index*")
            last = max(levels, key=lambda level: int((level / "level").read_text()))
            number, unit = re.findall(r"(\d+)([KMG]?)", (last / "size").read_text())[0]
            shared = (last / "shared_cpu_list").read_text()  # one cache, for all these cores
            found[shared] = int(number) * _UNITS[unit]
    except (AttributeError, OSError, ValueError, IndexError):  # not Linux, or it hides them
        return 0
    return sum(found.values())


def beyond_caches(names: tuple[device.Name, ...] = ("cpu",)) -> int:
    """How many float32 numbers none of these devices can keep in its caches, a power of two.

    Four times as many bytes as the processor's, 128 MiB at least; at most a sixteenth of memory.
    """
    least = max(2**25, cache(), BEYOND_GPU if set(names) - {"cpu"} else 0)
    most = min(device.memory(), 2.0**60) / 64
    return 2 ** min((least - 1).bit_length(), int(math.log2(most)))


class Level(NamedTuple):
    """A level of BLAS, as a function for JAX and one that calls BLAS."""

    name: str
    function: Callable[..., Any]
    in_blas: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]  # of the operands
    flops: int
    numbers: int  # float32, read and written
    donate: tuple[int, ...] = ()  # operands that the result takes the place of


def _axpy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.linalg.blas import saxpy  # here, since it is loaded for this alone

    return saxpy(x, y, a=2.0)  # in place, as JAX does with `donate`; in NumPy 2 x takes memory


def levels(n: int) -> list[Level]:
    """The three levels, with n numbers in the largest operand; m is the root of n.

    Level 1, y = a x + y in place: 2 n FLOPs on 3 n numbers. Level 2, A x: 2 m^2 on m^2 + 2 m.
    Level 3, A B: 2 m^3 on 3 m^2, where n is at most 2^22.
    """
    m, k = math.isqrt(n), math.isqrt(min(n, PRODUCT))
    return [
        Level("1: a x + y", lambda x, y: 2.0 * x + y, _axpy, ((n,), (n,)), 2 * n, 3 * n, (1,)),
        Level("2: A x", jnp.matmul, np.matmul, ((m, m), (m,)), 2 * m * m, m * m + 2 * m),
        Level("3: A B", jnp.matmul, np.matmul, ((k, k), (k, k)), 2 * k**3, 3 * k * k),
    ]


def blas(names: tuple[device.Name, ...], n: int, runs: int) -> list[dict[str, Any]]:
    """The three levels in BLAS and in JAX on each device: seconds, GFLOP/s, GB/s.

    Products in true float32, and as the device makes them by itself if that is something else.
    """
    rng = np.random.default_rng(0)
    rows = []
    for level in levels(n):
        arrays = [rng.standard_normal(shape, np.float32) for shape in level.shapes]
        clocked = products.clock(lambda: level.in_blas(*arrays), least=runs)  # noqa: B023
        times = {("BLAS (NumPy, SciPy)", "float32"): clocked}
        for name in names:
            device.use(name)
            for kind, setting in precision.compared(level.function is jnp.matmul).items():
                with jax.default_matmul_precision(setting):
                    times[f"JAX, {name}", kind] = bench.time_call(
                        level.function,
                        *map(jnp.array, arrays),
                        runs=runs,
                        warmup=2,
                        donate=level.donate,
                    ).seconds
        for (who, kind), seconds in times.items():
            spread, moved = bench.spread(seconds), 4 * level.numbers
            row: dict[str, Any] = {"level": level.name, "who": who, "precision": kind}
            row |= {"numbers": math.prod(level.shapes[0]), **spread}
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
            row: dict[str, Any] = {"device": name, "precision": "float32", "order": order}
            row |= {"numbers": n, **bench.spread(timing.seconds)}
            row["nanoseconds"] = 1e9 * timing.median / n
            row["ratio"] = timing.median / first
            rows.append(row)
    return rows


def gather_sum(x: jax.Array, index: jax.Array) -> jax.Array:
    """The sum of `x` at the places `index`, which must lie within it."""
    return x.at[index].get(mode="promise_in_bounds").sum()


def bandwidth(n: int = 2**25, runs: int = 50) -> float:
    """Bytes per second, read and written: the best run of x + 1 and of 2 x + y on n numbers each.

    The best, as STREAM takes it (McCalpin 1995), since it is to be a limit: on a CPU with several
    cores a run takes twice as long where the system has put both threads on one of them. In place:
    memory that is new to the process costs several times as much on a CPU.
    """
    x, y = jnp.zeros((2, n))
    one = bench.time_call(lambda x: x + 1.0, x, runs=runs, warmup=2, donate=(0,))
    two = bench.time_call(lambda x, y: 2.0 * x + y, x, y, runs=runs, warmup=2, donate=(1,))
    return 4.0 * n * max(2 / min(one.seconds), 3 / min(two.seconds))
