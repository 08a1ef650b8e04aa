"""A profiler's trace of a model's training, for Perfetto or XProf, and what takes longest in it."""

import collections
import gzip
import json
from pathlib import Path

import jax

from zoo.ch04_gpu import models
from zoo.common import device


def trace(model: models.Model, folder: Path, steps: int = 5) -> Path:
    """Writes a trace of some updates, compiled and warmed up before; gives Perfetto's file.

    Raises:
      OSError: the profiler wrote no trace.
    """
    step, state, batch = model.step(model.random(model.batch_size))
    step, batch = device.jit(step), jax.device_put(batch)
    state, _ = jax.block_until_ready(step(state, batch))  # compiles: not in the trace
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        for number in range(steps):
            with jax.profiler.StepTraceAnnotation(model.name, step_num=number):
                state, _ = jax.block_until_ready(step(state, batch))
    found = sorted(folder.glob("**/perfetto_trace.json.gz"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise OSError(f"the profiler of JAX {jax.__version__} wrote no trace into {folder}")
    return found[-1]


def most_expensive(path: Path, count: int = 10) -> list[tuple[str, int, float]]:
    """The compiled operations of a trace that took longest: name, how often, milliseconds in all.

    Where the profiler says which events are XLA's (they have an `hlo_op`), only those are counted.
    """
    totals: dict[str, list[float]] = collections.defaultdict(list)
    for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]:
        name = event.get("args", {}).get("hlo_op")
        if event.get("ph") == "X" and name:
            totals[name].append(event["dur"] / 1e3)
    ranked = sorted(totals.items(), key=lambda item: -sum(item[1]))[:count]
    return [(name, len(times), sum(times)) for name, times in ranked]
