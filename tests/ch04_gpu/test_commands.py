"""The command line as a user has it: each command leaves tables, JSON and a picture."""

import copy
import gzip
import json
from unittest.mock import create_autospec

import jax
import pytest

from zoo.ch04_gpu import commands, tables
from zoo.ch04_gpu.commands import Where
from zoo.ch04_gpu.figures import FIGURES
from zoo.common.data import DataError
from zoo.common.run import RunError

MEASURED = [name for name in tables.TABLES if name != "compile"]
"""What is measured on a device that is here; `test_targets.py` has the other."""


@pytest.fixture(autouse=True)
def few_numbers(small_peaks):
    with small_peaks():
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory, small_peaks):
    """A folder with a small measurement of every kind, by the commands."""
    out = tmp_path_factory.mktemp("measured")
    where, fast = Where(("cpu",), out), ("basic_nn",)
    commands.bench(where, ("feedforward-book",), runs=3, seconds=0.02, examples=2000)
    commands.check(where, fast)
    commands.ops(where, ("small",), runs=1)
    commands.crossover(where, 32, seconds=0.001)
    with small_peaks():
        commands.place_models(where, fast, size=64, seconds=0.02)
    commands.blas(where, 1024, runs=2)
    commands.read_memory(where, 4096, runs=2)
    commands.compare_precisions(where, fast, steps=20, runs=2)
    commands.scale("basic_nn", devices=2, device="cpu", batch_size=64, seconds=0.01, out=out)
    return out


def read(folder, name):
    return json.loads((folder / f"{name}_cpu.json").read_text())


def test_every_command_leaves_json_and_a_picture(measured):
    assert {path.stem for path in measured.glob("*.json")} == {f"{name}_cpu" for name in MEASURED}
    drawn = {path.stem for path in (measured / "figures").glob("*.png")}
    assert drawn == {f"{name}_cpu" for name in FIGURES}


def test_compilation_is_timed_without_the_cache_of_programs(begin):
    assert jax.config.jax_enable_compilation_cache
    try:
        assert begin(Where(("cpu",))) == ("cpu",)
        assert not jax.config.jax_enable_compilation_cache
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def test_bench_gives_rates_with_their_spread_and_the_books_times(measured):
    (row,) = read(measured, "bench")["rows"]
    assert row["book"] == [26.5, 23.5]
    assert row["epoch"]["median"] == pytest.approx(60_000 / row["training"]["median"])
    assert row["epoch"]["low"] <= row["epoch"]["median"] <= row["epoch"]["high"]
    assert row["inference"]["median"] > 0
    assert row["training"]["compile_seconds"] > 0
    assert len(row["runs"]) == 3


def test_precision_says_what_bfloat16_does_to_the_loss(measured):
    single, half = read(measured, "precision")["rows"]
    assert (single["precision"], half["precision"]) == ("float32", "bfloat16")
    assert single["gradient_error"] < 1e-5 < 1e-4 < half["gradient_error"] < 0.5
    assert single["last_loss"] < single["first_loss"]
    assert half["last_loss"] < half["first_loss"]


def test_efficiency_is_relative_to_one_device(measured):
    rows = read(measured, "scale")["rows"]
    assert [row["devices"] for row in rows] == [1, 2]
    assert [row["weak"]["batch"] for row in rows] == [64, 128]
    for kind in ("strong", "weak"):
        one, two = (row[kind] for row in rows)
        assert one["efficiency"] == 1.0
        assert two["efficiency"] == pytest.approx(two["median"] / (2 * one["median"]))


def with_gpu(record):
    """The record as a machine with a GPU would leave it, its rows made up."""
    record = copy.deepcopy(record)
    record["devices"] = ["cpu", "gpu"]
    record["system"]["kinds"]["gpu"] = "gpu: NVIDIA H200"
    record["system"]["driver"] = "570.1"
    for row in list(record["rows"]):
        if "device" in row:
            record["rows"].append({**row, "device": "gpu"})
        if "who" in row and row["who"] == "JAX, cpu":
            record["rows"].append({**row, "who": "JAX, gpu"})
        if record["name"] == "crossover":
            for name in ("JAX, gpu", "JAX, gpu, with transfer"):
                row["seconds"][name] = {"median": 1e-9, "low": 1e-9, "high": 1e-9}
    if "peaks" in record:
        record["peaks"]["gpu"] = {"float32": 5e13, "tf32": 3e14, "bfloat16": 8e14,
                                  "bandwidth": 4e12}  # fmt: skip
    return record


@pytest.mark.parametrize("name", MEASURED)
def test_tables_and_pictures_take_a_gpu_as_well(measured, name):
    record = with_gpu(read(measured, name))
    text = "\n".join(table.markdown() for table in tables.TABLES[name](record))
    assert "gpu" in text or name == "scale"
    assert "NVIDIA H200" in tables.machine(record)
    if name == "crossover":
        assert "JAX, gpu: ahead of JAX, cpu from 8x8 on" in text
    if name in FIGURES:
        assert FIGURES[name](record).axes


def test_a_loss_beyond_the_tolerance_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(commands.agreement, "GRADIENT_TOLERANCE", 0.0)
    with pytest.raises(RunError, match="beyond the tolerance: basic_nn on cpu"):
        commands.check(Where(("cpu",), tmp_path), ("basic_nn",))
    assert not read(tmp_path, "check")["rows"][0]["agrees"]


