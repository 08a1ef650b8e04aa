"""What a model's `Config`, and the flags of a command, take: choices, bounds and types.

All of it stands in the annotations. `Annotated[int, Bounds(1)]` is a number from 1 up; the names
below are what most fields need.
"""

import functools
import math
import reprlib
import types
import typing
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np

_CEILING = {int: 2**31 - 1, float: float(np.finfo(np.float32).max)}  # of what models compute with
_TYPES: dict[type, tuple[str, Any]] = {
    int: ("an integer", (int, np.integer)),
    float: ("a number", (int, float, np.integer, np.floating)),
    bool: ("True or False", (bool, np.bool_)),
    str: ("a text", (str,)),
}


class SettingError(ValueError):
    """A field of a configuration, or a flag, has a value that it cannot have; says which it can."""


class Bounds(NamedTuple):
    """The numbers that a field takes; for annotations: `Annotated[float, Bounds(0, below=1)]`."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    ceiling: float | None = None
    """Larger ones could only fail; told to no one who keeps below. By default what 32 bits hold."""

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{_shown(self.least)} to {_shown(self.most)}"
        named = {"at least": self.least, "above": self.above}
        named |= {"at most": self.most, "below": self.below}
        return ", ".join(f"{word} {_shown(n)}" for word, n in named.items() if n is not None)

    def admit(self, value: float) -> bool:
        """Whether a number, maybe NaN, is one of them."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and value == value
        )


Count = Annotated[int, Bounds(1)]
Size = Annotated[int, Bounds(1, ceiling=2**20)]
"""A width or the length of an axis, of which there are several: their product has to fit."""
Seed = Annotated[int, Bounds(0, 2**32 - 1)]
"""JAX takes 32 bits of a seed: 2**32 would be 0 again, and 2**64 an error."""
Share = Annotated[float, Bounds(0, 1)]
NotNegative = Annotated[float, Bounds(0)]
Strength = Annotated[float, Bounds(0, ceiling=1e6)]
"""How much of something there is beside the loss's own gradient; 1e38 of it leaves nothing."""
Positive = Annotated[float, Bounds(above=0)]
Duration = Annotated[float, Bounds(above=0, ceiling=1e6)]
"""Seconds to measure or to wait; no clock takes 1e38."""


MOST_VALUES = 21
"""Values of a rating scale, such as 0 to 10 in halves; each has weights of its own."""


class Scale(NamedTuple):
    """What ratings there are: lowest, lowest + step, ..., highest."""

    lowest: float = 1.0
    highest: float = 5.0
    step: float = 1.0

    @property
    def values(self) -> int:
        """How many."""
        return round((self.highest - self.lowest) / self.step) + 1

    def __str__(self) -> str:
        steps = "" if self.step == 1 else f" in steps of {self.step:g}"
        return f"{self.lowest:g} to {self.highest:g}{steps}"


def _shown(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def bounds(hint: Any) -> Bounds | None:
    """The bounds in an annotation, also those of its entries or beside None; None without any."""
    if (found := _bounds_of(hint)) is not None:
        return found
    inner = (bounds(part) for part in typing.get_args(hint) if not isinstance(part, str))
    return next((found for found in inner if found is not None), None)


def _bounds_of(hint: Any) -> Bounds | None:
    metadata = getattr(hint, "__metadata__", ())
    return next((part for part in metadata if isinstance(part, Bounds)), None)


@functools.cache
def annotations(of: Any) -> dict[str, Any]:
    """The annotations of a class's fields or of a function's parameters, bounds included."""
    return typing.get_type_hints(of, include_extras=True)


def check(config: Any) -> None:
    """Refuses a configuration in which a field has not what its annotation allows.

    For `__post_init__`. NumPy's scalars become Python's, so that they can be written as JSON, and 1
    becomes 1.0 where a float is expected. What JAX traces, as in a sweep over a field, has no value
    yet and is passed.

    Raises:
      SettingError: names the field, its value and what is expected.
    """
    kind: Any = type(config)
    for name, hint in annotations(kind).items():
        value = getattr(config, name)
        check_value(name, value, hint)
        object.__setattr__(config, name, _plain(value, hint))  # also of a frozen one


def check_value(name: str, value: Any, hint: Any) -> None:
    """Refuses the value of one field or flag, as `check` does."""
    if expected := _expected(value, hint):
        article = "the " if expected.startswith("one of ") else ""
        raise SettingError(f"got {article}{name} {told(_plain(value))}, expected {expected}")


def _expected(value: Any, hint: Any, limits: Bounds = Bounds()) -> str:  # noqa: B008  # immutable
    """What an annotation allows, if the value is something else; empty if it is allowed."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, jax.core.Tracer):
        return ""
    if origin is Annotated:
        return _expected(value, parts[0], _bounds_of(hint) or limits)
    if origin is Literal:
        same = (type(_plain(value)) is type(part) and value == part for part in parts)
        return "" if any(same) else f"one of {', '.join(map(str, parts))}"
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return ""
        faults = [_expected(value, part, limits) for part in parts if part is not type(None)]
        return faults[0] if all(faults) else ""
    if origin is tuple:
        return _expected_entries(value, parts, limits)
    if hint not in _TYPES:
        return ""
    what, kinds = _TYPES[hint]
    if not isinstance(value, kinds) or (isinstance(value, bool) and hint is not bool):
        return f"{what}, {limits}".removesuffix(", ")
    if hint not in _CEILING:
        return ""
    if not limits.admit(value):
        return str(limits) or "a finite number"
    largest = _CEILING[hint] if limits.ceiling is None else limits.ceiling
    if abs(value) <= max(largest, limits.most or 0):
        return ""
    return "a finite number" if abs(value) == math.inf else str(Bounds(most=largest))


def _expected_entries(value: Any, parts: tuple[Any, ...], limits: Bounds) -> str:
    if not isinstance(value, tuple):
        return "a tuple"
    if parts[-1] is Ellipsis:
        parts = parts[:1] * len(value)
    if len(value) != len(parts):
        return f"{len(parts)} of them"
    faults = (_expected(entry, part, limits) for entry, part in zip(value, parts, strict=True))
    return next((f"each to be {fault}" for fault in faults if fault), "")


def _plain(value: Any, hint: Any = None) -> Any:
    """A value with NumPy's scalars as Python's, and floats where `hint` is of these alone."""
    if isinstance(value, tuple):
        return tuple(_plain(entry, hint) for entry in value)
    plain = value.item() if isinstance(value, np.generic) else value
    return float(plain) if type(plain) is int and _floats(hint) else plain


def _floats(hint: Any) -> bool:
    """Whether the numbers of an annotation are floats."""
    return hint is float or any(map(_floats, typing.get_args(hint)))


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60
_repr.maxtuple = 12


def told(value: Any) -> str:
    """A value in a message, kept short: Python does not even print integers of 5,000 digits."""
    if isinstance(value, int) and abs(value) > 10**40:
        return f"a number of {int(math.log10(abs(value))) + 1:,} digits"
    return _repr.repr(value)
