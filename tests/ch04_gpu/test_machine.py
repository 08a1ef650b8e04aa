"""What is said of devices that are there, and of those that are not."""

import json

import pytest

from zoo.ch04_gpu import machine
from zoo.common.device import DeviceError


def test_every_backend_has_a_line_and_what_is_absent_says_why():
    lines = {line.name: line for line in machine.backends()}
    assert list(lines) == ["cpu", "gpu", "tpu"]
    assert lines["cpu"].number == 8
    assert "several devices" in lines["cpu"].note
    assert all(line.note for line in lines.values() if not line.number)


@pytest.mark.parametrize(
    ("driver", "plugin", "said"),
    [
        (None, None, "no NVIDIA driver found; with such a card, install its driver, then: pip"),
        (None, "jax_cuda12_plugin", "no NVIDIA driver found; with such a card, install its driver"),
        (
            "570.1",
            None,
            "driver 570.1 is there, JAX's CUDA plugin is not: pip install -e '.[cuda]'",
        ),
        ("570.1", "jax_cuda13_plugin", "driver 570.1 and jax_cuda13_plugin are there, but JAX"),
    ],
)
def test_what_is_missing_for_a_gpu(monkeypatch, driver, plugin, said):
    monkeypatch.setattr(machine, "driver", lambda: driver)
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(
        machine.importlib.util, "find_spec", lambda name: name if name == plugin else None
    )
    assert machine.missing_for_gpu().startswith(said)


def test_a_hidden_gpu_and_another_system_are_said(monkeypatch):
    monkeypatch.setattr(machine, "driver", lambda: "570.1")
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert machine.missing_for_gpu() == "JAX_PLATFORMS=cpu hides it: unset it"
    monkeypatch.setenv("JAX_PLATFORMS", "tpu,cpu")
    assert machine.missing_for_gpu() == "JAX_PLATFORMS=tpu,cpu hides it: unset it"
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "see nvidia-smi" in machine.missing_for_gpu()
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert machine.missing_for_gpu() == f"CUDA_VISIBLE_DEVICES={none} hides it: unset it"
    monkeypatch.setattr(machine, "driver", lambda: None)
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    assert "this is Darwin" in machine.missing_for_gpu()


def test_select_takes_each_kind_once_and_refuses_what_is_not_there():
    assert machine.select(("cpu", "cpu")) == ("cpu",)
    assert "cpu" in machine.select(())
    with pytest.raises(DeviceError, match="no tpu here"):
        machine.select(("tpu",))


def test_a_record_is_json_and_describes_the_machine():
    record = json.loads(json.dumps(machine.record("bench", ("cpu",), rows=[1])))
    assert record["rows"] == [1]
    assert {"processor", "threads", "memory_gib", "versions", "driver"} <= set(record["system"])
    assert record["system"]["kinds"]["cpu"].startswith("cpu: ")


def test_a_record_has_the_variables_that_change_a_time(monkeypatch):
    for name in machine.CHANGES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    system = machine.record("bench", ("cpu",))["system"]
    assert system["environment"] == {"NVIDIA_TF32_OVERRIDE": "0"}
