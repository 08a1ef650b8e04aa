import dataclasses
from typing import Literal

import pytest

from zoo.common import settings


@dataclasses.dataclass(frozen=True)
class Config:
    recipe: str = "any"
    solver: Literal["adam", "sgd"] = "adam"
    levels: Literal[1, 2] = 1
    sizes: tuple[int, ...] = ()

    def __post_init__(self):
        settings.check(self)


def test_the_choices_are_those_of_the_annotations():
    assert settings.choices(Config) == {"solver": ("adam", "sgd"), "levels": (1, 2)}


def test_a_value_among_the_choices_is_taken():
    assert Config("whatever", "sgd", 2, (3,)).levels == 2


@pytest.mark.parametrize(
    ("field", "value", "choices"),
    [
        ("solver", "SGD", "adam, sgd"),
        ("solver", "", "adam, sgd"),
        ("solver", None, "adam, sgd"),
        ("levels", 3, "1, 2"),
        ("levels", "1", "1, 2"),
        ("levels", (1,), "1, 2"),
    ],
)
def test_another_value_is_refused_by_name_also_when_a_field_is_replaced(field, value, choices):
    for make in (Config, lambda **fields: dataclasses.replace(Config(), **fields)):
        with pytest.raises(settings.SettingError) as caught:
            make(**{field: value})
        assert str(caught.value) == f"got the {field} {value!r}, expected one of {choices}"
    assert issubclass(settings.SettingError, ValueError)
