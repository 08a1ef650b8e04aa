"""Chapter 6's speed run over seeds, and without one idea after the other.

`repeat --seeds 20` makes each run one compiled program, from whitening to the test with all views;
`ablation --seeds 3` changes one thing at a time. Both write JSON as they go and continue where they
stopped.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch06_cnn import TASKS
from zoo.ch06_cnn.speedrun import model
from zoo.ch06_cnn.speedrun.task import TASK
from zoo.common import cli, device, fit, keys, run
from zoo.common.data import DataError, Dataset
from zoo.common.trained import BATCH

ABLATIONS: dict[str, dict[str, Any]] = {
    "all ideas": {},
    "random first filters, learnt": {"whiten": False},
    "no identity at the start": {"identity": False},
    "ReLU": {"activation": "relu"},
    "SiLU": {"activation": "silu"},
    "learnt scales": {"scales": True},
    "random flips": {"flip": "random"},
    "no flips": {"flip": "none"},
    "no shifts": {"shift": 0},
    "no label smoothing": {"label_smoothing": 0.0},
    "Nesterov in place of Muon": {"solver": "nesterov"},
    "no averaged weights": {"average": 0.0},
    "rates that only fall": {"rise": 0.0},
    "one view": {"views": "plain"},
    "two views": {"views": "flips"},
}
"""What is changed of the speed run in each row of the table."""


def repeat(
    config: model.Config,
    seeds: int = 5,
    first_seed: int = 0,
    target: float = 0.94,
    data_dir: Path | None = None,
    device: device.Name = "auto",
    out: Path = Path("runs/ch06_cnn/speedrun.json"),
) -> None:
    """Repeat the speed run over seeds, each one compiled program; writes the figures as JSON.

    The time of a run is that of whitening, training and the test with all views, with the data on
    the device; compilation is apart, and so is a first run on a GPU, on labels drawn at random. A
    run that is in the file already is not repeated.

    Args:
        config: the speed run
        seeds: how many
        first_seed: the first of them
        target: the mean test accuracy that is wanted
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        device: where to compute
        out: the file
    """
    dataset, results = _begin(config, device, data_dir, out)
    rows = results["rows"].setdefault(config.recipe, [])
    wanted = range(first_seed, first_seed + seeds)
    missing = [seed for seed in wanted if seed not in [row["seed"] for row in rows]]
    for row in _runs(config, dataset, missing, warm_up=True):
        rows.append(row)
        run.write_json(out, results)
        print(_line(row))
    accuracy = np.array([row["test_accuracy"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    print(f"{len(rows)} seeds: {_spread(accuracy)}, {np.median(seconds):.3f} s a run (median)")
    print(
        f"target {target:.2%}: {'reached' if accuracy.mean() >= target else 'missed'} in the mean"
    )
    print(f"written to {out}")


def ablation(
    config: model.Config,
    seeds: int = 3,
    rows: tuple[str, ...] = (),
    data_dir: Path | None = None,
    device: device.Name = "auto",
    out: Path = Path("runs/ch06_cnn/ablation.json"),
) -> None:
    """Take away one idea of the speed run after the other, over seeds; writes JSON and a table.

    A run that is in the file already is not repeated, so the command can be stopped and started
    again. The rates stay those of the configuration.

    Args:
        config: the speed run that each row changes in one point
        seeds: how many for each row
        rows: their names, if not all
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        device: where to compute
        out: the file; the table is written beside it, with the ending .md
    """
    for name in rows:
        if name not in ABLATIONS:
            raise DataError(f"got the row {name!r}, expected one of: {'; '.join(ABLATIONS)}")
    dataset, results = _begin(config, device, data_dir, out)
    for name in rows or tuple(ABLATIONS):
        changed = dataclasses.replace(config, **ABLATIONS[name])
        done = results["rows"].setdefault(name, [])
        missing = [s for s in range(seeds) if s not in [row["seed"] for row in done]]
        for row in _runs(changed, dataset, missing, warm_up=False):
            done.append(row)
            run.write_json(out, results)
            print(f"{name}: {_line(row)}")
    text = table(results["rows"])
    run.write(out.with_suffix(".md"), text)
    print(f"{text}\nwritten to {out} and {out.with_suffix('.md')}")


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """The rows of an ablation in Markdown; differences are means over the seeds both rows have."""
    base = {row["seed"]: row["test_accuracy"] for row in rows.get("all ideas", [])}
    lines = ["| row | seeds | test accuracy | against all ideas | seconds a run |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name, done in rows.items():
        if not done:
            continue
        differences = [r["test_accuracy"] - base[r["seed"]] for r in done if r["seed"] in base]
        against = f"{100 * np.mean(differences):+.2f}" if base and name != "all ideas" else ""
        seconds = np.median([row["seconds"] for row in done])
        accuracy = _spread(np.array([row["test_accuracy"] for row in done]))
        lines.append(f"| {name} | {len(done)} | {accuracy} | {against} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def _spread(accuracy: np.ndarray) -> str:
    deviation = f" ± {100 * accuracy.std(ddof=1):.2f}" if len(accuracy) > 1 else ""
    return f"{100 * accuracy.mean():.2f}{deviation} %"


def _line(row: dict[str, Any]) -> str:
    losses = ", ".join(f"{loss:.3f}" for loss in row["train_loss"])
    return (
        f"seed {row['seed']}: test accuracy {row['test_accuracy']:.4f} in {row['seconds']:.3f} s "
        f"(compilation {row['compile_seconds']:.1f} s; loss by epoch {losses})"
    )


def _begin(
    config: model.Config, kind: device.Name, data_dir: Path | None, out: Path
) -> tuple[Dataset, dict[str, Any]]:
    """The data, and the results in the file if they are of this configuration, else empty ones."""
    device.use(kind)
    dataset = TASK.load(config, "real", data_dir)
    print(f"{dataset.description}; {device.describe(device.current())}")
    fresh = {
        "config": dataclasses.asdict(config),
        "data": dataset.description,
        "device": device.describe(device.current()),
        "versions": run.versions(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "rows": {},
    }
    if not out.exists():
        return dataset, fresh
    found = json.loads(out.read_text(encoding="utf-8"))
    for name in ("config", "data", "device"):
        if found.get(name) != json.loads(json.dumps(fresh[name])):
            raise DataError(
                f"{out} holds results of another {name}: {found.get(name)}, here it is "
                f"{fresh[name]}; choose another --out"
            )
    return dataset, found


def _runs(
    config: model.Config, dataset: Dataset, seeds: list[int], warm_up: bool
) -> Iterator[dict[str, Any]]:
    """Runs of the compiled program, a row of figures for each seed."""
    if not seeds:
        return
    images, labels = map(np.ascontiguousarray, dataset.train.values())
    test = jax.device_put(jax.tree.map(np.ascontiguousarray, dataset.test))
    plain = jax.device_put({"image": images, "label": labels})
    function = whole_run(config, len(labels))

    def data(seed: int) -> fit.Batch:
        return TASK.prepare(dataclasses.replace(config, seed=seed), plain)

    began = time.perf_counter()
    compiled = device.jit(function).lower(jax.random.key(0), data(0), test).compile()
    compile_seconds = time.perf_counter() - began
    if warm_up and device.current().platform != "cpu":
        drawn = np.random.default_rng(0).permutation(labels)
        jax.block_until_ready(
            compiled(jax.random.key(0), data(0) | {"label": jnp.asarray(drawn)}, test)
        )
    for number, seed in enumerate(seeds):
        given = jax.block_until_ready((jax.random.key(seed), data(seed)))
        began = time.perf_counter()
        found = jax.device_get(compiled(*given, test))
        yield {
            "seed": seed,
            "test_accuracy": float(found["test_accuracy"]),
            "seconds": time.perf_counter() - began,
            "compile_seconds": 0.0 if number else compile_seconds,
            "train_loss": found["loss"].tolist(),
            "train_accuracy": found["accuracy"].tolist(),
        }


def whole_run(config: model.Config, examples: int) -> Callable[..., dict[str, jax.Array]]:
    """A run as one function to compile: (key, data, test) -> its figures.

    Whitening, all epochs with their shuffling and augmentation, and the test with all views are in
    it. `data` holds `image`, `label` and `side`; the figures are `loss` and `accuracy` [epochs],
    the means over each epoch's steps, and `test_accuracy`. With the key `jax.random.key(seed)` and
    the sides of that seed it is the run of `TASK.train`.
    """
    steps = examples // config.batch_size
    optimizer = TASK.optimizer(config, TASK.updates(config, steps))
    step = fit.make_step(TASK.losses(config, steps)[0], optimizer, TASK.average(config))

    def run(key: jax.Array, data: fit.Batch, test: fit.Batch) -> dict[str, jax.Array]:
        params = TASK.init(keys.derive(key, "weights"), config, data)
        state = TASK.first(config, params, optimizer, keys.derive(key, "training"))

        def one(state, index):
            return step(state, jax.tree.map(lambda a: a[index], data))

        def epoch(state, number):
            order = fit.order(state, number, examples)[: steps * config.batch_size]
            state, metrics = jax.lax.scan(one, state, order.reshape(steps, config.batch_size))
            return state, jax.tree.map(jnp.mean, metrics)

        state, figures = jax.lax.scan(epoch, state, jnp.arange(config.epochs, dtype=jnp.uint32))
        guesses = _classify(config, TASK.weights(state), test["image"])
        return {**figures, "test_accuracy": (guesses == test["label"]).mean()}

    return run


def _classify(config: model.Config, weights: fit.Weights, images: jax.Array) -> jax.Array:
    """The likeliest class of each image [N], batch by batch inside a compiled program."""
    classify = TASK.predictions(config)["classify"].function
    size = min(BATCH, len(images))
    batches = -(-len(images) // size)
    index = np.arange(batches * size).reshape(batches, size).clip(max=len(images) - 1)

    def one(index: jax.Array) -> jax.Array:
        return classify(weights, {"image": images[index]})["probabilities"].argmax(-1)

    return jax.lax.map(one, index).ravel()[: len(images)]


if __name__ == "__main__":
    cli.main(__doc__, {"repeat": repeat, "ablation": ablation}, TASKS)
