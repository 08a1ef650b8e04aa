"""The clock of the chapter, held against work that takes a known time."""

import time

import pytest

from zoo.ch04_gpu import timing


def test_clock_repeats_and_leaves_the_first_call_out():
    calls = []
    times = timing.clock(lambda: (calls.append(0), time.sleep(0.005)), seconds=0.0, least=4)
    assert len(times) == 4
    assert len(calls) == 5
    assert min(times) >= 0.005


def test_spread_is_median_and_quartiles():
    assert timing.spread((1.0, 2.0, 3.0, 4.0, 5.0)) == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert timing.spread((7.0,)) == pytest.approx({"median": 7.0, "low": 7.0, "high": 7.0})
