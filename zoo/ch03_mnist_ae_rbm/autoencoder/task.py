"""What zoo has to know of the autoencoder: losses, predictions, pictures, snapshots on the way."""

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch03_mnist_ae_rbm import digits
from zoo.ch03_mnist_ae_rbm.autoencoder import model
from zoo.common import device, fit, keys, run
from zoo.common.data import Dataset, files, own_pictures
from zoo.common.task import Arrays, Prediction, Task, Weights, called
from zoo.common.trained import Trained

SNAPSHOTS = "snapshots.npz"
STAGES = (10, 100, 300)
"""Updates soon after which the reconstructions of ten digits are kept, in the first epoch."""
EPOCHS = (1, 2, 5, 10, 20, 50, 100)
"""Ends of epochs at which they are kept, beside the last."""
NEIGHBOURS = 9


def random(config: model.Config, count: int) -> fit.Batch:
    """Random images."""
    return {"image": digits.random(config, count)["image"]}


def options(config: model.Config) -> dict[str, Any]:
    """Keywords of `model.apply`, taken from the configuration."""
    return {"activation": config.activation, "code_activation": config.code_activation}


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The recipe's loss; `mse` beside it is of pixels in [0, 1], whatever the recipe."""
    kept = {"objective": config.objective, "noise": config.noise, **options(config)}
    unit = 0.81 if config.pixels == "book" else 1.0  # the book's pixels are 0.9 x + 0.1

    def training(params, batch, key):
        scaled = {"image": digits.scale_pixels(batch["image"], config.pixels)}
        value, metrics = model.loss(params, scaled, key, **kept)
        return value, {"mse": metrics["mse"] / unit}

    # Without noise nothing is drawn, and the test is that of the whole batch.
    return training, fit.repeatable(training, config.seed) if config.noise else training


@functools.cache
def predictions(config: model.Config) -> dict[str, Prediction]:
    """Codes of images, images of codes, and both after one another."""

    def encode(weights: Weights, inputs: Arrays) -> Arrays:
        x = digits.scale_pixels(inputs["image"], config.pixels)
        return {"code": model.encode(weights["params"], x, **options(config))}

    def decode(weights: Weights, inputs: Arrays) -> Arrays:
        logits = model.decode(weights["params"], inputs["code"], activation=config.activation)
        return {"image": digits.unscale_pixels(jax.nn.sigmoid(logits), config.pixels)}

    def reconstruct(weights: Weights, inputs: Arrays) -> Arrays:
        return decode(weights, encode(weights, inputs))

    image = {"image": jax.ShapeDtypeStruct((config.size, config.size), np.uint8)}
    code = {"code": jax.ShapeDtypeStruct((config.code,), np.float32)}
    return {
        "reconstruct": Prediction("an image through its code, grey levels", image, reconstruct),
        "encode": Prediction("the code of an image", image, encode),
        "decode": Prediction("the image of a code, grey levels", code, decode),
    }


