"""Chapter 8 against PyTorch, side by side: `python -m benchmarks.ch08_vae` (extra `bench`).

The book's network exactly (recipe `book`: 784-256-128-8 and back, 470,016 weights, squared errors
and its KL, both summed, Adam 0.01 on gradients divided by 100), trained on MNIST in batches of
100, from round to round; and 10,000 digits drawn from the prior at a time.
"""

import itertools
import time

import jax
import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch08_vae.vae import model
from zoo.ch08_vae.vae.task import TASK
from zoo.common import bench
from zoo.common.data import mnist

BATCH, DRAWN = 100, 10_000
CONFIG = model.RECIPES["book"]
TASKS = ("training", "sampling")
BASE = "PyTorch eager"
FLUSHED = f"{BASE}, denormals flushed"
FUSED, COMPILED = f"{FLUSHED}, fused Adam", "PyTorch compiled, flushed"
NOTE = (
    "Every step gathers a shuffled batch of uint8 images from memory and scales it. zoo runs "
    "fit.iterate with its metrics and its check for a finite loss; PyTorch computes no metrics. "
    "Sampling draws the codes too. `flushed` sets torch.set_flush_denormal, which XLA does for "
    "everyone; it made no difference on an AMD EPYC."
)


def flops() -> dict[str, int]:
    """Floating-point operations per image in matrix products, a multiply-add being two.

    The backward pass costs twice the forward one, less the first layer's gradient for its input.
    """
    down = (CONFIG.size**2, *CONFIG.hidden)
    decoder = sum(a * b for a, b in itertools.pairwise((CONFIG.latents, *reversed(down))))
    encoder = sum(a * b for a, b in itertools.pairwise(down)) + 2 * down[-1] * CONFIG.latents
    training = 3 * (encoder + decoder) - down[0] * down[1]
    return {"training": 2 * training, "sampling": 2 * decoder}


def examples() -> np.ndarray:
    """MNIST's training images, uint8 [N, 28, 28], or the sample's where it is not at hand."""
    return mnist.load().train["image"]


def zoo_contender(task: str) -> tuple[Run, float]:
    """A task as `zoo` does it, and the seconds that compilation took."""
    images = examples()
    state = TASK.begin(CONFIG, {"image": images})
    if task == "training":
        progress = bench.endless(TASK, CONFIG, {"image": images}, BATCH)
        compile_seconds = next(progress).compile_seconds
        return repeat(lambda: next(progress).steps * BATCH), compile_seconds
    key, number = jax.random.key(0), itertools.count()
    draw, compile_seconds = harness.compiled(
        lambda params, key: model.sample(params, key, DRAWN), state.params, key
    )

    def one() -> int:
        draw(state.params, jax.random.fold_in(key, next(number))).block_until_ready()
        return DRAWN

    return repeat(one), compile_seconds


def torch_network():
    """The book's network in PyTorch: the encoder's body, its two heads, the decoder."""
    from torch import nn

    def dense(widths: tuple[int, ...]) -> list[nn.Module]:
        layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths)]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
        return [part for layer in layers for part in (layer, nn.ReLU())]

    down = (CONFIG.size**2, *CONFIG.hidden)
    body = nn.Sequential(*dense(down))
    heads = nn.ModuleList(dense((down[-1], CONFIG.latents))[0] for _ in range(2))
    decoder = nn.Sequential(*dense((CONFIG.latents, *reversed(down)))[:-1], nn.Sigmoid())
    net = nn.ModuleList([body, heads, decoder])
    if sum(p.numel() for p in net.parameters()) != 470_016:
        raise ValueError("this is not the book's network")
    return net


def torch_contender(task: str, flushed: bool, fused: bool, compiled: bool) -> tuple[Run, float]:
    """The same in PyTorch, and the seconds that compilation took (0 if there is none)."""
    import torch

    torch.set_num_threads(bench.system()["threads"])
    torch.set_flush_denormal(flushed)
    torch.manual_seed(0)
    images = torch.from_numpy(examples()).reshape(-1, CONFIG.size**2)
    net = torch_network()
    body, (to_mean, to_half), decoder = net
    optimizer = torch.optim.Adam(net.parameters(), CONFIG.learning_rate, fused=fused or None)

    def loss(images):
        x = torch.where(images == 255, 0.999, 0.9 * (images.float() / 255.0) + 0.1)
        h = body(x)
        mean, half = to_mean(h), 0.5 * to_half(h)
        out = decoder(mean + half.exp() * torch.randn_like(mean))
        kl = 0.5 * (mean**2 + half.exp() - half - 1.0).sum()
        return (((x - out) ** 2).sum() + kl) / BATCH

    def draw():
        return decoder(torch.randn(DRAWN, CONFIG.latents))

    update = optimizer.step
    if compiled:
        loss, draw, update = map(torch.compile, (loss, draw, update))

    def batches():
        while True:
            yield from torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]

    order, times = batches(), []

    def train_one() -> int:
        optimizer.zero_grad()
        loss(images[next(order)]).backward()
        update()
        return BATCH

    @torch.inference_mode()
    def draw_one() -> int:
        draw()
        return DRAWN

    one = train_one if task == "training" else draw_one
    for _ in range(4):  # it compiles in the first two
        began = time.perf_counter()
        one()
        times.append(time.perf_counter() - began)
    return repeat(one), sum(times[:2]) - sum(times[2:]) if compiled else 0.0


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work on a task, and the seconds that compilation took."""
    if name == ZOO:
        return zoo_contender(task)
    return torch_contender(task, name != BASE, name == FUSED, name == COMPILED)


ROW = harness.Row(
    name="ch08_vae",
    title=f"Chapter 8, batch {BATCH}",
    unit="images",
    base=BASE,
    contenders=(BASE, FLUSHED, FUSED, COMPILED),
    tasks=TASKS,
    contend=contend,
    note=NOTE,
    flops=flops(),
    about=lambda: {
        "batch": BATCH,
        "drawn_at_a_time": DRAWN,
        "data": mnist.load().description,
    },
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
