"""Which device computes: choosing a backend, placing arrays, a mesh over several devices."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

Name = Literal["auto", "cpu", "gpu", "tpu"]

# XLA's CPU backend hands single convolutions to a library that is slower than its own code; this
# keeps the library for matrix products alone. Chapter 6's network on two cores under JAX 0.10.2:
# 5,100 images/s in inference with it and 3,200 without.
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}

_INSTALL = {
    "gpu": "pip install -e '.[cuda]' on a machine with an NVIDIA driver",
    "tpu": "pip install 'jax[tpu]' on a TPU virtual machine",
    "cpu": "unset JAX_PLATFORMS, or add cpu to it",
}


class DeviceError(ValueError):
    """The device that was asked for is not there; the message lists what is."""


def devices(name: Name = "auto") -> list[jax.Device]:
    """All devices of one kind; `auto` is JAX's own choice (TPU or GPU before CPU).

    Raises:
      DeviceError: there is none; says which there are and how to install for the kind asked.
    """
    if name == "auto":
        return jax.devices()
    try:
        return jax.devices(name)
    except RuntimeError as error:
        present = ", ".join(sorted({f"{d.platform} ({d.device_kind})" for d in jax.devices()}))
        raise DeviceError(
            f"no {name} here: JAX {jax.__version__} sees {present}. "
            f"Use --device auto, or install for {name}: {_INSTALL[name]}"
        ) from error


def use(name: Name = "auto") -> jax.Device:
    """Makes the first device of the kind the default of this process, and returns it."""
    first = devices(name)[0]
    jax.config.update("jax_default_device", first)
    return first


def mesh(count: int, name: Name = "auto") -> jax.sharding.Mesh:
    """A mesh of `count` devices along one axis, `data`: batches are split, parameters repeated.

    Raises:
      DeviceError: there are fewer devices than that.
    """
    there = devices(name)
    if not 1 <= count <= len(there):
        raise DeviceError(
            f"a mesh of {count} devices was asked for, {len(there)} {there[0].platform} are there; "
            "to try several on one CPU: XLA_FLAGS=--xla_force_host_platform_device_count=8"
        )
    return jax.sharding.Mesh(np.array(there[:count]), ("data",))


@functools.cache
def compiler_options(platform: str) -> dict[str, str]:
    """Options for `jax.jit` that make this zoo's operations fast on `platform`; may be empty.

    Another version of XLA may not know them, so they are tried on a trivial function once.
    """
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_CPU_OPTIONS).lower().compile()
    except Exception:  # jaxlib's error type is not public
        return {}
    return _CPU_OPTIONS


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` with the compiler options for the default device; `options` go to `jax.jit`."""
    return jax.jit(function, compiler_options=compiler_options(current().platform), **options)


def describe(device: jax.Device) -> str:
    """One line for logs and figures, like `gpu: NVIDIA H200` or `cpu: AMD EPYC, 2 threads`."""
    if device.platform != "cpu":
        return f"{device.platform}: {device.device_kind}"
    from zoo.common import bench

    system = bench.system()
    return f"cpu: {system['processor']}, {system['threads']} threads"


def current() -> jax.Device:
    """The device that computes when nothing else is said."""
    return jax.config.jax_default_device or jax.devices()[0]
