"""The command line: sub-commands from functions, flags from their dataclasses, errors in a line."""

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import jax

from zoo.common import process, run, settings
from zoo.common.checkpoint import CheckpointError
from zoo.common.data import DataError, fetch, files
from zoo.common.device import DeviceError
from zoo.common.device import Name as DeviceName
from zoo.common.fit import BatchError, FinishedError, NonFiniteError
from zoo.common.settings import Count, SettingError
from zoo.common.task import Task

Command = Callable[..., None]
Commands = Mapping[str, "Command | Commands"]
_TRAINING = (BatchError, FinishedError, NonFiniteError)
_ASKED = (SettingError, run.RunError, DeviceError)
# What users can mend of JAX's errors, which have no types of their own.
_ADVICE = {
    "RESOURCE_EXHAUSTED": "choose smaller sizes",
    "Out of memory": "choose smaller sizes",
    "Unknown backend": "unset JAX_DEFAULT_DEVICE, or name a device that is here",
    "Unable to initialize backend": "unset JAX_PLATFORMS, or name one that is here",
}
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
    """folder of a run to go on with, under the configuration and on the data that it began with;
    --epochs prolongs it"""


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """The data set, the device and the folder."""

    data: Literal["auto", "real", "sample"] = "auto"
    """auto: the real data set, else the built-in sample; real: fail instead; sample: no network"""
    data_dir: Path | None = None
    """folder to look in before $ZOO_DATA_DIR and the cache"""
    devices: Literal["auto"] | Count = "auto"
    """split each batch over so many devices of that kind, on a CPU over its cores; auto: over the
    cores where that was measured to be faster for this model, else 1; a run goes on as it began"""


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Which trained model."""

    run: Path | None = None
    """folder of the run, or "published" for the model that comes with zoo; if not given the run of
    this model that was trained last from here, and without any run the published model"""
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
        process.prepare()
        # Compiled programs stay from run to run.
        if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
            jax.config.update("jax_compilation_cache_dir", str(Path(fetch.cache()) / "xla"))
        with jax.enable_x64(False):  # zoo's numbers have 32 bits, see `device.in_float32`
            _dispatch(doc, commands, {task.config_type: task for task in tasks})
    except (run.Stopped, KeyboardInterrupt) as stopped:
        print(str(stopped) or "interrupted", file=sys.stderr)
        sys.exit(130)
    except EXPECTED as error:
        if os.environ.get("ZOO_DEBUG"):
            raise
        print(f"error: {_line(error)}", file=sys.stderr)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        found = "Out of memory" if isinstance(error, MemoryError) else str(error)
        advice = next((advice for words, advice in _ADVICE.items() if words in found), None)
        if advice is None or os.environ.get("ZOO_DEBUG"):
            raise
        print(f"error: {' '.join(found.split())[:200]}: {advice}", file=sys.stderr)
        sys.exit(1)


def _line(error: Exception) -> str:
    """The message of an error; of one of the operating system's, the file first."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


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

    _check_names(commands)
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    if callable(commands):
        tyro.cli(_with_flags(commands, tasks), prog=_program(), description=doc, config=config)
    else:
        app(commands).cli(prog=_program(), description=doc, config=config)


class _Program(str):
    """The name of a program of several words; tyro's hints would take the first one for it."""

    def partition(self, separator: str) -> tuple[str, str, str]:
        return self, "", ""


def _program() -> _Program:
    module = sys.modules["__main__"].__spec__
    return _Program(f"python -m {module.name.removesuffix('.__main__')}" if module else sys.argv[0])


def _check_names(commands: Commands | Command) -> None:
    """Ends the program where the command line names a command that it lacks."""
    typed: str = _program()
    for word in sys.argv[1:]:
        if callable(commands) or word.startswith("-"):
            return
        if word not in commands:
            groups = {name: inner for name, inner in commands.items() if not callable(inner)}
            within = [f"{name} {word}" for name, inner in groups.items() if word in inner]
            close = within or difflib.get_close_matches(word, commands, 1)
            hint = f". Did you mean `{typed} {close[0]}`?" if close else ""
            known = f"{typed} has no command {word!r}, expected one of {', '.join(commands)}"
            print(f"error: {known}{hint}", file=sys.stderr)
            sys.exit(2)
        typed, commands = f"{typed} {word}", commands[word]