def test_trace_writes_what_perfetto_opens(tmp_path, capsys):
    commands.trace("basic_nn", steps=2, out=tmp_path)
    (path,) = tmp_path.glob("**/perfetto_trace.json.gz")
    with gzip.open(path, "rt") as file:
        events = json.load(file)["traceEvents"]
    assert sum(event.get("name") == "basic_nn" for event in events) == 2
    printed = capsys.readouterr().out
    assert "the most expensive operations" in printed
    assert str(path) in printed


def test_toy_prints_the_chapters_numbers(capsys):
    commands.toy()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["3", "6", "4", "GPU"] in lines
    assert ["2", "4", "4", "neither"] in lines


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: commands.ops(Where(), ()), "got no sizes, expected some of small"),
        (lambda: commands.scale(devices=3, device="cpu"), "1024 does not divide by 3 devices"),
        (lambda: commands.compare_precisions(Where(), ("x",)), "got the model 'x'"),
    ],
)
def test_what_a_user_can_mend_is_said(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_bytes_as_if_nothing_was_fused_have_no_roof(tmp_path):
    where = Where(("cpu",), tmp_path)
    commands.place_models(where, ("basic_nn", "planner"), size=64, seconds=0.01)
    record = read(tmp_path, "roofline")
    fused, unfused = record["rows"]
    assert (fused["fused"], unfused["fused"]) == (True, False)
    _, table = tables.roofline(record)
    share, kind = table.header.index("share"), table.header.index("bytes")
    assert [row[kind] for row in table.rows] == ["fused", "unfused"]
    assert table.rows[0][share].endswith("%")
    assert table.rows[1][share] == "-"


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        (2**20, "The largest operand takes 4.0 times the processor's last-level cache of 1 MiB."),
        (2**22, "takes 1.0 times the processor's last-level cache of 4 MiB, so it may come from"),
        (2**15, "takes 128 times the processor's last-level cache of 0 MiB."),
        (0, "How large the processor's caches are is not recorded, so operands may fit into one."),
        (None, "is not recorded"),  # by an older version
    ],
)
def test_what_fits_into_a_cache_is_said(measured, cache, said):
    record = read(measured, "blas") | {"numbers": 2**20}
    record["cache"] = cache
    (table,) = tables.blas(record)
    assert said in table.note


def test_the_kinds_are_named_as_in_other_chapters(command, tmp_path):
    """With the flag's old name, which counts devices elsewhere, as well."""
    for flag in ("--device", "--devices"):
        done = command("ch04_gpu", "memory", "--numbers", 16, flag, "cpu", "--out", tmp_path / flag)
        assert done.status == 0, done.err
        assert (tmp_path / flag / "memory_cpu.json").exists()
        done = command("ch04_gpu", "memory", flag, "cpu", "tpu")
        assert done.status == 1
        assert done.err.startswith("error: no tpu here: ")


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize"), AssertionError()])
def test_devices_lists_what_is_missing_where_jax_itself_fails(monkeypatch, capsys, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setattr(jax, "local_devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    with jax.default_device(None):
        commands.devices()
    first, *lines = capsys.readouterr().out.splitlines()
    assert "no default device" in first
    assert [line[:3] for line in lines] == ["cpu", "gpu", "tpu"]
    assert "hidden by JAX_PLATFORMS=nonsense: unset it" in lines[0]


def test_devices_prints_a_line_for_each_backend(capsys):
    commands.devices()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines[1:]] == ["cpu", "gpu", "tpu"]


def test_a_scale_that_starts_itself_anew(zoo, place):
    done = zoo("ch04_gpu", "scale", "basic_nn", "--devices", 2, "--device", "cpu",
               "--batch-size", 64, "--seconds", 0.01, "--out", place / "scale")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "one CPU shown as 2 devices" in done.stdout
    assert [row["devices"] for row in read(place / "scale", "scale")["rows"]] == [1, 2]
    assert read(place / "scale", "scale")["difference"] < 1e-5


def test_all_runs_every_measurement_into_one_folder(tmp_path, monkeypatch):
    stubs = {name: create_autospec(f) for name, f in commands.MEASUREMENTS.items()}
    scale = create_autospec(commands.scale)
    monkeypatch.setattr(commands, "MEASUREMENTS", stubs)
    monkeypatch.setattr(commands, "scale", scale)
    commands.everything(Where(("cpu",), tmp_path), largest=64)
    assert {*stubs, "scale"} == set(MEASURED)
    for name, stub in stubs.items():
        stub.assert_called_once()
        assert stub.call_args.args == (Where(("cpu",), tmp_path),), name
    assert stubs["crossover"].call_args.kwargs == {"largest": 64}
    assert scale.call_args.kwargs["out"] == tmp_path


def test_ctrl_c_keeps_what_is_measured(tmp_path, monkeypatch):
    measure = commands.roofline.place

    def place(model, seconds):
        if model.name == "feedforward":
            raise KeyboardInterrupt
        return measure(model, seconds)

    monkeypatch.setattr(commands.roofline, "place", place)
    with pytest.raises(RunError, match="feedforward on cpu and what follows: interrupted"):
        commands.place_models(
            Where(("cpu",), tmp_path), ("basic_nn", "feedforward", "vae"), 64, seconds=0.01
        )
    (row,) = read(tmp_path, "roofline")["rows"]
    assert row["model"] == "basic_nn"
