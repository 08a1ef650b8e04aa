"""Every model lowers for accelerators, and compiles for a card that is not here."""

import json
import os
import subprocess
import types

import jax
import jaxlib
import pytest

from zoo.ch04_gpu import compiling, models, precision, targets
from zoo.common import device
from zoo.common.device import DeviceError
from zoo.common.run import RunError

PLATFORMS = ("cuda", "tpu")


def no_wheels():
    """Why nothing can be compiled for a card here; None if it can."""
    try:
        targets.environment()
    except DeviceError as error:
        return str(error)
    return None


compiler = pytest.mark.skipif(no_wheels() is not None, reason=str(no_wheels()))


@pytest.fixture
def accelerator(monkeypatch):
    """What asks while it is traced hears that a GPU computes."""
    monkeypatch.setattr(device, "current", lambda: types.SimpleNamespace(platform="gpu"))


def lowered(function, *args):
    """The program for each of `PLATFORMS`; nothing is compiled."""
    traced = jax.jit(function).trace(*args)
    return [traced.lower(lowering_platforms=(name,)).as_text() for name in PLATFORMS]


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("model", models.every(), ids=lambda model: model.name)
def test_update_and_predictions_lower_in_the_formulation_of_accelerators(model):
    made = []

    def begin(data):
        step, state, batch = model.step(data)
        made.append(step)
        return state, batch

    data = model.random(model.batch_size)
    state, batch = jax.eval_shape(lambda: begin(data))
    texts = lowered(made[0], state, batch)
    weights = jax.eval_shape(model.task.weights, state)
    for prediction in model.task.predictions(model.config).values():
        inputs = compiling._lengthened(prediction.inputs, 2)
        texts += lowered(prediction.function, weights, inputs)
    # CPUs' convolutions and their gradients are written with barriers.
    assert not any("optimization_barrier" in text for text in texts)
    if "speedrun" in model.name:
        (line, *_) = [one for one in texts[0].splitlines() if "stablehlo.convolution" in one]
        assert "bf16" in line


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", models.every(), ids=lambda model: model.name)
def test_loss_and_gradient_lower_in_both_precisions(model, kind):
    module, config = model.task.model, model.config
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), config))
    batch = jax.eval_shape(lambda: module.example(config, 2))
    loss = precision.rounded(module.loss, kind)
    texts = lowered(jax.value_and_grad(loss, has_aux=True), params, batch)
    assert all(("bf16" in text) == (kind == "bfloat16") for text in texts)


def test_a_target_goes_by_name_or_by_its_file(tmp_path):
    assert "h100" in targets.names()
    named = targets.read("h100")
    assert named.card == "NVIDIA H100 80GB HBM3"
    path = tmp_path / "own.txtpb"
    path.write_text(named.text.replace("NVIDIA H100 80GB HBM3", "My card"))
    own = targets.read(str(path))
    assert (own.name, own.card, own.path) == ("own", "My card", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"got the target '.*own', expected h100, or a file like .*h100.txtpb: .*No such"),
        (b"\xff\xfe", r"expected h100, or a file like .*: 'utf-8' codec can't decode"),
        (b"gpu_device_info { }", r"own has no cuda_compute_capability, expected h100, or a file"),
    ],
)
def test_what_is_no_target_is_refused(tmp_path, content, message):
    path = tmp_path / "own"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeviceError, match=message):
        targets.read(str(path))


def install(folder, version):
    """As pip leaves the plugin in a folder, as far as its version goes."""
    info = folder / f"jax_cuda12_plugin-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {targets.PLUGIN}\nVersion: {version}\n")
    return folder


def test_the_process_that_compiles_finds_the_plugin_and_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    monkeypatch.setenv("JAX_DISABLE_JIT", "1")
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=false")
    wheels = install(tmp_path / "wheels", jaxlib.__version__)
    found = targets.environment(wheels)
    assert found["PYTHONPATH"].split(os.pathsep) == [str(wheels), "elsewhere"]
    assert found["JAX_PLATFORMS"] == "cpu"
    assert found["XLA_FLAGS"] == "--xla_gpu_enable_triton_gemm=false"
    assert "JAX_DISABLE_JIT" not in found
    monkeypatch.setenv(targets.VARIABLE, str(wheels))
    assert targets.environment() == found | {targets.VARIABLE: str(wheels)}


def test_a_missing_or_foreign_plugin_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv(targets.VARIABLE, raising=False)
    wanted = f"jax-cuda12-plugin=={jaxlib.__version__}"
    with pytest.raises(DeviceError) as caught:
        targets.environment(tmp_path)
    assert str(caught.value) == (
        f"there is no jax-cuda12-plugin for jaxlib {jaxlib.__version__} in {tmp_path}: "
        f"pip install --upgrade --target {tmp_path} {wanted}"
    )
    with pytest.raises(
        DeviceError, match=r"jax-cuda12-plugin 0\.1 is not for jaxlib .* in .*other"
    ):
        targets.environment(install(tmp_path / "other", "0.1"))
    monkeypatch.setattr(targets.sys, "path", [str(tmp_path)])
    with pytest.raises(DeviceError) as caught:
        targets.environment()
    assert str(caught.value).endswith(
        f"pip install --upgrade --target cuda-wheels {wanted}, then add --wheels cuda-wheels"
    )


def test_the_command_says_in_a_line_which_targets_there_are(command):
    done = command("ch04_gpu", "compile", "basic_nn", "--target", "h200")
    assert done.status == 1
    assert done.err.startswith("error: got the target 'h200', expected h100, or a file like ")


