"""Chapter 3's exercise, what a change of a number does: many feed-forward nets trained at once.

    python -m studies.ch03_sweep sweep --epochs 5

Networks of equal shapes that differ in numbers alone are lanes of one array program, so `jax.vmap`
trains them side by side; each lane is the run that `train` makes of its configuration.
"""

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch03_mnist_ae_rbm import TASKS, Config
from zoo.common import cli, fit, run
from zoo.common import device as devices
from zoo.common.data import DataError, Dataset, digest
from zoo.common.task import Task

TASK = TASKS[0]
SWEPT = ("learning_rate", "weight_decay", "target_on", "target_off", "seed")
"""The fields that may differ between lanes; all others shape the program."""


class Epoch(NamedTuple):
    """What a sweep says after each epoch."""

    number: int  # from 1
    states: fit.State  # of all lanes: each leaf has a leading axis [L]
    metrics: dict[str, np.ndarray]  # the same names as in `fit.Progress`, each [L]


def train_all(
    task: Task, configs: Sequence[Any], data: fit.Batch, test: fit.Batch | None = None
) -> Iterator[Epoch]:
    """Trains all configurations at once, with a report after each epoch.

    Args:
      task: the model, one that is trained by gradients and has no running statistics.
      configs: L of them, equal but for the fields in `SWEPT`.
      data: the training images, as in `Task.train`.
      test: measured at the end of each epoch, if given.

    Raises:
      ValueError: there is none, or they differ in another field; names it.
      BatchError: the batch does not fit the data.
    """
    _check(configs)
    config, lanes = configs[0], jnp.arange(len(configs))
    steps = fit.steps_per_epoch(data, config.batch_size)
    examples = steps * config.batch_size
    names = [name for name in SWEPT if hasattr(config, name)]
    swept = {name: jnp.array([getattr(c, name) for c in configs]) for name in names}

    def of_lane(lane: jax.Array) -> Any:
        return dataclasses.replace(config, **{name: a[lane] for name, a in swept.items()})

    def train_epoch(lane, state, order, data):
        own = of_lane(lane)
        optimizer = task.optimizer(own, task.updates(own, steps))
        step = fit.make_step(task.losses(own, steps)[0], optimizer)

        def one(state, index):
            return step(state, {name: a[index] for name, a in data.items()})

        state, metrics = jax.lax.scan(one, state, order)
        return state, {f"train_{name}": values.mean() for name, values in metrics.items()}

    def measure(lane, state, test):
        value, metrics = task.losses(of_lane(lane), steps)[1](state.params, test, None)
        return {"test_loss": value, **{f"test_{name}": m for name, m in metrics.items()}}

    def measure_all(states, test):
        # One lane after the other: a lane's activations of a whole test set fill the memory.
        return jax.lax.map(lambda pair: measure(*pair, test), (lanes, states))

    data = task.prepare(config, data)
    states = devices.jit(jax.vmap(lambda lane: task.begin(of_lane(lane), data)))(lanes)
    train_lanes = devices.jit(jax.vmap(train_epoch, in_axes=(0, 0, 0, None)), donate_argnums=1)
    measure_lanes = devices.jit(measure_all)
    data = jax.device_put(data)
    test = None if test is None else jax.device_put(task.prepare(config, test))
    for epoch in range(config.epochs):
        whole = len(next(iter(data.values())))
        orders = jax.vmap(lambda s: fit.order(s, epoch, whole, config.shuffle))(states)  # noqa: B023
        orders = orders[:, :examples].reshape(len(configs), steps, config.batch_size)
        states, metrics = train_lanes(lanes, states, orders, data)
        if test is not None:
            metrics |= measure_lanes(states, test)
        yield Epoch(epoch + 1, states, {name: np.asarray(m) for name, m in metrics.items()})


def _check(configs: Sequence[Any]) -> None:
    if not configs:
        raise ValueError("got no configurations, expected at least one")
    first = dataclasses.asdict(configs[0])
    for number, config in enumerate(configs):
        other = dataclasses.asdict(config)
        if other.keys() != first.keys():
            raise ValueError(f"configuration {number} is of another network than the first")
        differ = [name for name in first if other[name] != first[name] and name not in SWEPT]
        if differ:
            raise ValueError(
                f"configuration {number} differs from the first in {differ}, expected in "
                f"{list(SWEPT)} alone: sweep over other fields one after the other"
            )


