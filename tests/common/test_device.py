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
    with pytest.raises(device.DeviceError, match=f"a mesh of {count} devices was asked for, 8"):
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