PROGRAM = """\
HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(f32[] %x, f32[] %y)
}

%fused (p: f32[4]) -> f32[4] {
  %not_a_kernel = f32[4]{0} negate(%p)
  ROOT %nor_this = f32[4]{0} sort(%not_a_kernel), dimensions={0}, to_apply=%add
}

%nowhere (p: f32[4]) -> f32[4] {
  ROOT %never = f32[4]{0} fusion(%p), kind=kLoop, calls=%fused
}

%condition (s: (s32[], f32[4])) -> pred[] {
  ROOT %small = pred[] fusion(%s), kind=kLoop, calls=%fused
}

%graph (p: f32[4]) -> f32[4] {
  %product = (f32[4]{0}, s8[64]{0}) custom-call(%p, %p), custom_call_target="__cublas$gemm"
  ROOT %mean = f32[4]{0} fusion(%p), kind=kCustom, calls=%fused, \
backend_config={"fusion_backend_config":{"kind":"__triton_gemm"}}
}

%body (s: (s32[], f32[4])) -> (s32[], f32[4]) {
  %s = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %part = f32[4]{0} get-tuple-element(%s), index=1
  %one = f32[4]{0} call(%part), to_apply=%graph
  %two = f32[4]{0} call(%one), to_apply=%graph
  %conv = (f32[4]{0}, u8[0]{0}) custom-call(%two), custom_call_target="__cudnn$convForward"
  %start = f32[4]{0} all-reduce-start(%two), to_apply=%add
  %done = f32[4]{0} all-reduce-done(%start)
  ROOT %out = (s32[], f32[4]{0}) tuple(%done)
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %p = f32[4]{0:T(128)} parameter(0)
  %wide = f32[4]{0} fusion(%p), kind=kLoop, calls=%fused
  %copied = f32[4]{0} copy(%wide)
  %sorted = f32[4]{0} sort(%copied), dimensions={0}, to_apply=%add
  %loop = (s32[], f32[4]{0}) while(%sorted), condition=%condition, body=%body
  ROOT %result = f32[4]{0} get-tuple-element(%loop), index=1
}
"""


def test_what_a_program_consists_of_is_read_off_its_text():
    assert compiling.anatomy(PROGRAM) == {
        "kernels": 4,  # wide, sorted, small, mean
        "loops": 1,
        "calls": {"__cublas$gemm": 1, "__triton_gemm": 1, "__cudnn$convForward": 1},
        "collectives": {"all-reduce": 1},
    }


def test_what_does_not_compile_is_a_row_and_an_error(tmp_path, monkeypatch, capsys):
    def fails():
        raise TypeError("no\nsuch   convolution")

    row = compiling.measure(compiling.Program("update", 1, fails))
    assert row == {"program": "update", "devices": 1, "error": "TypeError: no such convolution"}
    monkeypatch.setattr(targets, "environment", lambda wheels: {})
    monkeypatch.setattr(compiling, "ask", lambda model, *_: [{"model": model.name, **row}])
    with pytest.raises(RunError, match="lstm, update does not compile: TypeError: no such conv"):
        compiling.compile_models(("lstm",), out=tmp_path)
    assert json.loads((tmp_path / "compile_h100.json").read_text())["rows"][0]["error"]
    assert "NO" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "said"), [(-8, "it ended with SIGFPE: bad"), (1, "status 1")])
def test_a_compiler_that_ends_its_process_is_a_row(monkeypatch, status, said):
    (model,) = models.choose(("lstm",))
    first = {"program": "update", "devices": 1, "error": None}
    done = subprocess.CompletedProcess([], status, json.dumps(first) + "\n", "note\nbad\n")
    monkeypatch.setattr(compiling.subprocess, "run", lambda *args, **options: done)
    one, other = compiling.ask(model, targets.read("h100"), {})
    assert one == {"model": "lstm", **first}
    assert said in other["error"]


@compiler
def test_a_target_that_does_not_parse_is_refused_with_its_place(tmp_path):
    path = tmp_path / "own.txtpb"
    path.write_text(targets.read("h100").text.replace("core_count", "cores"))
    message = r"XLA can't use the target .*own.txtpb: 8:8: .* has no field named \"cores\""
    with pytest.raises(DeviceError, match=message):
        compiling.compile_models(("basic_nn",), target=str(path), out=tmp_path)


@compiler
@pytest.mark.slow
def test_models_compile_for_a_card_that_is_not_here(tmp_path, capsys):
    compiling.compile_models(("feedforward-book", "planner", "agent"), out=tmp_path)
    rows = json.loads((tmp_path / "compile_h100.json").read_text())["rows"]
    by_name = {(row["model"], row["program"], row["devices"]): row for row in rows}
    update, loop, split = (
        by_name["feedforward-book", name, count]
        for name, count in (("update", 1), ("loop", 1), ("loop", compiling.CARDS))
    )
    assert update["kernels"] > 0
    assert (update["loops"], loop["loops"], split["loops"]) == (0, 1, 1)
    assert loop["argument"] > 60_000 * 28 * 28  # the data set
    assert not update["collectives"]
    assert split["collectives"]["all-reduce"] >= 1
    assert split["temp"] < loop["temp"]
    assert any(name.startswith("__cudnn") for name in by_name["planner", "update", 1]["calls"])
    assert by_name["agent", "own loop", 1]["loops"] >= 1
    assert "Compiled for NVIDIA H100 80GB HBM3" in capsys.readouterr().out
