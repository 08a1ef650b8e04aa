"""A trained model at work: evaluated on the test pictures, and predicting in shards side by side.

Pictures are always computed in blocks of one size, so that a picture's result has the same bits
whoever computes it. Axes: N pictures, uint8 [N, 32, 32, 3]; K classes.
"""

import csv
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from zoo.ch06_cnn import model as cnn
from zoo.ch06_cnn.train import start
from zoo.ch09_pipeline import shards
from zoo.ch09_pipeline.params import Params
from zoo.ch09_pipeline.stages import check_labels, load, tree
from zoo.common import checkpoint, device, run
from zoo.common.data import files
from zoo.common.run import RunError


def predictor(folder: Path, params: Params) -> Callable[[np.ndarray], np.ndarray]:
    """The function of a trained model: pictures [N, 32, 32, 3] to probabilities, float32 [N, K].

    It computes blocks of `params.block` pictures, the last one filled up by its last picture, so a
    picture's result depends neither on how many there are nor on who computes them.
    """
    device.use(params.device)
    config = params.config
    like = jax.eval_shape(lambda: tree(start(config, config.batch_size)[1]))
    weights = checkpoint.load_weights(folder / "weights.safetensors", like)

    @device.jit
    def probabilities(weights, images):
        x = cnn.scale_pixels(images, config.pixels)
        return jax.nn.softmax(cnn.apply(weights["params"], x, None, weights["stats"]).logits)

    def predict(images: np.ndarray) -> np.ndarray:
        rows = [np.zeros((0, config.classes), np.float32)]
        for first in range(0, len(images), params.block):
            index = np.arange(first, first + params.block).clip(max=len(images) - 1)
            block = np.asarray(probabilities(weights, images[index]))
            rows.append(block[: len(images) - first])
        return np.concatenate(rows)

    return predict


def evaluate(prepared: Path, trained: Path, out: Path, confusion: Path, params: Params) -> None:
    """Measures the model on the test pictures; writes metrics.json and the confusion matrix.

    Accuracy in [0, 1]; cross-entropy in nats, -log of the true class's probability, which compares
    recipes whose own losses differ.
    """
    data = load(prepared / "test.npz")
    check_labels(data["label"], params)
    labels, classes = data["label"].astype(int), params.classes
    probabilities = predictor(trained, params)(data["image"])
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, probabilities.argmax(-1)), 1)
    metrics = {
        "test_accuracy": round(float(np.trace(counts) / len(labels)), 6),
        "test_cross_entropy": round(float(-np.log(np.maximum(own, 1e-30)).mean()), 6),
        "test_images": len(labels),
    }
    run.write_json(confusion, {"classes": classes, "counts": counts.tolist()})
    run.write_json(out, metrics)
    print(f"test accuracy {metrics['test_accuracy']:.4f}, "
          f"cross-entropy {metrics['test_cross_entropy']:.4f} nats ({len(labels):,} pictures)"
          )  # fmt: skip


def predict_shard(prepared: Path, trained: Path, params: Params, shard: int, out: Path) -> None:
    """The probabilities of one shard of the pictures to predict, as an .npy file."""
    images = load(prepared / "new.npz")["image"]
    first, end = shards.block_bounds(len(images), shard, params.shards, params.block)
    np.save(out, predictor(trained, params)(images[first:end]))


def predict(
    prepared: Path, trained: Path, out: Path, params: Params, command: Sequence[str]
) -> None:
    """Predicts all pictures, in as many processes as `params.shards`; writes predictions.csv.

    Args:
        prepared: has new.npz.
        trained: the model.
        out: the folder of predictions.csv; the bytes do not depend on the number of shards.
        params: of the workspace.
        command: computes one shard in a process of its own; its number and a path are added.

    Raises:
        RunError: a process failed; says which shard it had.
    """
    data = load(prepared / "new.npz")
    if params.shards == 1:
        probabilities = predictor(trained, params)(data["image"])
    else:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{shard}.npy") for shard in range(params.shards)]
            _side_by_side([[*command, str(n), str(path)] for n, path in enumerate(paths)])
            parts = [np.load(path, allow_pickle=False) for path in paths]
        probabilities = shards.merge(parts, len(data["image"]), params.block)
    files.write_bytes(out / "predictions.csv", table(data["name"], probabilities, params.classes))
    print(f"{len(probabilities):,} pictures predicted by {params.shards} shards")


def table(names: Sequence[str], probabilities: np.ndarray, classes: Sequence[str]) -> bytes:
    """CSV: name, likeliest class, and the probability of each, to the last bit of a float32."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "class", *classes])
    for name, row in zip(names, probabilities, strict=True):
        writer.writerow([name, classes[row.argmax()], *(f"{p:.9g}" for p in row)])
    return text.getvalue().encode()


def _side_by_side(commands: Sequence[Sequence[str]]) -> None:
    """Runs processes at the same time; when one fails, the others are ended."""
    processes = [subprocess.Popen(command, stdout=sys.stderr) for command in commands]
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break
            time.sleep(0.02)
        failed = [n for n, process in enumerate(processes) if process.poll()]
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
            process.wait()
    if failed:
        number = failed[0]
        raise RunError(
            f"shard {number} of {len(processes)} ended with {processes[number].returncode}: "
            "its reason stands above"
        )
