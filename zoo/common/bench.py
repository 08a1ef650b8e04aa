"""Honest timing of functions on arrays: compilation apart, every run waited for, spread shown.

A time means something only beside the machine it was taken on (`system`), the speed of that
machine on that day (`matmul_peak`) and a peer measured in the same run (`benchmarks/`).
"""

import importlib.metadata
import os
import pathlib
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import rich.console
import rich.table

from zoo.common import device

_PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax", "torch", "zoo")


class Timing(NamedTuple):
    """What `time_call` measured, in seconds."""

    compile_seconds: float  # tracing, lowering and compiling, once
    seconds: tuple[float, ...]  # of each run, in order

    @property
    def median(self) -> float:
        """Half of the runs were faster."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the runs were faster than the first, a quarter slower than the second."""
        return quartiles(self.seconds)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile, between the nearest values by straight lines, as in NumPy."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def time_call(
    function: Callable[..., Any],
    *args: Any,
    runs: int = 10,
    warmup: int = 1,
    donate: Sequence[int] = (),
) -> Timing:
    """Times `function(*args)`, compiled, with the options of `device.jit`.

    Args:
      function: of arrays, or pytrees of them; what it computes must not depend on the time.
      *args: its arguments; they stay valid.
      runs: how many runs are timed.
      warmup: how many come before them, untimed.
      donate: numbers of the arguments whose memory the function may use for its result; each run
        gets a copy of them, made before the clock starts.

    Raises:
      ValueError: there is no run to time.
    """
    if runs < 1 or warmup < 0:
        raise ValueError(f"got {runs} runs and {warmup} warm-ups: at least 1 and 0 are needed")
    began = time.perf_counter()
    compiled = device.jit(function, donate_argnums=tuple(donate)).lower(*args).compile()
    compile_seconds = time.perf_counter() - began

    def run() -> float:
        given = (jax.tree.map(jnp.copy, a) if i in donate else a for i, a in enumerate(args))
        given = jax.block_until_ready(tuple(given))
        began = time.perf_counter()
        jax.block_until_ready(compiled(*given))
        return time.perf_counter() - began

    return Timing(compile_seconds, tuple(run() for _ in range(warmup + runs))[warmup:])


def matmul_peak(size: int = 2048, runs: int = 5) -> float:
    """FLOP/s of the float32 product of two square matrices: the median run's, 2 size^3 FLOPs each.

    In true float32: a GPU's tensor cores would round the operands.
    """
    a, b = jax.random.normal(jax.random.key(0), (2, size, size))
    with jax.default_matmul_precision("float32"):
        return 2.0 * size**3 / time_call(jnp.matmul, a, b, runs=runs).median


def system() -> dict[str, Any]:
    """The machine and the software that a time belongs to; loads nothing heavy."""
    try:
        threads = len(os.sched_getaffinity(0))  # the cores that this process may use
    except AttributeError:  # macOS, Windows
        threads = os.cpu_count() or 1
    return {
        "processor": _processor(),
        "threads": threads,
        "memory_gib": _memory_gib(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "devices": sorted({f"{d.platform}: {d.device_kind}" for d in jax.devices()}),
    }


def _processor() -> str:
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(size / 2**30, 1)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)  # of what is installed; imports nothing
    except importlib.metadata.PackageNotFoundError:
        return None


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints rows under a header: the first column to the left, numbers to the right."""
    table = rich.table.Table(title=title, title_justify="left")
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(str, row))
    rich.console.Console().print(table)
