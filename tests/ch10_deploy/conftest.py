"""A small model, exported once, and a real server of it in a process of its own."""

import dataclasses
import os
import runpy
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import httpx
import numpy as np
import pytest

from zoo import ch06_cnn
from zoo.ch10_deploy import export, store
from zoo.common.trained import Trained

BAD = types.SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("bad.py"))))
TASK = ch06_cnn.TASKS[0]
CONFIG = dataclasses.replace(TASK.recipes["modern"], filters=(4, 4, 4), hidden=8)
CLASSES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
DATA = {"name": "CIFAR-10", "source": "sample", "split": "sample", "sha256": "0" * 64}


@pytest.fixture(scope="session")
def data():
    """What a run's config.json says of its data set."""
    return {**DATA, "classes": CLASSES, "description": "drawn"}


@pytest.fixture(scope="session")
def model(data, tmp_path_factory):
    """A small model of chapter 6; not trained."""
    state = TASK.start(CONFIG, TASK.random(CONFIG, CONFIG.batch_size))
    folder = tmp_path_factory.mktemp("run")
    return Trained(TASK, CONFIG, TASK.weights(state), {"data": data}, folder, state)


@pytest.fixture(scope="session")
def main():
    """The name of its main prediction."""
    return next(iter(TASK.predictions(CONFIG)))


@pytest.fixture(scope="session")
def contents(model, data):
    """Its files when it is exported, by name."""
    return export.build(TASK, CONFIG, model.weights, data)


@pytest.fixture(scope="session")
def exported(contents, tmp_path_factory):
    """A folder with them."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    store.write_folder(folder, contents)
    return folder


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    """The environment of a process: one device, no data, a cache of its own."""
    kept = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "ZOO_DATA_DIR")}
    cache = str(tmp_path_factory.mktemp("cache"))
    return {**kept, "ZOO_CACHE": cache, "PYTHONUNBUFFERED": "1"}


class Running:
    """A server's process."""

    def __init__(self, environment, *arguments):
        command = [sys.executable, "-m", "zoo.ch10_deploy", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(
            [*command, "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        self._said = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self._find("serving ").rsplit(" ", 1)[1].strip()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self._said.set()
        self._said.set()

    def _find(self, start):
        while True:
            self._said.wait(60)
            self._said.clear()
            for line in list(self.lines):
                if line.startswith(start):
                    return line
            if self.process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"the server ended: {''.join(self.lines)}")

    def wait_ready(self):
        self._find("ready after")
        return self

    def end(self, number=signal.SIGTERM):
        """The exit status and everything that was printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(30)
        self._reader.join(10)
        return status, "".join(self.lines)


@pytest.fixture(scope="session")
def running_type():
    """The class of a server's process."""
    return Running


@pytest.fixture
def start(shell):
    """Starts another server with some arguments; it is ended when the test is over."""
    made = []

    def begin(*arguments):
        made.append(Running(shell, *arguments))
        return made[-1]

    yield begin
    for running in made:
        running.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def keyfile(tmp_path_factory):
    """A file of keys, a key without a limit and one of two requests a second."""
    from zoo.ch10_deploy import keys

    path = tmp_path_factory.mktemp("keys") / "keys.json"
    return path, keys.add(path, "tests", 0), keys.add(path, "slow", 2)


@pytest.fixture(scope="session")
def server(exported, shell, keyfile):
    """A server with keys, and batches of up to eight."""
    arguments = ("--keys", keyfile[0], "--max-batch", 8, "--max-bytes", 200_000)
    running = Running(shell, exported, *arguments, "--max-pixels", 1_000_000, "--timeout", 3)
    yield running.wait_ready()
    status, out = running.end()
    assert status == 0, out


@pytest.fixture(scope="session")
def client(server, keyfile):
    """A client of it, with a key."""
    headers = {"Authorization": f"Bearer {keyfile[1]}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=10, trust_env=False) as made:
        yield made


@pytest.fixture(scope="session")
def bad():
    """The module of bad requests."""
    return BAD


@pytest.fixture
def pictures():
    """Eight images as a model takes them."""
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
