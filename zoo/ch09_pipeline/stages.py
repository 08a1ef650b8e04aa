"""The four stages of dvc.yaml, from files to files; each works in a workspace.

    data/train, data/test, data/new  ->  prepared/  ->  model/  ->  metrics.json, predictions/

Same data, parameters and program give the same bytes on the CPU: files hold no times, weights are
safetensors, and pictures are predicted in blocks of one size. Axes: N pictures, uint8
[N, 32, 32, 3]; K classes.
"""

import csv
import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from zoo.ch06_cnn import TASKS
from zoo.ch09_pipeline import params, record
from zoo.ch09_pipeline.params import Params
from zoo.common import checkpoint, device, images, run
from zoo.common.cli import Options
from zoo.common.data import DataError, Dataset, cifar10, digest, files
from zoo.common.run import RunError

TASK = TASKS[0]
SETS = ("train", "test", "new")
BATCHES = (".bin", ".bin.gz", ".bin.xz")
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
BLOCK = 100
"""Pictures that are predicted at once."""
_CLOCK = ("seconds", "examples_per_second")  # would make the files of equal trainings differ
Folder = Annotated[Path, tyro.conf.arg(name="workspace", help="the workspace")]


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The pictures of one file of data, and their labels, which a picture file lacks.

    Raises:
        DataError: it is neither CIFAR-10 batch nor picture, or it is damaged.
    """
    name = path.name.lower()
    if name.endswith(BATCHES):
        return cifar10.read_batch(path)
    if name.endswith(PICTURES):
        return images.read_square(path, 32)[None], None
    known = ", ".join(BATCHES + PICTURES)
    raise DataError(f"{path}: found {path.suffix or 'no suffix'}, expected one of {known}")


def listed(folder: Path, which: str) -> list[Path]:
    """A workspace's files of one of `SETS`, by name.

    Raises:
        DataError: there are hidden files or folders, which would be versioned and not used.
    """
    data = folder / "data" / which
    found = sorted(data.iterdir()) if data.is_dir() else []
    for path in found:
        if not path.is_file() or path.name.startswith("."):
            kind = "a folder" if path.is_dir() else "a hidden file"
            raise DataError(f"{path}: found {kind}, expected files side by side: move or remove it")
    return found


def prepare(folder: Folder = Path()) -> None:
    """Stage: read and check data/, write prepared/.

    Where data/new has no files, the pictures to predict are those of data/test.

    Raises:
        DataError: a file is damaged, or there is nothing to train or to test on.
    """
    out = folder / "prepared"
    manifest: dict[str, Any] = {"files": {}}
    for which in SETS:
        paths = listed(folder, which) or (listed(folder, "test") if which == "new" else [])
        if not paths:
            raise DataError(f"{folder / 'data' / which} has no files: add some by `put FILES`")
        arrays = _arrays(paths, named=which == "new")
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]  # none is named allow_pickle
        files.write_bytes(out / f"{which}.npz", content.getvalue())
        count = len(arrays["image"])
        manifest[which] = {"images": count, "sha256": record.file_sha256(out / f"{which}.npz")}
        used = {f"{p.parent.name}/{p.name}": record.file_sha256(p) for p in paths}
        manifest["files"] |= used
        print(f"{which}: {count:,} pictures of {', '.join(used)}")
    run.write_json(out / "manifest.json", manifest)


def _arrays(paths: Sequence[Path], named: bool) -> dict[str, np.ndarray]:
    """The pictures of files, with a name for each where they are to be predicted, else labels."""
    read = [read_file(path) for path in paths]
    arrays = {"image": np.concatenate([pictures for pictures, _ in read])}
    if named:
        arrays["name"] = np.array(
            [
                f"{path.name}:{n}" if path.name.lower().endswith(BATCHES) else path.name
                for path, (pictures, _) in zip(paths, read, strict=True)
                for n in range(len(pictures))
            ]
        )
        return arrays
    for path, (_, labels) in zip(paths, read, strict=True):
        if labels is None:
            raise DataError(f"{path} has no labels: move it to {path.parent.with_name('new')}")
    return arrays | {"label": np.concatenate([labels for _, labels in read])}


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one of the prepared files."""
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def train(folder: Folder = Path()) -> None:
    """Stage: train on prepared/train.npz, write model/; resumes a training that was killed.

    It is a run of chapter 6 in a folder below runs/, with a checkpoint after each epoch: a resumed
    one ends with the same bits. The test pictures have no part in it, so that the model depends on
    nothing but what it was trained on.
    """
    chosen, path = params.read(folder), folder / "prepared/train.npz"
    device.use(chosen.device)
    config, data = chosen.config, load(path)
    _check_labels(data["label"], chosen)
    about = f"{len(data['label']):,} pictures of the workspace's data"
    dataset = Dataset("data", "workspace", "workspace", about, data, {}, chosen.classes)
    program = record.program()
    # Only the same configuration, data and program may resume: their digest names the folder.
    made = repr({"config": config, "data": digest(dataset), "stages": program["stages"]})
    done = folder / "runs" / record.text_sha256(made)[:16]
    unfinished = done.with_name(f"{done.name}-unfinished")
    begun = (unfinished / "config.json").exists()
    options = Options(resume=unfinished) if begun else Options(out=unfinished)
    _, state = run.train(TASK, config, options, dataset)
    out = folder / "model"
    checkpoint.save_weights(out / "weights.safetensors", TASK.weights(state), {})
    rows = run.read_metrics(unfinished)
    rows = [{name: value for name, value in row.items() if name not in _CLOCK} for row in rows]
    run.write_json(out / "history.json", rows)
    card = {
        "recipe": chosen.model["recipe"],
        "config": vars(config),
        "classes": chosen.classes,
        "train": {"images": len(data["label"]), "sha256": record.file_sha256(path)},
        "program": program["stages"],
        "versions": program["versions"],
    }
    run.write_json(out / "card.json", card)
    # Last: killed before this line, the stage finds its run again and only writes model/ anew.
    shutil.rmtree(done, ignore_errors=True)
    unfinished.rename(done)


