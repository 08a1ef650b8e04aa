"""What the chapter does with its network on the command line: train, compare, bench."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.ch02_basic_nn import model
from zoo.ch02_basic_nn.demonstrations import check_count, folder_of
from zoo.ch02_basic_nn.train import History, scan_steps, start
from zoo.ch02_basic_nn.train import train as train_network
from zoo.common import bench as timing
from zoo.common import run
from zoo.common.device import Name as DeviceName
from zoo.common.device import current, describe, use

CHAPTER = "ch02_basic_nn"
DATA = {
    "name": "toy",
    "description": "the toy's four rows: 001 and 011 are 0, 101 and 111 are 1",
    "inputs": model.INPUTS,
    "labels": model.LABELS,
}


def train(config: model.Config, device: DeviceName = "auto", out: Path | None = None) -> None:
    """Train the first network, 10,000 steps in one call; nothing to resume, it takes a moment.

    `--program text|repo|numpy` is one of the book's three programs, whose printed value is that
    before the last update.

    Args:
        config: what to train
        device: what computes
        out: folder for the run; runs/ch02_basic_nn/TIME if not given
    """
    from zoo.ch02_basic_nn import figures
    from zoo.common import figures as common

    check_count("steps", config.steps)
    use(device)
    batch = model.example(config)
    folder = run.create(CHAPTER, config, DATA, out)
    print(f"run folder {folder}, {describe(current())}")
    began = time.perf_counter()
    params, history = train_network(config, batch)
    seconds = time.perf_counter() - began
    rows = _metrics(history)
    run.write_metrics(folder, rows)
    printed = history["output"][-1]
    weights = {name: layer["kernel"].tolist() for name, layer in params.items()}
    summary = {**rows[-1], "output": printed.tolist(), "weights": weights}
    run.write_json(folder / "summary.json", summary | {"seconds_with_compilation": seconds})
    _report(config, rows, printed)
    caption = f"recipe {config.recipe}: {config.cost}, learning rate {config.learning_rate:g}"
    arrays = (np.array(model.INPUTS), np.array(model.LABELS))
    figure = figures.training(history["output"], history["loss"], *arrays, caption)
    path = common.save(figure, folder / "figures" / "training.png")
    print(f"{config.steps:,} steps in {seconds:.2f} s with compilation; picture: {path}")


def _report(config: model.Config, rows: list[dict[str, Any]], printed: np.ndarray) -> None:
    for row in rows:
        print(f"step {row['step']:>7,}  cost {row['train_loss']:.6f}")
    print(f"\n{'row':<10}wanted  output before the last update")
    for inputs, label, value in zip(model.INPUTS, model.LABELS, printed, strict=True):
        print(f"{' '.join(map(str, inputs)):<10}{label:<8}{value:.8f}")
    print(f"\nin the book's order: [{', '.join(f'{value:.8f}' for value in printed)}]")
    if rows[-1]["train_accuracy"] < 1:
        wrong = "this cost can't teach it" if config.cost == "mean-signed" else "try more steps"
        print(f"{rows[-1]['train_accuracy']:.0%} of the rows are right: {wrong}")


def _metrics(history: History) -> list[dict[str, Any]]:
    """What the steps 1, 2, 5, 10, 20, 50, ... and the last one saw."""
    last = len(history["loss"])
    wanted = {n * 10**k for k in range(len(str(last))) for n in (1, 2, 5)} | {last}
    return [
        {
            "epoch": step,  # every step sees all rows
            "step": step,
            "train_loss": float(history["loss"][step - 1]),
            "train_accuracy": float(history["accuracy"][step - 1]),
        }
        for step in sorted(wanted)
        if step <= last
    ]


def compare(out: Path | None = None) -> None:
    """Train all four recipes and set them side by side.

    Args:
        out: folder for the picture; runs/ch02_basic_nn/compare if not given
    """
    from zoo.ch02_basic_nn import figures
    from zoo.common import figures as common

    outputs = {}
    rows = []
    for name, config in model.RECIPES.items():
        _, history = train_network(config, model.example(config))
        outputs[f"{name}: {config.cost}"] = history["output"]
        values = (f"{value:.8f}" for value in history["output"][-1])
        rows.append((name, f"{history['loss'][-1]:.6f}", *values))
    names = [f"{' '.join(map(str, row))}: {label}" for row, label in zip(
        model.INPUTS, model.LABELS, strict=True)]  # fmt: skip
    timing.print_table("the output before the last update", ("", "cost", *names), rows)
    arrays = (np.array(model.INPUTS), np.array(model.LABELS))
    caption = "The first network, 10,000 steps; each curve is the output for one of the four rows."
    figure = figures.programs(outputs, *arrays, caption)
    print(common.save(figure, folder_of("compare", out) / "programs.png"))


def bench(device: DeviceName = "auto", runs: int = 20) -> None:
    """Time 10,000 steps of each recipe; compilation apart.

    Args:
        device: what computes
        runs: how often each is run
    """
    check_count("runs", runs)
    use(device)
    rows = []
    for name, config in model.RECIPES.items():
        with jax.enable_x64(config.dtype == "float64"):
            batch = {k: np.asarray(v, config.dtype) for k, v in model.example(config).items()}
            params = start(config)
            timed = timing.time_call(
                lambda params, batch, config=config: scan_steps(params, batch, config),
                params, batch, runs=runs, warmup=2,
            )  # fmt: skip
        low, high = (1e3 * second for second in timed.quartiles)
        rows.append((name, config.dtype, f"{1e3 * timed.median:.2f}", f"{low:.2f} to {high:.2f}",
                     f"{timed.compile_seconds:.2f}"))  # fmt: skip
    timing.print_table(
        f"{model.Config().steps:,} steps, {describe(current())}, JAX {jax.__version__}",
        ("", "", "ms, median", "quartiles", "compilation, s"),
        rows,
    )
