"""Cells against float64 loops in Python, their Flax twins, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.test_util import check_grads

from zoo.ch05_lstm import cells

T, B, D, H = 6, 3, 4, 5
TWINS = {
    "rnn": (nn.SimpleCell(H), ("i",), ("h",)),
    "lstm": (nn.OptimizedLSTMCell(H), ("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho")),
    "gru": (nn.GRUCell(H), ("ir", "iz", "in"), ("hr", "hz", "hn")),
}


@pytest.fixture
def draw():
    """Standard normal numbers like the leaves of a tree."""
    rng = np.random.default_rng(5)

    def like(tree, scale=1.0):
        return jax.tree.map(lambda a: np.float32(scale * rng.normal(size=a.shape)), tree)

    return like


def shapes(name):
    """Parameters and state of a cell, as shapes; biases are drawn too, so that each shows."""
    cell = cells.CELLS[name]
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D, H))
    return params, jax.eval_shape(lambda: cell.start(cell.init(jax.random.key(0), D, H), B))


XS = jax.ShapeDtypeStruct((T, B, D), np.float32)
YS = jax.ShapeDtypeStruct((T, B, H), np.float32)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def loop(name, params, state, xs):
    """The formulas of the module's docstrings, one step after the other, in float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    w, b = p["input"]["kernel"], p["input"]["bias"]
    u = p["hidden"]["kernel"] if "hidden" in p else None
    ys = []
    if name == "lstm":
        c, h = (np.asarray(a, np.float64) for a in state)
    else:
        h = np.asarray(state, np.float64)
    for x in np.asarray(xs, np.float64):
        parts = [slice(n * H, (n + 1) * H) for n in range(4)]
        z = [x @ w[:, part] + b[part] for part in parts if part.start < w.shape[1]]
        r = [] if u is None else [h @ u[:, part] for part in parts if part.start < u.shape[1]]
        if name == "rnn":
            h = np.tanh(z[0] + r[0])
        elif name == "lstm":
            i, f, o = (sigmoid(z[n] + r[n]) for n in (0, 1, 3))
            c = f * c + i * np.tanh(z[2] + r[2])
            h = o * np.tanh(c)
        elif name == "gru":
            reset, update = sigmoid(z[0] + r[0]), sigmoid(z[1] + r[1])
            new = np.tanh(z[2] + reset * (r[2] + p["hidden"]["bias"]))
            h = (1 - update) * new + update * h
        else:
            h = (1 - sigmoid(z[0])) * h + sigmoid(z[0]) * z[1]
        ys.append(h)
    return np.stack(ys)


@pytest.mark.parametrize("name", cells.CELLS)
def test_a_cell_equals_a_loop_in_float64(name, draw):
    params, state, xs = draw((*shapes(name), XS), 0.7)
    expected = loop(name, params, state, xs)
    cell = cells.CELLS[name]
    last, ys = cell.unroll(params, state, xs)
    np.testing.assert_allclose(ys, expected, atol=2e-6)
    one = state
    for x, y in zip(xs, expected, strict=True):
        one, out = cell.step(params, one, x)
        np.testing.assert_allclose(out, y, atol=2e-6)
    for a, b in zip(*map(jax.tree.leaves, (one, last)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
    assert cells.kind(params) == name
    assert cells.hidden_units(params) == H


def to_flax(name, params):
    """Our parameters as the twin in Flax names them."""
    _, into, back = TWINS[name]
    width = range(0, len(into) * H, H)
    twin = {}
    for n, at in zip(into, width, strict=True):
        twin[n] = {"kernel": params["input"]["kernel"][:, at : at + H]}
    for n, at in zip(back, width, strict=True):
        twin[n] = {"kernel": params["hidden"]["kernel"][:, at : at + H]}
    # Where Flax has one bias for both products it stands with the hidden one in the LSTM.
    owners = back if name == "lstm" else into
    for n, at in zip(owners, width, strict=True):
        twin[n]["bias"] = params["input"]["bias"][at : at + H]
    if name == "gru":
        twin["hn"]["bias"] = params["hidden"]["bias"]
    return {"params": twin}


@pytest.mark.parametrize("name", TWINS)
def test_a_cell_equals_its_flax_twin_in_value_and_gradient(name, draw):
    params, state, xs = draw((*shapes(name), XS), 0.7)
    twin, weights = TWINS[name][0], draw(YS)

    def ours(params, state, xs):
        last, ys = cells.CELLS[name].unroll(params, state, xs)
        return (weights * ys).sum() + sum(jnp.sin(a).sum() for a in jax.tree.leaves(last)), ys

    def theirs(params, state, xs):
        carry, ys = tuple(state) if name == "lstm" else state, []
        for x in xs:
            carry, y = twin.apply(to_flax(name, params), carry, x)
            ys.append(y)
        ys = jnp.stack(ys)
        return (weights * ys).sum() + sum(jnp.sin(a).sum() for a in jax.tree.leaves(carry)), ys

    gradient = [jax.jit(jax.grad(f, (0, 1, 2), has_aux=True)) for f in (ours, theirs)]
    (mine, my_ys), (its, its_ys) = (g(params, state, xs) for g in gradient)
    np.testing.assert_allclose(my_ys, its_ys, atol=2e-6)
    for a, b in zip(*map(jax.tree.leaves, (mine, its)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_gradients_agree_with_finite_differences(draw):
    cell, given = cells.CELLS["lstm"], draw((*shapes("lstm"), XS), 0.7)

    def value(params, start, xs):
        last, ys = cell.unroll(params, start, xs)
        return (ys**2).sum() + sum(a.sum() for a in jax.tree.leaves(last))

    with jax.enable_x64(True):
        given = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), given)
        check_grads(jax.jit(value), given, order=1, modes=["rev"])


def test_chrono_biases_lie_where_the_paper_puts_them(getkey):
    params = cells.lstm_init(getkey(), D, 1_000, glorot=True, chrono=101)
    into, forget, rest = np.split(np.asarray(params["input"]["bias"]), [1_000, 2_000])
    np.testing.assert_array_equal(into, -forget)
    assert not rest.any()
    lengths = np.exp(forget)
    assert lengths.min() >= 1.0
    assert lengths.max() <= 100.0
    np.testing.assert_allclose(lengths.mean(), 50.5, atol=4.0)  # uniform, so its mean
    np.testing.assert_allclose(np.quantile(lengths, 0.25), 25.75, atol=4.0)
    with pytest.raises(ValueError, match="chrono is 2, expected a delay of at least 3"):
        cells.lstm_init(getkey(), D, H, chrono=2)


def test_initial_kernels_are_orthogonal_or_the_books(getkey):
    kernel = cells.gru_init(getkey(), D, H)["hidden"]["kernel"]
    for part in np.split(np.asarray(kernel), 3, axis=1):
        np.testing.assert_allclose(part @ part.T, np.eye(H), atol=1e-5)
    kernel = cells.lstm_init(getkey(), 20, 100, glorot=True)["input"]["kernel"]
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / 120), rtol=0.03)


def test_a_wrong_width_is_named(getkey):
    params = cells.rnn_init(getkey(), D, H)
    with pytest.raises(ValueError, match=r"shape \(6, 3, 7\), expected \(\.\.\., 4\)"):
        cells.CELLS["rnn"].unroll(params, jnp.zeros((B, H)), jnp.zeros((T, B, 7)))
