"""Which devices there are, what is missing for the others, and the description of a measurement."""

import datetime
import importlib.util
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


class Backend(NamedTuple):
    """A line of `devices`."""

    name: str  # as --devices takes it
    kind: str = "not here"
    number: int = 0  # of devices
    memory: str = ""
    note: str = ""  # what is missing, or what to do with it


def present() -> tuple[device.Name, ...]:
    """The kinds of devices that compute here, the CPU first."""
    found: list[device.Name] = []
    for name in ("cpu", "gpu", "tpu"):
        try:
            device.devices(name)
        except device.DeviceError:
            continue
        found.append(name)
    return tuple(found)


def select(names: tuple[device.Name, ...]) -> tuple[device.Name, ...]:
    """The kinds that were asked for, or all that are here.

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
    if "cpu" in os.environ.get("JAX_PLATFORMS", "") and "cuda" not in os.environ["JAX_PLATFORMS"]:
        return f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']} hides it: unset it"
    return f"driver {version} and {plugin} are there, but JAX finds no device: see nvidia-smi"


def _memory(first: jax.Device) -> str:
    if first.platform == "cpu":
        size = bench.system()["memory_gib"]
        return f"{size} GiB" if size else "unknown"
    limit = (first.memory_stats() or {}).get("bytes_limit")
    return f"{limit / 2**30:.1f} GiB for JAX" if limit else "unknown"


def backends() -> list[Backend]:
    """Every backend of JAX, here or not."""
    missing = {"cpu": "hidden: unset JAX_PLATFORMS", "gpu": missing_for_gpu()}
    missing["tpu"] = "a TPU virtual machine, and there: pip install 'jax[tpu]'"
    lines, here = [], present()
    for name, note in missing.items():
        if name not in here:
            lines.append(Backend(name, note=note))
            continue
        first, *others = device.devices(name)
        kind = device.describe(first).partition(": ")[2]
        forced = name == "cpu" and others
        note = "one processor, shown as several devices (XLA_FLAGS)" if forced else ""
        if name == "gpu":
            note = f"driver {driver() or 'unknown'}"
        lines.append(Backend(name, kind, 1 + len(others), _memory(first), note))
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
            "kinds": {name: device.describe(device.devices(name)[0]) for name in names},
        },
        "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        **content,
    }
