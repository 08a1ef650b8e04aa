"""Chapter 3's dense networks against PyTorch: `python -m benchmarks.ch03_feedforward`.

The book's layers, without biases, in training on MNIST in batches of 100: the feed-forward net
784-300-100-10 with cross-entropy by plain SGD and by Adam, the autoencoder 784-128-64-128-784 by
Adam. Everyone goes on training from round to round.
"""

import dataclasses
import itertools
import time

import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch03_mnist_ae_rbm import RECIPES, TASKS, autoencoder
from zoo.common import bench, fit
from zoo.common.data import mnist

BATCH = 100
FEEDFORWARD = dataclasses.replace(
    RECIPES["book"],
    pixels="unit",
    objective="cross-entropy",
    target_on=1.0,
    target_off=0.0,
    solver="sgd",
    learning_rate=0.01,
)
CONFIGS = {
    "feedforward-sgd": FEEDFORWARD,
    "feedforward-adam": dataclasses.replace(FEEDFORWARD, solver="adam", learning_rate=0.001),
    "autoencoder-adam": dataclasses.replace(autoencoder.RECIPES["book"], pixels="unit"),
}
BASE = "PyTorch eager"
FLUSHED = f"{BASE}, denormals flushed"
FUSED, COMPILED = f"{FLUSHED}, fused solver", "PyTorch compiled, the same"
NOTE = (
    "Every step gathers a shuffled batch of uint8 images from memory and scales it. zoo runs "
    "fit.iterate with its metrics and its check for a finite loss; PyTorch computes no metrics. "
    "`denormals flushed` sets torch.set_flush_denormal, which XLA does for everyone, as averages "
    "of gradients that stay 0 decay below the smallest normal number; it made no difference on an "
    "AMD EPYC. The last two have the fused solver too."
)


def flops() -> dict[str, int]:
    """Operations per image: three products a layer, less the first one's gradient for its input."""
    widths = {
        "feedforward-sgd": (784, 300, 100, 10),
        "feedforward-adam": (784, 300, 100, 10),
        "autoencoder-adam": (784, 128, 64, 128, 784),
    }
    return {
        task: 2 * (3 * sum(a * b for a, b in itertools.pairwise(w)) - w[0] * w[1])
        for task, w in widths.items()
    }


def examples() -> dict[str, np.ndarray]:
    """MNIST to train on, or the built-in sample where it is not at hand."""
    return mnist.load().train


def zoo_contender(task: str) -> tuple[Run, float]:
    """The chapter's own loop, and the seconds that compilation took."""
    model = TASKS[1] if task.startswith("autoencoder") else TASKS[0]
    config = CONFIGS[task]
    data = model.prepare(config, examples())
    steps = fit.steps_per_epoch(data, BATCH)
    progress = fit.iterate(
        model.losses(config, steps)[0],
        model.optimizer(config, model.updates(config, steps)),
        model.begin(config, data),
        data,
        epochs=10**6,
        batch_size=BATCH,
    )
    compile_seconds = next(progress).compile_seconds
    return repeat(lambda: next(progress).steps * BATCH), compile_seconds


def torch_contender(task: str, flushed: bool, fused: bool, compiled: bool) -> tuple[Run, float]:
    """The same in PyTorch, and the seconds that compilation took (0 if there is none)."""
    import torch
    from torch import nn

    torch.set_num_threads(bench.system()["threads"])
    torch.set_flush_denormal(flushed)
    torch.manual_seed(0)
    config, data = CONFIGS[task], examples()
    images = torch.from_numpy(data["image"]).reshape(-1, 784)
    labels = torch.from_numpy(data["label"]).long()
    coder = isinstance(config, autoencoder.Config)
    widths = (784, 128, 64, 128, 784) if coder else (784, 300, 100, 10)
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=False), nn.Sigmoid() if coder else nn.ReLU()]
    net = nn.Sequential(*(layers if coder else layers[:-1]))
    if sum(p.numel() for p in net.parameters()) != (217_088 if coder else 266_200):
        raise ValueError("this is not the book's network")
    solver = torch.optim.SGD if config.solver == "sgd" else torch.optim.Adam
    optimizer = solver(net.parameters(), config.learning_rate, fused=fused or None)

    def loss(images, labels):
        x = images.float() / 255.0
        if coder:
            return nn.functional.mse_loss(net(x), x)
        return nn.functional.cross_entropy(net(x), labels)

    if compiled:
        loss = torch.compile(loss)

    def batches():
        while True:
            yield from torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]

    order, times = batches(), []

    def one() -> int:
        index = next(order)
        optimizer.zero_grad()
        loss(images[index], labels[index]).backward()
        optimizer.step()
        return BATCH

    for _ in range(4):  # it compiles in the first two
        began = time.perf_counter()
        one()
        times.append(time.perf_counter() - began)
    return repeat(one), sum(times[:2]) - sum(times[2:]) if compiled else 0.0


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work on a task, and the seconds that compilation took."""
    if name == ZOO:
        return zoo_contender(task)
    return torch_contender(task, name != BASE, name in (FUSED, COMPILED), name == COMPILED)


ROW = harness.Row(
    name="ch03_feedforward",
    title=f"Chapter 3, batch {BATCH}",
    unit="images",
    base=BASE,
    contenders=(BASE, FLUSHED, FUSED, COMPILED),
    tasks=tuple(CONFIGS),
    contend=contend,
    note=NOTE,
    flops=flops(),
    about=lambda: {"batch": BATCH, "data": mnist.load().description},
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
