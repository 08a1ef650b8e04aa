import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8"
)

import itertools

import jax
import pytest

jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def getkey():
    """A function that gives a fresh key at each call."""
    numbers = itertools.count(2026)
    return lambda: jax.random.key(next(numbers))
