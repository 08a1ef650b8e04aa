"""The command line: sub-commands from functions, flags from their dataclasses, errors in a line."""

import ast
import dataclasses
import functools
import inspect
import itertools
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import jax

from zoo.common import run
from zoo.common.checkpoint import CheckpointError
from zoo.common.data import DataError, fetch
from zoo.common.device import DeviceError
from zoo.common.device import Name as DeviceName
from zoo.common.fit import BatchError, FinishedError, NonFiniteError
from zoo.common.settings import SettingError
from zoo.common.task import Task

Command = Callable[..., None]
Commands = Mapping[str, "Command | Commands"]
_TRAINING = (BatchError, FinishedError, NonFiniteError)
_ASKED = (SettingError, run.RunError, DeviceError)
EXPECTED = (DataError, OSError, CheckpointError, *_ASKED, *_TRAINING)
"""What a user can mend."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The device and the folder."""

    device: DeviceName = "auto"
    """where to compute"""
    out: Path | None = None
    """folder for the run; runs/CHAPTER/TIME if not given"""
    resume: Path | None = None
    """folder of a run to go on with, under the configuration that it began with"""


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """The data set, the device and the folder."""

    data: Literal["auto", "real", "sample"] = "auto"
    """auto: the real data set, else the built-in sample; real: fail instead; sample: no network"""
    data_dir: Path | None = None
    """folder to look in before $ZOO_DATA_DIR and the cache"""
    devices: int = 1
    """split each batch over so many devices of that kind"""


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Which trained model."""

    run: Path | None = None
    """folder of the run, or "published"; if not given the newest run of this model under runs/,
    and without any run the published model"""
    device: DeviceName = "auto"
    """where to compute"""


@dataclasses.dataclass(frozen=True)
class Trained(TrainedModel):
    """Which trained model, and its data set."""

    data_dir: Path | None = None
    """folder to look in before $ZOO_DATA_DIR and the cache"""


def main(doc: str | None, commands: Commands | Command, tasks: Sequence[Task] = ()) -> None:
    """Runs the sub-command that the command line names.

    A parameter `config` of a command, annotated with the `Config` of one of the `tasks`, becomes
    the flag `--recipe` and a flag for each field: the recipe gives what no flag says, or the run
    that `--resume` names does. Errors that a user can mend are printed in one line (ZOO_DEBUG=1
    adds the traceback); the status is then 1, or 130 for a run that was stopped and saved.

    Args:
      doc: the chapter's module docstring, shown by --help.
      commands: functions by name; their parameters become flags. A mapping is a group of commands.
        A function alone is the whole program.
      tasks: the chapter's models.
    """
    try:
        # Compiled programs stay from run to run.
        if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
            jax.config.update("jax_compilation_cache_dir", str(Path(fetch.cache()) / "xla"))
        _dispatch(doc, commands, {task.config_type: task for task in tasks})
    except (run.Stopped, KeyboardInterrupt) as stopped:
        print(str(stopped) or "interrupted", file=sys.stderr)
        sys.exit(130)
    except EXPECTED as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _dispatch(doc: str | None, commands: Commands | Command, tasks: Mapping[type, Task]) -> None:
    import tyro  # here, since a notebook needs none

    def app(commands: Commands) -> tyro.extras.SubcommandApp:
        made = tyro.extras.SubcommandApp()
        for name, command in commands.items():
            if callable(command):
                made.command(name=name)(_with_flags(command, tasks))
            else:
                made.command(app(command), name=name)
        return made

    config = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    if callable(commands):
        tyro.cli(_with_flags(commands, tasks), prog=_program(), description=doc, config=config)
    else:
        app(commands).cli(prog=_program(), description=doc, config=config)


def _program() -> str:
    module = sys.modules["__main__"].__spec__
    return f"python -m {module.name.removesuffix('.__main__')}" if module else sys.argv[0]


def _with_flags(command: Command, tasks: Mapping[type, Task]) -> Command:
    """The command with flags in place of its parameter `config`."""
    signature = inspect.signature(command)
    parameter = signature.parameters.get("config")
    if parameter is None or parameter.annotation not in tasks:
        return command
    task = tasks[parameter.annotation]

    @functools.wraps(command)
    def with_config(*args: Any, config: dict[str, Any], **keywords: Any) -> None:
        resumed = getattr(keywords.get("options"), "resume", None)
        command(*args, config=configure(task, config, resumed, tasks.values()), **keywords)

    # By keyword alone, and `config` last, so that the command's own flags come first in --help.
    own = parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=flags(task))
    others = [
        p if p.kind is p.VAR_POSITIONAL else p.replace(kind=p.KEYWORD_ONLY)
        for name, p in signature.parameters.items()
        if name != "config"
    ]
    changed = signature.replace(parameters=[*others, own])
    with_config.__signature__ = changed  # type: ignore[attr-defined]  # `inspect` looks for it
    del with_config.__wrapped__  # tyro would read the flags of the function inside
    with_config.__annotations__ = {p.name: p.annotation for p in [*others, own]}
    return with_config


def flags(task: Task) -> type:
    """A TypedDict with the flags of a configuration; what is not given on the line is not in it.

    So one pass over the line tells apart "--epochs 10" and the recipe's own 10 epochs.
    """
    import tyro

    recipes, fields = task.recipes, {}
    for field in dataclasses.fields(task.config_type):
        named = field.name == "recipe"
        about = tyro.conf.arg(
            help=documentation(task.config_type).get(field.name),
            help_behavior_hint=_values(field.name, recipes),
            aliases=field.metadata.get("aliases"),
            metavar=f"{{{','.join(recipes)}}}" if named else None,
        )
        fields[field.name] = Annotated[str if named else field.type, about]
    return TypedDict("Flags", fields, total=False)  # type: ignore[operator]  # made at run time


def _values(name: str, recipes: Mapping[str, Any]) -> str:
    """The value of a field in each recipe, "(modern: 10, book: 20)"."""
    if name == "recipe":
        return f"(default: {next(iter(recipes))})"
    shown = {recipe: _shown(getattr(config, name)) for recipe, config in recipes.items()}
    if len(set(shown.values())) == 1:
        return f"(default: {next(iter(shown.values()))})"
    return f"({', '.join(f'{recipe}: {value}' for recipe, value in shown.items())})"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_shown, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


@functools.cache
def documentation(config_type: type) -> dict[str, str]:
    """The docstrings of a dataclass's fields."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(config_type))).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for pair in itertools.pairwise(node.body):
        match pair:
            case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def configure(
    task: Task,
    given: Mapping[str, Any],
    resumed: Path | None = None,
    others: Iterable[Task] = (),
) -> Any:
    """The configuration that flags make of a recipe, or of the run that is resumed.

    Raises:
      RunError: the model has no such recipe; names the one of `others` that has.
    """
    recipe = given.get("recipe", next(iter(task.recipes)))
    if recipe not in task.recipes:
        owners = [other for other in others if recipe in other.recipes]
        use = f"; for that one use `{owners[0].command} train --recipe {recipe}`" if owners else ""
        raise run.RunError(f"got the recipe {recipe!r}, expected {', '.join(task.recipes)}{use}")
    base = task.recipes[recipe]
    if resumed is not None:
        base, _ = run.read_config(resumed, task.name, task.config_type)
    return dataclasses.replace(base, **given)
