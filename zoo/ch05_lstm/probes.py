"""A look inside a network: gradients through time, gates, exact evaluation, principal axes.

Axes: B sequences, T steps, H hidden units.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch05_lstm import cells, model
from zoo.common import device

PIECE = 4096  # characters of the validation text between two signs of progress


def gradient_norms(params: model.Params, ids: jax.Array) -> jax.Array:
    """Norm of d loss_T / d h_t for t = 1 to T, the mean over B, of the first layer: float32 [T].

    The loss is that of the last character alone, so this says how far back a mistake is felt.

    Args:
      params: from `model.init`.
      ids: characters [B, T + 1], the last of which is the target.
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

    zeros = jnp.zeros((*xs.shape[:2], cells.hidden_units(layer)))
    return jnp.linalg.norm(jax.grad(last_loss)(zeros), axis=-1).mean(axis=1)


def gate_activations(params: model.Params, ids: jax.Array) -> dict[str, jax.Array]:
    """The gates of the first layer while it reads characters [T]: by name, each [T, H].

    Raises:
      ValueError: the cell has no gates that depend on its state.
    """
    layer = params["cells"][0]
    kind = cells.kind(layer)
    gates = {"lstm": cells.lstm_gates, "gru": cells.gru_gates}
    if kind not in gates:
        raise ValueError(f"the cell is {kind}, expected one of {', '.join(gates)}")
    cell = cells.of(layer)

    def one(state, projected):
        found = gates[kind](layer, state, projected)
        return cell.advance(layer, state, projected)[0], found

    projected = cells.project(layer, model.embed(params, ids)[:, None])
    found = jax.lax.scan(one, cell.start(layer, 1), projected)[1]
    return {name: values[:, 0] for name, values in found.items()}


def carried_loss(params: model.Params, ids: np.ndarray) -> Iterator[tuple[int, float, float]]:
    """The whole text scored in one go, from the zero state: no window, no batch.

    Yields:
      After each piece: characters scored so far, the mean of -log p in nats over them, and the
      share that the likeliest guess hit. The first character is only read.
    """
    score = device.jit(model.score)
    state, done, nats, right = model.init_state(params, 1), 0, 0.0, 0.0
    while done < len(ids) - 1:
        part = ids[done : done + PIECE + 1]
        count = len(part) - 1
        missing = (0, PIECE - count)
        batch = {
            "input": np.pad(part[:-1], missing)[None],
            "target": np.pad(part[1:], missing)[None],
            "weight": np.pad(np.ones(count, np.float32), missing)[None],
        }
        value, (metrics, state) = score(params, batch, state)
        nats, right = nats + count * float(value), right + count * float(metrics["accuracy"])
        done += count
        yield done, nats / done, right / done


def reset_loss(params: model.Params, ids: np.ndarray, chunk: int) -> float:
    """The mean of -log p in nats when every `chunk` characters the state begins anew.

    What does not fill a chunk is left out. This is how a model without memory is measured.
    """
    count = (len(ids) - 1) // chunk
    rows = {
        "input": ids[: count * chunk].reshape(count, chunk),
        "target": ids[1 : count * chunk + 1].reshape(count, chunk),
    }

    def one(batch):
        return model.surprise(model.apply(params, batch["input"]).logits, batch["target"])[0].sum()

    sums = jax.lax.map(one, jax.tree.map(lambda a: jnp.asarray(a)[:, None], rows), batch_size=64)
    return float(sums.sum()) / (count * chunk)


def place_entropy(targets: np.ndarray) -> float:
    """The entropy of the character at each place of sentences [N, T], summed over places, in nats.

    No model that sees nothing of the sentence at hand, like the book's, can have a lower mean loss.
    """
    total = 0.0
    for place in targets.T:
        share = np.bincount(place) / len(place)
        share = share[share > 0]
        total -= float((share * np.log(share)).sum())
    return total


def principal_axes(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [N, E] on their two principal axes, [N, 2], and the shares of variance these have."""
    centred = np.asarray(table, np.float64) - np.mean(table, axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    share = sizes[:2] ** 2 / (sizes**2).sum()
    axes = axes[:2] * np.sign(axes[:2, :1])  # an axis has no sign of its own
    return centred @ axes.T, share
