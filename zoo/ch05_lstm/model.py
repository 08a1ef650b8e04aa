"""Chapter 5: a recurrent network that writes text, character by character.

Embedding, stacked cells, decoder. Recipe `modern` learns to predict the next character from the
true ones before it (teacher forcing), in chunks of a long text whose state is carried from chunk
to chunk. Recipe `book` is the book's program: it never sees a true character, but what it expected
itself. `best` is `modern` with more units, more time and more dropout.

Axes: B sequences in a batch, T characters in a chunk, E embedding units, H hidden units, V
characters of the vocabulary. README.md lists where this departs from the book.
"""

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zoo.ch05_lstm import cells
from zoo.common import ops, settings
from zoo.common.settings import Bounds, Count, NotNegative, Positive, Seed, Share, Size, Strength

Params = dict[str, Any]
State = list[Any]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
START = 0  # number of the character that the book's sequences begin with


@dataclasses.dataclass(frozen=True)
class Config:
    """The model and its training."""

    recipe: Literal["modern", "best", "book"] = "modern"
    """the whole configuration to start from; other flags change single fields of it"""
    dataset: Literal["tiny-shakespeare", "book-shakespeare"] = "tiny-shakespeare"
    """book-shakespeare is the file of the book's chapter 5, Shakespeare-like text"""
    text: str = ""
    """a text file in UTF-8 to train on in place of the data set"""
    vocabulary: Annotated[int, Bounds(4, ceiling=2**20)] = 68
    """characters known, with START, END and BLANK; `train` counts them itself"""
    cell: Literal["lstm", "gru", "rnn", "mingru"] = "lstm"
    """kind of the recurrent cells"""
    embedding: Size = 64
    """numbers that stand for a character"""
    hidden: Size = 256
    """units of each layer"""
    layers: Annotated[int, Bounds(1, ceiling=256)] = 1
    """recurrent layers, one upon the other"""
    decoder_bias: bool = True
    """whether the decoder has one; the book's has none"""
    glorot: bool = False
    """kernels normal as in the book; off: recurrent ones orthogonal"""
    forget_bias: Annotated[float, Bounds(-1000, 1000)] = 1.0
    """of the LSTM's forget gates at the start"""
    chrono: Annotated[int, Bounds(0)] = 0
    """longest delay, in characters, that gate biases are initialised for, from 3 (LSTM only); 0:
    none"""
    feedback: Literal["true", "expected"] = "true"
    """what goes in: the true character, or as in the book the mean embedding that was expected"""
    chunk: Annotated[int, Bounds(1, ceiling=2**16)] = 64
    """characters that gradients reach back; with expected feedback, the length of a sentence"""
    dropout: Share = 0.0
    """share of the units dropped behind each layer"""
    weight_dropout: Share = 0.0
    """share of the recurrent weights dropped, once for each chunk (Merity et al. 2018)"""
    reduction: Literal["mean", "sum"] = "mean"
    """loss per character, or summed over the sentence as in the book"""
    solver: Literal["adamw", "rmsprop"] = "adamw"
    """adamw: warm-up and cosine, clipped by norm; rmsprop: Gorgonia's, clipped by element"""
    learning_rate: NotNegative = 4e-3
    """peak of the schedule, or the constant rate"""
    weight_decay: Strength = 0.01
    """of the kernels, times the rate; for rmsprop of all, not times the rate"""
    clip: Positive = 1.0
    """bound of the gradient's norm; for rmsprop of each of its elements"""
    epochs: Count = 8
    """passes over the training text"""
    batch_size: Size = 32
    """streams, or sentences, per update"""
    seed: Seed = 0
    """of the weights, dropout and the order of the sentences"""

    def __post_init__(self) -> None:
        settings.check(self)
        if 0 < self.chrono < 3:
            raise settings.SettingError(f"got chrono {self.chrono}, expected at least 3, or 0")


RECIPES = {
    "modern": Config(),
    "best": Config(
        "best", hidden=512, dropout=0.4, weight_dropout=0.2, learning_rate=3e-3, epochs=24
    ),
    "book": Config(
        recipe="book",
        dataset="book-shakespeare",
        vocabulary=64,  # 61 characters and the three marks
        embedding=20,
        hidden=100,
        decoder_bias=False,
        glorot=True,
        forget_bias=0.0,
        feedback="expected",
        chunk=30,
        reduction="sum",
        solver="rmsprop",
        learning_rate=0.01,  # never falls: sooner or later one update throws the network out
        weight_decay=1e-6,
        clip=5.0,
        epochs=300,
        batch_size=1,
    ),
}


class Output(NamedTuple):
    """What one pass through the network gives."""

    logits: jax.Array  # [B, T, V]
    state: State  # of each layer, to go on from


