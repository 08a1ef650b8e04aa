"""The speed run on the command line: train --recipe speedrun, speedrun --seeds N, ablation."""

import dataclasses
import importlib.metadata
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch06_cnn import speedrun, speedrun_train
from zoo.ch06_cnn.commands import evaluate, train_run
from zoo.ch06_cnn.runs import load
from zoo.common import cli, device, run
from zoo.common.data import DataError, Dataset
from zoo.common.device import Name as DeviceName

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
    "asked once": {"views": "plain"},
    "asked with flips": {"views": "flips"},
}
"""What is changed of the speed run in each row of the table."""


def train(config: speedrun.Config, options: cli.Options, target: float | None = None) -> None:
    """Train the network of the speed run; Ctrl-C saves, --resume DIR goes on.

    The test accuracy after each epoch is of one view of each image; at the end all views are
    asked, and evaluation.json is written. On two cores of a CPU take --recipe speedrun-cpu.

    Args:
        config: the speed run
        options: data, device, folder
        target: the test accuracy that is wanted, 0.94 for example; says whether it was reached
    """
    folder, _, _ = train_run(config, options)
    evaluate(cli.Trained(run=folder, data_dir=options.data_dir, device=options.device))
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["test_accuracy"]
    seconds = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["train_seconds"]
    print(f"trained in {folder}, {seconds:.1f} s of training")
    if target is not None:
        verdict = "reached" if found >= target else f"missed by {target - found:.2%}"
        print(f"target {target:.2%}: {verdict}")


def repeat(
    config: speedrun.Config,
    seeds: int = 5,
    first_seed: int = 0,
    target: float = 0.94,
    data_dir: Path | None = None,
    device_name: DeviceName = "auto",
    out: Path = Path("runs/ch06_cnn/speedrun.json"),
) -> None:
    """Repeat the speed run over seeds, each one compiled program; writes the figures as JSON.

    The time of a run is that of whitening, training and the test with all views, with the data on
    the device; compilation is apart, and on a GPU one run before, on labels drawn at random. A run
    that is in the file already is not repeated.

    Args:
        config: the speed run
        seeds: how many
        first_seed: the first of them
        target: the mean test accuracy that is wanted
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        device_name: what computes
        out: the file
    """
    device.use(device_name)
    dataset = load(config, "real", data_dir)
    print(f"{dataset.description}; {device.describe(device.current())}")
    results = _open(out, config, dataset)
    rows = results["rows"].setdefault(config.recipe, [])
    wanted = range(first_seed, first_seed + seeds)
    missing = [seed for seed in wanted if seed not in [row["seed"] for row in rows]]
    for row in _runs(config, dataset, missing, device.current().platform != "cpu"):
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
    config: speedrun.Config,
    seeds: int = 3,
    rows: tuple[str, ...] = (),
    data_dir: Path | None = None,
    device_name: DeviceName = "auto",
    out: Path = Path("runs/ch06_cnn/ablation.json"),
) -> None:
    """Take away one idea of the speed run after the other, over seeds; writes JSON and a table.

    What is in the file already is not repeated, so that the command can be stopped and begun
    again. The rates stay those of the configuration.

    Args:
        config: the speed run that each row changes in one point
        seeds: how many for each row
        rows: their names, if not all
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        device_name: what computes
        out: the file; the table is written beside it, with the ending .md
    """
    device.use(device_name)
    for name in rows:
        if name not in ABLATIONS:
            raise DataError(f"got the row {name!r}, expected one of: {'; '.join(ABLATIONS)}")
    dataset = load(config, "real", data_dir)
    print(f"{dataset.description}; {device.describe(device.current())}")
    results = _open(out, config, dataset)
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


def _open(out: Path, config: speedrun.Config, dataset: Dataset) -> dict[str, Any]:
    """The results in the file, if they are of this configuration; else those of an empty one."""
    fresh = {
        "config": dataclasses.asdict(config),
        "data": dataset.description,
        "device": device.describe(device.current()),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "optax", "zoo")},
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "rows": {},
    }
    if not out.exists():
        return fresh
    found = json.loads(out.read_text(encoding="utf-8"))
    for name in ("config", "data", "device"):
        if found.get(name) != json.loads(json.dumps(fresh[name])):
            raise DataError(
                f"{out} holds results of another {name}: {found.get(name)}, here it is "
                f"{fresh[name]}; choose another --out"
            )
    return found


def _runs(
    config: speedrun.Config, dataset: Dataset, seeds: list[int], warm_up: bool
) -> Iterator[dict[str, Any]]:
    """Runs of the compiled program, a row of figures for each seed."""
    if not seeds:
        return
    images, labels = map(np.ascontiguousarray, dataset.train.values())
    test = jax.device_put(jax.tree.map(np.ascontiguousarray, dataset.test))
    plain = jax.device_put({"image": images, "label": labels})
    function = speedrun_train.whole_run(config, len(labels))

    def data(seed: int) -> dict[str, jax.Array]:
        return speedrun_train.with_sides(plain, seed)

    began = time.perf_counter()
    compiled = device.jit(function).lower(jax.random.key(0), data(0), test).compile()
    compile_seconds = time.perf_counter() - began
    if warm_up:
        drawn = np.random.default_rng(0).permutation(labels)
        jax.block_until_ready(
            compiled(jax.random.key(0), data(0) | {"label": jnp.asarray(drawn)}, test)
        )
    for seed, first in zip(seeds, itertools.chain([True], itertools.repeat(False)), strict=False):
        given = jax.block_until_ready((jax.random.key(seed), data(seed)))
        began = time.perf_counter()
        found = jax.device_get(compiled(*given, test))
        yield {
            "seed": seed,
            "test_accuracy": float(found["test_accuracy"]),
            "seconds": time.perf_counter() - began,
            "compile_seconds": compile_seconds if first else 0.0,
            "train_loss": found["loss"].tolist(),
            "train_accuracy": found["accuracy"].tolist(),
        }
