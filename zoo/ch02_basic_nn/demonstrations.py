"""What the chapter shows on the command line without training: activations, descent, solvers."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch02_basic_nn import activations as functions
from zoo.ch02_basic_nn import descent as descending
from zoo.ch02_basic_nn import solvers as racing
from zoo.common import bench as timing
from zoo.common import run
from zoo.common.device import Name as DeviceName
from zoo.common.device import use


def check_count(name: str, count: int) -> None:
    """Refuses less than 1 of something, by a `RunError`."""
    if count < 1:
        raise run.RunError(f"got {count} {name}, expected at least 1")


def folder_of(name: str, out: Path | None) -> Path:
    """Where the pictures of a command go."""
    return Path("runs/ch02_basic_nn") / name if out is None else out


def _numbers(values: Any) -> str:
    return "[" + ", ".join(f"{value:.8f}" for value in values) + "]"


def activations(out: Path | None = None) -> None:
    """Draw ten activation functions with their derivatives, and tabulate them.

    Args:
        out: folder for the pictures; runs/ch02_basic_nn/activations if not given
    """
    from zoo.ch02_basic_nn import figures
    from zoo.common import figures as common

    def softmax(x):
        return functions.softmax(jnp.stack([x, 1.0, 0.0]))[0]

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
        "softmax": softmax,
    }
    x, few = np.linspace(-4.0, 4.0, 401, dtype=np.float32), [100, 175, 200, 300]
    curves, rows = {}, []
    for name, function in named.items():
        value, slope = np.asarray(jax.vmap(function)(x)), functions.derivative(function, x)
        curves[name] = x, value, np.asarray(slope)
        rows.append((name, *(f"{value[i]:.3f}, {slope[i]:.3f}" for i in few)))
    title = "value, derivative"
    timing.print_table(title, ("", *(f"x = {x[i]:g}" for i in few)), rows)
    caption = "Softmax: the first of three shares, softmax(x, 1, 0). Slopes: linear 0.5, leaky \
ReLU 0.01, PReLU 0.25 (where it begins to learn)."
    print(caption)
    print("The book prints tanh as 2 (1 + exp(-2x)) - 1; the right one is 2 / (1 + exp(-2x)) - 1.")
    sigmoid, tanh = np.asarray(functions.sigmoid(x)), np.asarray(functions.tanh(x))
    misprinted = np.asarray(functions.tanh_misprinted(x))
    leaky = {f"slope {a}": np.asarray(functions.leaky_relu(x, a)) for a in (0.1, 0.01)}
    panels = {
        "sigmoid and tanh": {"sigmoid": sigmoid, "tanh": tanh},
        "leaky ReLU in the book's picture and text": leaky,
        "tanh and its misprint": {"tanh": tanh, "as printed": misprinted},
    }
    folder = folder_of("activations", out)
    print(common.save(figures.activations(curves, caption), folder / "activations.png"))
    print(common.save(figures.overlays(x, panels), folder / "overlays.png"))


def descent(out: Path | None = None, seed: int = 0) -> None:
    """Gradient descent: the book's worked example put right, the parabola, the chain rule, batches.

    Args:
        out: folder for the pictures; runs/ch02_basic_nn/descent if not given
        seed: of the noisy line and the order of its points
    """
    from zoo.ch02_basic_nn import figures
    from zoo.common import figures as common

    folder = folder_of("descent", out)
    slope = jax.grad(descending.sse)(2.0)
    printed = {"W = 2": 67.5, "W = 2.01": 68.403, "W = 1.99": 83.66434}
    rows = [
        (f"sum of squared errors at {name}", book, f"{descending.sse(w):.3f}")
        for (name, book), w in zip(printed.items(), (2.0, 2.01, 1.99), strict=True)
    ]
    rows.append(("its derivative at W = 2", 101.338, f"{slope:.3f}"))
    rows.append(("W after a step, learning rate 0.001", 1.89866, f"{2.0 - 0.001 * slope:.5f}"))
    timing.print_table("The worked example", ("", "the book", "right"), rows)
    limit = descending.largest_rate(descending.sse, 2.0)
    print(f"descent runs away above the learning rate 2 / 60 = {limit:.6f}")
    values = (0.3, -0.7, 1.5, 1.0)
    by_hand = descending.chain_rule(*values)
    by_jax = jax.grad(lambda w1, w2: descending.chain(w1, w2, *values[2:]).o, (0, 1))(*values[:2])
    print(f"chain i-f-g-o, do/dw1 and do/dw2: by hand {_numbers(by_hand)}, "
          f"jax.grad {_numbers(by_jax)}")  # fmt: skip
    w = np.linspace(-2.0, 3.0, 201)
    cost = jax.vmap(descending.sse)
    paths = {}
    for title, rate in (("rate 0.001, the book's", 0.001), ("rate 0.025", 0.025),
                        ("rate 1/30, the limit", 1 / 30), ("rate 0.036", 0.036)):  # fmt: skip
        path = descending.descend(descending.sse, 2.0, rate, 30 if rate == 0.001 else 6)
        paths[title] = (np.asarray(path), np.asarray(cost(path)))
    caption = f"Sum of squared errors of W x at x = 1..4 with targets x / 2. The slope at W = 2 is \
{slope:g}, the second derivative 60 everywhere."
    drawn = figures.parabolas(w, np.asarray(cost(w)), paths, caption)
    print(common.save(drawn, folder / "parabola.png"))
    print(common.save(_draw_batches(seed), folder / "batches.png"))


def _draw_batches(seed: int) -> Any:
    from zoo.ch02_basic_nn import figures

    data_key, *keys = jax.random.split(jax.random.key(seed), 4)
    x, y = descending.noisy_line(data_key)
    cost = jax.jit(jax.vmap(descending.line_loss, (0, None, None)))
    paths, costs, rows = {}, {}, []
    kinds = (
        ("all 256 at once", 256, 0.5),
        ("mini-batches of 32", 32, 0.25),
        ("single points", 1, 0.05),
    )
    for key, (name, size, rate) in zip(keys, kinds, strict=True):
        path = descending.batch_descent(
            key, jnp.array([-0.8, 0.8]), x, y, batch_size=size, rate=rate, epochs=8
        )
        loss = cost(path, x, y)
        name = f"{name}, rate {rate:g}"
        paths[name] = np.asarray(path)
        costs[name] = (np.arange(len(path)) * size, np.asarray(loss))
        rows.append((name, f"{len(path) - 1:,}", f"{loss[256 // size]:.4f}", f"{loss[-1]:.4f}"))
    best = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), np.asarray(y), rcond=None)[0]
    least = float(cost(best[None], x, y)[0])
    rows.append(("least squares", "", "", f"{least:.4f}"))
    timing.print_table(
        "Mean squared error on a noisy line of 256 points",
        ("", "steps", "after 1 epoch", "after 8"),
        rows,
    )
    a, b = np.linspace(-1.0, 1.2, 120), np.linspace(-0.4, 1.0, 100)
    grid = np.stack(np.meshgrid(a, b), -1)
    heights = np.asarray(cost(grid.reshape(-1, 2), x, y)).reshape(grid.shape[:2]) - least
    return figures.batches(
        figures.Map(a, b, np.maximum(heights, 0.0), tuple(best)), paths, costs,
        "A line through 256 noisy points, 8 passes. Small batches: quick at first, never at rest.",
    )  # fmt: skip


def solvers(
    steps: int = 500, device: DeviceName = "auto", out: Path | None = None, film: bool = True
) -> None:
    """Race seven solvers at 21 learning rates on four problems, in one compiled call.

    Args:
        steps: of each solver
        device: what computes
        out: folder for the pictures; runs/ch02_basic_nn/solvers if not given
        film: make the animated GIF too, which takes longer than all the rest
    """
    from zoo.ch02_basic_nn import figures
    from zoo.common import figures as common

    check_count("steps", steps)
    use(device)
    rates = np.logspace(-4, 1, 21, dtype=np.float32)
    race = jax.jit(lambda rates: racing.race(racing.PROBLEMS, rates, steps))
    began = time.perf_counter()
    compiled = race.lower(rates).compile()
    ready = time.perf_counter()
    races = jax.device_get(compiled(rates))
    done = time.perf_counter()
    print(
        f"{len(racing.SOLVERS)} solvers, {len(rates)} rates, {len(races)} problems, {steps} steps: "
        f"compiled in {ready - began:.1f} s, run in {1e3 * (done - ready):.0f} ms"
    )
    paths, curves = _best(races, rates)
    last = {
        problem: dict(zip(racing.SOLVERS, races[problem].costs[..., -1], strict=True))
        for problem in racing.PROBLEMS
    }
    maps = {
        name: figures.Map(*racing.landscape(problem), problem.minimum)
        for name, problem in racing.PROBLEMS.items()
        if problem.window is not None
    }
    folder = folder_of("solvers", out)
    caption = (
        f"Each solver at the best of {len(rates)} learning rates for {steps} steps at which it \
never climbs above its start. Darker is higher; the star is the minimum."
    )
    print(common.save(figures.race(maps, paths, curves, caption), folder / "race.png"))
    drawn = figures.rates(rates, last, f"Cost after {steps} steps; no line: not finite.")
    print(common.save(drawn, folder / "rates.png"))
    if film:
        shown = np.unique(np.geomspace(1, steps, 45).astype(int))
        pictures = figures.frames(maps, paths, [0, *shown.tolist()], caption)
        print(common.animate(pictures, folder / "race.gif"))


def _best(races: dict[str, racing.Race], rates: np.ndarray) -> tuple[dict, dict]:
    """Paths and costs of each solver at its best rate, by problem; prints them in a table."""
    paths, curves, rows = {}, {}, []
    for problem in racing.PROBLEMS:
        costs = races[problem].costs
        best = racing.best_rates(costs)
        chosen = {name: (s, best[s]) for s, name in enumerate(racing.SOLVERS)}
        paths[problem] = {name: races[problem].paths[at] for name, at in chosen.items()}
        curves[problem] = {name: costs[at] for name, at in chosen.items()}
        for name, at in chosen.items():
            below = racing.step_below(costs[at], 1e-3)
            rows.append((problem, name, f"{rates[at[1]]:.2g}", f"{costs[at][-1]:.2g}",
                         "-" if below is None else below))  # fmt: skip
    timing.print_table(
        "Each at the best rate at which it never climbs above its start",
        ("", "solver", "rate", "last cost", "below 0.001 from step"),
        rows,
    )
    return paths, curves
