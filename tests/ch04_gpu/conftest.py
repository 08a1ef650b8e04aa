import contextlib

import jax
import pytest

from zoo.ch04_gpu import commands, precision, roofline
from zoo.common import device


@pytest.fixture(autouse=True)
def default_device():
    """The commands choose a device for the process; the tests after them shall not notice."""
    before = jax.config.jax_default_device
    yield
    jax.config.update("jax_default_device", before)


@pytest.fixture(scope="module", autouse=True)
def begin():
    """How a measurement begins; after it, compiled programs are kept here as in other tests.

    Commands turn that off for their process, and would do so for all tests that come after them.
    """
    begin = commands.Where.begin

    def begin_and_keep(where):
        names = begin(where)
        jax.config.update("jax_enable_compilation_cache", True)
        return names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands.Where, "begin", begin_and_keep)
        yield begin


@pytest.fixture(scope="module")
def small_peaks():
    """Within it peaks come from few numbers: those that no cache holds take half a minute."""
    peaks = roofline.peaks

    @contextlib.contextmanager
    def within():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(roofline, "peaks", lambda size: peaks(64, 4096))
            yield

    return within


class Card:
    """A graphics card as JAX describes one; what it computes, a CPU device computes."""

    platform, device_kind, process_index = "gpu", "NVIDIA H100 80GB HBM3", 0

    def __init__(self, real):
        self.real, self.stats = real, {"bytes_limit": 6 * 2**30}

    def memory_stats(self):
        return self.stats


@pytest.fixture(scope="module")
def card():
    """Makes this process believe, for the module's tests, that one of its CPU devices is a card.

    Float32 products become tf32 there by name, and, as with CUDA's plugin, XLA counts nothing
    before it has compiled.
    """
    there = Card(jax.devices("cpu")[1])
    devices, use, current = jax.devices, device.use, device.current
    measured, counted = precision._measured, jax.stages.Lowered.cost_analysis

    def chosen():
        return jax.config.jax_default_device is there.real

    def use_either(name="auto"):
        if name != "gpu":
            return use(name)
        jax.config.update("jax_default_device", there.real)
        return there.real

    def measured_here(where, asked, override):
        if where is not there:
            return measured(where, asked, override)
        return "float32" if asked in ("float32", "highest") else "tf32"

    def current_device():
        return there if chosen() else current()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda n=None: [there] if n == "gpu" else devices(n))
        patch.setattr(device, "current", current_device)
        patch.setattr(commands, "current", current_device)
        patch.setattr(device, "use", use_either)
        patch.setattr(commands, "use", use_either)
        patch.setattr(precision, "_measured", measured_here)
        patch.setattr(
            jax.stages.Lowered,
            "cost_analysis",
            lambda self: None if chosen() else counted(self),
        )
        yield there
