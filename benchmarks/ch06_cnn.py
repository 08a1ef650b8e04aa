"""Chapter 6 against PyTorch, side by side: `python -m benchmarks.ch06_cnn` (extra `bench`).

The book's network exactly (recipe `book`: 392,032 weights, dropout 0.2, 0.2, 0.2 and 0.55,
cross-entropy summed on 0.9 / 0.1 targets, RMSProp), batches of 100, training steps and inference.
Each contender lives in a process of its own that sleeps until it is asked, and they run in turn,
round by round, because a machine's speed drifts; a ratio is taken within a round.
"""

import argparse
import contextlib
import datetime
import functools
import importlib.util
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from zoo.ch06_cnn import model
from zoo.ch06_cnn.train import losses, start
from zoo.common import bench, device, fit

EXAMPLES, BATCH = 5_000, 100
CONFIG = model.RECIPES["book"]
TASKS = ("training", "inference")
ZOO, BASE = "zoo", "PyTorch eager"
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

Run = Callable[[float], int]  # works for so many seconds or a little longer; gives the images done


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
    loss, _ = losses(CONFIG)
    optimizer, state = start(CONFIG, EXAMPLES)
    params, stats = state.params, state.stats
    if task == "training":
        data = {"image": images, "label": labels}
        progress = fit.iterate(loss, optimizer, state, data, epochs=10**6, batch_size=BATCH)
        compile_seconds = next(progress).compile_seconds
        return repeat(lambda: next(progress).steps * BATCH), compile_seconds

    def logits(images):
        scaled = model.scale_pixels(images, CONFIG.pixels)
        return model.apply(params, scaled, None, stats).logits

    # The loop of `fit.predict`, which compiles at each call, in two halves.
    images = jax.device_put(images)
    index = np.random.default_rng(1).permutation(EXAMPLES).reshape(-1, BATCH)[:10].astype(np.int32)
    mapped = device.jit(lambda x, index: jax.lax.map(lambda i: logits(x[i]), index))
    began = time.perf_counter()
    mapped = mapped.lower(images, index).compile()
    compile_seconds = time.perf_counter() - began

    def one() -> int:
        jax.block_until_ready(mapped(images, index))
        return index.size

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


def repeat(one: Callable[[], int]) -> Run:
    """Makes one piece of work, which gives the images done, into a run of some length."""

    def run(seconds: float) -> int:
        done, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            done += one()
        return done

    return run


def work(name: str, task: str) -> None:
    """A contender's process: seconds in, images/s out (`peak`: FLOP/s), until the input ends."""
    answer, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with it
    say = functools.partial(print, file=answer, flush=True)
    try:
        if name == ZOO:
            run, compile_seconds = zoo_contender(task)
        else:
            run, compile_seconds = torch_contender(
                task, "channels-last" in name, "compiled" in name
            )
    except Exception as error:  # a compiler that fails is a result
        traceback.print_exc()
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return say(json.dumps({"failed": reason}))
    say(json.dumps({"compile_seconds": compile_seconds}))
    for line in sys.stdin:
        if line.strip() == "peak":
            say(bench.matmul_peak())
            continue
        run(0.1)  # untimed: brings code and data back into the caches
        began = time.perf_counter()
        done = run(float(line))
        say(done / (time.perf_counter() - began))


class Worker:
    """A contender in a process of its own, which uses no processor between two questions."""

    def __init__(self, name: str, task: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ch06_cnn", "--worker", name, task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
        )
        self.about = self.answer()

    def answer(self) -> Any:
        """The next line from the process."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, what: float | str) -> float:
        """Images per second in a run of so many seconds, or FLOP/s if asked for `peak`."""
        print(what, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        """Ends the process and waits for it."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def compete(task: str, names: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Everyone in turn; `rates` in images/s and `peak` in FLOP/s by round, `about` each."""
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in names:  # one after the other, so that no compilation disturbs another
            workers[name] = Worker(name, task)
            stack.callback(workers[name].close)
            if name == ZOO and "failed" in workers[name].about:
                raise RuntimeError(f"zoo itself failed: {workers[name].about['failed']}")
        about = {name: worker.about for name, worker in workers.items()}
        rates = {name: [] for name in names if "failed" not in about[name]}
        peak = []
        for number in range(rounds):
            peak.append(workers[ZOO].ask("peak"))
            for name, values in rates.items():
                values.append(workers[name].ask(seconds))
            print(f"{task}: round {number + 1} of {rounds}", file=sys.stderr)
    return {"about": about, "rates": rates, "peak": peak}


def rows(task: str, result: dict[str, Any]) -> list[list[str]]:
    """The table: images/s, ratio to PyTorch, share of the peak, seconds of compilation."""
    rates, table = result["rates"], []
    for name, about in result["about"].items():
        if "failed" in about:
            table.append([name, about["failed"], "", "", "", ""])
            continue
        low, high = bench.quartiles(rates[name])
        pairs = zip(rates[name], rates.get(BASE, []), strict=False)
        ratio = [mine / its for mine, its in pairs]
        pairs = zip(rates[name], result["peak"], strict=True)
        share = statistics.median(mine * flops()[task] / peak for mine, peak in pairs)
        table.append(
            [
                name,
                f"{statistics.median(rates[name]):,.0f}",
                f"{low:,.0f} - {high:,.0f}",
                f"{statistics.median(ratio):.2f}" if ratio else "",
                f"{share:.0%}",
                f"{about['compile_seconds']:.1f}",
            ]
        )
    return table


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the tables and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often everyone runs")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument("--only", nargs="*", default=[ZOO, *TORCH], help="contenders by name")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        return work(*options.worker)
    if options.only != [ZOO] and importlib.util.find_spec("torch") is None:
        sys.exit("PyTorch is not installed: pip install -e '.[bench]', or use --only zoo")

    where = jax.devices()[0]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"ch06_cnn_{where.platform}.json"
    records = json.loads(path.read_text()) if path.exists() else {}  # the other task's stays
    for task in options.tasks:
        record = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "command": " ".join(["python -m benchmarks.ch06_cnn", *(arguments or sys.argv[1:])]),
            "system": bench.system(),
            "load_before": os.getloadavg(),
            "note": NOTE,
            "batch": BATCH,
            "seconds_per_run": options.seconds,
            "flops_per_image": flops()[task],
        }
        record |= compete(task, options.only, options.rounds, options.seconds)
        bench.print_table(
            f"Chapter 6, {task}, batch {BATCH}, {device.describe(where)}",
            ["", "images/s", "quartiles", "ratio", "of peak", "compile s"],
            rows(task, record),
        )
        print(f"float32 product: {statistics.median(record['peak']) / 1e9:.0f} GFLOP/s")
        path.write_text(json.dumps(records := records | {task: record}, indent=1) + "\n")
    print(f"{NOTE}\nRatios are to {BASE}, medians over the rounds. Written: {path}")


if __name__ == "__main__":
    main()
