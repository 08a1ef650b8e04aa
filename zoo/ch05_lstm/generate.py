"""Text out of a trained network: drawn character by character, or the likeliest next words.

Axes: B sequences, V characters, N characters to write.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch05_lstm import cells, model
from zoo.ch05_lstm.text import BLANK, START, Vocabulary
from zoo.common import device

PIECE = 64
"""Characters written by one compiled call; what is written does not depend on it."""


def filter_logits(
    logits: jax.Array, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> jax.Array:
    """Logits [..., V] of the distribution to draw from: sharpened, and cut where it is unlikely.

    Args:
      logits: of the network.
      temperature: divides the logits: below 1 the likely characters gain, above 1 the unlikely
        ones, and towards infinity all become alike.
      top_k: keeps the so many likeliest characters, and what ties with the last; 0 keeps all.
      top_p: keeps the fewest characters whose probabilities reach this sum (nucleus, Holtzman et
        al. 2020); 1 keeps all.

    Raises:
      ValueError: an option is out of its range.
    """
    if not temperature > 0 or top_k < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f"got temperature {temperature}, top_k {top_k}, top_p {top_p}; expected a temperature "
            "above 0, top_k of at least 0 and top_p above 0 and up to 1"
        )
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        last = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < last, -jnp.inf, logits)
    if top_p < 1:
        falling = -jnp.sort(-logits, axis=-1)
        shares = jax.nn.softmax(falling)
        needed = jnp.cumsum(shares, axis=-1) - shares < top_p  # those before do not reach it yet
        last = jnp.where(needed, falling, jnp.inf).min(axis=-1, keepdims=True)
        logits = jnp.where(logits < last, -jnp.inf, logits)
    return logits


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

    Character n of a text depends on the key and on n alone, so a text that is written in pieces is
    the same as in one go. All random numbers are drawn before the loop, and what each character
    adds to the first layer's gates is computed once.

    Args:
      params: of a network that was trained on true characters.
      state: behind all that was read or written before `ids`.
      ids: the last characters, [B], not yet read.
      key: of the whole text.
      begin: characters written before.
      count: characters to write.
      temperature: as `filter_logits` takes it, but 0 takes the likeliest character.
      top_k: as `filter_logits` takes it.
      top_p: as `filter_logits` takes it.

    Returns:
      The characters, int32 [count, B], and the state before the last of them is read.
    """
    first, *others = params["cells"]
    table = cells.project(first, params["embedding"]["embedding"])
    noise = jnp.zeros((count, 1, 1))
    if temperature:
        keys = jax.vmap(lambda n: jax.random.fold_in(key, n))(begin + jnp.arange(count))
        shape = (len(ids), len(table))
        noise = jax.vmap(lambda key: jax.random.gumbel(key, shape))(keys)

    def one(carry, noise):
        state, ids = carry
        now, h = cells.of(first).advance(first, state[0], table[ids])
        after = [now]
        for layer, before in zip(others, state[1:], strict=True):
            now, h = cells.of(layer).step(layer, before, h)
            after.append(now)
        logits = model.decode(params, h).at[:, : BLANK + 1].set(-jnp.inf)
        if temperature:
            logits = filter_logits(logits, temperature, top_k, top_p)
        ids = (logits + noise).argmax(-1).astype(jnp.int32)
        return (after, ids), ids

    (state, _), written = jax.lax.scan(one, (state, ids), noise)
    return written, state


def read(params: model.Params, ids: np.ndarray) -> model.State:
    """The state behind a text [N] that was read from the beginning; zeros if N is 0."""
    if not len(ids):
        return model.init_state(params, 1)
    return device.jit(model.apply)(params, jnp.asarray(ids)[None]).state


def stream(
    params: model.Params,
    vocabulary: Vocabulary,
    prompt: str,
    length: int,
    seed: int = 0,
    **options: float,
) -> Iterator[str]:
    """A text behind a prompt, in pieces as they are written.

    Args:
      params: of a network that was trained on true characters.
      vocabulary: its characters.
      prompt: read first; a line break if it is empty.
      length: characters to write.
      seed: the same one gives the same text.
      **options: keywords of `write`.

    Raises:
      DataError: the prompt has unknown characters.
    """
    ids = vocabulary.encode(prompt or ("\n" if "\n" in vocabulary.characters else ""))
    ids = ids if len(ids) else np.array([START])
    state, last = read(params, ids[:-1]), jnp.asarray(ids[-1:])
    key = jax.random.key(seed)
    piece = device.jit(functools.partial(write, count=PIECE, **options))
    for begin in range(0, length, PIECE):
        written, state = piece(params, state, last, key, begin)
        last = written[-1]
        yield vocabulary.decode(written[: length - begin, 0])


def expected_text(params: model.Params, vocabulary: Vocabulary, length: int = 30) -> str:
    """What the book's program prints: the likeliest character at each step, one fixed string.

    Its network is fed with what it expected, so nothing is drawn and nothing can be asked; marks
    are shown as the letters S, E and B in angle brackets.
    """
    ids = model.apply_expected(params, 1, length).logits[0].argmax(-1).tolist()
    marks = ("<S>", "<E>", "<B>")
    return "".join(marks[n] if n <= BLANK else vocabulary.characters[n] for n in ids)


def is_word(character: str) -> bool:
    """Whether the character can stand in a word."""
    return character.isalpha() or character in "'-"


def next_words(
    params: model.Params,
    vocabulary: Vocabulary,
    prefix: str,
    *,
    beam: int = 128,
    longest: int = 24,
) -> list[tuple[str, float]]:
    """The likeliest words behind a prefix with their probabilities, the likeliest first.

    A prefix that ends within a word asks for its end; one that ends with a space asks for the word
    behind it. The probability of a word is the product over its characters, times that of any
    character behind it that ends it. A beam search keeps the likeliest beginnings; what it drops
    is missing from the list, so probabilities are exact but their sum may be below 1.

    Args:
      params: of a network that was trained on true characters.
      vocabulary: its characters.
      prefix: at least one character.
      beam: beginnings that are kept at each step.
      longest: characters added at most.

    Raises:
      DataError: the prefix has unknown characters.
      ValueError: the prefix is empty.
    """
    ids = vocabulary.encode(prefix)
    if not len(ids):
        raise ValueError("got an empty prefix, expected at least one character")
    within = np.array([n > BLANK and is_word(c) for n, c in enumerate(vocabulary.characters)])
    letters = np.flatnonzero(within)
    begun = len(prefix) - len("".join(c if is_word(c) else " " for c in prefix).split(" ")[-1])
    advance = device.jit(_advance)
    out = device.jit(model.apply)(params, jnp.asarray(ids)[None])
    state, logp = out.state, np.asarray(jax.nn.log_softmax(out.logits[:, -1]), np.float64)
    live, total, found = [prefix[begun:]], np.zeros(1), {}
    for _ in range(longest):
        ends = np.exp(total + np.log(np.exp(logp[:, ~within]).sum(axis=1)))
        found |= {word: p for word, p in zip(live, ends.tolist(), strict=True) if word}
        grown = total[:, None] + logp[:, within]
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
