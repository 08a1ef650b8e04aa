import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8"
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see `zoo/__init__.py`

import collections
import contextlib
import hashlib
import importlib.metadata
import io
import itertools
import platform
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

from zoo.common import device

device.set_xla_flags()  # any test may call `jax.jit`


def compiled_programs():
    """The folder of compiled programs: compilation takes most of the tests' time.

    It lies outside of the project, for child processes and for the next clean clone. Programs
    depend on jaxlib and on what the processor can do.
    """
    cpuinfo = Path("/proc/cpuinfo")  # of Linux
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    abilities = next((line for line in lines if line.startswith("flags")), platform.processor())
    number = hashlib.sha256(abilities.encode()).hexdigest()[:8]
    name = f"jaxlib-{importlib.metadata.version('jaxlib')}-{platform.machine()}-{number}"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "zoo-tests" / name


os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled_programs()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update(
    "jax_persistent_cache_min_compile_time_secs",
    float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]),
)


LONGEST = (
    "test_environments.py",
    "test_runs.py",
    "ch09_pipeline/test_pipeline.py",
    "test_contract.py",
    "ch10_deploy/test_launch.py",
    "ch10_deploy/test_server.py",
    "common/test_ops.py",
    "common/test_fit.py",
    "ch10_deploy/test_commands.py",
    "common/test_checkpoint.py",
    "ch07_dqn/agent/test_train.py",
    "common/data/test_cifar10.py",
    "ch10_deploy/test_tasks.py",
    "ch03_mnist_ae_rbm/rbm/test_commands.py",
    "ch10_deploy/test_openapi.py",
)
"""What takes longest comes first, so that no worker waits for another at the end."""

SLOW = ("test_environments.py", "test_runs.py", "test_own_data.py", "test_commands.py")
SLOW += ("test_train.py", "test_training.py", "studies/")
"""Whole runs, which `make quick` leaves out by the mark `slow`; tests may have it themselves."""

PROCESSES = {"environment", "shell"}
"""Fixtures of tests that start other processes: all of these are slow."""


def pytest_collection_modifyitems(items):
    """Longest files first, and the mark `slow`."""

    names = {item: item.nodeid.partition("::")[0].removeprefix("tests/") for item in items}
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(names[item], len(LONGEST)))
    for item, name in names.items():
        if any(part in name for part in SLOW) or PROCESSES & {*item.fixturenames}:
            item.add_marker("slow")


def pytest_terminal_summary(terminalreporter):
    """The five files that took longest, of a run of many."""
    seconds = collections.Counter()
    for report in itertools.chain(*terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > 5:
        terminalreporter.section("slowest files")
        for name, total in seconds.most_common(5):
            terminalreporter.write_line(f"{total:8.1f} s  {name}")


@pytest.fixture
def getkey():
    """A function that gives a fresh key at each call; within the test no key may be used twice.

    For whole runs `test_runs.py` counts the keys: JAX's check makes each call many times slower.
    """
    numbers = itertools.count(2026)
    with jax.debug_key_reuse(True):
        yield lambda: jax.random.key(next(numbers))


@pytest.fixture(scope="module")  # two at a time are not possible in one process
def browser():
    """Chromium without a window."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the browser is driven by playwright"
    )
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=path, args=flags)
        yield made
        made.close()


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
            timeout=600,
        )

    return run


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def module():
    """Runs `python -m MODULE ARGUMENTS` within this process, which saves seconds a command."""

    def run(name, *arguments):
        device, cache = jax.config.jax_default_device, jax.config.jax_compilation_cache_dir
        out, err, status = io.StringIO(), io.StringIO(), 0
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr(sys, "argv", [name, *map(str, arguments)])
            try:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            except SystemExit as ended:
                status = ended.code or 0
                if isinstance(status, str):  # as Python ends with a message
                    print(status, file=err)
                    status = 1
            finally:
                jax.config.update("jax_default_device", device)
                jax.config.update("jax_compilation_cache_dir", cache)
        return Done(status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def command(module, place, monkeypatch):
    """Runs `python -m zoo.CHAPTER ARGUMENTS` in `place`, within this process."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return lambda chapter, *arguments, package="zoo": module(f"{package}.{chapter}", *arguments)
