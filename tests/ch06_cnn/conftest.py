import contextlib
import io
import runpy
import sys
from typing import NamedTuple

import numpy as np
import pytest

SMALL = ["--data", "sample", "--filters", "4", "4", "4", "--hidden", "8", "--device", "cpu"]
FAST = [
    *("--recipe", "speedrun-cpu", "--data", "sample", "--device", "cpu", "--width", "2"),
    *("--epochs", "2", "--batch-size", "100", "--views", "flips"),
]


MEAN, DEVIATION = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]  # of the scaled colours


@pytest.fixture(scope="session")
def coordinates():
    """2,000 equal images whose pixels tell their row and column, with labels."""
    row, column = np.mgrid[:32, :32]
    one = np.stack([7 * row, 7 * column, 3 * row + 4 * column], axis=-1).astype(np.uint8)
    images = np.ascontiguousarray(np.broadcast_to(one, (2_000, 32, 32, 3)))
    return {"image": images, "label": np.zeros(2_000, np.uint8)}


@pytest.fixture(scope="session")
def places(coordinates):
    """How `coordinates`, augmented and scaled, were moved and mirrored: [N, 3] down, right, turned.

    All pixels are compared with those of NumPy's mirrored edges.
    """
    one = coordinates["image"][0]

    def find(scaled, shift):
        shown = np.asarray(scaled, np.float64) * DEVIATION + MEAN
        shown = (255 * shown).round().astype(np.uint8)
        left, right = shown[:, 15, 15, 1].astype(int), shown[:, 15, 16, 1].astype(int)
        turned = (right < left).astype(int)
        down, across = shown[:, 15, 15, 0].astype(int) // 7 - 15, left // 7 - 15 - turned
        padded = np.pad(one, ((shift, shift), (shift, shift), (0, 0)), mode="reflect")
        steps = range(2 * shift + 1)
        patches = np.array([[padded[i : i + 32, j : j + 32] for j in steps] for i in steps])
        both = np.stack([patches, patches[..., ::-1, :]], axis=2)
        np.testing.assert_array_equal(shown, both[down + shift, across + shift, turned])
        return np.stack([down, across, turned], axis=1)

    return find


@pytest.fixture(scope="session")
def assert_even():
    """Checks that places [N, 3] are uniform in all shifts, each on its own; half turned or not."""

    def check(found, shift, turned):
        count, values = len(found), 2 * shift + 1
        for column in found[:, :2].T:
            times = np.bincount(column + shift, minlength=values)
            assert len(times) == values
            assert np.abs(times - count / values).max() < 5 * np.sqrt(count / values)
        pairs = set(map(tuple, found[:, :2].tolist()))
        assert len(pairs) == values**2
        varied = found if turned else found[:, :2]
        if turned:
            assert abs(found[:, 2].sum() - count / 2) < 2.5 * np.sqrt(count)
        related = np.corrcoef(varied.T) - np.eye(varied.shape[1])
        assert np.abs(related).max() < 5 / np.sqrt(count)

    return check


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
