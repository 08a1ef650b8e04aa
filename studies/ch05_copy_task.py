"""The copy task: recall ten symbols after a long delay (Hochreiter & Schmidhuber 1997).

`python -m studies.ch05_copy_task --delay 100 --seeds 3`.

It tests the claim of chrono initialisation (Tallec & Ollivier 2018, section 4): an LSTM learns to
bridge a delay when its gate biases are drawn for it, and hardly does otherwise. All seeds, with
and without, are trained side by side in one compiled function.

Axes: L lanes (2 x seeds), B sequences, T = delay + 20 steps, V characters: blank, go, 8 symbols.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from zoo.ch05_lstm import cells, model
from zoo.common import cli, figures, run
from zoo.common import device as devices
from zoo.common.data import DataError
from zoo.common.figures import COLOURS, GREY, INK, NORMAL, ORANGE, PALE, SMALL, page, plain

BLANK, GO, SYMBOLS, LENGTH = 0, 1, 8, 10
IGNORANCE = float(np.log(SYMBOLS))
"""Nats per symbol without any memory."""


class Report(NamedTuple):
    """How far all lanes are; the first row is with chrono initialisation, the second without."""

    updates: int
    nats: np.ndarray  # [2, seeds], -log p of each symbol to recall, mean since the last report
    accuracy: np.ndarray  # [2, seeds]


def draw(key: jax.Array, batch: int, delay: int) -> dict[str, jax.Array]:
    """Sequences: ten symbols, `delay` - 1 blanks, GO, ten blanks; recalled in the last ten steps.

    Returns:
      `input` and `target`, int32 [B, delay + 20]; the target is BLANK before the recall.
    """
    symbols = jax.random.randint(key, (batch, LENGTH), GO + 1, GO + 1 + SYMBOLS)
    blank = jnp.zeros((batch, delay + 2 * LENGTH), jnp.int32)
    inputs = blank.at[:, :LENGTH].set(symbols).at[:, LENGTH + delay - 1].set(GO)
    return {"input": inputs, "target": blank.at[:, -LENGTH:].set(symbols)}


def init(key: jax.Array, hidden: int, chrono: int) -> model.Params:
    """A network of one LSTM layer over one-hot inputs; without chrono its forget bias is 1."""
    cell_key, decoder_key = jax.random.split(key)
    count = GO + 1 + SYMBOLS
    layer = cells.lstm_init(cell_key, count, hidden, forget_bias=1.0, chrono=chrono)
    kernel = jax.nn.initializers.glorot_normal()(decoder_key, (hidden, count))
    return {
        "embedding": {"embedding": jnp.eye(count)},
        "cells": [layer],
        "decoder": {"kernel": kernel, "bias": jnp.zeros(count)},
    }


def loss(params: model.Params, batch: dict[str, jax.Array]) -> tuple[jax.Array, dict]:
    """Mean cross-entropy of all steps, and apart that of the symbols and their accuracy."""
    # The inputs stay one-hot: their table is no parameter to learn.
    params = params | {"embedding": jax.lax.stop_gradient(params["embedding"])}
    nats, right = model.surprise(model.apply(params, batch["input"]).logits, batch["target"])
    recall = {"nats": nats[:, -LENGTH:].mean(), "accuracy": right[:, -LENGTH:].mean()}
    return nats.mean(), recall


def train(
    delay: int,
    *,
    seeds: int = 3,
    updates: int = 4_000,
    hidden: int = 64,
    batch: int = 32,
    learning_rate: float = 2e-3,
    every: int = 50,
) -> Iterator[Report]:
    """Trains all lanes by Adam (RMSProp in the paper); a report every so many updates.

    Args:
      delay: steps between the last symbol and the recall; chrono is initialised for delay + 20.
      seeds: of weights and sequences, 0, 1, ...
      updates: in all.
      hidden: H.
      batch: B, of each lane.
      learning_rate: of all lanes.
      every: updates in one compiled call.
    """
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))
    keys = [tuple(jax.random.split(jax.random.key(seed))) for seed in range(seeds)]
    chronos = (delay + 2 * LENGTH, 0)
    lanes = [init(jax.random.clone(k), hidden, chrono) for chrono in chronos for k, _ in keys]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)
    state = params, jax.vmap(optimizer.init)(params)
    data_keys = jnp.stack([k for _, k in keys] * 2)

    def update(params, opt_state, key):
        (_, recall), grads = jax.value_and_grad(loss, has_aux=True)(params, draw(key, batch, delay))
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), recall

    @devices.jit
    def some(state, keys, first):
        def one(state, n):
            folded = jax.vmap(lambda key: jax.random.fold_in(key, n))(keys)
            return jax.vmap(update)(*state, folded)

        state, recall = jax.lax.scan(one, state, first + jnp.arange(every))
        return state, jax.tree.map(lambda a: a.mean(axis=0), recall)

    for first in range(0, updates, every):
        state, recall = some(state, data_keys, first)
        recall = {name: np.asarray(a).reshape(2, seeds) for name, a in recall.items()}
        yield Report(first + every, **recall)


@figures.own_style
def copy_curves(
    updates: Sequence[int], nats: np.ndarray, delay: int, ignorance: float, caption: str = ""
) -> Figure:
    """The copy task: nats per symbol [points, 2, seeds], with chrono initialisation and without."""
    figure = page(6.5, 3.6, f"copying ten symbols over {delay} steps", caption)
    axes = plain(figure.subplots(), "updates", "nats per symbol to recall")
    for n, (name, colour) in enumerate((("chrono", COLOURS[0]), ("forget bias 1", ORANGE))):
        for seed in range(nats.shape[2]):
            line, label = "-" if n == 0 else "--", None if seed else name
            axes.plot(
                updates, nats[:, n, seed], color=colour, linewidth=1.2, linestyle=line, label=label
            )
    axes.axhline(ignorance, color=GREY, linewidth=1, linestyle=":")
    below = {"va": "top", "size": SMALL, "color": GREY}  # where all begin above the line
    axes.text(updates[0], ignorance, "no memory, ln 8", **below)
    axes.set_ylim(0, None)
    axes.grid(axis="y", color=PALE, linewidth=0.5)
    legend = axes.legend(fontsize=NORMAL, labelcolor=INK, facecolor="white")
    legend.get_frame().set(edgecolor="none", alpha=0.9)
    return figure


def copy_task(
    delay: int = 100,
    seeds: int = 3,
    updates: int = 4_000,
    hidden: int = 64,
    device: devices.Name = "auto",
    out: Path = Path("runs/ch05_lstm/copy-task"),
) -> None:
    """Test chrono initialisation: recall ten symbols after a delay, several seeds in one run.

    Args:
        delay: steps over which they must be remembered
        seeds: how many networks of each kind
        updates: of each network
        hidden: units of each
        device: where to compute
        out: folder for curves and figures
    """
    if min(delay, seeds, hidden) < 1 or updates < 50:
        raise DataError(
            f"got delay {delay}, seeds {seeds}, hidden {hidden}, updates {updates}; expected at "
            "least 1 of each, and 50 updates"
        )
    used = devices.describe(devices.use(device))
    reports = []
    for report in train(delay, seeds=seeds, updates=updates, hidden=hidden):
        reports.append(report)
        if len(reports) % 5 == 0 or report.updates >= updates:
            chrono, plain_bias = (f"{row.mean():.3f}" for row in report.nats)
            print(
                f"update {report.updates:,}: nats per symbol {chrono} with chrono, {plain_bias} "
                f"without (no memory: {IGNORANCE:.3f})",
                flush=True,
            )
    nats = np.stack([report.nats for report in reports])
    name, numbers = f"delay-{delay}", [report.updates for report in reports]
    content = {"delay": delay, "hidden": hidden, "updates": numbers, "nats": nats.tolist()}
    content |= {"accuracy": [report.accuracy.tolist() for report in reports], "device": used}
    run.write_json(out / f"{name}.json", content)
    caption = f"LSTM of {hidden} units, batches of 32, Adam, {seeds} seeds of each."
    drawn = copy_curves(numbers, nats, delay, IGNORANCE, caption)
    print(f"written: {out / f'{name}.json'}, {figures.save(drawn, out / f'{name}.png')}")


if __name__ == "__main__":
    cli.main(__doc__, copy_task)
