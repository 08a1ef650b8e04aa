"""The command line: sub-commands from functions, flags from their dataclasses, errors in a line."""

import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from zoo.common.data import DataError
from zoo.common.device import DeviceError
from zoo.common.device import Name as DeviceName

Command = Callable[..., None]
Commands = Mapping[str, "Command | Commands"]
Bases = dict[type, Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """What every command that trains takes beside the model's own configuration."""

    data: Literal["auto", "real", "sample"] = "auto"
    """auto: the real data set, else the built-in sample; real: fail instead; sample: no network"""
    data_dir: Path | None = None
    """folder to look in before $ZOO_DATA_DIR and the cache"""
    device: DeviceName = "auto"
    """what computes"""
    devices: int = 1
    """split each batch over so many devices of that kind"""
    out: Path | None = None
    """folder for the run; runs/CHAPTER/TIME if not given"""
    resume: Path | None = None
    """folder of a run to go on with, under the configuration that it began with"""


@dataclasses.dataclass(frozen=True)
class Trained:
    """Which trained model, and where its data set is."""

    run: Path | None = None
    """folder of the run; the newest one of this model under runs/ if not given"""
    data_dir: Path | None = None
    """folder to look in before $ZOO_DATA_DIR and the cache"""
    device: DeviceName = "auto"
    """what computes"""


def main(
    doc: str | None,
    commands: Commands,
    recipes: Sequence[Mapping[str, Any]] = (),
    resumed: Callable[[Path], Any] | None = None,
) -> None:
    """Runs the sub-command that the command line names.

    A parameter `config` of a command begins as the recipe that `--recipe` names (the first one if
    it names none), or with `--resume DIR` as `resumed(DIR)`; the other flags change it. Errors that
    a user can mend are printed in one line (ZOO_DEBUG=1 adds the traceback); the status is then 1,
    or 130 for a run that was stopped and saved.

    Args:
      doc: the chapter's module docstring, shown by --help.
      commands: functions by name; their parameters become flags. A mapping is a group of commands.
      recipes: for each model, its whole configurations by name, the default first; a command takes
        those of the class that its parameter `config` is annotated with.
      resumed: reads the configuration of a run folder.
    """
    from zoo.common import run

    arguments = sys.argv[1:]
    try:
        _cache_compilation()
        bases = _base_configs(arguments, recipes, resumed)
        _dispatch(doc, commands, bases, arguments)
    except run.Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except _expected_errors() as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _expected_errors() -> tuple[type[Exception], ...]:
    from zoo.common import checkpoint, fit, run

    return (
        DataError,
        OSError,
        DeviceError,
        checkpoint.CheckpointError,
        run.RunError,
        fit.BatchError,
        fit.FinishedError,
        fit.NonFiniteError,
    )


def _dispatch(doc: str | None, commands: Commands, bases: Bases, arguments: list[str]) -> None:
    import tyro

    def app(commands: Commands) -> tyro.extras.SubcommandApp:
        made = tyro.extras.SubcommandApp()
        for name, command in commands.items():
            inner = _with_config(command, bases) if callable(command) else app(command)
            made.command(inner, name=name)
        return made

    app(commands).cli(
        prog=_program(),
        description=doc,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )


def _program() -> str:
    module = sys.modules["__main__"].__spec__
    return f"python -m {module.name.removesuffix('.__main__')}" if module else sys.argv[0]


def _flag(arguments: list[str], name: str) -> str | None:
    for n, argument in enumerate(arguments):
        if argument == name and n + 1 < len(arguments):
            return arguments[n + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def _base_configs(arguments, recipes, resumed) -> Bases:
    """The default configuration of each class."""
    folder, recipe = _flag(arguments, "--resume"), _flag(arguments, "--recipe")
    if folder is not None and resumed is not None:
        config = resumed(Path(folder))
        return {type(config): config}
    firsts = [next(iter(named.values())) for named in recipes]
    # Where there is no such recipe, tyro says so.
    return {
        type(first): named.get(recipe, first) for named, first in zip(recipes, firsts, strict=True)
    }


def _with_config(command: Command, bases: Bases) -> Command:
    """The command with the configuration of its class as the default of its parameter `config`."""
    signature = inspect.signature(command)
    parameter = signature.parameters.get("config")
    if parameter is None or parameter.annotation not in bases:
        return command
    default = bases[parameter.annotation]
    new = [
        p.replace(kind=p.KEYWORD_ONLY, default=default if p is parameter else p.default)
        for p in signature.parameters.values()
    ]

    @functools.wraps(command)
    def with_default(*args: Any, **keywords: Any) -> None:
        command(*args, **keywords)

    with_default.__signature__ = signature.replace(parameters=new)
    return with_default


def _cache_compilation() -> None:
    """Keeps compiled programs from run to run, in the user's cache folder."""
    import jax

    from zoo.common.data import fetch

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(Path(fetch.cache()) / "xla"))
