"""The command line: names, paths and errors."""

import dataclasses
import sys
from pathlib import Path

import jax
import pytest

from zoo.common import cli
from zoo.common.data import DataError
from zoo.common.run import RunError


def run(monkeypatch, command, *arguments):
    """The exit status of a program that has this one command, or a mapping of them."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    try:
        cli.main("A program.", command)
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "error: Out of memory: choose smaller sizes\n"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: 9\n TB"),
            "error: RESOURCE_EXHAUSTED: 9 TB: choose smal",
        ),
        (
            RuntimeError("INTERNAL: Out of memory allocating"),
            "error: INTERNAL: Out of memory alloc",
        ),
        (
            RuntimeError("Unknown backend: 'gpu'"),
            "error: Unknown backend: 'gpu': unset JAX_DEFAULT",
        ),
        (RuntimeError("Unable to initialize backend 'tpu'"), "error: Unable to initialize backend"),
        (
            FileNotFoundError(2, "No such file or directory", "a.png"),
            "error: a.png: No such file or",
        ),
        (DataError("no data"), "error: no data\n"),
    ],
)
def test_what_a_user_can_mend_is_one_line(monkeypatch, capsys, error, message):
    def fail():
        raise error

    assert run(monkeypatch, fail) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert (shown.err.count("\n"), shown.out) == (1, "")


def test_other_errors_are_not_hidden(monkeypatch):
    def fail():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(monkeypatch, fail)


def test_commands_have_32_bits_whatever_is_set(monkeypatch):
    seen = []
    with jax.enable_x64(True):
        assert run(monkeypatch, lambda: seen.append(jax.config.jax_enable_x64)) == 0
    assert seen == [False]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            ["trian"],
            "program has no command 'trian', expected one of train, data. Did you mean `pro",
        ),
        (
            ["data", "lst"],
            "program data has no command 'lst', expected one of list. Did you mean `pr",
        ),
        (
            ["list"],
            "program has no command 'list', expected one of train, data. Did you mean `program d",
        ),
        (["xyz"], "program has no command 'xyz', expected one of train, data\n"),
    ],
)
def test_a_mistyped_command_is_named_with_the_nearest(monkeypatch, capsys, typed, message):
    commands = {"train": lambda: None, "data": {"list": lambda: None}}
    monkeypatch.setattr(cli, "_program", lambda: cli._Program("program"))
    assert run(monkeypatch, commands, *typed) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_hints_at_flags_name_the_whole_program(monkeypatch, capsys):
    def train(epochs: int = 3) -> None:
        """Trains."""

    monkeypatch.setattr(cli, "_program", lambda: cli._Program("python -m zoo.ch06_cnn"))
    assert run(monkeypatch, {"train": train, "other": train}, "train", "--epcohs", "3") == 2
    assert "in python -m zoo.ch06_cnn train --help" in capsys.readouterr().err


@dataclasses.dataclass(frozen=True)
class Options:
    out: Path | None = None
    folders: tuple[Path, ...] = ()


def test_the_home_folder_is_expanded_in_all_paths(monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    given = Options(Path("~/x"), (Path("~/y"), Path("a~/z")))
    expected = Options(Path("/somebody/x"), (Path("/somebody/y"), Path("a~/z")))
    assert cli._local(given) == expected
    assert cli._local("~/text") == "~/text"
    with pytest.raises(DataError, match="no_such_user_here"):
        cli._local(Path("~no_such_user_here/x"))


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://b", "https://example.com/cat.png"])
def test_an_address_is_no_folder(address):
    with pytest.raises(RunError, match=f"got {address}, expected a path of this machine"):
        cli._local(Path(address))
    assert cli._local(Path("C:/x")) == Path("C:/x")
