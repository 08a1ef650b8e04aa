"""Times of functions that wait for their own result, and how they are kept."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from zoo.common import bench


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
