"""What zoo has to know of the convolutional network: data, solver, losses, pictures."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from zoo.ch06_cnn.cnn import model
from zoo.common import fit, keys, run, solvers
from zoo.common.data import DataError, Dataset, cifar10, mnist, own_pictures
from zoo.common.task import Arrays, Prediction, Task, Weights
from zoo.common.trained import Trained


def load(config: Any, data: str, data_dir: Path | None) -> Dataset:
    """CIFAR-10, MNIST as 32x32 pixels of three colours, or the pictures that `config.images` names.

    For a `Config` of either network.
    """
    if (own := own_pictures.given(config, data, 32)) is not None:
        return own
    if config.dataset == "cifar10":
        return cifar10.load(data=data, data_dir=data_dir, split=config.split)
    if config.split in ("holdout", "all"):
        raise DataError(f"MNIST has no split {config.split} here: use --split auto or official")
    digits = mnist.load(data=data, data_dir=data_dir)

    def enlarge(batch: fit.Batch) -> fit.Batch:
        padded = np.pad(batch["image"], ((0, 0), (2, 2), (2, 2)))
        return {**batch, "image": np.repeat(padded[..., None], 3, axis=-1)}

    return digits._replace(train=enlarge(digits.train), test=enlarge(digits.test))


def random(config: Any, count: int) -> fit.Batch:
    """Random images and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, config.size, config.size, 3), np.uint8)
    return {"image": images, "label": rng.integers(0, config.classes, count).astype(np.uint8)}


def triangle(begin: float, peak: float, top: int, steps: int) -> optax.Schedule:
    """A rate that rises from `begin` to its peak at step `top` (at least 1), and falls to 0."""
    top = max(1, top)
    fall = optax.linear_schedule(peak, 0.0, max(1, steps - top))
    return optax.join_schedules([optax.linear_schedule(begin, peak, top), fall], [top])


def optimizer(config: model.Config, steps: int) -> optax.GradientTransformation:
    """The solver of the configuration for a run of `steps` updates."""
    rate = config.learning_rate
    if config.solver == "rmsprop":
        return solvers.rmsprop(rate)

    def kernels(params: model.Params) -> model.Params:
        return jax.tree.map(lambda a: a.ndim > 1, params)  # no decay of biases and scales

    decay = optax.add_decayed_weights(config.weight_decay, mask=kernels)
    schedule = triangle(0.1 * rate, rate, steps // 5, steps)
    return optax.chain(decay, optax.sgd(schedule, momentum=0.9, nesterov=True))


def _rates(config: model.Config) -> dict[str, Any]:
    return {k: getattr(config, k) for k in ("dropout", "dropout_dense", "dropout_bug")}


def _test_key(config: model.Config) -> jax.Array | None:
    """None, except that the old Gorgonia went on dropping in the test pass."""
    return keys.derive(config.seed, "test") if config.dropout_bug else None


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The loss in training, with augmentation, and in tests."""
    kept = {k: getattr(config, k) for k in ("target_on", "target_off", "reduction")}
    loss = functools.partial(model.loss, **kept, **_rates(config))

    def training(params, batch, key, stats):
        augment_key, dropout_key = jax.random.split(key)
        images = model.augment(augment_key, batch["image"], shift=config.shift, flip=config.flip)
        images = model.scale_pixels(images, config.pixels)
        return loss(params, {**batch, "image": images}, dropout_key, stats)

    def testing(params, batch, key, stats):
        images = model.scale_pixels(batch["image"], config.pixels)
        test_key, batch = _test_key(config), {**batch, "image": images}
        # A mean in any case: a sum over a batch would depend on how large the batches are.
        return loss(params, batch, test_key, stats, reduction="mean")

    return training, testing


@functools.cache
def predictions(config: model.Config) -> dict[str, Prediction]:
    """The class of an image."""

    def classify(weights: Weights, inputs: Arrays) -> Arrays:
        params, x = weights["params"], model.scale_pixels(inputs["image"], config.pixels)
        output = model.apply(params, x, _test_key(config), weights["stats"], **_rates(config))
        return {"probabilities": jax.nn.softmax(output.logits)}

    image = {"image": jax.ShapeDtypeStruct((config.size, config.size, 3), np.uint8)}
    return {"classify": Prediction("the probability of each class", image, classify)}


def pictures(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """Curves, confusion matrix, ten cats (or threes), first filters, predictions."""
    from zoo.ch06_cnn import figures
    from zoo.common import figures as common

    images, labels = dataset.test["image"], dataset.test["label"]
    about = dataset.classes, dataset.description
    probabilities = trained.predict(image=images)["probabilities"]
    cat = min(3, len(dataset.classes) - 1)  # in CIFAR-10
    ten = np.flatnonzero(labels == cat)[:10]
    first = trained.params.get("whiten", trained.params["conv"][0])  # of the speed run, of this one
    drawings = {
        "confusion": common.confusion(labels, probabilities.argmax(-1), *about),
        "cats": figures.cats(images[ten], probabilities[ten], *about, cat),
        "filters": figures.filters(first["kernel"], dataset.description),
        "predictions": figures.predictions(images[:12], labels[:12], probabilities[:12], *about),
    }
    if metrics := run.read_metrics(trained.folder):
        drawings["curves"] = figures.learning_curves(metrics, dataset.description)
    return drawings


TASK = Task(
    name="ch06_cnn",
    model=model,
    about="a convolutional network on CIFAR-10 (digits: --dataset mnist --no-flip)",
    load=load,
    random=random,
    optimizer=optimizer,
    losses=losses,
    metrics=("accuracy",),
    predictions=predictions,
    pictures=pictures,
    following=lambda dataset: ("predict cat.png",),
    fill=own_pictures.fill,
    stats=lambda config, params: model.init_stats(params),
    epoch=50_000,
)