def denoise(
    config: model.Config, params: model.Params, images: np.ndarray, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images with the configuration's noise, and their reconstructions, both in [0, 1]."""
    noisy = model.corrupt(
        key, digits.scale_pixels(jnp.asarray(images), config.pixels), config.noise
    )
    back = jax.nn.sigmoid(model.apply(params, noisy, **options(config)).logits)

    def shown(x: jax.Array) -> np.ndarray:
        return np.asarray(digits.unscale_pixels(x, config.pixels))

    return shown(noisy), shown(back)


def nearest(points: np.ndarray, count: int) -> np.ndarray:
    """Numbers [N, count] of the points nearest to each of `points` [N, Z], itself left out."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points)
    return search.kneighbors(return_distance=False)


def ten_digits(dataset: Dataset) -> np.ndarray:
    """Numbers of ten test images, the first of each class."""
    return np.unique(dataset.test["label"], return_index=True)[1]


def watch(
    config: model.Config,
    dataset: Dataset,
    folder: Path,
    state: fit.State,
    reports: Iterator[fit.Progress[fit.State]],
) -> Iterator[fit.Progress[fit.State]]:
    """Passes the reports on; keeps reconstructions of ten digits, by the updates made so far."""
    images = dataset.test["image"][ten_digits(dataset)]
    reconstruct = device.jit(predictions(config)["reconstruct"].function)
    first = int(state.step)
    kept = {step: back for step, back in read_snapshots(folder).items() if step <= first}

    def keep(state: fit.State) -> None:
        back = reconstruct({"params": state.params}, {"image": images})["image"]
        kept[int(state.step)] = np.asarray(back)
        if jax.process_index() == 0:  # at once, so that a run that is killed has them, too
            _write_snapshots(folder, kept)

    if first == 0:
        keep(state)
    for progress in reports:
        step, newest = int(progress.state.step), max(kept, default=0)
        within = any(newest < stage <= step for stage in STAGES)
        if within or (progress.metrics and progress.epoch in (*EPOCHS, config.epochs)):
            keep(progress.state)
        yield progress


def read_snapshots(folder: Path) -> dict[int, np.ndarray]:
    """What `watch` kept: reconstructions [10, 28, 28] by the updates made before."""
    if not (folder / SNAPSHOTS).exists():
        return {}
    with np.load(folder / SNAPSHOTS) as saved:
        return {int(step): saved[step] for step in saved}


def _write_snapshots(folder: Path, kept: dict[int, np.ndarray]) -> None:
    content, arrays = io.BytesIO(), {str(step): images for step, images in kept.items()}
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # none is named allow_pickle
    files.write_bytes(folder / SNAPSHOTS, content.getvalue())


def pictures(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """Curves, digits through the epochs, pairs, neighbours by code, denoising."""
    from zoo.common import figures

    config, caption, ten = trained.config, dataset.description, ten_digits(dataset)
    images, first = dataset.test["image"][ten], dataset.test["image"][:12]
    pairs = {"input": first, "output": trained.predict(image=first)["image"]}
    drawings = {
        "pairs": figures.strips(pairs, "what goes in and what comes out", caption),
        "neighbours": _draw_neighbours(trained, dataset, ten),
    }
    if metrics := run.read_metrics(trained.folder):
        panels = {"mse": "mean squared error of pixels in [0, 1]"}
        drawings["curves"] = figures.training_curves(metrics, panels, caption)
        figures.logarithmic(drawings["curves"].axes[0])
    if kept := read_snapshots(trained.folder):
        steps = fit.steps_per_epoch(dataset.train, config.batch_size)
        rows = {"input": images} | {_moment(step, steps): kept[step] for step in sorted(kept)}
        drawings["epochs"] = figures.strips(rows, "what comes out while it learns", caption)
    if config.noise:
        noisy, back = denoise(config, trained.params, first, keys.derive(config.seed, "pictures"))
        rows = {"clean": first, "input": noisy, "output": back}
        title = f"noise of deviation {config.noise:g} taken away"
        drawings["denoising"] = figures.strips(rows, title, caption)
    return drawings


def _moment(step: int, steps: int) -> str:
    if step == 0:
        return "before"
    return f"update {step}" if step % steps else f"epoch {step // steps}"


def _draw_neighbours(trained: Trained, dataset: Dataset, queries: np.ndarray) -> Any:
    from zoo.common import figures

    images, labels = dataset.test["image"], dataset.test["label"]
    codes = trained.predict("encode", image=images)["code"]
    near = nearest(codes, min(NEIGHBOURS, len(codes) - 1))[queries]
    rows, wrong = {}, {}
    for query, others in zip(queries, near, strict=True):
        shown = [query, *others]
        name = f"a {dataset.classes[labels[query]]}"
        rows[name], wrong[name] = images[shown], labels[shown] != labels[query]
    title = "a test digit and those with the nearest codes (orange: another digit)"
    return figures.strips(rows, title, dataset.description, wrong)


TASK = Task(
    name="ch03_mnist_ae_rbm/autoencoder",
    model=model,
    about="an autoencoder on MNIST (--noise 0.5: to take noise away)",
    load=digits.load,
    random=random,
    prepare=lambda config, data: {"image": data["image"]},
    optimizer=digits.optimizer,
    losses=losses,
    metrics=("mse",),
    result=called("test squared error", "test_mse"),
    predictions=predictions,
    pictures=pictures,
    following=lambda dataset: ("reconstruct",),
    fill=own_pictures.fill,
    watch=watch,
    epoch=60_000,
)
