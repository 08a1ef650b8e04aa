"""Graphics cards to compile for on a machine that has none, and the compiler for them.

A target is a file: what XLA has to know of a card, as the text of its `GpuTargetConfigProto`. Those
in `targets/` go by name, others by their path. The compiler is JAX's plugin for CUDA. Where it is
installed but no driver, JAX prints an error whenever it starts, unless JAX_PLATFORMS is cpu: so the
plugin may lie in a folder of its own, and `environment` is for a process that compiles.
"""

import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib

from zoo.common.device import DeviceError

FOLDER = Path(__file__).parent / "targets"
PLUGIN = "jax-cuda12-plugin"
VARIABLE = "ZOO_CUDA_WHEELS"
"""The environment variable that names the plugin's folder."""


class Target(NamedTuple):
    """A card to compile for."""

    name: str
    path: Path
    text: str

    @property
    def card(self) -> str:
        """What the card calls itself."""
        found = re.search(r'device_description_str: *"([^"]*)"', self.text)
        return found[1] if found else self.name


def names() -> list[str]:
    """Of the targets that are here."""
    return sorted(path.stem for path in FOLDER.glob("*.txtpb"))


def read(name: str) -> Target:
    """The target of this name, or that of a file.

    Raises:
      DeviceError: there is no such target, or the file describes no card.
    """
    path = FOLDER / f"{name}.txtpb" if name in names() else Path(name)
    expected = f"expected {', '.join(names())}, or a file like {FOLDER / 'h100.txtpb'}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DeviceError(f"got the target {name!r}, {expected}: {error}") from error
    if "cuda_compute_capability" not in text:  # without one XLA divides by 0, and its process ends
        raise DeviceError(f"{path} has no cuda_compute_capability, {expected}")
    return Target(path.stem, path, text)


def environment(wheels: Path | None = None) -> dict[str, str]:
    """The environment of a process that compiles for a card.

    `wheels` is the folder that JAX's plugin for CUDA lies in; by default that of ZOO_CUDA_WHEELS,
    else the plugin is where JAX is.

    Raises:
      DeviceError: it does not exist, or does not belong to this version of JAX.
    """
    named = wheels or os.environ.get(VARIABLE)
    path = sys.path if named is None else [str(named)]
    found = {d.version for d in importlib.metadata.distributions(name=PLUGIN, path=path)}
    if jaxlib.__version__ not in found:
        what = f"{PLUGIN} {found.pop()} is not for" if found else f"there is no {PLUGIN} for"
        raise DeviceError(
            f"{what} jaxlib {jaxlib.__version__}{f' in {named}' if named else ''}: pip install "
            f"--upgrade --target {named or 'cuda-wheels'} {PLUGIN}=={jaxlib.__version__}"
            + ("" if named else ", then add --wheels cuda-wheels")
        )
    kept = {
        k: v for k, v in os.environ.items() if k not in ("JAX_DEFAULT_DEVICE", "JAX_DISABLE_JIT")
    }
    places = [str(named)] * bool(named) + [kept[k] for k in ("PYTHONPATH",) if kept.get(k)]
    return kept | {
        "PYTHONPATH": os.pathsep.join(places),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "0",
        "JAX_TRACEBACK_FILTERING": "off",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def devices(target: Target, count: int) -> list[jax.Device]:
    """So many cards of this kind on one host, in an `environment`: they hold and run nothing.

    Raises:
      jax.errors.JaxRuntimeError: XLA can't read the target.
      NotImplementedError: JAX has not found its plugin.
    """
    from jax.experimental import topologies

    options: dict[str, Any] = {"target_config": target.text, "topology": f"1x1x{count}"}
    return topologies.get_topology_desc(platform="cuda", **options).devices
