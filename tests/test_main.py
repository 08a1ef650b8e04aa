"""`python -m zoo`, as a user has it."""

import subprocess
import sys

import pytest

from zoo import __version__ as version


@pytest.fixture
def zoo(command, monkeypatch):
    monkeypatch.delitem(sys.modules, "zoo.__main__", raising=False)  # which would be warned of
    return lambda *arguments: command("__main__", *arguments)


def test_chapters_lists_what_is_there():
    arguments = [sys.executable, "-m", "zoo", "chapters"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "python -m zoo.ch06_cnn --help" in done.stdout


def test_alone_it_lists_the_chapters_and_the_commands(zoo):
    done = zoo()
    assert done.status == 0
    for words in ("python -m zoo.ch06_cnn", "data fetch", "data verify", "publish", "visit"):
        assert words in done.out
    assert "Download data sets" in done.out
    assert "--help" in done.out


def test_version_is_that_of_the_package(zoo):
    done = zoo("--version")
    assert (done.status, done.out) == (0, f"zoo {version}\n")


def test_data_list_names_every_set(zoo):
    done = zoo("data", "list")
    assert done.status == 0
    for name in ("mnist", "cifar10", "ml-100k"):
        assert name in done.out


def test_data_verify_finds_a_file_that_differs(zoo, tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1" + bytes(10_004))
    done = zoo("data", "verify", "mnist", "--data-dir", str(tmp_path))
    assert done.status == 1
    assert "t10k-labels-idx1-ubyte" in done.out
    assert "differ" in done.out


@pytest.mark.parametrize("arguments", [["nope"], ["data", "fetch", "nope"]])
def test_an_unknown_name_is_refused_with_the_known_ones(arguments, zoo):
    done = zoo(*arguments)
    assert done.status != 0
    assert "Traceback" not in done.err
    assert "mnist" in done.err or "chapters" in done.err + done.out
