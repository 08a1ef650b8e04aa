"""The network against loops, finite differences, and the book's numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch05_lstm import cells, model

SMALL = dataclasses.replace(
    model.RECIPES["modern"],
    glorot=True,
    vocabulary=11,
    embedding=4,
    hidden=6,
    layers=2,
    dropout=0.4,
)
BOOK = dataclasses.replace(model.RECIPES["book"], vocabulary=11, embedding=4, hidden=6)


@pytest.fixture(scope="module")
def params():
    return init(jax.random.key(1), SMALL)


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(0, 11, (3, 8)).astype(np.int32)


init = jax.jit(model.init, static_argnums=1)
APPLY = jax.jit(model.apply)
BOOK_LOSS = jax.jit(functools.partial(model.loss, feedback="expected", reduction="sum"))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_the_books_network_has_its_56_080_weights_in_its_shapes():
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), model.RECIPES["book"]))
    assert sum(a.size for a in jax.tree.leaves(shapes)) == 56_080
    assert shapes["embedding"]["embedding"].shape == (64, 20)
    assert shapes["cells"][0]["input"]["kernel"].shape == (20, 4 * 100)
    assert shapes["cells"][0]["hidden"]["kernel"].shape == (100, 4 * 100)
    assert shapes["decoder"] == {"kernel": shapes["decoder"]["kernel"]}


def test_ignorance_costs_30_times_the_logarithm_of_64():
    """With a decoder of zeros all characters are alike: the book's 124.77."""
    config = dataclasses.replace(model.RECIPES["book"], hidden=3)
    shapes = jax.eval_shape(functools.partial(model.init, config=config), jax.random.key(0))
    params = jax.tree.map(lambda a: np.full(a.shape, 0.1, np.float32), shapes)
    params["decoder"]["kernel"] *= 0.0
    batch = {"input": np.zeros((2, 30), np.int32), "first": np.ones(2, bool)}
    batch["target"] = np.arange(60).reshape(2, 30) % 64
    value, (metrics, _) = BOOK_LOSS(params, batch)
    np.testing.assert_allclose(value, 124.77, atol=0.005)
    np.testing.assert_allclose(metrics["bits"], 6.0, rtol=1e-5)


def test_expected_feedback_is_the_books_program(ids):
    """Softmax of the step before times the embedding, in float64; no character goes in."""
    params = init(jax.random.key(3), BOOK)
    table = np.asarray(params["embedding"]["embedding"], np.float64)
    kernel = np.asarray(params["decoder"]["kernel"], np.float64)
    layer, step = params["cells"][0], jax.jit(cells.CELLS["lstm"].step)
    state, x, expected = cells.CELLS["lstm"].start(layer, 1), table[model.START][None], []
    for _ in range(8):
        state, h = step(layer, state, jnp.float32(x))
        expected.append(np.asarray(h, np.float64) @ kernel)
        x = softmax(expected[-1]) @ table
    logits = jax.jit(model.apply_expected, static_argnums=(1, 2))(params, 3, 8).logits
    for row in np.asarray(logits):
        np.testing.assert_allclose(row, np.concatenate(expected), atol=1e-5)
    batch = {"input": ids, "target": ids, "first": np.ones(3, bool)}
    value, _ = BOOK_LOSS(params, batch)
    p = softmax(np.concatenate(expected))
    by_hand = -np.log(p[np.arange(8), ids]).sum(axis=1).mean()
    np.testing.assert_allclose(value, by_hand, rtol=1e-5)


