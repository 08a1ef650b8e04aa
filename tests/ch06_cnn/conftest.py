import contextlib
import io
import runpy
import sys
from typing import NamedTuple

import pytest

SMALL = ["--data", "sample", "--filters", "4", "4", "4", "--hidden", "8", "--device", "cpu"]
FAST = [
    *("--recipe", "speedrun-cpu", "--data", "sample", "--device", "cpu", "--width", "2"),
    *("--epochs", "2", "--batch-size", "100", "--views", "flips"),
]


class Done(NamedTuple):
    """What a command gave back."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """The folder that commands run in."""
    return tmp_path_factory.mktemp("room")


@pytest.fixture(scope="session")
def command(room):
    """Runs `python -m zoo.ch06_cnn ARGUMENTS` within this process, without any real data."""

    def run(*arguments):
        out, err, status = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(room)
            patch.delenv("ZOO_DATA_DIR", raising=False)
            patch.setenv("ZOO_CACHE", str(room / "cache"))
            patch.setattr(sys, "argv", ["zoo.ch06_cnn", *map(str, arguments)])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    runpy.run_module("zoo.ch06_cnn", run_name="__main__", alter_sys=True)
                except SystemExit as exit:
                    if isinstance(exit.code, str):
                        print(exit.code, file=sys.stderr)
                    status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        return Done(status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def trained(command, room):
    """A finished run of the modern recipe on the sample, and what it printed."""
    done = command("train", *SMALL, "--epochs", 2, "--out", room / "trained")
    assert done.returncode == 0, done.stderr
    return room / "trained", done.stdout


@pytest.fixture(scope="session")
def fast(command, room):
    """A finished speed run on the sample, and what it printed."""
    done = command("speedrun", "train", *FAST, "--target", "0.01", "--out", room / "fast")
    assert done.returncode == 0, done.stderr
    return room / "fast", done.stdout
