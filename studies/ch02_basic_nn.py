"""The chapter's other subjects: activation functions, gradient descent, a race of solvers.

`python -m studies.ch02_basic_nn activations`, `descent` and `solvers` print the book's numbers, put
right where they are misprinted, and draw its figures.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from studies import ch02_figures as pictures
from zoo.ch02_basic_nn import activations as functions
from zoo.ch02_basic_nn import descent as descending
from zoo.ch02_basic_nn import solvers as racing
from zoo.ch02_basic_nn.commands import numbers
from zoo.common import bench as timing
from zoo.common import cli
from zoo.common import figures as common
from zoo.common.data import DataError
from zoo.common.device import Name as DeviceName
from zoo.common.device import jit, use

FOLDER = Path("runs", "ch02_basic_nn")


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
    print(common.save(pictures.activations(curves, caption), out / "activations.png"))
    print(common.save(pictures.overlays(x, panels), out / "overlays.png"))


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
    by_hand = numbers(descending.chain_rule(*values))
    by_jax = numbers(jax.grad(descending.chain, (0, 1))(*values))
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
    drawn = pictures.parabolas(w, np.asarray(cost(w)), paths, caption)
    print(common.save(drawn, out / "parabola.png"))
    print(common.save(_draw_batches(seed), out / "batches.png"))


def _draw_batches(seed: int) -> Any:
    data_key, *keys = jax.random.split(jax.random.key(seed), 4)
    x, y = descending.noisy_line(data_key)
    cost = jit(jax.vmap(descending.line_loss, (0, None, None)))
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
    ground = pictures.Map(a, b, np.maximum(heights, 0.0), tuple(best))
    caption = (
        "A line through 256 noisy points, 8 passes. Small batches: quick at first, never at rest."
    )
    return pictures.batches(ground, paths, costs, caption)


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
    if steps < 1:
        raise DataError(f"got steps {steps}, expected at least 1")
    use(device)
    rates = np.logspace(-4, 1, 21, dtype=np.float32)
    race = jit(lambda rates: racing.race(racing.PROBLEMS, rates, steps))
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
        name: pictures.Map(*racing.landscape(problem), problem.minimum)
        for name, problem in racing.PROBLEMS.items()
        if problem.window is not None
    }
    caption = (
        f"Each solver at the best of {len(rates)} learning rates for {steps} steps at which it "
        "never climbs above its start. Darker is higher; the star is the minimum."
    )
    print(common.save(pictures.race(maps, paths, curves, caption), out / "race.png"))
    drawn = pictures.rates(rates, last, f"Cost after {steps} steps; no line: not finite.")
    print(common.save(drawn, out / "rates.png"))
    if film:
        shown = np.unique(np.geomspace(1, steps, 45).astype(int))
        frames = pictures.frames(maps, paths, [0, *shown.tolist()], caption)
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


if __name__ == "__main__":
    cli.main(__doc__, {"activations": activations, "descent": descent, "solvers": solvers})
