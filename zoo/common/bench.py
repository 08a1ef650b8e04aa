"""Honest timing of functions on arrays: compilation apart, every run waited for, spread shown.

A time means something only beside the machine it was taken on (`system`), the speed of that
machine on that day (`matmul_peak`) and a peer measured in the same run (`benchmarks/`).
"""

import importlib.metadata
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from zoo.common import device, fit, keys
from zoo.common.task import Task

_PACKAGES = ("jax", "jaxlib", "numpy", "optax", "torch", "zoo")


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


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles, for a file of results."""
    low, high = quartiles(values)
    return {"median": statistics.median(values), "low": low, "high": high}


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
    limit: float = math.inf,
) -> Timing:
    """Times `function(*args)`, compiled with the options of `device.jit`, `runs` times.

    Before that come so many untimed runs as `warmup` says. Four are enough once all together have
    taken `limit` seconds; then at least the last three count. The function may use the memory of
    the arguments that `donate` numbers for its result: each run gets a copy of them, made before
    the clock starts, so all arguments stay valid.

    Raises:
      ValueError: there is no run to time.
    """
    if runs < 1 or warmup < 0:
        raise ValueError(f"got {runs} runs and {warmup} warm-ups: at least 1 and 0 are needed")
    began = time.perf_counter()
    compiled = device.compile(function, *args, donate_argnums=tuple(donate))
    compile_seconds = time.perf_counter() - began

    def run() -> float:
        given = (jax.tree.map(jnp.copy, a) if i in donate else a for i, a in enumerate(args))
        given = jax.block_until_ready(tuple(given))
        began = time.perf_counter()
        jax.block_until_ready(compiled(*given))  # a call returns before the device has finished
        return time.perf_counter() - began

    seconds: list[float] = []
    while len(seconds) < warmup + runs and (sum(seconds) < limit or len(seconds) < 4):
        seconds.append(run())
    if len(seconds) < warmup + runs:
        warmup = min(warmup, len(seconds) - 3)
    return Timing(compile_seconds, tuple(seconds[warmup:]))


class Rates(NamedTuple):
    """Units per second of each run, and the seconds that compilation took."""

    values: tuple[float, ...]
    compile_seconds: float

    @classmethod
    def of(cls, timing: Timing, units: float) -> "Rates":
        """The rates of calls that each work through so many units."""
        return cls(tuple(units / second for second in timing.seconds), timing.compile_seconds)

    @property
    def median(self) -> float:
        """Half of the runs were faster."""
        return statistics.median(self.values)

    def scaled(self, units: float) -> "Rates":
        """The same in a unit of which one of these has so many."""
        return Rates(tuple(units * value for value in self.values), self.compile_seconds)

    def summary(self) -> dict[str, float]:
        """Median, quartiles and compilation, for a file of results."""
        return spread(self.values) | {"compile_seconds": self.compile_seconds}

    def cells(self) -> tuple[str, str, str]:
        """Median, quartiles and compilation, for a table."""
        low, high = quartiles(self.values)
        return f"{self.median:,.0f}", f"{low:,.0f} to {high:,.0f}", f"{self.compile_seconds:.2f}"


def training(
    task: Task,
    config: Any,
    data: dict[str, Any],
    batch_size: int,
    *,
    runs: int = 5,
    seconds: float = 0.5,
    mesh: Mesh | None = None,
) -> tuple[Rates, fit.State]:
    """Examples per second of a task's updates by gradients, and the last state.

    It times the loop that the chapters train with, `fit.iterate`, on data that lie on the device,
    from the clock between two reports: what an epoch adds (drawing its order, reading the metrics)
    is in the time, compilation is not. The data are as `task.random` gives them, `seconds` is the
    least length of a run, and one more comes before those that are timed.
    """
    reports = endless(task, config, data, batch_size, mesh=mesh, call_seconds=min(0.25, seconds))
    values, compile_seconds, done, spent = [], next(reports).compile_seconds, 0, 0.0
    before = time.perf_counter()
    for progress in reports:
        now = time.perf_counter()
        done, spent, before = done + progress.steps, spent + now - before, now
        if spent >= seconds:  # a single call may be too short to time
            values.append(done * batch_size / spent)
            done, spent = 0, 0.0
        if len(values) > runs:  # the first one was the warm-up
            return Rates(tuple(values[1:]), compile_seconds), progress.state
    raise AssertionError("the loop ends only when it is left")


def endless(
    task: Task,
    config: Any,
    data: dict[str, Any],
    batch_size: int,
    *,
    mesh: Mesh | None = None,
    call_seconds: float = 0.5,
) -> Iterator[fit.Progress]:
    """The reports of `fit.iterate` for a task's updates by gradients, without an end."""
    steps = fit.steps_per_epoch(data, batch_size, mesh)
    return fit.iterate(
        task.losses(config, steps)[0],
        task.optimizer(config, task.updates(config, steps)),
        task.begin(config, data),
        task.prepare(config, data),
        epochs=10**6,  # more than anyone waits for
        batch_size=batch_size,
        average=task.average(config),
        shuffle=task.shuffle(config),
        mesh=mesh,
        call_seconds=call_seconds,
    )


def inference(
    task: Task,
    config: Any,
    weights: fit.Weights,
    batch: dict[str, Any],
    runs: int = 50,
    limit: float = 5.0,
) -> Rates:
    """Examples per second in inference, one call a batch, with the call's own overhead.

    It is of the task's first prediction whose inputs are all in the batch; runs and limit are those
    of `time_call`.
    """
    predictions = task.predictions(config).values()
    prediction = next(p for p in predictions if p.inputs.keys() <= batch.keys())
    inputs = jax.device_put({name: batch[name] for name in prediction.inputs})
    timing = time_call(prediction.function, weights, inputs, runs=runs, warmup=5, limit=limit)
    return Rates.of(timing, len(jax.tree.leaves(inputs)[0]))


def matmul_peak(size: int = 2048, runs: int = 5) -> float:
    """FLOP/s of the float32 product of two square matrices: the median run's, 2 size^3 FLOPs each.

    In true float32: a GPU's tensor cores would round the operands.
    """
    a, b = jax.random.normal(keys.derive(0, "matrices"), (2, size, size))
    with jax.default_matmul_precision("float32"):
        return 2.0 * size**3 / time_call(jnp.matmul, a, b, runs=runs).median


def system() -> dict[str, Any]:
    """The machine and the software that a time belongs to; loads nothing heavy."""
    return {
        "processor": device.processor(),
        "threads": device.threads(),
        "memory_gib": _memory_gib(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "devices": sorted({f"{d.platform}: {d.device_kind}" for d in jax.devices()}),
    }


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(size / 2**30, 1)


def commit() -> str:
    """Of zoo's source, as git names it; `unknown` outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)  # of what is installed; imports nothing
    except importlib.metadata.PackageNotFoundError:
        return None


class Table(NamedTuple):
    """Rows of texts under a header, with a title and a remark below."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def text(self) -> str:
        """In aligned columns, the first to the left, the others to the right."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [self.title]
        for first, *rest in lines:
            padded = [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]
            shown.append("  ".join(padded).rstrip())
        return "\n".join([*shown, self.note] if self.note else shown)

    def markdown(self) -> str:
        """As a table of Markdown, the first column to the left, the others to the right."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"{self.title}:\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints rows under a header, the first column to the left, the others to the right."""
    print(Table(title, header, [tuple(map(str, row)) for row in rows]).text())
