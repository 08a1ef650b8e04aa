"""How fast a model trains and answers on the device in use.

Training is the loop that the chapters train with, `fit.iterate`, on data that lie on the device
already; what an epoch adds (drawing its order, reading the metrics) is in the time. Compilation is
apart. A run is so many compiled calls as last at least `seconds`; the runs' spread is kept.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from zoo.ch04_gpu import models
from zoo.common import bench, fit

CALL_SECONDS = 0.25


class Rates(NamedTuple):
    """Examples per second of each run, and the seconds that compilation took."""

    values: tuple[float, ...]
    compile_seconds: float

    @property
    def median(self) -> float:
        """Half of the runs were faster."""
        return statistics.median(self.values)

    def summary(self, scale: float = 1.0) -> dict[str, float]:
        """Median and quartiles times `scale`, with the compilation, for a result's file."""
        low, high = bench.quartiles(self.values)
        numbers = {"median": self.median, "low": low, "high": high}
        numbers = {name: scale * value for name, value in numbers.items()}
        return {**numbers, "compile_seconds": self.compile_seconds}


def training(
    work: models.Work,
    batch_size: int,
    *,
    runs: int = 5,
    seconds: float = 0.5,
    mesh: Mesh | None = None,
) -> Rates:
    """Examples per second in training, from the clock between two reports of the loop.

    Args:
      work: from `models.work`.
      batch_size: examples per update.
      runs: how many are timed; one more comes before them, untimed.
      seconds: the least length of a run.
      mesh: splits each batch over several devices.
    """
    reports = fit.iterate(
        work.loss,
        work.optimizer,
        work.state,
        work.data,
        epochs=10**6,
        batch_size=batch_size,
        mesh=mesh,
        call_seconds=min(CALL_SECONDS, seconds),
    )
    values, compile_seconds, steps, spent = [], next(reports).compile_seconds, 0, 0.0
    before = time.perf_counter()
    for progress in reports:
        now = time.perf_counter()
        steps, spent, before = steps + progress.steps, spent + now - before, now
        if spent >= seconds:
            values.append(steps * batch_size / spent)
            steps, spent = 0, 0.0
        if len(values) > runs:
            return Rates(tuple(values[1:]), compile_seconds)
    raise AssertionError("the loop ends only when it is left")


def inference(
    model: models.Model, state: fit.State, batch: dict[str, Any], runs: int = 50
) -> Rates:
    """Examples per second in inference, one call a batch, with the call's own overhead."""
    config = model.config

    def answer(params: Any, stats: Any, batch: dict[str, Any]) -> jax.Array:
        return model.infer(config, params, stats, batch)

    batch = jax.device_put(batch)
    timing = bench.time_call(answer, state.params, state.stats, batch, runs=runs, warmup=5)
    size = len(jax.tree.leaves(batch)[0])
    return Rates(tuple(size / second for second in timing.seconds), timing.compile_seconds)


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


def spread(times: tuple[float, ...]) -> dict[str, float]:
    """Median and quartiles of times, for a result's file."""
    low, high = bench.quartiles(times)
    return {"median": statistics.median(times), "low": low, "high": high}
