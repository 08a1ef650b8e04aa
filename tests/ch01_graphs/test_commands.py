"""The book's numbers, the functions that `draw` finds, and the command line."""

import os
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import ch01_graphs as graphs
from zoo.ch01_graphs import commands, examples, targets
from zoo.common.data import DataError


def test_the_book_s_programs():
    assert examples.add(1.0, 2.0) == 3.0
    assert examples.add(2.0, 2.5) == 4.5
    w, x, b = examples.WEIGHTS, examples.INPUT, examples.BIAS
    np.testing.assert_allclose(jax.jit(examples.matmul)(w, x), [9.4, 3.4], rtol=1e-6)
    np.testing.assert_allclose(jax.jit(examples.affine)(w, x, b), [12.4, 6.4], rtol=1e-6)


def test_the_repository_s_digits_in_its_float64():
    with jax.enable_x64(True):
        w = jnp.array([[0.9, 0.7], [0.4, 0.2]], jnp.float64)
        result = examples.affine(w, jnp.array([5.0, 7.0], jnp.float64), 3.0)
    np.testing.assert_allclose(result, [12.399999999999999, 6.4], rtol=1e-15)


def test_the_gonum_snippet():
    found = examples.gonum(examples.GONUM_A, examples.GONUM_B)
    a, b = examples.GONUM_A.astype(int), examples.GONUM_B.astype(int)
    assert found.trace == 10
    np.testing.assert_array_equal(found.product, [[32, 36, 47], [18, 20, 23]])
    np.testing.assert_array_equal(found.total, [[35, 40, 52], [19, 22, 26]])
    np.testing.assert_array_equal(found.last, [[491, -41, 739], [249, -15, 387]])
    np.testing.assert_array_equal(found.last, (a @ b + a) @ b.T)


@pytest.mark.parametrize(
    ("command", "printed"),
    [("add", "3.0"), ("matmul", "[9.4 3.4]"), ("affine", "[12.4 6.4]")],
)
def test_each_example_prints_the_book_s_result_and_draws(
    command, printed, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    getattr(commands, command)()
    out = capsys.readouterr().out.splitlines()
    assert out[0] == printed
    picture = f"runs/ch01_graphs/{command}.png"
    assert picture in out[1]
    assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def model(monkeypatch):
    """A module with the names that every chapter's model has."""
    module = types.ModuleType("zoo.ch99_fake")

    class Config:
        width = 3

    def init(key, config):
        return {"kernel": jax.random.normal(key, (2, config.width))}

    def apply(params, x, key=None):
        return x @ params["kernel"]

    def loss(params, batch, key=None, *, scale=1.0):
        logits = apply(params, batch["image"])
        return scale * jnp.mean((logits - batch["label"][:, None]) ** 2), {"logits": logits}

    def example(config, size=2):
        return {"image": jnp.ones((size, 2)), "label": jnp.arange(size)}

    def odd(params, batch, temperature):
        return params

    for name, value in dict(locals()).items():
        if name != "module" and name != "monkeypatch":
            monkeypatch.setattr(module, name, value, raising=False)
            if callable(value):
                value.__module__ = module.__name__
    module.RECIPES = {"modern": Config()}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_functions_get_what_their_parameters_ask_for(model):
    function, arguments = targets.resolve("zoo.ch99_fake:loss")
    assert function is model.loss
    assert set(arguments[1]) == {"image", "label"}
    function, arguments = targets.resolve("zoo.ch99_fake:apply")
    assert arguments[1].shape == (2, 2)
    function, arguments = targets.resolve("zoo.ch99_fake:init")
    assert function(*arguments)["kernel"].shape == (2, 3)


def test_the_name_of_a_model_is_the_loss_that_it_trains_with(tmp_path, capsys):
    loss, arguments = targets.resolve("ch02_basic_nn")
    assert jax.tree.map(jnp.shape, arguments[:2]) == (
        {"output": {"kernel": (3, 1)}},
        {"input": (4, 3), "label": (4,)},
    )
    assert jnp.isfinite(loss(*arguments)[0])
    commands.draw("ch02_basic_nn", grad=True, out=tmp_path / "loss.dot")
    assert "ch02_basic_nn (gradient): " in capsys.readouterr().out


def test_draw_writes_the_graph_and_its_size(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands.draw("zoo.ch99_fake:loss", gradients=True, out=tmp_path / "loss.dot")
    text = (tmp_path / "loss.dot").read_text()
    assert "gradient" in text
    commands.draw("zoo.ch99_fake:loss", grad=True, fold=0)
    out = capsys.readouterr().out
    assert "zoo.ch99_fake:loss (gradient): " in out
    assert "equations, " in out
    assert (tmp_path / "runs/ch01_graphs/ch99_fake-loss-grad.svg").exists()


def test_the_gradient_s_results_are_named_like_the_parameters(model):
    loss, arguments = targets.resolve("zoo.ch99_fake:loss")
    graph = graphs.trace(targets.gradient(loss), *arguments, values=True)
    names = [n.name for n in graph.nodes if n.kind == "output"]
    assert names == ["result[0]['kernel']", "result[1]['logits']"]
    assert next(n.name for n in graph.nodes if n.kind == "input") == "params['kernel']"
    expected = jax.grad(lambda p: loss(p, arguments[1])[0])(arguments[0])["kernel"]
    result = next(n for n in graph.nodes if n.kind == "output").arrays[0].value
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("zoo.ch06_cnn:", "got 'zoo.ch06_cnn:', expected module:function"),
        (
            "ch08_vae/none",
            "zoo has no model 'ch08_vae/none', expected one of ch08_vae, .* function",
        ),
        ("zoo.ch98_none:loss", "there is no module zoo.ch98_none"),
        ("zoo.ch99_fake:train", "has no function train: it has init, apply, loss"),
        ("zoo.ch99_fake:odd", "needs an argument temperature, expected one of: params, batch"),
        ("zoo.common.fit:start", "zoo.common.fit has no init; expected Config or RECIPES"),
    ],
)
def test_what_cannot_be_drawn_is_said(model, target, message):
    with pytest.raises(DataError, match=message):
        targets.resolve(target)


