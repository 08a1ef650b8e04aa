"""Text out of a trained network: drawn character by character, or the likeliest next words.

Axes: B sequences, V characters, N characters to write.
"""

import functools
from collections.abc import Iterator
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch05_lstm import model
from zoo.ch05_lstm.text import BLANK, START, Vocabulary
from zoo.common import device, keys, settings
from zoo.common.data import DataError
from zoo.common.settings import Bounds, Count, NotNegative, Seed

TopK = Annotated[int, Bounds(0)]
TopP = Annotated[float, Bounds(above=0, most=1)]
PIECE = 64
"""Characters written by one compiled call; what is written does not depend on it."""


def filter_logits(
    logits: jax.Array, temperature: float | jax.Array = 1.0, top_k: int = 0, top_p: float = 1.0
) -> jax.Array:
    """Logits [..., V] of the distribution to draw from: sharpened, and cut where it is unlikely.

    The temperature divides the logits: below 1 the likely characters gain, above 1 the unlikely
    ones. `top_k` keeps the so many likeliest characters, and what ties with the last (0: all),
    `top_p` the fewest whose probabilities reach this sum (nucleus, Holtzman et al. 2020).

    At the limits: near temperature 0 all but the likeliest get nothing, near infinity all that are
    possible get the same, and a tiny `top_p` still keeps the likeliest.
    """
    # At 1e30 the softmax of any logits is flat; 1 / 1e38 would be 0 in float32, and 0 * inf NaN.
    temperature = jnp.clip(temperature, 1e-30, 1e30)
    logits = logits - logits.max(-1, keepdims=True)  # so that dividing by little makes no inf
    if 0 < top_k < logits.shape[-1]:
        last = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < last, -jnp.inf, logits)
    if top_p < 1:
        falling = -jnp.sort(-logits, axis=-1)
        shares = jax.nn.softmax(falling / temperature)
        needed = jnp.cumsum(shares, axis=-1) - shares < top_p  # those before do not reach it yet
        needed = needed.at[..., 0].set(True)  # also where float32 takes `top_p` for 0
        last = jnp.where(needed, falling, jnp.inf).min(axis=-1, keepdims=True)
        logits = jnp.where(logits < last, -jnp.inf, logits)
    return logits / temperature  # last: it may make ties of what differs