def init(key: jax.Array, config: Config) -> Params:
    """Embedding rows standard normal, decoder Glorot normal; with `config.glorot` all are."""
    cell = cells.CELLS[config.cell]
    embedding_key, decoder_key, key = jax.random.split(key, 3)
    extra = {}
    if config.cell == "lstm":
        extra = {"forget_bias": config.forget_bias, "chrono": config.chrono}
    layers, inputs = [], config.embedding
    for layer_key in jax.random.split(key, config.layers):
        layers.append(cell.init(layer_key, inputs, config.hidden, config.glorot, **extra))
        inputs = config.hidden
    glorot = jax.nn.initializers.glorot_normal()
    draw = glorot if config.glorot else jax.nn.initializers.normal(1.0)
    rows = draw(embedding_key, (config.vocabulary, config.embedding))
    decoder = {"kernel": glorot(decoder_key, (config.hidden, config.vocabulary))}
    if config.decoder_bias:
        decoder["bias"] = jnp.zeros(config.vocabulary)
    return {"embedding": {"embedding": rows}, "cells": layers, "decoder": decoder}


def init_state(params: Params, batch: int) -> State:
    """The state before the first character: zeros."""
    return [cells.of(layer).start(layer, batch) for layer in params["cells"]]


def example(config: Config, size: int = 2) -> Batch:
    """A small batch as `loss` takes it, always the same: `input` and `target` [B, 5]."""
    ids = jnp.arange(size * 6).reshape(size, 6) * 7 % config.vocabulary
    return {"input": ids[:, :-1], "target": ids[:, 1:], "first": jnp.ones(size, bool)}


@jax.custom_vjp
def lookup(table: jax.Array, ids: jax.Array) -> jax.Array:
    """Rows of a table [V, D] by numbers, which must lie within it.

    The gradient is a product with one-hot rows, faster on a CPU than adding up row by row.
    """
    return table.at[ids].get(mode="promise_in_bounds")


def _lookup_forward(table, ids):
    return lookup(table, ids), (ids, table)


def _lookup_backward(residuals, gradient):
    ids, table = residuals
    chosen = jax.nn.one_hot(ids.ravel(), len(table), dtype=gradient.dtype)
    return chosen.T @ gradient.reshape(-1, gradient.shape[-1]), None


lookup.defvjp(_lookup_forward, _lookup_backward)


def decode(params: Params, h: jax.Array) -> jax.Array:
    """Logits [..., V] of the last layer's outputs [..., H]."""
    return h @ params["decoder"]["kernel"] + params["decoder"].get("bias", 0.0)


def apply(
    params: Params,
    ids: jax.Array,
    key: jax.Array | None = None,
    state: State | None = None,
    *,
    dropout: float = 0.0,
    weight_dropout: float = 0.0,
) -> Output:
    """Logits of the character behind each of `ids`, integers [B, T]; from zeros without a `state`.

    With a key, `dropout` is the share of each layer's outputs that is set to 0, `weight_dropout`
    that of the recurrent weights, the same ones for all characters.

    Raises:
      ValueError: the characters are no matrix of integers.
    """
    if ids.ndim != 2 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            f"characters have shape {ids.shape} and type {ids.dtype}, expected integers "
            "(batch, steps): encode the text, and add an axis for one text"
        )
    state = init_state(params, ids.shape[0]) if state is None else state
    keys = [None] * 2 * len(state) if key is None else jax.random.split(key, 2 * len(state))
    xs = lookup(character_gates(params), ids.T)  # V products in place of B T
    last = []
    for n, (layer, before) in enumerate(zip(params["cells"], state, strict=True)):
        if "hidden" in layer:  # minGRU has no recurrent weights
            kernel = ops.dropout(keys[2 * n], layer["hidden"]["kernel"], weight_dropout)
            layer = {**layer, "hidden": {**layer["hidden"], "kernel": kernel}}
        cell = cells.of(layer)
        run = cell.unroll if n else cell.scan  # what goes into the first layer is projected
        after, xs = run(layer, before, xs)
        xs = ops.dropout(keys[2 * n + 1], xs, dropout)
        last.append(after)
    return Output(decode(params, xs).swapaxes(0, 1), last)


def character_gates(params: Params) -> jax.Array:
    """What each character adds to the gates of the first layer, [V, G H]: always the same."""
    return cells.project(params["cells"][0], params["embedding"]["embedding"])


def advance(params: Params, state: State, projected: jax.Array) -> tuple[State, jax.Array]:
    """One character: what it adds to the first gates [B, G H] to logits [B, V], and the state."""
    after, x = [], projected
    for n, (layer, before) in enumerate(zip(params["cells"], state, strict=True)):
        cell = cells.of(layer)
        run = cell.step if n else cell.advance  # what goes into the first layer is projected
        now, x = run(layer, before, x)
        after.append(now)
    return after, decode(params, x)


