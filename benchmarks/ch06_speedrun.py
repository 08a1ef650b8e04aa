"""Chapter 6's speed run against PyTorch: `python -m benchmarks.ch06_speedrun` (extra `bench`).

The same network, start, data and schedule on both sides, recipe `speedrun-cpu`: training steps, and
inference of one view. What accuracy PyTorch reaches in how many seconds:
`python -m benchmarks.ch06_speedrun_torch`.
"""

import itertools
import time

import jax
import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch06_cnn.cnn.model import scale_pixels
from zoo.ch06_cnn.speedrun import model
from zoo.ch06_cnn.speedrun.task import TASK, options
from zoo.common import bench, ops

EXAMPLES = 5_000
CONFIG = model.RECIPES["speedrun-cpu"]
TASKS = ("training", "inference")
BASE = "PyTorch eager"
TORCH = (BASE, "PyTorch eager, channels-last", "PyTorch compiled, channels-last")
NOTE = (
    "Every step gathers a shuffled batch of uint8 images from memory, mirrors and shifts them, and "
    "scales them; Muon with three Newton-Schulz iterations, Nesterov's momentum for the rest, "
    "averaged weights. zoo runs fit.iterate with its metrics and its check for a finite loss; "
    "PyTorch computes no metrics."
)


def flops() -> dict[str, int]:
    """Floating-point operations per image, a multiplication and an addition being two.

    Counted for convolutions and the dense layer. The backward pass costs twice the forward one; the
    fixed first layer has none.
    """
    width = CONFIG.width
    maps = (24, width, width, 4 * width, 4 * width, 4 * width, 4 * width)
    sides = (31, 15, 15, 7, 7, 3)
    first = 2 * 31 * 31 * 12 * 24
    rest = [
        2 * s * s * 9 * a * b for s, (a, b) in zip(sides, itertools.pairwise(maps), strict=True)
    ]
    rest.append(2 * 4 * width * 10)
    return {"training": first + 3 * sum(rest), "inference": first + sum(rest)}


def examples() -> dict[str, np.ndarray]:
    """Random images and labels; the same for everyone."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (EXAMPLES, 32, 32, 3), np.uint8)
    return {"image": images, "label": rng.integers(0, 10, EXAMPLES).astype(np.int32)}


def zoo_contender(task: str) -> tuple[Run, float]:
    """A task as `zoo` does it, and the seconds that compilation took."""
    size, data = CONFIG.batch_size, examples()
    if task == "training":
        progress = bench.endless(TASK, CONFIG, data, size)
        compile_seconds = next(progress).compile_seconds
        return repeat(lambda: next(progress).steps * size), compile_seconds
    images = jax.device_put(data["image"][: 2 * size])
    params, kept = TASK.begin(CONFIG, data).params, options(CONFIG)

    def logits(images):
        return model.apply(params, scale_pixels(images), **kept)

    batches = images.reshape(2, size, 32, 32, 3)
    mapped, compile_seconds = harness.compiled(lambda x: jax.lax.map(logits, x), batches)

    def one() -> int:
        jax.block_until_ready(mapped(batches))
        return len(images)

    return repeat(one), compile_seconds


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work on a task, and the seconds that compilation took."""
    ops.check_choice("contender", name, (ZOO, *TORCH))
    ops.check_choice("task", task, TASKS)
    if name == ZOO:
        return zoo_contender(task)
    import torch

    from benchmarks import ch06_speedrun_torch as torch_side

    torch.set_num_threads(bench.system()["threads"])
    trainer = torch_side.Trainer(
        CONFIG, examples(), channels_last="channels-last" in name, compiled="compiled" in name
    )
    work, times = getattr(trainer, "train" if task == "training" else "infer"), []
    for _ in range(4):  # it compiles in the first two
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return repeat(work), sum(times[:2]) - sum(times[2:]) if "compiled" in name else 0.0


ROW = harness.Row(
    name="ch06_speedrun",
    title="Chapter 6, speed run",
    unit="images",
    base=BASE,
    contenders=TORCH,
    tasks=TASKS,
    contend=contend,
    note=NOTE,
    flops=flops(),
    about=lambda: {"recipe": CONFIG.recipe, "batch": CONFIG.batch_size},
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
