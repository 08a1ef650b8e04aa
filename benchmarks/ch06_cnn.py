"""Chapter 6 against PyTorch, side by side: `python -m benchmarks.ch06_cnn` (extra `bench`).

The book's network exactly (recipe `book`: 392,032 weights, dropout 0.2, 0.2, 0.2 and 0.55,
cross-entropy summed on 0.9 / 0.1 targets, RMSProp), batches of 100, training steps and inference.
"""

import dataclasses
import itertools
import time

import jax
import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch06_cnn.cnn import model
from zoo.ch06_cnn.cnn.task import TASK
from zoo.common import bench, ops

EXAMPLES, BATCH = 5_000, 100
CONFIG = dataclasses.replace(model.RECIPES["book"], shuffle=True)
TASKS = ("training", "inference")
BASE = "PyTorch eager"
TORCH = (
    BASE,
    "PyTorch eager, channels-last",
    "PyTorch compiled",
    "PyTorch compiled, channels-last",
)
NOTE = (
    "Every step gathers a shuffled batch of uint8 images from memory and scales it. zoo runs "
    "fit.iterate with its metrics and its check for a finite loss; PyTorch computes no metrics. "
    "RMSProp: decay 0.999, epsilon 1e-8, in zoo inside the root as in Gorgonia, in PyTorch outside."
)


def flops(config: model.Config = CONFIG) -> dict[str, int]:
    """Floating-point operations per image, a multiplication and an addition being two.

    Counted for convolutions and products, by hand: pixels out * taps * channels * filters * 2.
    The backward pass costs twice the forward one, less the first layer's gradient for its input.
    """
    one, two, three = config.filters
    layers = [
        2 * 30 * 30 * 25 * 3 * one,
        2 * 13 * 13 * 25 * one * two,
        2 * 4 * 4 * 25 * two * three,
        2 * 4 * three * config.hidden,
        2 * config.hidden * config.classes,
    ]
    return {"training": 3 * sum(layers) - layers[0], "inference": sum(layers)}


def examples() -> tuple[np.ndarray, np.ndarray]:
    """Random images [N, 32, 32, 3], uint8, and labels [N]; the same for everyone."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, 32, 32, 3), np.uint8)
    return images, rng.integers(0, CONFIG.classes, EXAMPLES, np.int32)


def zoo_contender(task: str) -> tuple[Run, float]:
    """A task as `zoo` does it, and the seconds that compilation took."""
    images, labels = examples()
    data = {"image": images, "label": labels}
    if task == "training":
        progress = bench.endless(TASK, CONFIG, data, BATCH)
        compile_seconds = next(progress).compile_seconds
        return repeat(lambda: next(progress).steps * BATCH), compile_seconds
    params = TASK.begin(CONFIG, data).params

    def logits(images):
        return model.apply(params, model.scale_pixels(images, CONFIG.pixels)).logits

    # Batch by batch, as `fit.predict` does it.
    order = np.random.default_rng(1).permutation(EXAMPLES).reshape(-1, BATCH)[:10]
    batches = [jax.device_put(images[rows]) for rows in order]
    predict, compile_seconds = harness.compiled(logits, batches[0])

    def one() -> int:
        for batch in batches:
            jax.block_until_ready(predict(batch))
        return order.size

    return repeat(one), compile_seconds


def torch_contender(task: str, channels_last: bool, compiled: bool) -> tuple[Run, float]:
    """The same in PyTorch, and the seconds that compilation took (0 if there is none)."""
    import torch
    from torch import nn

    torch.set_num_threads(bench.system()["threads"])
    torch.manual_seed(0)
    images, labels = map(torch.from_numpy, examples())
    labels = labels.long()
    maps, layers = (3, *CONFIG.filters), []
    for before, after in itertools.pairwise(maps):
        layers += [nn.Conv2d(before, after, 5, padding=1, bias=False), nn.MaxPool2d(2), nn.ReLU()]
        layers.append(nn.Dropout(CONFIG.dropout))
    layers += [nn.Flatten(), nn.Linear(4 * maps[-1], CONFIG.hidden, bias=False), nn.ReLU()]
    layers += [
        nn.Dropout(CONFIG.dropout_dense),
        nn.Linear(CONFIG.hidden, CONFIG.classes, bias=False),
    ]
    net = nn.Sequential(*layers)
    if sum(p.numel() for p in net.parameters()) != 392_032:
        raise ValueError("this is not the book's network")
    images = images.permute(0, 3, 1, 2)  # channels-last in memory
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    else:
        images = images.contiguous()
    optimizer = torch.optim.RMSprop(net.parameters(), CONFIG.learning_rate, alpha=0.999, eps=1e-8)

    def scale(images):
        return torch.where(images == 255, 0.999, 0.9 * (images.float() / 255.0) + 0.1)

    def logits(images):
        return net(scale(images))

    def loss(images, labels):
        right = nn.functional.one_hot(labels, CONFIG.classes)
        targets = CONFIG.target_off + (CONFIG.target_on - CONFIG.target_off) * right
        return -(targets * torch.log_softmax(logits(images), dim=-1)).sum()

    update = optimizer.step
    if compiled:
        loss, logits, update = map(torch.compile, (loss, logits, update))

    def train_one(index):
        optimizer.zero_grad()
        loss(images[index], labels[index]).backward()
        update()

    @torch.inference_mode()
    def infer_one(index):
        return logits(images[index])

    net.train(task == "training")
    work = train_one if task == "training" else infer_one

    def batches():
        while True:
            yield from torch.randperm(EXAMPLES).split(BATCH)

    order, times = batches(), []

    def one() -> int:
        work(next(order))
        return BATCH

    for _ in range(4):  # it compiles in the first two
        began = time.perf_counter()
        one()
        times.append(time.perf_counter() - began)
    return repeat(one), sum(times[:2]) - sum(times[2:]) if compiled else 0.0


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work on a task, and the seconds that compilation took."""
    ops.check_choice("contender", name, (ZOO, *TORCH))
    ops.check_choice("task", task, TASKS)
    if name == ZOO:
        return zoo_contender(task)
    return torch_contender(task, "channels-last" in name, "compiled" in name)


ROW = harness.Row(
    name="ch06_cnn",
    title=f"Chapter 6, batch {BATCH}",
    unit="images",
    base=BASE,
    contenders=TORCH,
    tasks=TASKS,
    contend=contend,
    note=NOTE,
    flops=flops(),
    about=lambda: {"batch": BATCH},
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
