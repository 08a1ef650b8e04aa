"""The chapter's commands: its network in `train`, `compare` and `bench`, and three subjects."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch02_basic_nn import activations as functions
from zoo.ch02_basic_nn import descent as descending
from zoo.ch02_basic_nn import figures, model, program, task
from zoo.ch02_basic_nn import solvers as racing
from zoo.common import bench as timing
from zoo.common import checkpoint, commands, run, trained
from zoo.common import figures as common
from zoo.common.data import digest
from zoo.common.device import Name as DeviceName
from zoo.common.device import current, describe, use

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
    _check_count("steps", config.steps)
    use(device)
    dataset = task.load(config)
    about = {name: getattr(dataset, name) for name in ("name", "source", "split", "description")}
    about |= {"classes": list(dataset.classes), "sha256": digest(dataset)}
    folder = run.create(task.TASK.name, config, about, out)
    print(f"run folder {folder}, {describe(current())}")
    began = time.perf_counter()
    params, history = program.run_program(config, dataset.train)
    seconds = time.perf_counter() - began
    rows = _metrics(history)
    run.write_metrics(folder, rows)
    checkpoint.save(folder, task.State(params, jnp.int32(config.steps)), {})
    printed = history["output"][-1]
    weights = {name: layer["kernel"].tolist() for name, layer in params.items()}
    summary = {**rows[-1], "output": printed.tolist(), "weights": weights}
    run.write_json(folder / "summary.json", summary | {"seconds_with_compilation": seconds})
    _report(config, rows, printed)
    (path,) = commands.draw(trained.load(folder, task.TASK), dataset)
    print(f"{config.steps:,} steps in {seconds:.2f} s with compilation; picture: {path}")


def _check_count(name: str, count: int) -> None:
    if count < 1:
        raise run.RunError(f"got {count} {name}, expected at least 1")


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
    print(f"\nin the book's order: {_numbers(printed)}")
    if rows[-1]["train_accuracy"] < 1:
        wrong = "this cost can't teach it" if config.cost == "mean-signed" else "try more steps"
        print(f"{rows[-1]['train_accuracy']:.0%} of the rows are right: {wrong}")


def _numbers(values: Any) -> str:
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


def bench(device: DeviceName = "auto", runs: int = 20) -> None:
    """Time 10,000 steps of each recipe; compilation apart.

    Args:
        device: where to compute
        runs: how often each is run
    """
    _check_count("runs", runs)
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


def activations(out: Path = FOLDER / "activations") -> None:
    """Draw ten activation functions with their derivatives, and tabulate them.

    Args:
        out: folder for the pictures
    """
    named = {
        "step": functions.step,
        "linear": functions.linear,
        "ReLU": functions.relu,
        "leaky ReLU": functions.leaky_relu,
        "PReLU": functions.prelu,
        "sigmoid": functions.sigmoid,
        "tanh": functions.tanh,
        "Swish": functions.swish,
        "GELU": functions.gelu,
        "softmax": lambda x: functions.softmax(jnp.stack([x, 1.0, 0.0]))[0],
    }
    x, few = np.linspace(-4.0, 4.0, 401, dtype=np.float32), [100, 175, 200, 300]
    curves, rows = {}, []
    for name, function in named.items():
        value, slope = np.asarray(jax.vmap(function)(x)), functions.derivative(function, x)
        curves[name] = x, value, np.asarray(slope)
        rows.append((name, *(f"{value[i]:.3f}, {slope[i]:.3f}" for i in few)))
    timing.print_table("value, derivative", ("", *(f"x = {x[i]:g}" for i in few)), rows)
    caption = (
        "Softmax: the first of three shares, softmax(x, 1, 0). Slopes: linear 0.5, leaky ReLU "
        "0.01, PReLU 0.25 (where it begins to learn)."
    )
    print(caption)
    print("The book prints tanh as 2 (1 + exp(-2x)) - 1; the right one is 2 / (1 + exp(-2x)) - 1.")
    tanh, misprinted = curves["tanh"][1], np.asarray(functions.tanh_misprinted(x))
    leaky = {f"slope {a}": np.asarray(functions.leaky_relu(x, a)) for a in (0.1, 0.01)}
    panels = {
        "sigmoid and tanh": {"sigmoid": curves["sigmoid"][1], "tanh": tanh},
        "leaky ReLU in the book's picture and text": leaky,
        "tanh and its misprint": {"tanh": tanh, "as printed": misprinted},
    }
    print(common.save(figures.activations(curves, caption), out / "activations.png"))
    print(common.save(figures.overlays(x, panels), out / "overlays.png"))


def descent(out: Path = FOLDER / "descent", seed: int = 0) -> None:
    """Gradient descent: the book's worked example put right, the parabola, the chain rule, batches.

    Args:
        out: folder for the pictures
        seed: of the noisy line and the order of its points
    """
    sse, slope = descending.sse, jax.grad(descending.sse)(2.0)
    rows = [
        (f"sum of squared errors at W = {w:g}", printed, f"{sse(w):.3f}")
        for w, printed in ((2.0, 67.5), (2.01, 68.403), (1.99, 83.66434))
    ]
    rows.append(("its derivative at W = 2", 101.338, f"{slope:.3f}"))
    rows.append(("W after a step, learning rate 0.001", 1.89866, f"{2.0 - 0.001 * slope:.5f}"))
    timing.print_table("The worked example", ("", "the book", "right"), rows)
    limit = descending.largest_rate(sse, 2.0)
    print(f"descent diverges above the learning rate 2 / 60 = {limit:.6f}")
    values = (0.3, -0.7, 1.5, 1.0)
    by_hand = _numbers(descending.chain_rule(*values))
    by_jax = _numbers(jax.grad(descending.chain, (0, 1))(*values))
    print(f"chain i-f-g-o, do/dw1 and do/dw2: by hand {by_hand}, jax.grad {by_jax}")
    w, cost, paths = np.linspace(-2.0, 3.0, 201), jax.vmap(sse), {}
    rates = {"0.001, the book's": 0.001, "0.025": 0.025, "1/30, the limit": 1 / 30, "0.036": 0.036}
    for title, rate in rates.items():
        path = descending.descend(sse, 2.0, rate, 30 if rate == 0.001 else 6)
        paths[f"rate {title}"] = (np.asarray(path), np.asarray(cost(path)))
    caption = (
        "Sum of squared errors of W x at x = 1..4 with targets x / 2. The slope at W = 2 is "
        f"{slope:g}, the second derivative 60 everywhere."
    )
    drawn = figures.parabolas(w, np.asarray(cost(w)), paths, caption)
    print(common.save(drawn, out / "parabola.png"))
    print(common.save(_draw_batches(seed), out / "batches.png"))


def _draw_batches(seed: int) -> Any:
    data_key, *keys = jax.random.split(jax.random.key(seed), 4)
    x, y = descending.noisy_line(data_key)
    cost = jax.jit(jax.vmap(descending.line_loss, (0, None, None)))
    paths, costs, rows = {}, {}, []
    sizes = {"all 256 at once": 256, "mini-batches of 32": 32, "single points": 1}
    for key, (kind, size), rate in zip(keys, sizes.items(), (0.5, 0.25, 0.05), strict=True):
        start = jnp.array([-0.8, 0.8])
        path = descending.batch_descent(key, start, (x, y), rate, batch_size=size, epochs=8)
        loss = cost(path, x, y)
        name = f"{kind}, rate {rate:g}"
        paths[name] = np.asarray(path)
        costs[name] = (np.arange(len(path)) * size, np.asarray(loss))
        rows.append((name, f"{len(path) - 1:,}", f"{loss[256 // size]:.4f}", f"{loss[-1]:.4f}"))
    best = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), np.asarray(y), rcond=None)[0]
    least = float(cost(best[None], x, y)[0])
    rows.append(("least squares", "", "", f"{least:.4f}"))
    title = "Mean squared error on a noisy line of 256 points"
    timing.print_table(title, ("", "steps", "after 1 epoch", "after 8"), rows)
    a, b = np.linspace(-1.0, 1.2, 120), np.linspace(-0.4, 1.0, 100)
    grid = np.stack(np.meshgrid(a, b), -1)
    heights = np.asarray(cost(grid.reshape(-1, 2), x, y)).reshape(grid.shape[:2]) - least
    ground = figures.Map(a, b, np.maximum(heights, 0.0), tuple(best))
    caption = (
        "A line through 256 noisy points, 8 passes. Small batches: quick at first, never at rest."
    )
    return figures.batches(ground, paths, costs, caption)


def solvers(
    steps: int = 500,
    device: DeviceName = "auto",
    out: Path = FOLDER / "solvers",
    film: bool = True,
) -> None:
    """Race seven solvers at 21 learning rates on four problems, in one compiled call.

    Args:
        steps: of each solver
        device: where to compute
        out: folder for the pictures
        film: make the animated GIF too, which takes longer than all the rest
    """
    _check_count("steps", steps)
    use(device)
    rates = np.logspace(-4, 1, 21, dtype=np.float32)
    race = jax.jit(lambda rates: racing.race(racing.PROBLEMS, rates, steps))
    began = time.perf_counter()
    compiled = race.lower(rates).compile()
    ready = time.perf_counter()
    races = jax.device_get(compiled(rates))
    done = time.perf_counter()
    races = {name: races[name] for name in racing.PROBLEMS}  # compiled calls sort the names
    print(
        f"{len(racing.SOLVERS)} solvers, {len(rates)} rates, {len(races)} problems, {steps} steps: "
        f"compiled in {ready - began:.1f} s, run in {1e3 * (done - ready):.0f} ms"
    )
    paths, curves = _best(races, rates)
    last = {
        name: dict(zip(racing.SOLVERS, run.costs[..., -1], strict=True))
        for name, run in races.items()
    }
    maps = {
        name: figures.Map(*racing.landscape(problem), problem.minimum)
        for name, problem in racing.PROBLEMS.items()
        if problem.window is not None
    }
    caption = (
        f"Each solver at the best of {len(rates)} learning rates for {steps} steps at which it "
        "never climbs above its start. Darker is higher; the star is the minimum."
    )
    print(common.save(figures.race(maps, paths, curves, caption), out / "race.png"))
    drawn = figures.rates(rates, last, f"Cost after {steps} steps; no line: not finite.")
    print(common.save(drawn, out / "rates.png"))
    if film:
        shown = np.unique(np.geomspace(1, steps, 45).astype(int))
        frames = figures.frames(maps, paths, [0, *shown.tolist()], caption)
        print(common.animate(frames, out / "race.gif"))


def _best(races: dict[str, racing.Race], rates: np.ndarray) -> tuple[dict, dict]:
    """Paths and costs of each solver at its best rate, by problem; prints them in a table."""
    paths, curves, rows = {}, {}, []
    for problem, (points, costs) in races.items():
        paths[problem], curves[problem] = {}, {}
        best = racing.best_rates(costs)
        for place, name in enumerate(racing.SOLVERS):
            at = place, best[place]
            paths[problem][name], curves[problem][name] = points[at], costs[at]
            rows.append((problem, name, f"{rates[best[place]]:.2g}", f"{costs[at][-1]:.2g}"))
    title = "Each at the best rate at which it never climbs above its start"
    timing.print_table(title, ("", "solver", "rate", "last cost"), rows)
    return paths, curves


COMMANDS = commands.make(task.TASK) | {
    "train": train,
    "bench": bench,
    "compare": compare,
    "activations": activations,
    "descent": descent,
    "solvers": solvers,
}
