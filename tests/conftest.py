import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8"
)

import itertools
import subprocess
import sys

import jax
import pytest

jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture
def getkey():
    """A function that gives a fresh key at each call."""
    numbers = itertools.count(2026)
    return lambda: jax.random.key(next(numbers))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a cache of its own."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def environment(place):
    """What a process of `zoo` finds in its environment: no data sets, one device."""
    kept = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "ZOO_DATA_DIR")}
    return {**kept, "ZOO_CACHE": str(place / "cache"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def zoo(place, environment):
    """Runs `python -m zoo.CHAPTER ARGUMENTS` in `place`."""

    def run(chapter, *arguments):
        return subprocess.run(
            [sys.executable, "-m", f"zoo.{chapter}", *map(str, arguments)],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    return run