def step(params: Params, state: State, x: jax.Array) -> tuple[State, jax.Array]:
    """One character: embedded inputs [B, E] to logits [B, V], and the next state."""
    return advance(params, state, cells.project(params["cells"][0], x))


def embed(params: Params, ids: jax.Array) -> jax.Array:
    """The embeddings [..., E] of characters."""
    return lookup(params["embedding"]["embedding"], ids)


def apply_expected(params: Params, batch: int, steps: int, state: State | None = None) -> Output:
    """The book's pass: START goes in, and from then on what the network itself expected.

    That is sum_v p_v embedding_v with the probabilities p of the step before: no character, true
    or drawn, is ever seen, so all sequences of a batch are alike.
    """
    state = init_state(params, batch) if state is None else state
    rows = params["embedding"]["embedding"]

    def one(carry, _):
        state, x = carry
        state, logits = step(params, state, x)
        return (state, jax.nn.softmax(logits) @ rows), logits

    first = jnp.broadcast_to(rows[START], (batch, rows.shape[1]))
    (last, _), logits = jax.lax.scan(one, (state, first), length=steps)
    return Output(logits.swapaxes(0, 1), last)


def loss(
    params: Params,
    batch: Batch,
    key: jax.Array | None = None,
    state: State | None = None,
    *,
    feedback: str = "true",
    reduction: str = "mean",
    **rates: float,
) -> tuple[jax.Array, tuple[Metrics, State]]:
    """Cross-entropy of the next character in nats, -log p(target).

    `batch` has `input` and `target`, integers [B, T], and `first`, bool [B]: where it is true the
    state, which comes from the chunk before, begins anew. `feedback` and `reduction` are those of
    `Config` (a sum is over the characters of a sequence, mean over B), `rates` those of `apply`.

    Returns:
      The loss, its metrics (bits per character, and the share of characters that the likeliest
      guess hits), and the state behind the batch.
    """
    ops.check_choice("feedback", feedback, ("true", "expected"))
    ops.check_choice("reduction", reduction, ("mean", "sum"))
    ops.check_names(batch, "input", "target", "first")
    ops.check_shape("inputs", batch["input"], ("batch", "steps"))
    size, steps = batch["input"].shape
    ops.check_shape("targets", batch["target"], (size, steps), "the character behind each input")
    ops.check_shape("first", batch["first"], (size,), "whether each text begins")
    if state is not None:
        keep = 1.0 - batch["first"][:, None].astype(jnp.float32)  # 0 where a text begins
        state = jax.tree.map(lambda a: keep * a, state)
    if feedback == "expected":
        out = apply_expected(params, size, steps, state)
    else:
        out = apply(params, batch["input"], key, state, **rates)
    nats, right = surprise(out.logits, batch["target"])
    metrics = {"bits": nats.mean() / jnp.log(2.0), "accuracy": right.mean()}
    value = nats.sum() / size if reduction == "sum" else nats.mean()  # the book's, or ours
    return value, (metrics, out.state)


def surprise(logits: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """-log p(target) in nats, and whether the target is the likeliest, each [B, T]."""
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    # A maximum in place of argmax, which is slow on a CPU.
    found = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    return nats, (found >= logits.max(axis=-1)).astype(jnp.float32)


def score(
    params: Params, batch: Batch, state: State | None = None, steps: int = 128
) -> tuple[jax.Array, tuple[Metrics, State]]:
    """As `loss` for texts of any length L, with the state carried through.

    `batch` has `input`, `target` and `weight` [B, L]; what has weight 0 is read but not counted.
    The metrics hold their `weight` in a mean over several batches, how many characters count.
    L is a multiple of `steps`, the characters read at a time, which bound the memory.

    Raises:
      ValueError: L is no such multiple, or an array has another shape.
    """
    ops.check_names(batch, "input", "target", "weight")
    ops.check_shape("inputs", batch["input"], ("batch", "characters"))
    size, length = batch["input"].shape
    for name in ("target", "weight"):
        ops.check_shape(f"{name}s", batch[name], (size, length), "one for each input")
    if length % steps:
        raise ValueError(f"got {length} characters, expected a multiple of {steps}: pad them")

    def chunk(state, part):
        out = apply(params, part["input"], state=state)
        nats, right = surprise(out.logits, part["target"])
        sums = [(part["weight"] * a).sum() for a in (nats, right)]
        return out.state, (*sums, part["weight"].sum())

    parts = jax.tree.map(lambda a: a.reshape(size, -1, steps).swapaxes(0, 1), dict(batch))
    state = init_state(params, size) if state is None else state
    last, sums = jax.lax.scan(chunk, state, parts)
    nats, right, weight = (a.sum() for a in sums)
    count = jnp.where(weight > 0, weight, 1.0)  # where nothing counts, all means are 0
    metrics = {"bits": nats / count / jnp.log(2.0), "accuracy": right / count, "weight": weight}
    return nats / count, (metrics, last)
