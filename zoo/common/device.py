"""Which device computes: choosing a backend, placing arrays, a mesh over several devices.

Several processes, on one host or on many, that `jax.distributed` has brought together each run the
same program; `mesh` then spans them all.
"""

import contextlib
import functools
import math
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jaxlib
import numpy as np

from zoo.common.scope import within

Name = Literal["auto", "cpu", "gpu", "tpu"]

# XLA's CPU backend hands parts of a program to a library, YNNPACK. Under jaxlib 0.10.2 and newer
# the parts that it chooses by itself come out wrong, see `zoo/canaries.py`, and single convolutions
# are slower there than in XLA's own code: 3,200 images/s instead of 5,100 in inference with chapter
# 6's network on two cores. This keeps the library for matrix products alone.
_FUSION = "xla_cpu_experimental_ynn_fusion_type"
_CPU_OPTIONS = {_FUSION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
TESTED = ("0.10.1", "0.12.1")
"""The first version of jaxlib that zoo is tested with, and the first one that it is not."""

# What JAX raises where a backend can't be started, the second if JAX_PLATFORMS names CUDA alone.
_NOT_STARTED = (RuntimeError, AssertionError)
_NARROW = {"float64": "float32", "int64": "int32", "uint64": "uint32", "complex128": "complex64"}
_INSTALL = {
    "gpu": "pip install -e '.[cuda]' on a machine with an NVIDIA driver",
    "tpu": "pip install 'jax[tpu]' on a TPU virtual machine",
    "cpu": "unset JAX_PLATFORMS, or add cpu to it",
}


class DeviceError(ValueError):
    """There is no such device, or too little memory; the message says what there is."""


def devices(name: Name = "auto") -> list[jax.Device]:
    """All devices of one kind; `auto` is JAX's own choice (TPU or GPU before CPU), or the kind that
    `jax.default_device` or JAX_DEFAULT_DEVICE names.

    Raises:
      DeviceError: there is none; says which there are and how to install for the kind asked.
    """
    if name == "auto":
        return jax.devices(current().platform)
    try:
        return jax.devices(name)
    except _NOT_STARTED as error:
        raise _absent(name, "use --device auto") from error


def _absent(name: str, advice: str) -> DeviceError:
    try:
        present = ", ".join(sorted({f"{d.platform} ({d.device_kind})" for d in jax.devices()}))
    except _NOT_STARTED:
        named = os.environ.get("JAX_PLATFORMS", "")
        return DeviceError(
            f"no {name} here: JAX_PLATFORMS={named} has a backend that can't be started: unset it"
        )
    install = f", or install for {name}: {_INSTALL[name]}" if name in _INSTALL else ""
    return DeviceError(f"no {name} here: JAX {jax.__version__} sees {present}; {advice}{install}")


def use(name: Name = "auto") -> jax.Device:
    """Makes the first device of the kind the default of this process, and returns it.

    With `auto` a device that is the default already stays it.
    """
    if name == "auto":
        first = current()
    else:
        first = next(d for d in devices(name) if d.process_index == jax.process_index())
    jax.config.update("jax_default_device", first)
    return first


def show_cores(count: int) -> None:
    """Makes JAX see a CPU as at least `count` devices; without effect once JAX has computed.

    A program for one device still uses all cores.
    """
    forced = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not forced and count > max(1, jax.config.jax_num_cpu_devices):  # type: ignore[attr-defined]
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", count)


def mesh(count: int, name: Name = "auto") -> jax.sharding.Mesh:
    """A mesh of `count` devices along one axis, `data`: batches are split, parameters repeated.

    With several processes it has `count` devices of each. A CPU has one device a core, if
    `show_cores` is called before JAX computes for the first time.

    Raises:
      DeviceError: there are fewer devices than that.
    """
    of_process: dict[int, list[jax.Device]] = {}
    for one in devices(name):
        of_process.setdefault(one.process_index, []).append(one)
    fewest = min(of_process.values(), key=len)
    if not 1 <= count <= len(fewest):
        raise DeviceError(
            f"got {count} devices, expected at most {len(fewest)}, which is how many "
            f"{fewest[0].platform} devices there are; JAX_NUM_CPU_DEVICES={max(count, 2)} makes as "
            "many of one CPU"
        )
    chosen = [one for process in sorted(of_process) for one in of_process[process][:count]]
    return jax.sharding.Mesh(np.array(chosen), ("data",))


def place(tree: Any, sharding: jax.sharding.Sharding | None) -> Any:
    """The arrays laid out by `sharding`; None is the default device.

    With several processes each of them gives the whole arrays, equal everywhere: that they are
    equal is not checked, since `jax.device_put`, which checks, takes seconds for a data set.
    """
    if jax.process_count() == 1 or sharding is None:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> jax.Array:
        if jax.dtypes.issubdtype(jax.numpy.result_type(leaf), jax.dtypes.prng_key):
            words = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        leaf = np.asarray(leaf)
        return jax.make_array_from_process_local_data(sharding, leaf, leaf.shape)

    return jax.tree.map(put, tree)


def own(tree: Any) -> Any:
    """Arrays that every device has the whole of, as arrays of this process's first one alone."""

    def one(leaf: Any) -> Any:
        alone = not isinstance(leaf, jax.Array) or len(leaf.sharding.device_set) == 1
        return leaf if alone else leaf.addressable_data(0)

    return jax.tree.map(one, tree)


def everyone(value: Any) -> np.ndarray:
    """What each process has for `value`, [processes, ...]; every process has to call it."""
    if jax.process_count() == 1:
        return np.asarray(value)[None]
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(value)))


