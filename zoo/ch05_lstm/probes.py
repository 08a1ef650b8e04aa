"""A look inside a network: gradients through time, gates, exact evaluation, principal axes.

Axes: B sequences, T steps, H hidden units.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch05_lstm import cells, model
from zoo.common import device

PIECE = 4096  # characters of the validation text between two signs of progress
_GATES = {"lstm": cells.lstm_gates, "gru": cells.gru_gates}


def gradient_norms(params: model.Params, ids: jax.Array) -> jax.Array:
    """Norm of d loss_T / d h_t for t = 1 to T, the mean over B, of the first layer: float32 [T].

    The loss is that of the last of the characters [B, T + 1] alone, so this says how far back a
    mistake is felt.
    """
    layer, *others = params["cells"]
    cell, size = cells.of(layer), len(ids)
    xs = model.embed(params, ids[:, :-1].T)

    def last_loss(nudges: jax.Array) -> jax.Array:
        def one(state, now):
            x, nudge = now
            state, h = cell.step(layer, state, x)
            h = h + nudge
            state = state._replace(h=h) if isinstance(state, cells.LSTMState) else h
            return state, h

        _, hs = jax.lax.scan(one, cell.start(layer, size), (xs, nudges))
        for above in others:
            hs = cells.of(above).unroll(above, cells.of(above).start(above, size), hs)[1]
        return model.surprise(model.decode(params, hs[-1]), ids[:, -1])[0].sum()

    zeros = jnp.zeros((*xs.shape[:2], cells.hidden_units(layer)))  # a nudge of each h_t
    return jnp.linalg.norm(jax.grad(last_loss)(zeros), axis=-1).mean(axis=1)


def gate_activations(params: model.Params, ids: jax.Array) -> dict[str, jax.Array]:
    """The gates of the first layer while it reads characters [T]: by name, each [T, H].

    Raises:
      ValueError: the cell has no gates that depend on its state.
    """
    layer = params["cells"][0]
    kind, cell = cells.kind(layer), cells.of(layer)
    if kind not in _GATES:
        raise ValueError(f"the cell is {kind}, expected one of {', '.join(_GATES)}")

    def one(state, projected):
        return cell.advance(layer, state, projected)[0], _GATES[kind](layer, state, projected)

    projected = cells.project(layer, model.embed(params, ids)[:, None])
    found = jax.lax.scan(one, cell.start(layer, 1), projected)[1]
    return {name: values[:, 0] for name, values in found.items()}


def carried_loss(
    params: model.Params,
    ids: np.ndarray,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[float, float]:
    """The whole text scored in one go, from the zero state: no window, no batch.

    Gives the mean of -log p in nats, and the share that the likeliest guess hit. The first
    character is only read. `track` shows progress over the pieces.
    """
    score, count = device.jit(model.score), len(ids) - 1
    padded = np.pad(ids, (0, -count % PIECE))  # pieces of one shape: it compiles once
    counts = np.arange(len(padded) - 1) < count
    state, nats, right = model.init_state(params, 1), 0.0, 0.0
    for at in track(range(0, count, PIECE)):
        batch = {"input": padded[at : at + PIECE], "target": padded[at + 1 : at + PIECE + 1]}
        batch |= {"weight": counts[at : at + PIECE].astype(np.float32)}
        value, (metrics, state) = score(params, {n: a[None] for n, a in batch.items()}, state)
        size = min(PIECE, count - at)
        nats, right = nats + size * float(value), right + size * float(metrics["accuracy"])
    return nats / count, right / count


def reset_loss(params: model.Params, ids: np.ndarray, chunk: int) -> float:
    """The mean of -log p in nats when every `chunk` characters the state begins anew.

    What does not fill a chunk is left out. This is how a model without memory is measured.
    """
    count = (len(ids) - 1) // chunk
    rows = [jnp.asarray(a[: count * chunk]).reshape(count, 1, chunk) for a in (ids, ids[1:])]

    def sums(params, rows):
        def one(pair):
            return model.surprise(model.apply(params, pair[0]).logits, pair[1])[0].sum()

        return jax.lax.map(one, rows, batch_size=64)  # all at once would not fit into the memory

    return float(device.jit(sums)(params, rows).sum()) / (count * chunk)


def place_entropy(targets: np.ndarray) -> float:
    """The entropy of the character at each place of sentences [N, T], summed over places, in nats.

    No model that sees nothing of the sentence at hand, like the book's, can have a lower mean loss.
    """
    shares = [np.unique(place, return_counts=True)[1] / len(place) for place in targets.T]
    return -sum(float((share * np.log(share)).sum()) for share in shares)


def principal_axes(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [N, E] on their two principal axes, [N, 2], and the shares of variance these have."""
    centred = np.asarray(table, np.float64) - np.mean(table, axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    share = sizes[:2] ** 2 / (sizes**2).sum()
    axes = axes[:2] * np.sign(axes[:2, :1])  # an axis has no sign of its own
    return centred @ axes.T, share