def _check_labels(labels: np.ndarray, chosen: Params) -> None:
    """Refuses labels that have no name or no output of the network, by a RunError."""
    if len(chosen.classes) != chosen.config.classes or labels.max() >= len(chosen.classes):
        raise RunError(
            f"params.yaml names {len(chosen.classes)} classes, the labels go up to {labels.max()} "
            f"and the network has {chosen.config.classes} outputs: name as many"
        )


def predictor(folder: Path, chosen: Params) -> Callable[[np.ndarray], np.ndarray]:
    """The function of a trained model: pictures [N, 32, 32, 3] to probabilities, float32 [N, K].

    It computes blocks of `BLOCK` pictures, the last one padded with its last picture: the bits of a
    picture's result do not depend on how many others are predicted.
    """
    device.use(chosen.device)
    like = jax.eval_shape(TASK.weights, TASK.like(chosen.config))
    weights = checkpoint.load_weights(folder / "model/weights.safetensors", like)
    classify = device.jit(TASK.predictions(chosen.config)["classify"].function)

    def predict(pictures: np.ndarray) -> np.ndarray:
        rows = []
        for first in range(0, len(pictures), BLOCK):
            index = np.arange(first, first + BLOCK).clip(max=len(pictures) - 1)
            block = classify(weights, {"image": pictures[index]})["probabilities"]
            rows.append(np.asarray(block)[: len(pictures) - first])
        return np.concatenate(rows)

    return predict


def evaluate(folder: Folder = Path()) -> None:
    """Stage: measure the model on prepared/test.npz, write metrics.json and the confusion matrix.

    Accuracy in [0, 1]; cross-entropy in nats, -log of the true class's probability, which compares
    recipes whose own losses differ. The matrix counts true classes (rows) by predicted ones.
    """
    chosen, data = params.read(folder), load(folder / "prepared/test.npz")
    _check_labels(data["label"], chosen)
    labels, classes = data["label"].astype(int), chosen.classes
    probabilities = predictor(folder, chosen)(data["image"])
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, probabilities.argmax(-1)), 1)
    accuracy = round(float(np.trace(counts) / len(labels)), 6)
    # A float32 probability can be 0, whose logarithm would make the mean infinite.
    entropy = round(float(-np.log(np.maximum(own, 1e-30)).mean()), 6)
    content = {"classes": classes, "counts": counts.tolist()}
    run.write_json(folder / "evaluation/confusion.json", content)
    metrics = {"test_accuracy": accuracy, "test_cross_entropy": entropy}
    run.write_json(folder / "metrics.json", metrics | {"test_images": len(labels)})
    print(
        f"test accuracy {accuracy:.4f}, cross-entropy {entropy:.4f} nats ({len(labels):,} pictures)"
    )


def predict(folder: Folder = Path()) -> None:
    """Stage: predict the pictures of prepared/new.npz, write predictions/ with its record."""
    chosen, data = params.read(folder), load(folder / "prepared/new.npz")
    probabilities = predictor(folder, chosen)(data["image"])
    text = table(data["name"].tolist(), probabilities, chosen.classes)
    run.write(folder / record.FILES["predictions"], text)
    print(f"{len(probabilities):,} pictures predicted")
    command = "python -m zoo.ch09_pipeline predict"
    run.write_json(folder / "predictions" / record.NAME, record.make(folder, command))


def table(names: Sequence[str], probabilities: np.ndarray, classes: Sequence[str]) -> str:
    """CSV: name, likeliest class, and the probability of each, to the last bit of a float32."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "class", *classes])
    for name, row in zip(names, probabilities, strict=True):
        writer.writerow([name, classes[row.argmax()], *(f"{p:.9g}" for p in row)])
    return text.getvalue()
