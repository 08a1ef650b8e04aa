"""The commands on a graphics card that is none: see `card` in conftest.py."""

import json
from unittest.mock import create_autospec

import jax
import jax.numpy as jnp
import pytest

from zoo.ch04_gpu import commands, machine, models, precision, roofline, scaling, tables
from zoo.ch04_gpu.commands import Where
from zoo.common.device import DeviceError
from zoo.common.run import RunError

GPU = "nvidia-h100-80gb-hbm3"


@pytest.fixture(scope="module")
def measured(card, tmp_path_factory, small_peaks):
    """The records of a small run of every measurement on a CPU and the card, by name."""
    out = tmp_path_factory.mktemp("simulated")
    where, fast = Where(("cpu", "gpu"), out), ("basic_nn",)
    commands.bench(where, ("feedforward-book",), runs=1, seconds=0.01, examples=1000)
    commands.check(where, fast)
    commands.ops(where, ("small",), runs=1)
    commands.crossover(where, 16, seconds=0.001)
    with small_peaks():
        commands.place_models(where, ("feedforward-book", "planner"), size=64, seconds=0.01)
    commands.blas(where, 1024, runs=1)
    commands.read_memory(where, 4096, runs=1)
    commands.compare_precisions(where, fast, steps=2, runs=1)
    return {p.stem.partition("_")[0]: json.loads(p.read_text()) for p in out.glob("*.json")}


def precisions(record, key="device", who="gpu"):
    return [row["precision"] for row in record["rows"] if row[key] == who]


def test_every_measurement_runs_on_one_card_and_its_file_has_the_cards_name(measured):
    assert set(measured) == set(tables.TABLES) - {"scale", "compile"}
    for name, record in measured.items():
        assert tables.file_name(record) == f"{name}_cpu_{GPU}"


def test_rows_say_in_which_precision_they_were_measured(measured):
    assert precisions(measured["bench"]) == ["tf32"]
    assert precisions(measured["check"]) == ["float32"]
    assert precisions(measured["precision"]) == ["float32", "tf32", "bfloat16"]
    for name in ("bench", "check", "ops", "roofline", "memory"):
        assert set(precisions(measured[name], who="cpu")) == {"float32"}, name


def test_what_compares_devices_has_a_row_in_float32_and_one_in_the_cards_own_way(measured):
    twice = ["float32", "tf32"]
    for name in ("matrix product", "conv1d", "conv2d"):
        rows = [row for row in measured["ops"]["rows"] if row["operation"] == name]
        assert precisions({"rows": rows}) == twice
    assert len(precisions(measured["ops"])) == 7 + 3  # pooling and the like make no products
    rows = [row for row in measured["blas"]["rows"] if row["level"][0] in "23"]
    assert precisions({"rows": rows}, "who", "JAX, gpu") == 2 * twice


def test_the_roof_is_that_of_the_rows_precision(measured):
    record = measured["roofline"]
    record["peaks"]["gpu"] = {"float32": 1e12, "tf32": 2e12, "bandwidth": 1e15, "bfloat16": None}
    row = next(row for row in record["rows"] if row["device"] == "gpu")
    assert row["precision"] == "tf32"
    assert tables.roof(record, row) == 2000.0
    assert tables.roof(record, row | {"precision": "float32"}) == 1000.0
    assert tables.roof(record, row | {"precision": "bfloat16"}) is None  # nothing measured it
    assert tables.roof(record, row | {"fused": False}) is None


def test_operations_are_the_same_on_the_card_though_its_xla_counts_none(measured):
    cpu, gpu = (
        [row for row in measured["roofline"]["rows"] if row["device"] == kind]
        for kind in ("cpu", "gpu")
    )
    for one, other in zip(cpu, gpu, strict=True):
        assert other["source"] == one["source"]
        assert other["flops"] == one["flops"]
    assert {row["source"] for row in gpu} == {"xla", "graph"}  # planner has a loop inside
    assert [row["fused"] for row in gpu] == [row["source"] == "xla" for row in gpu]


def test_without_a_cpu_the_graph_counts(card, monkeypatch):
    jax.config.update("jax_default_device", card.real)
    devices = jax.devices

    def hidden(name=None):
        if name == "cpu":
            raise RuntimeError("Unknown backend cpu")
        return devices(name)

    monkeypatch.setattr(jax, "devices", hidden)
    counted = roofline.count(jnp.matmul, jnp.ones((30, 40)), jnp.ones((40, 50)))
    assert (counted.flops, counted.source, counted.fused) == (2 * 30 * 40 * 50, "graph", True)
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda self: None)
    counted = roofline.count(jnp.matmul, jnp.ones((30, 40)), jnp.ones((40, 50)))
    assert counted.bytes == 4 * (30 * 40 + 40 * 50 + 30 * 50)
    assert not counted.fused


@pytest.mark.parametrize(
    ("gibibytes", "size", "numbers"),
    [(None, 8192, 2**28), (60, 8192, 2**28), (6, 8192, 2**27), (3, 8192, 2**26), (1, 4096, 2**25)],
)
def test_peaks_fit_into_the_memory_of_a_small_card(card, monkeypatch, gibibytes, size, numbers):
    stats = None if gibibytes is None else {"bytes_limit": gibibytes * 2**30}
    monkeypatch.setattr(card, "stats", stats)
    jax.config.update("jax_default_device", card.real)
    asked = []
    monkeypatch.setattr(roofline.bench, "matmul_peak", lambda n: asked.append(n) or 1.0)
    monkeypatch.setattr(roofline.memory, "bandwidth", lambda n: asked.append(n) or 1.0)
    monkeypatch.setattr(roofline, "_product_peak", lambda *args: 2.0)
    assert roofline.peaks()["tf32"] == 2.0
    assert asked == [size, numbers]