def write(
    params: model.Params,
    state: model.State,
    ids: jax.Array,
    key: jax.Array,
    begin: jax.Array | int,
    count: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> tuple[jax.Array, model.State]:
    """Writes `count` characters in one loop; marks are never written.

    The network must have been trained on true characters. `state` is that behind all that stands
    before `ids` [B], the last characters, not yet read; `begin` is the number of characters written
    before. The options are those of `filter_logits`, but temperature 0 takes the likeliest.

    Returns:
      The characters, int32 [count, B], and the state before the last of them is read.
    """
    # Looked up, and all random numbers drawn before the loop, whose steps are too small to hide it.
    table = model.character_gates(params)
    noise = jnp.zeros((count, 1, 1))
    if temperature:
        # A key for each place: a text written in pieces is the same as in one go.
        shape = (len(ids), len(table))
        places = begin + jnp.arange(count)
        noise = jax.vmap(lambda n: jax.random.gumbel(jax.random.fold_in(key, n), shape))(places)

    def one(carry, noise):
        state, ids = carry
        state, logits = model.advance(params, state, table[ids])
        logits = logits.at[:, : BLANK + 1].set(-jnp.inf)  # no mark
        if temperature:
            logits = filter_logits(logits, temperature, top_k, top_p)
        ids = (logits + noise).argmax(-1).astype(jnp.int32)  # Gumbel noise: a draw from softmax
        return (state, ids), ids

    (state, _), written = jax.lax.scan(one, (state, ids), noise)
    return written, state


def stream(
    params: model.Params,
    vocabulary: Vocabulary,
    prompt: str,
    length: Count,
    seed: Seed = 0,
    *,
    temperature: NotNegative = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
) -> Iterator[str]:
    """`length` characters behind a prompt, in pieces as they are written, see `write`.

    The network must have been trained on true characters. An empty prompt is a line break.

    Raises:
      DataError: the prompt has unknown characters.
      SettingError: a number is out of its bounds.
    """
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    for name, value in {"length": length, "seed": seed, **options}.items():
        settings.check_value(name, value, settings.annotations(stream)[name])
    ids = vocabulary.encode(prompt or ("\n" if "\n" in vocabulary.characters else ""))
    ids = ids if len(ids) else np.array([START])

    @device.in_float32
    def pieces() -> Iterator[str]:
        state, last = model.init_state(params, 1), jnp.asarray(ids[-1:])
        if len(ids) > 1:
            state = device.jit(model.apply)(params, jnp.asarray(ids[:-1])[None]).state
        piece = device.jit(functools.partial(write, count=PIECE, **options))
        for begin in range(0, length, PIECE):
            written, state = piece(params, state, last, keys.derive(seed, "text"), begin)
            last = written[-1]
            yield vocabulary.decode(written[: length - begin, 0])

    return pieces()  # what is wrong is said at the call, not at the first piece


@device.in_float32
def expected_text(params: model.Params, vocabulary: Vocabulary, length: int = 30) -> str:
    """What the book's program prints: the likeliest character at each step, one fixed string.

    Its network is fed with what it expected, so nothing is drawn and there is no prompt. The marks
    are shown as the letters S, E and B in angle brackets.
    """
    expect = device.jit(model.apply_expected, static_argnums=(1, 2))
    ids = expect(params, 1, length).logits[0].argmax(-1).tolist()
    marks = ("<S>", "<E>", "<B>")
    return "".join(marks[n] if n <= BLANK else vocabulary.characters[n] for n in ids)


def _is_word(character: str) -> bool:
    return character.isalpha() or character in "'-"


@device.in_float32
def next_words(
    params: model.Params, vocabulary: Vocabulary, prefix: str, *, beam: int = 128, longest: int = 24
) -> list[tuple[str, float]]:
    """The likeliest words behind a prefix with their probabilities, the likeliest first.

    If the prefix ends within a word it is that word that is completed. The probability of a word is
    the product over its characters, times that of any character behind it that ends it. A beam
    search keeps the `beam` likeliest beginnings, up to `longest` characters; what it drops is
    missing from the list, so probabilities are exact but their sum may be below 1.

    Raises:
      DataError: the prefix is empty or has unknown characters.
    """
    ids = vocabulary.encode(prefix)
    if not len(ids):
        raise DataError("got an empty prefix, expected a text such as 'to be '")
    within = np.array([n > BLANK and _is_word(c) for n, c in enumerate(vocabulary.characters)])
    letters = np.flatnonzero(within)
    # Where the word begins that the prefix ends in; its end if it ends in none.
    begun = len(prefix) - len("".join(c if _is_word(c) else " " for c in prefix).split(" ")[-1])
    advance = device.jit(_advance)
    out = device.jit(model.apply)(params, jnp.asarray(ids)[None])
    state, logp = out.state, np.asarray(jax.nn.log_softmax(out.logits[:, -1]), np.float64)
    live, total = [prefix[begun:]], np.zeros(1)
    found: dict[str, float] = {}
    for _ in range(longest):
        ends = np.exp(total + np.log(np.exp(logp[:, ~within]).sum(axis=1)))
        found |= {word: p for word, p in zip(live, ends.tolist(), strict=True) if word}
        grown = total[:, None] + logp[:, within]  # [beginnings, letters], log-probabilities
        best = np.argsort(-grown, axis=None)[:beam]
        parents, which = np.divmod(best, len(letters))
        added = [vocabulary.characters[n] for n in letters[which]]
        live = [live[p] + character for p, character in zip(parents, added, strict=True)]
        total = grown.ravel()[best]
        rows = np.resize(np.arange(len(best)), beam)  # of one shape, so that it compiles once
        state = jax.tree.map(lambda a, at=parents[rows]: a[at], state)
        state, logp = advance(params, state, jnp.asarray(letters[which][rows]))
        logp = np.asarray(logp, np.float64)[: len(best)]
    return sorted(found.items(), key=lambda pair: -pair[1])


def _advance(params: model.Params, state: model.State, ids: jax.Array):
    state, logits = model.step(params, state, model.embed(params, ids))
    return state, jax.nn.log_softmax(logits)