def test_what_cannot_be_traced_is_said(model, monkeypatch):
    monkeypatch.setattr(model, "example", lambda config: {"image": jnp.ones((2, 5))})
    with pytest.raises(DataError, match=r"loss cannot be traced .*float32\[2, 5\].*: "):
        commands.draw("zoo.ch99_fake:loss")
    with pytest.raises(DataError, match=r"got the name a\.jpg"):
        commands.add(out=Path("a.jpg"))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('mine\\nand more')", "cannot be called: RuntimeError: mine"),
        ("import none_such", "cannot be called: ModuleNotFoundError: No module named 'none_such'"),
        ("def loss(", "cannot be called: SyntaxError"),
        ("raise SystemExit('bye')", "cannot be called: SystemExit: bye"),
        ("def loss(): raise KeyError('mine')", r"traced with the arguments \(\): KeyError: 'mine'"),
        ("def loss(): assert False", r"cannot be traced with the arguments \(\): AssertionError"),
        ("def loss(*, x): return x", "TypeError: loss.. missing 1 required keyword-only argument"),
        ("def loss(params): 0\ndef init(*_): raise IndexError", "no Config"),
        (
            "def loss(params): 0\nConfig = dict\ndef init(*_): raise IndexError",
            "cannot be called: IndexError$",
        ),
        ("loss = max", "cannot be called: ValueError: no signature found"),
        ("loss = type", "cannot be "),
        ("loss = 3", "odd_target has no function loss"),
        (
            "import jax.numpy as jnp\ndef loss(): return jnp.ones(3)[jnp.ones(3) > 0]",
            "NonConcreteBooleanIndexError: Array boolean indices must be concrete",
        ),
    ],
)
def test_errors_of_one_s_own_module_are_named_in_a_line(code, reason, tmp_path, monkeypatch):
    (tmp_path / "odd_target.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_target", raising=False)
    with pytest.raises(DataError, match=reason) as raised:
        commands.draw("odd_target:loss")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("target", ["..:f", ".odd:f", ":f", ":", "zoo.ch06_cnn:"])
def test_names_that_are_none_are_said(target):
    with pytest.raises(DataError, match="expected module:function of the zoo"):
        commands.draw(target)


@pytest.mark.parametrize(
    "code",
    [
        "loss = lambda: jnp.ones(2).sum()",
        "loss = jax.jit(lambda: jnp.ones(2).sum())",
        "loss = functools.partial(jnp.sum, jnp.ones(2))",
        "class Loss:\n  def value(self): return jnp.ones(2).sum()\nloss = Loss().value",
        "class Loss:\n  def __call__(self): return jnp.ones(2).sum()\nloss = Loss()",
    ],
)
def test_anything_that_can_be_called_is_drawn(code, tmp_path, monkeypatch):
    (tmp_path / "odd_target.py").write_text(f"import functools, jax, jax.numpy as jnp\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_target", raising=False)
    commands.draw("odd_target:loss", gradients=True, out=tmp_path / "loss.dot")
    assert "value 2." in (tmp_path / "loss.dot").read_text()
    with pytest.raises(DataError, match="has no argument to differentiate by"):
        commands.draw("odd_target:loss", grad=True)


def test_the_command_line(zoo, command, place):
    done = zoo("ch01_graphs", "affine", "--out", "affine.dot")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[12.4 6.4]"
    assert (place / "affine.dot").read_text().startswith("digraph")
    bad = command("ch01_graphs", "draw", "zoo.ch06_cnn:nothing")
    assert bad.status == 1
    assert bad.err.startswith("error: zoo.ch06_cnn has no function nothing")


def test_another_process_writes_the_same_bytes(zoo, place, environment, monkeypatch):
    monkeypatch.setitem(environment, "PYTHONHASHSEED", str(os.getpid()))
    arguments = "zoo.ch06_cnn:loss", "--grad", "--out", "grad.dot"
    done = zoo("ch01_graphs", "draw", *arguments)
    assert done.returncode == 0, done.stderr
    loss, given = targets.resolve("zoo.ch06_cnn:loss")
    here = graphs.to_dot(graphs.trace(targets.gradient(loss), *given))
    assert (place / "grad.dot").read_text() == here
