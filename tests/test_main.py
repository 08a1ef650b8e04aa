"""`python -m zoo`, as a user has it."""

import subprocess
import sys

import pytest

from zoo import __version__ as version


def zoo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "zoo", *arguments], capture_output=True, text=True, check=False
    )


def test_chapters_lists_what_is_there():
    done = zoo("chapters")
    assert done.returncode == 0
    assert "python -m zoo.ch06_cnn --help" in done.stdout


def test_alone_it_lists_the_chapters_and_the_commands():
    done = zoo()
    assert done.returncode == 0
    for words in (
        "python -m zoo.ch06_cnn",
        "data fetch",
        "data verify",
        "publish",
        "visit",
        "--help",
    ):
        assert words in done.stdout
    assert "Download data sets" in done.stdout


def test_version_is_that_of_the_package():
    done = zoo("--version")
    assert (done.returncode, done.stdout) == (0, f"zoo {version}\n")


def test_data_list_names_every_set():
    done = zoo("data", "list")
    assert done.returncode == 0
    for name in ("mnist", "cifar10", "ml-100k"):
        assert name in done.stdout


def test_data_verify_finds_a_file_that_differs(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1" + bytes(10_004))
    done = zoo("data", "verify", "mnist", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "t10k-labels-idx1-ubyte" in done.stdout
    assert "differ" in done.stdout


@pytest.mark.parametrize("arguments", [["nope"], ["data", "fetch", "nope"]])
def test_an_unknown_name_is_refused_with_the_known_ones(arguments):
    done = zoo(*arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "mnist" in done.stderr or "chapters" in done.stderr + done.stdout
