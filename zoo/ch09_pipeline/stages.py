"""The pipeline's first stages, from files to files: prepare and train; predict.py has the others.

Same data, parameters and program give the same bytes on the CPU: files hold no times, weights are
safetensors.

    data/train, data/test, data/new  ->  prepared/  ->  model/  ->  metrics.json, predictions/

Axes: N pictures, uint8 [N, 32, 32, 3]; K classes.
"""

import functools
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from zoo.ch06_cnn.train import start
from zoo.ch06_cnn.train import train as train_network
from zoo.ch09_pipeline import sources
from zoo.ch09_pipeline.params import Params
from zoo.common import checkpoint, device, fit, run
from zoo.common.cli import Options
from zoo.common.data import DataError, Dataset, cifar10, digest
from zoo.common.run import RunError

SETS = ("train", "test", "new")
BATCHES = (".bin", ".bin.gz", ".bin.xz")
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
_CLOCK = ("seconds", "examples_per_second")


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The pictures of one file of data, and their labels, which a picture file has not.

    Raises:
        DataError: it is neither CIFAR-10 batch nor picture, or it is damaged.
    """
    name = path.name.lower()
    if name.endswith(BATCHES):
        return cifar10.read_batch(path)
    if name.endswith(PICTURES):
        from zoo.ch06_cnn.commands import read_image

        return read_image(path)[None], None
    known = ", ".join(BATCHES + PICTURES)
    raise DataError(f"{path}: found {path.suffix or 'no suffix'}, expected one of {known}")


def listed(data: Path, which: str) -> list[Path]:
    """The files of one of `SETS`, by name; hidden ones are left out."""
    folder = data / which
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in there if path.is_file() and not path.name.startswith(".")]


def prepare(data: Path, out: Path) -> None:
    """Reads and checks all files of data; writes train.npz, test.npz, new.npz and manifest.json.

    Where data/new has no files, the pictures to predict are those of data/test.

    Raises:
        DataError: a file is damaged, or there is nothing to train or to test on.
    """
    manifest: dict[str, Any] = {"files": {}}
    for which in SETS:
        there = listed(data, which) or (listed(data, "test") if which == "new" else [])
        if not there:
            raise DataError(f"{data / which} has no files: put some there by `put FILES`")
        read = [read_file(path) for path in there]
        arrays = {"image": np.concatenate([images for images, _ in read])}
        if which == "new":
            arrays["name"] = np.array([n for p, (i, _) in zip(there, read, strict=True)
                                       for n in _names(p, len(i))])  # fmt: skip
        elif missing := [p for p, (_, labels) in zip(there, read, strict=True) if labels is None]:
            raise DataError(f"{missing[0]} has no labels: move it to {data / 'new'}")
        else:
            arrays["label"] = np.concatenate([labels for _, labels in read])
        _save(out / f"{which}.npz", arrays)
        count = len(arrays["image"])
        manifest[which] = {"images": count, "sha256": sources.file_sha256(out / f"{which}.npz")}
        used = {f"{p.parent.name}/{p.name}": sources.file_sha256(p) for p in there}
        manifest["files"] |= used
        print(f"{which}: {count:,} pictures of {', '.join(used)}")
    run.write_json(out / "manifest.json", manifest)


def _names(path: Path, count: int) -> list[str]:
    batch = path.name.lower().endswith(BATCHES)
    return [f"{path.name}:{n}" for n in range(count)] if batch else [path.name]


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(fresh, **arrays)
    fresh.replace(path)


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one of the prepared files."""
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def train(prepared: Path, out: Path, params: Params, scratch: Path) -> None:
    """Trains chapter 6's network; writes weights.safetensors, card.json and history.json.

    The training is a run of chapter 6 in a folder below `scratch`, with a checkpoint after each
    epoch: what was broken off goes on from there and ends with the same bits. The test pictures
    have no part in it, so that the model depends on nothing but what it was trained on.
    """
    device.use(params.device)
    config, data = params.config, load(prepared / "train.npz")
    check_labels(data["label"], params)
    nothing = {name: array[:0] for name, array in data.items()}
    about = f"{len(data['label']):,} pictures of the workspace's data"
    dataset = Dataset("data", "workspace", "workspace", about, data, nothing, params.classes)
    program = sources.describe()
    made = {"config": config, "data": digest(dataset), "stages": program["stages"]}
    folder = scratch / sources.digest({"made": repr(made).encode()})[:16]
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    begun = (unfinished / "config.json").exists()
    place = {"resume": unfinished} if begun else {"out": unfinished}
    _, state = run.train(
        "ch06_cnn",
        config,
        Options(**place),
        dataset,
        start(config, len(data["label"]))[1],
        functools.partial(_fit, config, data),
        steps=fit.steps_per_epoch(data, config.batch_size),
    )
    checkpoint.save_weights(out / "weights.safetensors", tree(state), {})
    rows = run.read_metrics(unfinished)
    rows = [{name: v for name, v in row.items() if name not in _CLOCK} for row in rows]
    run.write_json(out / "history.json", rows)
    card = {"recipe": params.model["recipe"], "config": vars(config), "classes": params.classes}
    card["train"] = {"images": len(data["label"]),
                     "sha256": sources.file_sha256(prepared / "train.npz")}  # fmt: skip
    card |= {"program": program["stages"], "versions": program["versions"], "last": rows[-1]}
    run.write_json(out / "card.json", card)
    _replace_folder(unfinished, folder)


def _fit(config, data, state, follow) -> fit.State:
    return train_network(config, data, state=state, follow=follow)


def tree(state: fit.State) -> dict[str, Any]:
    """What is kept of a trained model: its parameters and batch norm's running moments."""
    return {"params": state.params, "stats": state.stats}


def _replace_folder(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)


def check_labels(labels: np.ndarray, params: Params) -> None:
    """Refuses labels that have no name or no output of the network, by a RunError."""
    if len(params.classes) != params.config.classes or labels.max() >= len(params.classes):
        raise RunError(
            f"params.yaml names {len(params.classes)} classes, the labels go up to {labels.max()} "
            f"and the network has {params.config.classes} outputs: name as many"
        )
