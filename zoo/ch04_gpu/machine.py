"""Which devices there are, what is missing for the others, and the description of a measurement."""

import datetime
import importlib.util
import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax

from zoo.common import bench, device

CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
CHANGES = ("NVIDIA_TF32_OVERRIDE", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_PYTHON_CLIENT_PREALLOCATE")
"""Environment variables that a time depends on, beside XLA_FLAGS."""


class Backend(NamedTuple):
    """A line of `devices`."""

    name: str  # as --device takes it
    kind: str = "not here"
    number: int = 0  # of devices
    memory: str = ""
    note: str = ""  # what is missing, or what to do with it


def present() -> tuple[device.Name, ...]:
    """The kinds of devices that compute here, the CPU first."""
    names: tuple[device.Name, ...] = ("cpu", "gpu", "tpu")
    return tuple(name for name in names if _devices(name))


def _devices(name: device.Name) -> list[jax.Device]:
    """All of one kind; none where there is none, or where JAX_PLATFORMS names what is not here."""
    try:
        return device.devices(name)
    except device.DeviceError:
        return []


def select(names: tuple[device.Name, ...]) -> tuple[device.Name, ...]:
    """The requested kinds, or all that are present.

    Raises:
      DeviceError: one of them is not here; says which are and what to install.
    """
    named = (device.devices(n)[0].platform if n == "auto" else n for n in names)
    names = tuple(dict.fromkeys("gpu" if name in ("cuda", "rocm") else name for name in named))
    for name in names:
        device.devices(name)
    return names or present()


def driver() -> str | None:
    """The NVIDIA driver's version, None where there is no driver."""
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            said = subprocess.check_output(asked, stderr=subprocess.DEVNULL, text=True, timeout=20)
            return said.split()[0]
        except (OSError, subprocess.SubprocessError, IndexError):
            pass  # a driver that hangs or fails still has its version in /proc
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
        return text.split("Kernel Module")[1].split()[0]
    except (OSError, IndexError):
        return None


def missing_for_gpu() -> str:
    """What stands between this machine and a GPU, in one line."""
    plugin = next((name for name in CUDA_PLUGINS if importlib.util.find_spec(name)), None)
    version = driver()
    if version is None and platform.system() != "Linux":
        return f"JAX has CUDA on Linux (or WSL2) only, this is {platform.system()}"
    if version is None:
        also = "" if plugin else ", then: pip install -e '.[cuda]'"
        return f"no NVIDIA driver found; with such a card, install its driver{also}"
    if plugin is None:
        return f"driver {version} is there, JAX's CUDA plugin is not: pip install -e '.[cuda]'"
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu"} & set(platforms.lower().split(",")):
        return f"JAX_PLATFORMS={platforms} hides it: unset it"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible[:1].isalnum():  # empty, or -1
        return f"CUDA_VISIBLE_DEVICES={visible} hides it: unset it"
    return f"driver {version} and {plugin} are there, but JAX finds no device: see nvidia-smi"


def limit(one: jax.Device) -> int | None:
    """The bytes that JAX may take of a device's memory; None where the device doesn't tell."""
    try:
        return (one.memory_stats() or {}).get("bytes_limit")
    except RuntimeError:  # not every plugin knows the question
        return None


def _memory(first: jax.Device) -> str:
    size = device.memory() if first.platform == "cpu" else limit(first) or math.inf
    of_jax = "" if first.platform == "cpu" else " for JAX"
    return f"{size / 2**30:.1f} GiB{of_jax}" if size < math.inf else "unknown"


def backends() -> list[Backend]:
    """Every backend of JAX, here or not."""
    hidden = f"hidden by JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: unset it"
    missing: dict[device.Name, str] = {"cpu": hidden, "gpu": missing_for_gpu()}
    missing["tpu"] = "a TPU virtual machine, and there: pip install 'jax[tpu]'"
    lines = []
    for name, note in missing.items():
        if not (found := _devices(name)):
            lines.append(Backend(name, note=note))
            continue
        kind = device.describe(found[0]).partition(": ")[2]
        forced = name == "cpu" and len(found) > 1
        note = "one processor, shown as several devices (XLA_FLAGS)" if forced else ""
        if name == "gpu":
            note = f"driver {driver() or 'unknown'}"
        lines.append(Backend(name, kind, len(found), _memory(found[0]), note))
    return lines


def record(command: str, names: tuple[device.Name, ...], **content: Any) -> dict[str, Any]:
    """What a result's file says beside the numbers: machine, versions, date, command line."""
    return {
        "name": command,
        "devices": list(names),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": bench.commit(),
        "arguments": sys.argv[1:],
        "system": {
            **bench.system(),
            "driver": driver(),
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            "environment": {name: os.environ[name] for name in CHANGES if name in os.environ},
            "kinds": {name: device.describe(device.devices(name)[0]) for name in names},
        },
        "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        **content,
    }
