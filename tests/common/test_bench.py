import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.common import bench, device
from zoo.common.task import Prediction, Task


def test_compilation_is_apart_from_the_runs():
    def many_operations(x):
        for _ in range(300):
            x = jnp.sin(x) + 1.0
        return x

    timing = bench.time_call(many_operations, jnp.ones(4), runs=5)
    assert len(timing.seconds) == 5
    assert timing.compile_seconds > 10 * timing.median > 0


def test_each_run_waits_for_the_result():
    def slow(x, milliseconds):
        def sleep(a):
            time.sleep(milliseconds / 1000)
            return a

        return jax.pure_callback(sleep, x, x)

    for milliseconds in (20, 60):  # dispatched alone, both would take far less
        timing = bench.time_call(lambda x, m=milliseconds: slow(x, m), jnp.ones(3), runs=3)
        assert min(timing.seconds) >= milliseconds / 1000


def test_eight_times_the_work_takes_longer():
    def product(a):
        return a @ a

    small, large = (bench.time_call(product, jnp.ones((n, n)), runs=5) for n in (256, 1024))
    assert large.median > 4 * small.median > 0  # 64 times the operations


def test_warm_up_runs_are_made_and_not_counted():
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(0))
        return x + 1

    timing = bench.time_call(counted, jnp.ones(3), runs=2, warmup=3)
    jax.effects_barrier()
    assert len(timing.seconds) == 2
    assert len(calls) == 5


def test_what_is_slow_is_timed_less_often():
    def counted(x):
        jax.debug.callback(lambda: calls.append(0))
        return x + 1

    for warmup, limit, timed in [(5, 0.0, 3), (2, 0.0, 3), (0, 0.0, 4), (5, 60.0, 50)]:
        calls = []
        timing = bench.time_call(counted, jnp.ones(3), runs=50, warmup=warmup, limit=limit)
        jax.effects_barrier()
        assert len(timing.seconds) == timed
        assert len(calls) == (timed + warmup if limit else 4)


def test_donated_arguments_stay_valid(getkey):
    state = {"x": jnp.ones(1000), "key": getkey()}
    timing = bench.time_call(
        lambda state, y: {**state, "x": state["x"] + y}, state, 1.0, runs=3, donate=(0,)
    )
    assert len(timing.seconds) == 3
    np.testing.assert_array_equal(state["x"], 1.0)


def test_a_time_needs_a_run():
    with pytest.raises(ValueError, match="got 0 runs"):
        bench.time_call(jnp.sin, 1.0, runs=0)


@pytest.mark.parametrize(
    "seconds", [(3.0,), (2.0, 1.0), (1.0, 2.0, 3.0, 4.0), (5.0, 1.0, 9.0, 2.0, 4.0)]
)
def test_median_and_quartiles_equal_numpys(seconds):
    timing = bench.Timing(0.0, seconds)
    low, median, high = np.percentile(seconds, [25, 50, 75])
    assert timing.median == median
    np.testing.assert_allclose(timing.quartiles, (low, high))


def test_median_and_quartiles_of_known_numbers():
    expected = {"median": 3.0, "low": 2.0, "high": 4.0}
    assert bench.spread([4.0, 1.0, 3.0, 2.0, 5.0]) == expected
    assert bench.spread([7.0]) == {"median": 7.0, "low": 7.0, "high": 7.0}


def test_the_machine_is_described():
    system = bench.system()
    assert system["processor"]
    assert system["threads"] >= 1
    assert system["versions"]["jax"] == jax.__version__
    assert system["versions"]["numpy"] == np.__version__
    assert any(jax.devices()[0].device_kind in name for name in system["devices"])
    assert json.loads(json.dumps(system)) == system
    assert system["processor"] in device.describe(jax.devices("cpu")[0])


