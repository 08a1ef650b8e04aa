import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from zoo.common import device


def test_auto_is_jaxs_own_choice():
    assert device.devices() == jax.devices()


def test_the_devices_of_a_backend_are_found_by_its_name():
    assert {d.platform for d in device.devices("cpu")} == {"cpu"}


def test_an_absent_device_is_refused_with_what_there_is_and_how_to_install():
    with pytest.raises(device.DeviceError, match=r"no tpu here: .* sees .*'jax\[tpu\]'"):
        device.devices("tpu")


def test_a_mesh_has_one_axis_for_the_batch():
    mesh = device.mesh(4)
    assert mesh.axis_names == ("data",)
    assert mesh.size == 4


@pytest.mark.parametrize("count", [0, 1000])
def test_a_mesh_of_devices_that_are_not_there_is_refused(count):
    with pytest.raises(device.DeviceError, match=f"got {count} devices, expected at most 8"):
        device.mesh(count)


def test_compiler_options_are_taken_only_where_xla_knows_them(monkeypatch):
    assert device.compiler_options("gpu") == {}
    monkeypatch.setattr(device, "_CPU_OPTIONS", {"xla_no_such_option": "1"})
    assert device.compiler_options.__wrapped__("cpu") == {}


def test_jit_with_the_options_changes_nothing():
    assert device.jit(lambda x: 2 * x)(jnp.float32(3)) == 6


def test_the_device_is_described_in_a_line():
    assert device.describe(jax.devices("cpu")[0]).startswith("cpu: ")


@pytest.mark.parametrize("choose", [lambda: "cpu", lambda: jax.devices("cpu")[3]])
def test_a_default_device_of_the_users_is_kept(choose):
    chosen = choose()
    first = jax.devices("cpu")[0] if chosen == "cpu" else chosen
    with jax.default_device(chosen):
        assert device.current() == device.use() == first
        assert {d.platform for d in device.devices()} == {"cpu"}
        assert device.describe(device.current()).startswith("cpu")
        assert device.jit(lambda: jnp.ones(2))().devices() == {first}


def test_a_default_device_that_is_absent_is_named_with_what_there_is():
    with jax.default_device("gpu"):
        for ask in (device.current, device.use, device.devices):
            with pytest.raises(device.DeviceError, match=r"no gpu here: .* unset JAX_DEFAULT_DEV"):
                ask()


def test_a_device_that_is_chosen_is_used_whatever_the_default_is():
    before = jax.config.jax_default_device
    try:
        with jax.default_device(jax.devices("cpu")[3]):
            assert device.use("cpu") == jax.devices("cpu")[0]
    finally:
        jax.config.update("jax_default_device", before)


def test_nothing_is_compiled_where_jit_is_disabled():
    def double(x):
        calls.append(isinstance(x, jax.core.Tracer))
        return 2 * x

    calls = []
    assert device.compile(double, 1.0)(3.0) == 6
    with jax.disable_jit():
        assert device.compile(double, 1.0)(3.0) == 6
    assert calls == [True, False]


def test_a_state_that_the_machine_cannot_hold_is_refused(monkeypatch):
    monkeypatch.setattr(device, "memory", lambda: 8016.0)  # a key has 8 bytes
    key = jax.eval_shape(lambda: jax.random.key(0))
    device.check_memory({"kernel": jax.ShapeDtypeStruct((10, 100), jnp.float32), "key": key})
    with pytest.raises(device.DeviceError, match=r"at least 0\.0 GB, this machine has 0\.0 GB: ch"):
        device.check_memory({"kernel": jax.ShapeDtypeStruct((10, 101), jnp.float32)})


def test_the_memory_of_this_machine_is_known():
    assert 1e8 < device.memory() < 1e14


FUSION = "xla_cpu_experimental_ynn_fusion_type"
OPTION = f"--{FUSION}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, OPTION),
        ("", OPTION),
        ("--xla_dump_to=/d ", f"--xla_dump_to=/d {OPTION}"),
        (f"--{FUSION}=", f"--{FUSION}="),
        (f"--{FUSION}=-reduce --xla_a=1", f"--{FUSION}=-reduce --xla_a=1"),
        ("flags.txt", "flags.txt"),  # a file of flags
    ],
)
def test_xla_flags_get_the_options_and_keep_what_is_there(monkeypatch, before, after):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if before is not None:
        monkeypatch.setenv("XLA_FLAGS", before)
    device.set_xla_flags()
    device.set_xla_flags()  # once is enough
    assert os.environ["XLA_FLAGS"] == after


@pytest.mark.parametrize(
    ("found", "set_"),
    [((0, 10, 0), 0), ((0, 10, 1), 1), ((0, 12, 0, 1), 1), ((0, 12, 1), 0), ((1, 0, 0), 0)],
)
def test_xla_flags_stay_where_xla_may_not_know_the_option(monkeypatch, found, set_):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(device.jaxlib.version, "__version_info__", found)
    device.set_xla_flags()
    assert ("XLA_FLAGS" in os.environ) == bool(set_)


@pytest.mark.parametrize(
    ("flags", "options"), [("", 1), (OPTION, 1), (f"--{FUSION}=", 0), (f"--{FUSION}=-reduce", 0)]
)
def test_compiler_options_leave_the_choice_to_the_user(monkeypatch, flags, options):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert bool(device.compiler_options.__wrapped__("cpu")) == bool(options)


def test_a_plain_jit_computes_rightly_in_a_command_and_importing_sets_nothing():
    program = """
import os
import jax, jax.numpy as jnp, numpy as np
from zoo import canaries, ch06_cnn, ch10_deploy
assert "XLA_FLAGS" not in os.environ
import zoo
zoo.set_xla_flags()
assert os.environ["XLA_FLAGS"].endswith("INDIVIDUAL_DOT")  # some versions are right without it
case = canaries.constant_product()
np.testing.assert_allclose(jax.jit(case.program)(*case.inputs), case.expected, rtol=1e-3, atol=1e-2)
"""
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", program], env=kept, check=True)


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize"), AssertionError()])
def test_backends_that_cannot_be_started_are_named(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setattr(jax, "local_devices", fail)
    with jax.default_device(None):
        for ask in (device.current, device.use, device.devices, lambda: device.devices("cpu")):
            with pytest.raises(device.DeviceError, match="JAX_PLATFORMS=cuda has a backend that"):
                ask()
