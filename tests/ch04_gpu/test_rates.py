"""The clock of the chapter, held against work that takes a known time."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.ch04_gpu import models, rates
from zoo.common import fit

PAUSE = 0.02


def slow_loss(params, batch, key=None):
    """A loss that takes PAUSE seconds to compute."""

    def wait(x):
        time.sleep(PAUSE)
        return np.float32(0)

    zero = jax.pure_callback(wait, jax.ShapeDtypeStruct((), jnp.float32), batch["x"][0])
    return (params**2).sum() + jax.lax.stop_gradient(zero), {}


def test_training_takes_the_time_that_its_updates_take():
    optimizer, batch = optax.sgd(0.1), 10
    params = jnp.ones(3)
    state = fit.start(params, optimizer, jax.random.key(0))
    work = models.Work(slow_loss, optimizer, state, {"x": np.zeros(40, np.float32)})
    found = rates.training(work, batch, runs=2, seconds=2 * PAUSE)
    assert len(found.values) == 2
    assert max(found.values) < batch / PAUSE
    assert found.median > 0.2 * batch / PAUSE
    assert found.compile_seconds > 0


def test_inference_counts_the_examples_of_a_batch():
    model = models.choose(("first-network",))[0]
    work = models.work(model, 8)
    found = rates.inference(model, work.state, work.data, runs=3)
    assert len(found.values) == 3
    assert found.summary(2.0)["median"] == 2 * found.median
    assert found.summary()["low"] <= found.median <= found.summary()["high"]


def test_clock_repeats_and_leaves_the_first_call_out():
    calls = []
    times = rates.clock(lambda: (calls.append(0), time.sleep(0.005)), seconds=0.0, least=4)
    assert len(times) == 4
    assert len(calls) == 5
    assert min(times) >= 0.005


def test_spread_is_median_and_quartiles():
    assert rates.spread((1.0, 2.0, 3.0, 4.0, 5.0)) == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert rates.spread((7.0,)) == pytest.approx({"median": 7.0, "low": 7.0, "high": 7.0})