def test_describing_the_machine_loads_no_torch():
    code = (
        "import sys; from zoo.common import bench; bench.system(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_peak_is_a_plausible_speed():
    assert 1e8 < bench.matmul_peak(size=256, runs=3) < 1e16


def test_a_table_shows_its_rows(capsys):
    bench.print_table("speed", ["who", "images/s"], [["zoo", 1700], ["peer", "1,400"]])
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("speed", "images/s", "zoo", "1700", "1,400"))


ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").glob("ch*.py"))
ROWS = [path.stem for path in SCRIPTS if "\nROW = " in path.read_text(encoding="utf-8")]


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a module of the benchmarks, which lie outside of the package."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_each_chapter_has_a_benchmark():
    chapters = {path.name for path in (ROOT / "zoo").glob("ch*")} - {"ch03_mnist_ae_rbm"}
    assert chapters | {"ch03_feedforward", "ch03_rbm"} <= {path.stem for path in SCRIPTS}
    others = {"ch06_speedrun_torch", "ch09_pipeline", "ch10_litserve"}  # one is a peer's server
    assert {path.stem for path in SCRIPTS} - set(ROWS) <= others


@pytest.mark.parametrize("name", ROWS)
def test_each_benchmark_has_a_row_that_says_what_it_compares(benchmark, name):
    row = benchmark(name).ROW
    assert row.name == name
    assert row.base in row.contenders
    assert row.tasks
    assert row.note
    assert set(row.flops) <= set(row.tasks)


def test_benchmark_counts_the_operations_of_the_books_network(benchmark):
    forward = 4_320_000 + 17_305_600 + 6_553_600 + 262_144 + 5_120
    counted = benchmark("ch06_cnn").flops()
    assert counted == {"training": 3 * forward - 4_320_000, "inference": forward}


def test_benchmark_without_torch_names_the_extra(benchmark, monkeypatch, tmp_path):
    harness, row = benchmark("harness"), benchmark("ch06_cnn").ROW
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"\.\[bench\]"):
        harness.main(row, "A title.", ["--out", str(tmp_path)])


@pytest.mark.slow
def test_benchmark_measures_zoo_alone(benchmark, tmp_path, capsys):
    arguments = f"--only zoo --tasks inference --rounds 2 --seconds 0.1 --out {tmp_path}".split()
    benchmark("harness").main(benchmark("ch06_cnn").ROW, "A title.", arguments)
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())["inference"]
    assert len(record["rates"]["zoo"]) == len(record["peak"]) == 2
    assert min(record["rates"]["zoo"]) > 0
    assert record["system"]["processor"]
    assert "zoo" in capsys.readouterr().out


PAUSE = 0.02
CLOCK = SimpleNamespace(now=0.0)


def slow_loss(params, batch, key=None):
    """A loss that takes PAUSE seconds of CLOCK to compute."""

    def wait(x):
        CLOCK.now += PAUSE
        return np.float32(0)

    zero = jax.pure_callback(wait, jax.ShapeDtypeStruct((), jnp.float32), batch["x"][0])
    return (params**2).sum() + jax.lax.stop_gradient(zero), {}


class Config(NamedTuple):
    seed: int = 0


TASK = Task(
    name="test",
    model=SimpleNamespace(init=lambda key, config: jnp.ones(3)),
    about="a loss that takes its time",
    load=None,
    random=None,
    optimizer=lambda config, steps: optax.sgd(0.1),
    losses=lambda config, steps: (slow_loss, slow_loss),
    metrics=(),
    predictions=lambda config: {
        "sum": Prediction(
            "a sum",
            {"x": jax.ShapeDtypeStruct((), np.float32)},
            lambda weights, inputs: {"sum": weights["params"].sum() + inputs["x"]},
        )
    },
)


def test_training_takes_the_time_that_its_updates_take(monkeypatch):
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: CLOCK.now))
    batch, data = 10, {"x": np.zeros(40, np.float32)}
    found, state = bench.training(TASK, Config(), data, batch, runs=2, seconds=2 * PAUSE)
    assert int(state.step) > 4
    assert len(found.values) == 2
    assert found.values == pytest.approx(2 * [batch / PAUSE])
    assert found.compile_seconds > 0


def test_inference_counts_the_examples_of_a_batch():
    data = {"x": np.zeros(8, np.float32), "label": np.zeros(8, int)}
    found = bench.inference(TASK, Config(), {"params": jnp.ones(3)}, data, runs=3)
    assert len(found.values) == 3
    assert found.scaled(2.0).summary()["median"] == 2 * found.median
    assert found.summary()["low"] <= found.median <= found.summary()["high"]
