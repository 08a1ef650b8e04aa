"""Every flag of every command, with values that make no sense: an error in a line or it goes on."""

import contextlib
import dataclasses
import functools
import inspect
import io
import itertools
import random
import runpy
import sys
import typing

import jax
import pytest

from zoo.__main__ import CHAPTERS
from zoo.common import cli, settings

EXTREME = (
    *("0", "-1", "1", str(-(2**31)), str(2**31), str(2**32), str(2**64), str(10**400), "9" * 5000),
    *("nan", "inf", "-inf", "1e400", "1e38", "3.5e38", "1e-45", "-1e-45", "0x10", "1_000", "1.5"),
    *("", " ", "-", "--", "é€😀", "\N{ARABIC-INDIC DIGIT FIVE}", "\0", "None", "True", "1 2"),
)
FREE = {"a", "b", "weights", "user"}
"""Numbers of any sign and size."""


class Program(typing.NamedTuple):
    """A command by its words, and what `cli.main` takes with it."""

    words: str
    command: cli.Command
    tasks: tuple


@functools.cache
def programs():
    """The commands of all chapters, and zoo's own."""
    found = []

    def gather(words, commands, tasks):
        for name, command in commands.items():
            if callable(command):
                found.append(Program(f"{words} {name}", command, tuple(tasks)))
            else:
                gather(f"{words} {name}", command, tasks)

    with pytest.MonkeyPatch.context() as patch:
        for chapter in CHAPTERS:
            patch.setattr(cli, "main", lambda doc, cs, ts=(), name=chapter: gather(name, cs, ts))
            runpy.run_module(f"zoo.{chapter}", run_name="__main__")
        patch.setattr(cli, "main", lambda doc, cs, ts=(): gather("", cs, ts))
        patch.setattr(sys, "argv", ["zoo", "data", "list"])
        runpy.run_module("zoo", run_name="__main__")
    return found


def is_positional(hint):
    return any("POSITIONAL" in str(part).upper() for part in getattr(hint, "__metadata__", ()))


def flags_of(program):
    """The annotation of each of a command's flags by name, and how many words it must have."""
    found, words = {}, 0
    for name, parameter in inspect.signature(program.command).parameters.items():
        if dataclasses.is_dataclass(parameter.annotation):  # options, or the `Config` itself
            found |= settings.annotations(parameter.annotation)
        elif is_positional(parameter.annotation):
            words += parameter.default is parameter.empty
        else:
            found[name] = parameter.annotation
    return found, words


def call(program, *arguments):
    """(status, what was printed, whether the command was reached); real work is never begun."""
    reached = []

    @functools.wraps(program.command)
    def stub(*args, **keywords):
        reached.append(keywords)

    printed, status = io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["zoo", *arguments])
        patch.setenv("COLUMNS", "200")
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                cli.main("A program.", stub, program.tasks)
            except SystemExit as ended:
                status = ended.code
    return status, printed.getvalue(), reached


def extern(name):
    return {"folder": "workspace"}.get(name, name).replace("_", "-")


def attempt(program, flag, value):
    """Tries one value of a flag; fails on anything but an error in a line, or going on."""
    words = ["book"] * flags_of(program)[1]
    status, err, reached = call(program, *words, f"--{extern(flag)}={value}")
    if status == 1:
        assert err.startswith("error: "), err
        assert err.count("\n") == 1, err
        assert len(err) < 500 or "too long" in err, err
    assert (status == 0) == bool(reached), err
    assert status in (0, 1, 2), status
    assert "Traceback" not in err, err
    return status


@pytest.fixture(autouse=True)
def _cache():
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


CASES = [(program, flag) for program in programs() for flag in flags_of(program)[0]]


def numbers(hint):
    """The kinds of number that an annotation allows."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return set()
    return ({hint} & {int, float}).union(*(numbers(part) for part in parts))


def test_every_number_has_bounds():
    for program, flag in CASES:
        hint = flags_of(program)[0][flag]
        if numbers(hint) and flag not in FREE:
            assert settings.bounds(hint) is not None, (program.words, flag)


@pytest.mark.parametrize(
    "words",
    [
        "ch07_dqn planner train",
        "ch05_lstm generate",
        "ch10_deploy serve",
        "ch01_graphs draw",
        "ch04_gpu scale",
        "ch08_vae interpolate",
        "ch10_deploy batch",
        "ch06_cnn speedrun train",
    ],
)
def test_help_shows_the_bounds(words):
    program = next(program for program in programs() if program.words == words)
    status, shown, _ = call(program, "--help")
    shown = " ".join(shown.replace("│", " ").split())
    assert status == 0
    for flag, hint in flags_of(program)[0].items():
        about = [part.partition(" --")[0] for part in shown.split(f"--{extern(flag)} ")]
        if bounds := settings.bounds(hint):
            assert any(f"; {bounds})" in part for part in about[1:]), about


def test_flags_with_values_that_make_no_sense_give_an_error_in_a_line():
    draw = random.Random(0)
    for program, flag in draw.sample(CASES, 150):
        attempt(program, flag, draw.choice(EXTREME))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", str(10**400)])
def test_what_is_no_number_is_refused_by_every_flag(value):
    for program, flag in random.Random(value).sample(CASES, 40):
        if numbers(flags_of(program)[0][flag]):
            assert attempt(program, flag, value) in (1, 2), (program.words, flag)


def spelt(config):
    """The flags that say every field of a configuration but its recipe."""
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), field.name.replace("_", "-")
        if field.name == "recipe":
            continue
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            yield from [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]


TRAINED = [one for one in programs() if one.words.endswith(" train") and one.tasks]


@pytest.mark.parametrize("program", TRAINED, ids=lambda program: program.words)
def test_every_recipe_spelt_in_flags_comes_back_whatever_recipe_it_starts_from(program):
    kind = inspect.signature(program.command).parameters["config"].annotation
    (task,) = (task for task in program.tasks if task.config_type is kind)
    for start, config in itertools.product(task.recipes, task.recipes.values()):
        status, said, reached = call(program, "--recipe", start, *spelt(config))
        assert status == 0, said
        assert reached[0]["config"] == dataclasses.replace(config, recipe=start)