@functools.cache
def compiler_options(platform: str) -> dict[str, str]:
    """Options for `jax.jit` that make this zoo's operations right and fast on `platform`.

    Empty where XLA_FLAGS has another value of them, or this version of XLA does not know them: they
    are tried on a trivial function once.
    """
    if platform != "cpu" or _fusion() not in (None, *_CPU_OPTIONS.values()):
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_CPU_OPTIONS).lower().compile()
    except Exception:  # jaxlib's error type is not public
        return {}
    return _CPU_OPTIONS


def _fusion() -> str | None:
    """What XLA_FLAGS says that YNNPACK computes."""
    found = re.findall(rf"--{_FUSION}=(\S*)", os.environ.get("XLA_FLAGS", ""))
    return found[-1] if found else None


def set_xla_flags() -> None:
    """Gives every `jax.jit` of this process, on a CPU, the compiler options of `jit`.

    XLA reads the environment variable XLA_FLAGS when JAX computes for the first time: later it is
    too late. What is set there already stays. XLA ends a process over a flag that it does not
    know, so nothing is set for a jaxlib that zoo is not tested with.
    """
    first, end = (tuple(map(int, version.split("."))) for version in TESTED)
    flags = os.environ.get("XLA_FLAGS", "").strip()
    of_a_file = flags and not flags.startswith("-")  # then it is the name of a file with flags
    if _fusion() is None and not of_a_file and first <= jaxlib.version.__version_info__ < end:
        added = " ".join(f"--{name}={value}" for name, value in _CPU_OPTIONS.items())
        os.environ["XLA_FLAGS"] = f"{flags} {added}".strip()


def jit(function: Callable[..., Any], **options: Any) -> jax.stages.Wrapped:
    """`jax.jit` with the compiler options for the default device; `options` go to `jax.jit`."""
    return jax.jit(function, compiler_options=compiler_options(current().platform), **options)


def compile(function: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., Any]:
    """`jit(function, **options)`, compiled for arguments of these shapes.

    Where `jax.disable_jit` is in force it is the function itself, one operation at a time.
    """
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]  # made at run time
        return function
    return jit(function, **options).lower(*args).compile()


in_float32 = within(functools.partial(jax.enable_x64, False))
"""A decorator: the function computes as if JAX_ENABLE_X64 were not set.

So models, their states on disk and their results are the same whatever a notebook has chosen.
"""


def narrow(tree: Any) -> Any:
    """The arrays with numbers of 64 bits, as JAX_ENABLE_X64 makes them, as numbers of 32."""

    def one(leaf: Any) -> Any:
        kind = _NARROW.get(str(leaf.dtype))
        return leaf if kind is None else leaf.astype(kind)

    return jax.tree.map(one, tree)


def check_memory(shapes: Any) -> None:
    """Refuses a training state, as arrays or their shapes, that this machine can't hold.

    Linux ends a process that takes too much without a word. On a GPU JAX raises by itself.

    Raises:
      DeviceError: two copies, as there are in a step, are larger than the memory.
    """
    leaves = [leaf for leaf in jax.tree.leaves(shapes) if hasattr(leaf.dtype, "itemsize")]
    size = 2 * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    if current().platform == "cpu" and size > (there := memory()):
        raise DeviceError(
            f"training takes at least {size / 1e9:,.1f} GB, this machine has "
            f"{there / 1e9:,.1f} GB: choose a smaller model"
        )


def memory() -> float:
    """The memory of this machine or container in bytes; infinite where nothing tells it."""
    try:
        whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        return math.inf
    try:
        return min(whole, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return whole


def describe(device: jax.Device) -> str:
    """One line for logs and figures, like `gpu: NVIDIA H200` or `cpu: AMD EPYC, 2 threads`."""
    if device.platform != "cpu":
        return f"{device.platform}: {device.device_kind}"
    return f"cpu: {processor()}, {threads()} threads"


def processor() -> str:
    """The name of this machine's processor."""
    cpuinfo = Path("/proc/cpuinfo")  # of Linux
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def threads() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def current() -> jax.Device:
    """The device that computes when nothing else is said."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]  # made at run time
    named = isinstance(chosen, str)  # as `jax.default_device("cpu")` and JAX_DEFAULT_DEVICE have it
    if chosen and not named:
        return chosen
    try:
        return jax.local_devices(backend=chosen if named else None)[0]
    except _NOT_STARTED as error:
        raise _absent(chosen or "device", "unset JAX_DEFAULT_DEVICE") from error
