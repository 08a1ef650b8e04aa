"""Chapter 3's dense networks against PyTorch: `python -m benchmarks.ch03_feedforward`.

The book's layers, without biases, in training on batches of 100: the feed-forward net
784-300-100-10 with cross-entropy by plain SGD and by Adam, the autoencoder 784-128-64-128-784 by
Adam.
"""

import dataclasses
import itertools
import time

import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward, train
from zoo.common import bench, fit

EXAMPLES, BATCH = 10_000, 100
FEEDFORWARD = dataclasses.replace(
    feedforward.RECIPES["book"],
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
READY, FUSED, COMPILED = f"{BASE}, float32 ready", f"{BASE}, fused solver", "PyTorch compiled"
NOTE = (
    "Every step gathers a shuffled batch of uint8 images from memory and scales it; `float32 "
    "ready` gathers images that were scaled before. zoo runs fit.iterate with its metrics and its "
    "check for a finite loss; PyTorch computes no metrics. `fused solver` and `compiled` take "
    "PyTorch's fused implementation of the solver."
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
    """Random images [N, 28, 28], uint8, and labels [N]; the same for everyone."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, 28, 28), np.uint8)
    return {"image": images, "label": rng.integers(0, 10, EXAMPLES, np.int32)}


def zoo_contender(task: str) -> tuple[Run, float]:
    """The chapter's own loop, and the seconds that compilation took."""
    config = CONFIGS[task]
    optimizer, state = train.start(config, EXAMPLES)
    progress = fit.iterate(
        train.losses(config)[0], optimizer, state, examples(), epochs=10**6, batch_size=BATCH
    )
    compile_seconds = next(progress).compile_seconds
    return repeat(lambda: next(progress).steps * BATCH), compile_seconds


def torch_contender(task: str, ready: bool, fused: bool, compiled: bool) -> tuple[Run, float]:
    """The same in PyTorch, and the seconds that compilation took (0 if there is none)."""
    import torch
    from torch import nn

    torch.set_num_threads(bench.system()["threads"])
    torch.manual_seed(0)
    config, data = CONFIGS[task], examples()
    images = torch.from_numpy(data["image"]).reshape(EXAMPLES, 784)
    images = images.float() / 255.0 if ready else images
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
        x = images if ready else images.float() / 255.0
        if coder:
            return nn.functional.mse_loss(net(x), x)
        return nn.functional.cross_entropy(net(x), labels)

    if compiled:
        loss = torch.compile(loss)

    def batches():
        while True:
            yield from torch.randperm(EXAMPLES).split(BATCH)

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
    return torch_contender(task, name == READY, name in (FUSED, COMPILED), name == COMPILED)


ROW = harness.Row(
    name="ch03_feedforward",
    title=f"Chapter 3, batch {BATCH}",
    unit="images",
    base=BASE,
    contenders=(BASE, READY, FUSED, COMPILED),
    tasks=tuple(CONFIGS),
    contend=contend,
    note=NOTE,
    flops=flops(),
    about={"batch": BATCH},
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
