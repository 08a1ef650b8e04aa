"""Chapter 5 against PyTorch, side by side: `python -m benchmarks.ch05_lstm` (extra `bench`).

Training of one LSTM layer of 256 units on 64-number embeddings, 32 x 64 characters of tiny
Shakespeare an update, Adam, the state carried from chunk to chunk; and writing, one character after
the other, with a network of the book's size (100 units, embeddings of 20, 64 characters).
"""

import dataclasses
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch05_lstm import generate, model, text
from zoo.ch05_lstm.task import TASK, fill, load
from zoo.common import bench, device, ops

BATCH, CHUNK, WRITTEN, RATE = 32, 64, 256, 2e-3
CONFIG = dataclasses.replace(model.RECIPES["modern"], hidden=256, embedding=64)
WRITER = dataclasses.replace(CONFIG, hidden=100, embedding=20, vocabulary=64)
TASKS = ("training", "writing")
SHARDED = "zoo, a shard a core"
BASE = "PyTorch eager"
FLUSHED = f"{BASE}, denormals flushed"
FUSED, COMPILED = f"{FLUSHED}, fused Adam", "PyTorch compiled, flushed"
TORCH = (BASE, FLUSHED, FUSED, COMPILED)
NOTE = (
    "Everyone reads the same chunks in the same order and carries the state. zoo runs fit.iterate "
    "with its metrics and its check for a finite loss; PyTorch computes no metrics. The first "
    "contender uses torch.optim.Adam as it comes. In writing each character is drawn from the "
    "network's probabilities; PyTorch does so in a Python loop."
)


def rows() -> tuple[model.Config, dict[str, np.ndarray]]:
    """The configuration with the text's vocabulary, and chunks of the text, the same for all."""
    corpus = load(CONFIG)
    return fill(CONFIG, corpus), corpus.train


def flops() -> dict[str, int]:
    """Floating-point operations per character in matrix products, a multiply-add being two.

    As if each character's embedding were multiplied; the backward pass costs twice the forward.
    """

    def forward(c: model.Config) -> int:
        return 2 * (4 * c.hidden * (c.embedding + c.hidden) + c.hidden * c.vocabulary)

    return {"training": 3 * forward(CONFIG), "writing": forward(WRITER)}


def zoo_contender(task: str, mesh: Mesh | None = None) -> tuple[Run, float]:
    """A task as `zoo` does it, and the seconds that compilation took; one core writes."""
    if task == "training":
        config, data = rows()
        task = dataclasses.replace(TASK, optimizer=lambda config, steps: optax.adam(RATE))
        progress = bench.endless(task, config, data, BATCH, mesh=mesh)
        compile_seconds = next(progress).compile_seconds
        return repeat(lambda: next(progress).steps * BATCH * CHUNK), compile_seconds
    params = model.init(jax.random.key(0), WRITER)
    state, last = model.init_state(params, 1), jnp.array([3], jnp.int32)
    key, number = jax.random.key(1), itertools.count()
    write, compile_seconds = harness.compiled(
        lambda params, state, last, key: generate.write(params, state, last, key, 0, WRITTEN),
        params,
        state,
        last,
        key,
    )

    def one() -> int:
        nonlocal state, last
        written, state = write(params, state, last, jax.random.fold_in(key, next(number)))
        last = jax.block_until_ready(written)[-1]
        return WRITTEN

    return repeat(one), compile_seconds


def torch_network(config: model.Config):
    """Embedding, LSTM and decoder in PyTorch; its LSTM has a second bias, which adds nothing."""
    from torch import nn

    return nn.ModuleList(
        [
            nn.Embedding(config.vocabulary, config.embedding),
            nn.LSTM(config.embedding, config.hidden, config.layers),
            nn.Linear(config.hidden, config.vocabulary),
        ]
    )


def torch_trainer(fused: bool, compiled: bool):
    """A function that makes one update and gives the characters it read."""
    import torch
    from torch import nn

    config, data = rows()
    net = torch_network(config)
    embed, cell, decode = net
    optimizer = torch.optim.Adam(net.parameters(), RATE, fused=fused or None)
    # [chunks, T, B], as both libraries like it best.
    inputs, targets = (
        torch.from_numpy(data[name].reshape(-1, BATCH, CHUNK).swapaxes(1, 2).copy()).long()
        for name in ("input", "target")
    )

    def loss(ids, target, h, c):
        ys, (h, c) = cell(embed(ids), (h, c))
        logits = decode(ys)
        return nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()), h, c

    update = optimizer.step
    if compiled:
        loss, update = map(torch.compile, (loss, update))
    zeros = torch.zeros(config.layers, BATCH, config.hidden)
    state, order = [zeros, zeros], itertools.cycle(range(len(inputs)))

    def one() -> int:
        number = next(order)
        h, c = state if number else (zeros, zeros)
        optimizer.zero_grad()
        value, h, c = loss(inputs[number], targets[number], h, c)
        value.backward()
        update()
        state[:] = h.detach(), c.detach()
        return BATCH * CHUNK

    return one


def torch_writer(compiled: bool):
    """A function that writes `WRITTEN` characters and gives their number."""
    import torch

    embed, cell, decode = torch_network(WRITER)

    def step(ids, h, c):
        y, (h, c) = cell(embed(ids), (h, c))
        return decode(y[0, 0]).softmax(-1), h, c

    if compiled:
        step = torch.compile(step)
    zeros = torch.zeros(1, 1, WRITER.hidden)
    state = [torch.zeros(1, 1, dtype=torch.long), zeros, zeros]

    @torch.inference_mode()
    def one() -> int:
        ids, h, c = state
        for _ in range(WRITTEN):
            probabilities, h, c = step(ids, h, c)
            ids = torch.multinomial(probabilities, 1)[None]
        state[:] = ids, h, c
        return WRITTEN

    return one


def torch_contender(name: str, task: str) -> tuple[Run, float]:
    """The same in PyTorch, and the seconds that compilation took (0 if there is none)."""
    import torch

    torch.set_num_threads(bench.system()["threads"])
    torch.manual_seed(0)
    if "flushed" in name:
        torch.set_flush_denormal(True)
    compiled = "compiled" in name
    training = task == "training"
    one = torch_trainer("fused" in name, compiled) if training else torch_writer(compiled)
    times = []
    for _ in range(4):  # it compiles in the first two
        began = time.perf_counter()
        one()
        times.append(time.perf_counter() - began)
    return repeat(one), sum(times[:2]) - sum(times[2:]) if compiled else 0.0


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work on a task, and the seconds that compilation took."""
    ops.check_choice("contender", name, (ZOO, SHARDED, *TORCH))
    ops.check_choice("task", task, TASKS)
    if name == SHARDED:  # as `train --devices auto`
        device.show_cores(device.threads())
        return zoo_contender(task, device.mesh(device.threads()))
    return zoo_contender(task) if name == ZOO else torch_contender(name, task)


ROW = harness.Row(
    name="ch05_lstm",
    title=f"Chapter 5, batch {BATCH} x {CHUNK}",
    unit="characters",
    base=BASE,
    contenders=(SHARDED, *TORCH),
    tasks=TASKS,
    contend=contend,
    note=NOTE,
    flops=flops(),
    about=lambda: {
        "batch": BATCH,
        "chunk": CHUNK,
        "written_at_a_time": WRITTEN,
        "data": text.load().description,
    },
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