def sweep(
    config: Config,
    learning_rates: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 8e-3),
    weight_decays: tuple[float, ...] = (0.0, 0.1, 0.3),
    seeds: int = 1,
    data: Literal["auto", "real", "sample"] = "auto",
    data_dir: Path | None = None,
    device: devices.Name = "auto",
    out: Path | None = None,
) -> None:
    """Train many settings of one shape at once (vmap), and draw which is best.

    All rates with all decays, each with so many seeds; other flags hold for every run, and the
    config's own rate, decay and seed are not used. On a CPU it takes as long as one run after
    the other would; on a GPU hardly longer than one. A short one: sweep --epochs 5.

    Args:
        config: what all runs share
        learning_rates: peak (adamw) or constant rates
        weight_decays: of the kernels; one alone unless the solver is adamw
        seeds: runs of each setting, with seeds 0, 1, ...
        data: the real data set, the built-in sample, or whichever is found
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        device: where to compute
        out: folder for the result; runs/ch03_mnist_ae_rbm/sweep/TIME if not given
    """
    from zoo.common import figures

    grid = list(itertools.product(learning_rates, weight_decays, range(seeds)))
    if not grid:
        raise DataError("a sweep needs at least one learning rate, one weight decay and one seed")
    if len(weight_decays) > 1 and config.solver != "adamw":
        raise DataError(f"{config.solver} has no weight decay: name one, --weight-decays 0")
    devices.use(device)
    dataset = TASK.load(config, data, data_dir)
    print(dataset.description)
    about = {"description": dataset.description, "sha256": digest(dataset)}
    folder = run.create(f"{TASK.name}/sweep", config, about, out)
    print(f"{len(grid)} runs at once in {folder}, {devices.describe(devices.current())}")
    accuracies, lines = _train_settings(config, grid, dataset)
    run.write(folder / "sweep.csv", "\n".join(lines) + "\n")
    caption = f"{dataset.description}. Recipe {config.recipe}, {config.epochs} epochs."
    history = np.reshape(accuracies, (-1, len(learning_rates), len(weight_decays), seeds))
    drawn = draw(history, learning_rates, weight_decays, caption)
    path = figures.save(drawn, folder / "figures" / "sweep.png")
    print(f"written: {folder / 'sweep.csv'}, {path}")


def _train_settings(
    config: Config, grid: list[tuple[float, float, int]], dataset: Dataset
) -> tuple[list[np.ndarray], list[str]]:
    """The settings' test accuracies after each epoch, and the lines of sweep.csv."""
    lanes = [
        dataclasses.replace(config, learning_rate=rate, weight_decay=decay, seed=seed)
        for rate, decay, seed in grid
    ]
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    lines = [",".join(("epoch", "learning_rate", "weight_decay", "seed", *names))]
    accuracies, began = [], time.perf_counter()
    for epoch in train_all(TASK, lanes, dataset.train, dataset.test):
        accuracy = epoch.metrics["test_accuracy"]
        accuracies.append(accuracy)
        for lane, setting in enumerate(grid):
            values = (f"{epoch.metrics[name][lane]:.6f}" for name in names)
            lines.append(",".join((str(epoch.number), *map(str, setting), *values)))
        rate, decay, seed = grid[int(np.nanargmax(accuracy))]
        spent = time.perf_counter() - began
        left = spent / epoch.number * (config.epochs - epoch.number)
        print(
            f"epoch {epoch.number}: best test accuracy {100 * np.nanmax(accuracy):.2f} % "
            f"(rate {rate:g}, decay {decay:g}, seed {seed}), {left:.0f} s left"
        )
    return accuracies, lines


def draw(
    accuracies: Any, rates: Sequence[float], decays: Sequence[float], caption: str = ""
) -> Any:
    """Test accuracy of a sweep: by rate and decay at the end, and by epoch.

    Args:
        accuracies: In [0, 1], [epochs, rates, decays, seeds].
        rates: The learning rates.
        decays: The weight decays.
        caption: What data these are.

    Raises:
        ValueError: When the accuracies have another shape.
    """
    from zoo.common import figures
    from zoo.common.figures import INK, SMALL, page, plain

    accuracies = 100 * np.asarray(accuracies, float)
    if accuracies.shape[1:3] != (len(rates), len(decays)) or accuracies.ndim != 4:
        raise ValueError(
            f"accuracies have shape {accuracies.shape}, expected (epochs, {len(rates)}, "
            f"{len(decays)}, seeds)"
        )
    last = accuracies[-1]
    means, spreads, seeds = last.mean(-1), last.std(-1), last.shape[-1]
    title = f"{means.size} settings, " + (
        f"mean and deviation over {seeds} seeds" if seeds > 1 else "one seed each"
    )
    figure = page(8.6, max(3.2, 0.42 * len(rates) + 1.4), title, caption)
    left, right = figure.subplots(1, 2, width_ratios=[0.45 + 0.25 * len(decays), 1.6])
    low, high = means.min(), max(means.max(), means.min() + 1e-9)
    left.imshow(means, cmap="Blues", vmin=low - 0.3 * (high - low), vmax=high, aspect="auto")
    for (row, column), mean in np.ndenumerate(means):
        text = f"{mean:.2f}" + (f"\n±{spreads[row, column]:.2f}" if seeds > 1 else "")
        colour = "white" if mean > low + 0.45 * (high - low) else INK
        left.text(column, row, text, ha="center", va="center", size=SMALL, color=colour)
    plain(left, "weight decay", "learning rate").spines[:].set_visible(False)
    left.tick_params(length=0)
    left.set_xticks(range(len(decays)), [f"{d:g}" for d in decays])
    left.set_yticks(range(len(rates)), [f"{r:g}" for r in rates])
    best = means.argmax(1)
    curves = {
        f"rate {rate:g}, decay {decays[best[i]]:g}": accuracies[:, i, best[i]].mean(-1)
        for i, rate in enumerate(rates)
    }
    figures.draw_curves(right, curves, range(1, len(accuracies) + 1), "epoch", "test accuracy (%)")
    return figure


if __name__ == "__main__":
    cli.main(__doc__, {"sweep": sweep}, TASKS)
