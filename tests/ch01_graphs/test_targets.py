"""Functions of one's own and arrays for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch01_graphs import commands, targets
from zoo.common.data import DataError

MINE = """
import jax.numpy as jnp

def energy(x, y, z=1.0):
    return jnp.sum((x @ y) ** 2) * z
"""


@pytest.mark.parametrize(
    ("text", "dtype", "shape"),
    [
        ("float32[8,3]", "float32", (8, 3)),
        ("8,3", "float32", (8, 3)),
        ("[8, 3]", "float32", (8, 3)),
        ("5", "float32", (5,)),
        ("[]", "float32", ()),
        ("int32[]", "int32", ()),
        ("bfloat16[2]", "bfloat16", (2,)),
        ("bool[4]", "bool", (4,)),
    ],
)
def test_an_array_is_made_of_its_shape(text, dtype, shape):
    found = targets.array(text)
    assert (str(found.dtype), found.shape) == (dtype, shape)
    if dtype == "float32" and found.size > 1:
        assert len(np.unique(found)) == found.size


@pytest.mark.parametrize("text", ["", "float33[2]", "x", "[2", "2;3", "-1", "int32"])
def test_what_is_no_shape_is_said(text):
    with pytest.raises(DataError, match=r"got the shape .*, expected one such as float32\[8,3\]"):
        targets.array(text)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module in the working folder, as `python -m` finds it."""
    (tmp_path / "mine_own.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return "mine_own:energy"


def test_a_function_of_ones_own_is_drawn(mine, tmp_path, capsys):
    commands.draw(mine, shapes=("float32[8,3]", "3"), out=tmp_path / "energy.svg")
    assert "mine_own:energy: " in capsys.readouterr().out
    assert (tmp_path / "energy.svg").exists()
    commands.draw(mine, grad=True, shapes=("8,3", "3"), out=tmp_path / "slope.svg")
    function, args = targets.resolve(mine, ("8,3", "3"))
    assert jax.eval_shape(function, *args).shape == ()
    assert jnp.isfinite(function(*args))


def test_wrong_shapes_and_models_are_named(mine, tmp_path):
    with pytest.raises(DataError, match="mine_own:energy cannot be traced with the arguments"):
        commands.draw(mine, shapes=("8,3", "4"), out=tmp_path / "a.svg")
    with pytest.raises(DataError, match="ch06_cnn is a model, whose loss gets its own arrays"):
        commands.draw("ch06_cnn", shapes=("8,3",), out=tmp_path / "a.svg")
