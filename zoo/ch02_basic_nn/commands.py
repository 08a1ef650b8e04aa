"""The chapter's commands: its network in `train`, `compare` and `bench`."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch02_basic_nn import figures, model, program, task
from zoo.common import bench as timing
from zoo.common import checkpoint, commands, run, trained
from zoo.common import figures as common
from zoo.common.device import Name as DeviceName
from zoo.common.device import current, describe, use
from zoo.common.settings import Count

FOLDER = Path("runs", task.TASK.name)
ROWS = np.array(model.INPUTS), np.array(model.LABELS)


def train(config: model.Config, device: DeviceName = "auto", out: Path | None = None) -> None:
    """Train the first network, 10,000 steps in one call; nothing to resume, it takes a moment.

    `--program text|repo|numpy` is one of the book's three programs, whose printed value is that
    before the last update.

    Args:
        config: what to train
        device: where to compute
        out: folder for the run; runs/ch02_basic_nn/TIME if not given
    """
    use(device)
    dataset = task.load(config)
    folder = run.create(task.TASK.name, config, run.about_data(dataset), out, resumes=False)
    print(f"run folder {folder}, {describe(current())}")
    began = time.perf_counter()
    params, history = program.run_program(config, dataset.train)
    seconds = time.perf_counter() - began
    rows = _metrics(history)
    run.write_metrics(folder, rows)
    checkpoint.save(folder, task.State(params, jnp.int32(config.steps)), {})
    run.remember(folder)
    printed = history["output"][-1]
    weights = {name: layer["kernel"].tolist() for name, layer in params.items()}
    summary = {**rows[-1], "output": printed.tolist(), "weights": weights}
    run.write_json(folder / "summary.json", summary | {"seconds_with_compilation": seconds})
    _report(config, rows, printed)
    (path,) = commands.draw(trained.load(folder, task.TASK), dataset)
    print(f"{config.steps:,} steps in {seconds:.2f} s with compilation; picture: {path}")


def _metrics(history: program.History) -> list[dict[str, Any]]:
    """The metrics before the steps 1, 2, 5, 10, 20, 50, ... and before the last one."""
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


def _report(config: model.Config, rows: list[dict[str, Any]], printed: np.ndarray) -> None:
    for row in rows:
        print(f"step {row['step']:>7,}  cost {row['train_loss']:.6f}")
    print(f"\n{'row':<10}wanted  output before the last update")
    for inputs, label, value in zip(model.INPUTS, model.LABELS, printed, strict=True):
        print(f"{' '.join(map(str, inputs)):<10}{label:<8}{value:.8f}")
    print(f"\nin the book's order: {numbers(printed)}")
    if rows[-1]["train_accuracy"] < 1:
        wrong = "this cost can't teach it" if config.cost == "mean-signed" else "try more steps"
        print(f"{rows[-1]['train_accuracy']:.0%} of the rows are right: {wrong}")


def numbers(values: Any) -> str:
    """Numbers as the book prints them."""
    return "[" + ", ".join(f"{value:.8f}" for value in values) + "]"


def compare(out: Path = FOLDER / "compare") -> None:
    """Train all four recipes and set them side by side.

    Args:
        out: folder for the picture
    """
    outputs, rows = {}, []
    for name, config in model.RECIPES.items():
        _, history = program.run_program(config, model.example(config))
        outputs[f"{name}: {config.cost}"] = history["output"]
        values = (f"{value:.8f}" for value in history["output"][-1])
        rows.append((name, f"{history['loss'][-1]:.6f}", *values))
    toy = zip(model.INPUTS, model.LABELS, strict=True)
    names = [f"{' '.join(map(str, row))}: {label}" for row, label in toy]
    timing.print_table("the output before the last update", ("", "cost", *names), rows)
    caption = "The first network, 10,000 steps; each curve is the output for one of the four rows."
    print(common.save(figures.programs(outputs, *ROWS, caption), out / "programs.png"))


def bench(device: DeviceName = "auto", runs: Count = 20) -> None:
    """Time 10,000 steps of each recipe; compilation apart.

    Args:
        device: where to compute
        runs: how often each is run
    """
    use(device)
    rows = []
    for name, config in model.RECIPES.items():

        def steps(params: model.Params, batch: model.Batch, config=config) -> Any:
            return program.scan_steps(params, batch, config)

        arrays = program.cast(config, (program.start(config), model.example(config)))
        with jax.enable_x64(config.dtype == "float64"):
            timed = timing.time_call(steps, *arrays, runs=runs, warmup=2)
        median, low, high = (f"{1e3 * s:.2f}" for s in (timed.median, *timed.quartiles))
        compilation = f"{timed.compile_seconds:.2f}"
        rows.append((name, config.dtype, median, f"{low} to {high}", compilation))
    timing.print_table(
        f"{model.Config().steps:,} steps, {describe(current())}, JAX {jax.__version__}",
        ("", "", "ms, median", "quartiles", "compilation, s"),
        rows,
    )


COMMANDS = commands.make(task.TASK) | {
    "train": train,
    "bench": bench,
    "compare": compare,
}
