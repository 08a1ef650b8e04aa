import dataclasses
import json
from typing import Annotated, Any, Literal

import jax
import numpy as np
import pytest

from zoo.common import settings
from zoo.common.settings import Bounds, Count, NotNegative, Positive, Seed, Share, Size


@dataclasses.dataclass(frozen=True)
class Config:
    recipe: str = "any"
    solver: Literal["adam", "sgd"] = "adam"
    levels: Literal[1, 2] = 1
    count: Count = 1
    sizes: tuple[Size, ...] = ()
    pair: tuple[Size, Size] = (1, 2)
    maybe: Count | None = None
    seed: Seed = 0
    share: Share = 0.5
    momentum: Annotated[float, Bounds(0, below=1)] = 0.9
    top: Annotated[float, Bounds(above=0, most=1)] = 1.0
    rate: NotNegative = 0.1
    clip: Positive = 1.0
    bias: float = -1.0
    shuffle: bool = True
    whatever: Any = None

    def __post_init__(self):
        settings.check(self)


CHOICES = [
    ("solver", "SGD", "adam, sgd"),
    ("solver", "", "adam, sgd"),
    ("solver", None, "adam, sgd"),
    ("solver", np.array(["adam", "sgd"]), "adam, sgd"),
    ("levels", 3, "1, 2"),
    ("levels", "1", "1, 2"),
    ("levels", (1,), "1, 2"),
    ("levels", True, "1, 2"),
    ("levels", 1.0, "1, 2"),
]


@pytest.mark.parametrize(("field", "value", "choices"), CHOICES)
def test_what_is_no_choice_is_refused_by_name_also_when_a_field_is_replaced(field, value, choices):
    for make in (Config, lambda **fields: dataclasses.replace(Config(), **fields)):
        with pytest.raises(settings.SettingError) as caught:
            make(**{field: value})
        assert str(caught.value) == f"got the {field} {value!r}, expected one of {choices}"
    assert issubclass(settings.SettingError, ValueError)


REFUSED = [
    ({"count": 0}, "got count 0, expected at least 1"),
    ({"count": -(10**400)}, "got count a number of 401 digits, expected at least 1"),
    ({"count": 10**5000}, "got count a number of 5,001 digits, expected at most 2,147,483,647"),
    ({"count": 2**31}, "got count 2147483648, expected at most 2,147,483,647"),
    ({"count": "1"}, "got count '1', expected an integer, at least 1"),
    ({"count": True}, "got count True, expected an integer, at least 1"),
    ({"count": 2.0}, "got count 2.0, expected an integer, at least 1"),
    ({"count": None}, "got count None, expected an integer, at least 1"),
    ({"sizes": (3, 0)}, "got sizes (3, 0), expected each to be at least 1"),
    ({"sizes": (2**20 + 1,)}, "got sizes (1048577,), expected each to be at most 1,048,576"),
    ({"sizes": [3]}, "got sizes [3], expected a tuple"),
    ({"sizes": (1.0,)}, "got sizes (1.0,), expected each to be an integer, at least 1"),
    ({"pair": (1,)}, "got pair (1,), expected 2 of them"),
    ({"maybe": 0}, "got maybe 0, expected at least 1"),
    ({"seed": -1}, "got seed -1, expected 0 to 4,294,967,295"),
    ({"seed": 2**32}, "got seed 4294967296, expected 0 to 4,294,967,295"),
    ({"share": 1.5}, "got share 1.5, expected 0 to 1"),
    ({"share": float("nan")}, "got share nan, expected 0 to 1"),
    ({"share": False}, "got share False, expected a number, 0 to 1"),
    ({"momentum": 1}, "got momentum 1, expected at least 0, below 1"),
    ({"top": 0}, "got top 0, expected above 0, at most 1"),
    ({"rate": -1e-45}, "got rate -1e-45, expected at least 0"),
    ({"rate": float("nan")}, "got rate nan, expected at least 0"),
    ({"rate": float("inf")}, "got rate inf, expected a finite number"),
    ({"rate": 1e39}, "got rate 1e+39, expected at most 3.40282e+38"),
    ({"rate": np.float64("nan")}, "got rate nan, expected at least 0"),
    ({"clip": 0.0}, "got clip 0.0, expected above 0"),
    ({"bias": float("nan")}, "got bias nan, expected a finite number"),
    ({"bias": "x"}, "got bias 'x', expected a number"),
    ({"shuffle": 1}, "got shuffle 1, expected True or False"),
    ({"recipe": 7}, "got recipe 7, expected a text"),
    ({"recipe": b"any"}, "got recipe b'any', expected a text"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_an_annotation_does_not_allow_is_refused_in_a_line(fields, message):
    with pytest.raises(settings.SettingError) as caught:
        Config(**fields)
    assert str(caught.value) == message


def test_the_ends_of_the_bounds_and_whole_numbers_for_others_are_taken():
    config = Config(
        levels=2, sizes=(1, 2**20), maybe=None, seed=2**32 - 1, share=1, momentum=0, top=1e-45,
        rate=3e38, count=2**31 - 1, whatever=[float("nan")],
    )  # fmt: skip
    assert (config.seed, config.share, config.rate) == (2**32 - 1, 1, 3e38)


def test_numpys_scalars_are_taken_as_numbers_that_can_be_written():
    config = Config(
        count=np.int64(3), sizes=(np.int32(4),), share=np.float32(0.5), shuffle=np.bool_(False)
    )
    assert config == Config(count=3, sizes=(4,), share=0.5, shuffle=False)
    assert json.loads(json.dumps(dataclasses.asdict(config)))["sizes"] == [4]
    hash(config)
    assert isinstance(Config(share=1).share, float)
    assert isinstance(Config(count=1).count, int)


def test_what_jax_traces_has_no_value_to_refuse():
    def swept(rate):
        return dataclasses.replace(Config(), rate=rate).rate * 2

    assert jax.vmap(swept)(np.array([-1.0, 2.0])).tolist() == [-2.0, 4.0]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (Bounds(1), "at least 1"),
        (Bounds(0, 1), "0 to 1"),
        (Bounds(0, below=0.5), "at least 0, below 0.5"),
        (Bounds(above=0, most=1), "above 0, at most 1"),
        (Bounds(most=2**31), "at most 2,147,483,648"),
        (Bounds(1, ceiling=9), "at least 1"),
        (Bounds(), ""),
    ],
)
def test_bounds_in_words(bounds, said):
    assert str(bounds) == said


def test_the_bounds_of_an_annotation_also_of_entries_and_beside_none():
    found = {name: settings.bounds(hint) for name, hint in settings.annotations(Config).items()}
    assert {found[name] for name in ("count", "maybe")} == {Bounds(1)}
    assert {found[name] for name in ("sizes", "pair")} == {Bounds(1, ceiling=2**20)}
    assert {found[name] for name in ("recipe", "solver", "bias", "shuffle", "whatever")} == {None}
    assert settings.bounds(Annotated[tuple[int, ...] | None, Bounds(2)]) == Bounds(2)
    with pytest.raises(
        settings.SettingError, match=r"got it \(1,\), expected each to be at least 2"
    ):
        settings.check_value("it", (1,), Annotated[tuple[int, ...] | None, Bounds(2)])
