import jax
import pytest


@pytest.fixture(autouse=True)
def default_device():
    """The commands choose a device for the process; the tests after them shall not notice."""
    before = jax.config.jax_default_device
    yield
    jax.config.update("jax_default_device", before)
