import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch05_lstm import generate, model, text
from zoo.common.data import DataError
from zoo.common.settings import SettingError

WORDS = text.make_vocabulary("ab c\n")
CONFIG = dataclasses.replace(
    model.RECIPES["modern"],
    glorot=True,
    vocabulary=len(WORDS.characters),
    embedding=4,
    hidden=5,
    layers=2,
)
APPLY = jax.jit(lambda params, ids: jax.nn.log_softmax(model.apply(params, ids).logits))
INIT = jax.jit(model.init, static_argnums=1)
LOGITS = jnp.log(jnp.array([0.05, 0.4, 0.15, 0.3, 0.1]))


@pytest.fixture(scope="module")
def params():
    fresh = INIT(jax.random.key(2), CONFIG)
    return jax.tree.map(lambda a: 3.0 * a, fresh)  # far from uniform


def test_filters_keep_what_they_say():
    def kept(**options):
        return np.flatnonzero(np.isfinite(generate.filter_logits(LOGITS, **options))).tolist()

    assert kept() == [0, 1, 2, 3, 4]
    assert kept(top_k=2) == [1, 3]
    assert kept(top_k=9) == [0, 1, 2, 3, 4]
    assert kept(top_p=0.3) == [1]
    assert kept(top_p=0.69) == [1, 3]
    assert kept(top_p=0.71) == [1, 2, 3]
    cooled = jax.nn.softmax(generate.filter_logits(LOGITS, temperature=0.5))
    squared = np.exp(2 * LOGITS)
    np.testing.assert_allclose(cooled, squared / squared.sum(), rtol=1e-5)


def by_definition(logits, temperature, top_k, top_p):
    """The distribution to draw from in float64; no two logits are equal."""
    order = np.argsort(-logits)
    cooled = (logits - logits.max()) / min(max(temperature, 1e-100), 1e100)
    p = np.exp(cooled)
    p[order[top_k or len(p) :]] = 0
    p /= p.sum()
    before = np.cumsum(p[order]) - p[order]
    p[order[1:][before[1:] >= top_p]] = 0
    return p / p.sum()


@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1e-20, 0.3, 7.0, 1e20, 1e38, np.inf])
def test_the_limits_of_sampling_are_those_of_the_definition(temperature):
    scales = np.array([[1e-3], [1.0], [1e4], [1e15]])
    logits = np.float32(scales * np.random.default_rng(0).permutation(np.linspace(-1, 1, 9)))
    logits[:, 3] = -np.inf  # a mark
    for top_k, top_p in itertools.product((0, 1, 4, 2**40), (1e-45, 0.31, 1.0)):
        filtered = generate.filter_logits(jnp.asarray(logits), temperature, top_k, top_p)
        found = np.asarray(jax.nn.softmax(filtered))
        rows = [by_definition(np.float64(row), temperature, top_k, top_p) for row in logits]
        np.testing.assert_allclose(found, rows, atol=2e-5, err_msg=f"{top_k} {top_p}")
        assert (found[:, 3] == 0).all()


@pytest.mark.parametrize(
    "options",
    [{"temperature": 3e38}, {"temperature": 1e-45}, {"top_p": 1e-45}, {"top_k": 2**31 - 1}],
)
def test_at_the_limits_as_many_characters_are_written(params, options):
    written = "".join(generate.stream(params, WORDS, "a", 12, **options))
    assert len(written) == 12
    if "top_p" in options or options.get("temperature") == 1e-45:
        assert written == by_hand(params, "a", 12)
    elif "temperature" in options:
        assert len(set(written)) > 3  # as good as uniform


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -1.0}, "got temperature -1.0, expected at least 0"),
        ({"temperature": float("nan")}, "got temperature nan, expected at least 0"),
        ({"temperature": float("inf")}, "got temperature inf, expected a finite number"),
        ({"top_k": -1}, "got top_k -1, expected at least 0"),
        ({"top_p": 0.0}, "got top_p 0.0, expected above 0, at most 1"),
        ({"top_p": 1.1}, "got top_p 1.1, expected above 0, at most 1"),
        ({"length": 0}, "got length 0, expected at least 1"),
        ({"seed": 2**32}, "got seed 4294967296, expected 0 to 4,294,967,295"),
    ],
)
def test_a_number_out_of_its_bounds_is_refused_before_anything_is_written(wrong, message):
    with pytest.raises(SettingError, match=message):
        generate.stream({}, WORDS, "a", **{"length": 3, **wrong})