def test_a_card_without_tf32_has_no_peak_in_it(card, monkeypatch):
    jax.config.update("jax_default_device", card.real)
    monkeypatch.setattr(precision, "_measured", lambda *args: "float32")
    monkeypatch.setattr(roofline, "_product_peak", lambda *args: 2.0)
    assert precision.available() == ("float32", "bfloat16")
    assert precision.compared() == {"float32": "float32"}
    assert roofline.peaks(64, 4096)["tf32"] is None


def test_memory_that_a_device_does_not_tell_is_unknown(card, monkeypatch):
    def refuse():
        raise RuntimeError("UNIMPLEMENTED")

    monkeypatch.setattr(card, "memory_stats", refuse)
    line = next(line for line in machine.backends() if line.name == "gpu")
    assert (line.kind, line.number, line.memory) == (card.device_kind, 1, "unknown")


@pytest.fixture
def stubs(monkeypatch):
    """`all` with nothing behind it."""
    made = {name: create_autospec(f) for name, f in commands.MEASUREMENTS.items()}
    monkeypatch.setattr(commands, "MEASUREMENTS", made)
    monkeypatch.setattr(commands, "scale", create_autospec(commands.scale))
    return made | {"scale": commands.scale}


def test_all_on_one_card_leaves_several_devices_out(card, stubs, tmp_path, capsys):
    commands.everything(Where(("gpu",), tmp_path))
    stubs["scale"].assert_not_called()
    assert "scale: left out, there is one gpu" in capsys.readouterr().out


@pytest.mark.parametrize(("cards", "compared"), [(2, 2), (3, 2), (8, 8)])
def test_all_compares_as_many_cards_as_divide_a_batch(
    card, stubs, tmp_path, monkeypatch, cards, compared
):
    devices = jax.devices
    monkeypatch.setattr(jax, "devices", lambda n=None: devices(n) * (cards if n == "gpu" else 1))
    commands.everything(Where(("gpu",), tmp_path))
    assert stubs["scale"].call_args.kwargs == {
        "device": "gpu",
        "devices": compared,
        "out": tmp_path,
    }


def test_all_goes_on_after_a_failure_and_names_it_at_the_end(stubs, tmp_path):
    stubs["check"].side_effect = RunError("beyond the tolerance: cnn on gpu")
    stubs["ops"].side_effect = RuntimeError("RESOURCE_EXHAUSTED: out of memory")
    with pytest.raises(RunError, match=r"failed: check: .* beyond .*; ops: .*RESOURCE_EXHAUSTED"):
        commands.everything(Where(("cpu",), tmp_path))
    for stub in stubs.values():
        stub.assert_called_once()


def test_a_model_that_fails_costs_no_other_its_row(tmp_path, monkeypatch, capsys):
    def place(model, seconds, *, real=roofline.place):
        if model.name == "rbm":
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 9 GB")
        return real(model, seconds)

    monkeypatch.setattr(roofline, "place", place)
    peaks = {"float32": 1e9, "tf32": None, "bfloat16": None, "bandwidth": 1e9}
    monkeypatch.setattr(roofline, "peaks", lambda size: peaks)
    with pytest.raises(RunError, match=r"not measured: rbm on cpu: RuntimeError: RESOURCE_EX.* 9"):
        commands.place_models(Where(("cpu",), tmp_path), ("rbm", "basic_nn"), seconds=0.01)
    record = json.loads((tmp_path / "roofline_cpu.json").read_text())
    assert [row["model"] for row in record["rows"]] == ["basic_nn"]
    assert "rbm on cpu: RuntimeError" in capsys.readouterr().out


def test_several_devices_on_one_card_are_refused_before_anything_is_measured(card, monkeypatch):
    monkeypatch.setattr(scaling, "measure", lambda *args: pytest.fail("measured"))
    with pytest.raises(DeviceError, match="got 2 devices, 1 gpu here: choose --devices 1, or --de"):
        commands.scale(device="gpu")


def test_parameters_of_several_devices_are_compared_in_float32(monkeypatch):
    settings = []
    endless = scaling.bench.endless

    def noted(*args, **options):
        settings.append(jax.config.jax_default_matmul_precision)
        return endless(*args, **options)

    monkeypatch.setattr(scaling.bench, "endless", noted)
    (model,) = models.choose(("basic_nn",))
    assert scaling.difference(model, "cpu", 2, 8) < 1e-5
    assert settings == ["float32", "float32"]


def test_a_cpu_shown_as_several_leaves_the_card_alone(monkeypatch):
    environments = []

    def run(command, env, **options):
        environments.append(env)
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(scaling.subprocess, "run", run)
    assert scaling.restarted(4, ["scale"]) == 0
    assert environments[0]["JAX_PLATFORMS"] == "cpu"
    assert environments[0]["XLA_FLAGS"].endswith("device_count=4")