def test_apply_is_step_after_step(params, ids):
    state, rows = model.init_state(params, 3), []
    step = jax.jit(lambda state, ids: model.step(params, state, model.embed(params, ids)))
    for column in ids.T:
        state, logits = step(state, column)
        rows.append(logits)
    out = APPLY(params, ids)
    np.testing.assert_allclose(out.logits, np.stack(rows, 1), atol=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (out.state, state)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_two_chunks_with_the_state_carried_are_one(params, ids):
    whole = APPLY(params, ids).logits
    first = APPLY(params, ids[:, :5])
    second = APPLY(params, ids[:, 5:], state=first.state)
    np.testing.assert_allclose(jnp.concatenate([first.logits, second.logits], 1), whole, atol=1e-5)


def test_first_makes_the_state_begin_anew_row_by_row(params, ids):
    before = jax.tree.map(lambda a: a + 0.5, model.init_state(params, 3))
    batch = {"input": ids, "target": ids, "first": np.array([True, False, True])}
    _, (_, state) = jax.jit(model.loss)(params, batch, state=before)
    fresh = APPLY(params, ids).state
    kept = APPLY(params, ids, state=before).state
    for got, a, b in zip(*map(jax.tree.leaves, (state, fresh, kept)), strict=True):
        np.testing.assert_allclose(got[::2], a[::2], atol=1e-6)
        np.testing.assert_allclose(got[1], b[1], atol=1e-6)
        assert not np.allclose(a[1], b[1], atol=1e-3)


def test_score_is_the_weighted_mean_and_carries_the_state(params, ids):
    weight = np.random.default_rng(1).integers(0, 2, ids.shape).astype(np.float32)
    target = (ids + 3) % 11
    batch = {"input": ids, "target": target, "weight": weight}
    value, (metrics, _) = jax.jit(functools.partial(model.score, steps=4))(params, batch)
    logits = np.asarray(APPLY(params, ids).logits, np.float64)
    nats = -np.log(np.take_along_axis(softmax(logits), target[..., None], -1))[..., 0]
    np.testing.assert_allclose(value, (weight * nats).sum() / weight.sum(), rtol=1e-5)
    right = logits.argmax(-1) == target
    np.testing.assert_allclose(metrics["accuracy"], (weight * right).sum() / weight.sum())
    with pytest.raises(ValueError, match="got 8 characters, expected a multiple of 3"):
        model.score(params, batch, steps=3)


def test_gradients_agree_with_finite_differences(ids):
    config = dataclasses.replace(SMALL, hidden=3, embedding=2)
    rows = ids[:2, :4]
    batch = {"input": rows, "target": rows[:, ::-1], "first": np.ones(2, bool)}
    with jax.enable_x64(True):
        params = jax.tree.map(
            lambda a: jnp.asarray(np.asarray(a), jnp.float64),
            init(jax.random.key(4), config),
        )
        value = jax.jit(lambda p: model.loss(p, batch, reduction="sum")[0])
        check_grads(value, (params,), order=1, modes=["rev"])


def test_the_gradient_of_lookup_adds_up_repeated_rows():
    ids = np.array([[2, 0], [2, 2]])
    weight = np.arange(12.0).reshape(2, 2, 3)
    gradient = jax.grad(lambda table: (weight * model.lookup(table, ids)).sum())(jnp.ones((4, 3)))
    expected = np.zeros((4, 3))
    np.add.at(expected, ids, weight)
    np.testing.assert_array_equal(gradient, expected)


def test_dropout_needs_a_key_and_drops_weights_for_a_whole_chunk(params, ids, getkey):
    rates = {"dropout": 0.4, "weight_dropout": 0.0}
    still = model.apply(params, ids, **rates).logits
    np.testing.assert_array_equal(still, APPLY(params, ids).logits)
    assert not np.allclose(still, model.apply(params, ids, getkey(), **rates).logits)
    one = model.apply(params, ids, getkey(), weight_dropout=0.5).logits
    other = model.apply(params, ids, getkey(), weight_dropout=0.5).logits
    # The first character meets a state of zeros, which no recurrent weight can change.
    np.testing.assert_allclose(one[:, 0], still[:, 0], atol=1e-6)
    assert not np.allclose(one[:, 1], other[:, 1], atol=1e-4)


def test_dropout_of_everything_leaves_the_decoders_bias(params, ids, getkey):
    noisy = jax.tree.map(lambda a: a + 0.1, params)
    dropped = model.apply(noisy, ids, getkey(), dropout=1.0).logits
    bias = np.asarray(noisy["decoder"]["bias"])
    np.testing.assert_array_equal(dropped, np.broadcast_to(bias, dropped.shape))
    # Between the layers, too: then the second one reads zeros.
    apart = jax.tree.map(jnp.copy, noisy)
    apart["cells"][1]["input"]["kernel"] *= 0.0
    state = model.apply(noisy, ids, getkey(), dropout=1.0).state[1]
    for a, b in zip(state, APPLY(apart, ids).state[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_weight_dropout_of_everything_leaves_no_recurrent_weight(params, ids, getkey):
    apart = jax.tree.map(jnp.copy, params)
    for layer in apart["cells"]:
        layer["hidden"]["kernel"] *= 0.0
    dropped = model.apply(params, ids, getkey(), weight_dropout=1.0).logits
    np.testing.assert_allclose(dropped, APPLY(apart, ids).logits, atol=1e-6)


def test_biases_and_kernels_begin_as_the_configuration_says():
    def layer(**changes):
        config = dataclasses.replace(model.RECIPES["modern"], hidden=200, embedding=8, **changes)
        return init(jax.random.key(5), config)["cells"][0]

    into, forget, *rest = np.split(np.asarray(layer(forget_bias=2.5)["input"]["bias"]), 4)
    assert (forget == 2.5).all()
    assert not any(part.any() for part in (into, *rest))
    into, forget, *rest = np.split(np.asarray(layer(chrono=50)["input"]["bias"]), 4)
    np.testing.assert_array_equal(into, -forget)
    assert 1.0 <= np.exp(forget).min() < 10 < 40 < np.exp(forget).max() <= 49.0
    assert not any(part.any() for part in rest)
    for glorot, expected in ((False, np.sqrt(1 / 8)), (True, np.sqrt(2 / 208))):
        kernels = layer(glorot=glorot)
        np.testing.assert_allclose(np.std(kernels["input"]["kernel"]), expected, rtol=0.05)
        square = np.asarray(kernels["hidden"]["kernel"])[:, :200]
        assert np.allclose(square @ square.T, np.eye(200), atol=1e-4) != glorot
    assert model.RECIPES["modern"].forget_bias == 1.0
    assert model.RECIPES["book"].forget_bias == 0.0


WRONG = {
    "input": (
        (np.zeros(8, np.int32), r"inputs have shape \(8,\), expected \(batch, steps\)"),
        (np.zeros((4, 8), np.int32), r"targets have shape \(3, 8\), expected \(4, 8\)"),
    ),
    "target": (
        (np.zeros((3, 8, 1), np.int32), r"targets have shape \(3, 8, 1\), expected \(3, 8\)"),
        (np.zeros((3, 1), np.int32), r"targets have shape \(3, 1\), expected \(3, 8\)"),
        (np.zeros((1, 8), np.int32), r"targets have shape \(1, 8\), expected \(3, 8\)"),
    ),
    "first": (
        (np.ones((3, 1), bool), r"first have shape \(3, 1\), expected \(3,\)"),
        (np.ones(1, bool), r"first have shape \(1,\), expected \(3,\)"),
        (np.ones((), bool), r"first have shape \(\), expected \(3,\)"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_loss_names_an_array_of_a_wrong_shape(name, params, ids):
    state = model.init_state(params, 3)
    batch = {"input": ids, "target": ids, "first": np.ones(3, bool)}
    for array, message in WRONG[name]:
        with pytest.raises(ValueError, match=message):
            model.loss(params, batch | {name: array}, None, state)


def test_score_names_an_array_of_a_wrong_shape(params, ids):
    right = {"input": ids, "target": ids, "weight": np.ones(ids.shape, np.float32)}
    for name, array in (
        *((name, right[name][:1]) for name in ("target", "weight")),
        *((name, right[name][..., None]) for name in ("target", "weight")),
        ("weight", np.ones(3, np.float32)),
    ):
        with pytest.raises(ValueError, match=rf"{name}s have shape .*, expected \(3, 8\)"):
            model.score(params, right | {name: array}, steps=4)
    with pytest.raises(ValueError, match=r"inputs have shape \(8,\)"):
        model.score(params, right | {"input": ids[0]}, steps=4)


def test_score_of_rows_without_weight_is_0_and_says_so(params, ids):
    batch = {"input": ids, "target": ids, "weight": np.zeros(ids.shape, np.float32)}
    value, (metrics, _) = model.score(params, batch, steps=4)
    assert value == metrics["weight"] == metrics["bits"] == metrics["accuracy"] == 0


def test_an_unknown_keyword_is_refused(params, ids):
    batch = {"input": ids, "target": ids, "first": np.ones(3, bool)}
    for changed in ({"feedback": "True"}, {"feedback": "none"}, {"reduction": "SUM"}):
        with pytest.raises(ValueError, match=f"got the {next(iter(changed))} .*expected one of"):
            model.loss(params, batch, **changed)
    for name in ("cell", "feedback", "reduction", "solver", "dataset"):
        with pytest.raises(ValueError, match=f"got the {name} 'other', expected one of"):
            dataclasses.replace(SMALL, **{name: "other"})


def test_characters_of_a_wrong_shape_or_type_are_named(params):
    with pytest.raises(ValueError, match=r"shape \(5,\) and type int32.*\(batch, steps\)"):
        model.apply(params, np.zeros(5, np.int32))
    with pytest.raises(ValueError, match="type float32"):
        model.apply(params, np.zeros((2, 5), np.float32))


def test_other_cells_fit_into_the_network(ids):
    for cell in ("rnn", "gru", "mingru"):
        config = dataclasses.replace(SMALL, cell=cell)
        params = jax.eval_shape(functools.partial(model.init, config=config), jax.random.key(0))
        assert jax.eval_shape(model.apply, params, ids).logits.shape == (3, 8, 11)
        assert cells.kind(params["cells"][1]) == cell
