"""What a model's `Config` refuses: values that its annotations do not allow."""

import typing
from typing import Any, Literal


class SettingError(ValueError):
    """A field of a configuration has a value that it cannot have; the message says which it can."""


def choices(config_type: type) -> dict[str, tuple[Any, ...]]:
    """The values of each field that is annotated with a `Literal`."""
    hints = typing.get_type_hints(config_type).items()
    return {name: typing.get_args(hint) for name, hint in hints if _is_literal(hint)}


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal


def check(config: Any) -> None:
    """Refuses a configuration in which a field has none of its choices; for `__post_init__`.

    Raises:
      SettingError: names the field, its value and the choices.
    """
    for name, allowed in choices(type(config)).items():
        value = getattr(config, name)
        if value not in allowed:
            known = ", ".join(map(str, allowed))
            raise SettingError(f"got the {name} {value!r}, expected one of {known}")