def log_probabilities(params, rows, length=16):
    """Of the character behind each of some rows of characters, float64 [rows, length, V]."""
    ids = np.full((len(rows), length), 5)  # what stands behind a row changes nothing in it
    for filled, row in zip(ids, rows, strict=True):
        filled[: len(row)] = row
    return np.array(APPLY(params, ids), np.float64)


def by_hand(params, prompt, count):
    """The likeliest character each time, each time from the beginning."""
    ids = WORDS.encode(prompt).tolist()
    for _ in range(count):
        logp = log_probabilities(params, [ids])[0, len(ids) - 1]
        ids.append(3 + int(logp[3:].argmax()))
    return WORDS.decode(ids[len(prompt) :])


def test_greedy_writing_is_reading_again_from_the_beginning(params):
    written = "".join(generate.stream(params, WORDS, "ab c", 12, temperature=0))
    assert written == by_hand(params, "ab c", 12)


def test_a_text_in_pieces_is_the_text_in_one_go_and_depends_on_the_seed(params, monkeypatch):
    whole = "".join(generate.stream(params, WORDS, "a", 20, seed=1))
    monkeypatch.setattr(generate, "PIECE", 7)
    pieces = list(generate.stream(params, WORDS, "a", 20, seed=1))
    assert [len(piece) for piece in pieces] == [7, 7, 6]
    assert "".join(pieces) == whole
    assert "".join(generate.stream(params, WORDS, "a", 20, seed=2)) != whole
    with pytest.raises(DataError, match="'z'"):
        generate.stream(params, WORDS, "az", 3)


def test_drawn_characters_have_the_networks_probabilities(params):
    """4,000 first characters, drawn side by side, against the softmax."""
    count = 4_000
    state = model.init_state(params, count)
    ids = jnp.full(count, 5)
    write = jax.jit(lambda key: generate.write(params, state, ids, key, 0, 1, temperature=1.3)[0])
    written = write(jax.random.key(0))
    logits = log_probabilities(params, [[5]])[0, 0] / 1.3
    p = np.where(np.arange(len(logits)) < 3, 0, np.exp(logits))
    found = np.bincount(np.asarray(written[0]), minlength=len(p)) / count
    np.testing.assert_allclose(found, p / p.sum(), atol=0.03)


def brute_force(params, prefix, longest):
    """All words over a, b, c of up to so many more letters, each by the chain rule."""
    within = [n for n, c in enumerate(WORDS.characters) if c in "abc"]
    outside = [n for n in range(len(WORDS.characters)) if n not in within]
    ends = [e for n in range(longest) for e in itertools.product(within, repeat=n)]
    logp = log_probabilities(params, [[*WORDS.encode(prefix), *end] for end in ends])
    at, begun, found = len(prefix) - 1, len(prefix.rstrip("abc")), {}
    for end, p in zip(ends, logp, strict=True):
        chain = np.exp(sum(p[at + n, letter] for n, letter in enumerate(end)))
        found[prefix[begun:] + WORDS.decode(end)] = chain * np.exp(p[at + len(end), outside]).sum()
    found.pop("", None)
    return found


@pytest.mark.parametrize("prefix", ["b ", "c ab"])
def test_next_words_are_those_of_brute_force(params, prefix):
    found = generate.next_words(params, WORDS, prefix, beam=30, longest=4)
    expected = brute_force(params, prefix, 4)
    assert dict(found).keys() == expected.keys()
    for word, p in found:
        np.testing.assert_allclose(p, expected[word], rtol=1e-4)
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
    assert sum(p for _, p in found) <= 1
    narrow = dict(generate.next_words(params, WORDS, prefix, beam=2, longest=4))
    assert len(narrow) < len(found)
    for word, p in narrow.items():
        np.testing.assert_allclose(p, expected[word], rtol=1e-4)


def test_an_empty_prefix_is_refused(params):
    with pytest.raises(DataError, match="got an empty prefix"):
        generate.next_words(params, WORDS, "")


def test_the_books_output_is_one_fixed_string_with_its_marks(params):
    for n, shown in ((1, "<E>"), (4, " ")):
        bias = jnp.zeros(CONFIG.vocabulary).at[n].set(1.0)
        decoder = {"kernel": 0.0 * params["decoder"]["kernel"], "bias": bias}
        assert generate.expected_text(params | {"decoder": decoder}, WORDS, 4) == 4 * shown