def _with_flags(command: Command, tasks: Mapping[type, Task]) -> Command:
    """The command with flags in place of its parameter `config`, and with the others checked."""
    parameters = dict(inspect.signature(command).parameters)
    config = parameters.get("config")
    task = tasks.get(config.annotation) if config is not None else None

    @functools.wraps(command)
    def with_flags(*args: Any, **keywords: Any) -> None:
        for name, value in keywords.items():
            value = keywords[name] = _local(value)
            if dataclasses.is_dataclass(value):
                settings.check(value)
            elif name != "config":
                settings.check_value(name, value, parameters[name].annotation)
        if task is not None:
            resumed = getattr(keywords.get("options"), "resume", None)
            keywords["config"] = configure(task, keywords["config"], resumed, tasks.values())
        command(*args, **keywords)

    # By keyword alone, and `config` last, so that the command's own flags come first in --help.
    shown = [
        p.replace(
            kind=p.kind if p.kind is p.VAR_POSITIONAL else p.KEYWORD_ONLY,
            annotation=_with_bounds(p.annotation),
        )
        for p in parameters.values()
        if task is None or p is not config
    ]
    if task is not None and config is not None:
        shown.append(config.replace(kind=config.KEYWORD_ONLY, annotation=flags(task)))
    with_flags.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # for `inspect`
    del with_flags.__wrapped__  # tyro would read the flags of the function inside
    with_flags.__annotations__ = {p.name: p.annotation for p in shown}
    return with_flags


def _local(value: Any) -> Any:
    """A flag's value with `~` in its paths expanded, as shells do not behind an `=`.

    Raises:
      RunError: a path is the address of a bucket or server, which would become a folder here.
      DataError: it begins with `~NAME` and there is no such user.
    """
    if isinstance(value, tuple):
        return tuple(map(_local, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: _local(v) for name, v in fields.items()})
    if not isinstance(value, Path):
        return value
    if re.match("[a-z][a-z0-9]+:/", str(value)):
        raise run.RunError(
            f"got {str(value).replace(':/', '://', 1)}, expected a path of this machine: copy the "
            "files from or to it separately"
        )
    return files.expand(value)


def _with_bounds(annotation: Any) -> Any:
    """The annotation of a flag, or of the dataclass of several, with bounds that --help shows."""
    import tyro

    if dataclasses.is_dataclass(annotation):
        fields = [
            (field.name, _with_bounds(field.type), dataclasses.field(default=field.default))
            for field in dataclasses.fields(annotation)
            if settings.bounds(field.type)
        ]
        if not fields:
            return annotation
        assert isinstance(annotation, type)
        return dataclasses.make_dataclass(
            annotation.__name__, fields, bases=(annotation,), frozen=True
        )
    if (bounds := settings.bounds(annotation)) is None:
        return annotation
    hint = tyro.conf.arg(help_behavior_hint=lambda default: f"(default: {default}; {bounds})")
    return Annotated[annotation, hint]


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
            help_behavior_hint=_values(field, recipes),
            aliases=field.metadata.get("aliases"),
            metavar=f"{{{','.join(recipes)}}}" if named else None,
        )
        fields[field.name] = Annotated[str if named else field.type, about]
    return TypedDict("Flags", fields, total=False)  # type: ignore[operator]  # made at run time


def _values(field: dataclasses.Field, recipes: Mapping[str, Any]) -> str:
    """The value of a field in each recipe and its bounds, "(modern: 10, book: 20; at least 1)"."""
    if field.name == "recipe":
        return f"(default: {next(iter(recipes))})"
    shown = {recipe: _shown(getattr(config, field.name)) for recipe, config in recipes.items()}
    if len(set(shown.values())) == 1:
        shown = {"default": next(iter(shown.values()))}
    bounds = settings.bounds(field.type)
    values = ", ".join(f"{recipe}: {value}" for recipe, value in shown.items())
    return f"({values}; {bounds})" if bounds else f"({values})"


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
        known = ", ".join(task.recipes)
        raise run.RunError(f"got the recipe {settings.told(recipe)}, expected {known}{use}")
    base = task.recipes[recipe]
    if resumed is not None:
        base, _ = run.read_config(resumed, task.name, task.config_type)
    return dataclasses.replace(base, **given)
