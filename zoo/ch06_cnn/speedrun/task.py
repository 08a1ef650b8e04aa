"""What zoo has to know of the speed run: data, start, solver, losses, predictions."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.ch06_cnn.cnn import task as cnn
from zoo.ch06_cnn.cnn.model import mirror, move, scale_pixels
from zoo.ch06_cnn.speedrun import images, model
from zoo.common import device, fit
from zoo.common.data import DataError, Dataset, cifar10, own_pictures
from zoo.common.task import Arrays, Prediction, Task, Weights

WHITENED = 5_000
"""So many of the first images give the whitening filters."""


def load(config: model.Config, data: str, data_dir: Path | None) -> Dataset:
    """As the main model's; split `all` is CIFAR-10's five training files.

    Raises:
      DataError: a file that the split needs is missing.
    """
    if config.images or config.dataset != "cifar10" or config.split != "all":
        return cnn.load(config, data, data_dir)
    held = cifar10.load(data=data, data_dir=data_dir, split="holdout")
    test = cifar10.first_thousand(data_dir)
    if held.name != "CIFAR-10" or held.source != "real" or test is None:
        raise DataError(
            "split all needs the files of CIFAR-10 and test_batch.first1000.bin or "
            "test_batch.bin: name their folder by --data-dir, or use --split holdout"
        )
    train = {k: np.concatenate([a, held.test[k]]) for k, a in held.train.items()}
    about = "train on data_batch_1..5 (50,000), test on the first 1,000 official test images"
    return held._replace(split="all", description=f"CIFAR-10: {about}", train=train, test=test)


def init(key: jax.Array, config: model.Config, data: fit.Batch) -> model.Params:
    """The parameters before training, the first layer whitening the first images of `data`."""
    params = model.init(key, config)
    if config.whiten:
        scaled = scale_pixels(jnp.asarray(data["image"][:WHITENED]))
        params["whiten"]["kernel"] = images.whitening_kernel(scaled, config.patch)
    return params


def prepare(config: model.Config, data: fit.Batch) -> fit.Batch:
    """The data with a random bit for each image, `side`: see `images.alternating_flips`."""
    # Drawn here and not in the step: an image keeps its side through the run.
    bits = np.random.default_rng(config.seed).integers(0, 2, len(data["label"]), np.uint8)
    return {**data, "side": bits}


def as_matrices(kernels: Any) -> Any:
    """For each kernel [rows, columns, C, O] that Muon shall take it as a matrix of O columns."""
    axes = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
    return jax.tree.map(lambda w: axes, kernels)


def optimizer(config: model.Config, steps: int) -> optax.GradientTransformation:
    """Muon or Nesterov's momentum for the convolutions, Nesterov's for the rest, over `steps`.

    Muon (Jordan et al. 2024) makes the momentum of a kernel, as a matrix, orthogonal: all
    directions are learnt at the same pace. The whitening filters stay.
    """

    def down(peak: float) -> optax.GradientTransformation:
        schedule = cnn.triangle(0.2 * peak, peak, round(config.rise * steps), steps)
        return optax.scale_by_learning_rate(schedule)

    # Momentum, its share and the steps of Muon are those of airbench94_muon (Jordan 2024).
    momentum = optax.trace(0.85, nesterov=True)
    muon = optax.contrib.scale_by_muon(
        ns_steps=3, beta=0.6, nesterov=True, weight_dimension_numbers=as_matrices
    )
    direction = muon if config.solver == "muon" else momentum
    solvers = {
        "conv": optax.chain(direction, down(config.learning_rate), model.on_spheres()),
        "bias": optax.chain(momentum, down(config.bias_rate)),
        "head": optax.chain(momentum, down(config.head_rate)),
        "fixed": optax.set_to_zero(),
    }

    def label(path: tuple[Any, ...], leaf: jax.Array) -> str:
        layer, name = path[0].key, path[-1].key
        if name != "kernel":
            return "bias"
        first = "fixed" if config.whiten else "conv"
        return {"whiten": first, "conv": "conv", "output": "head"}[layer]

    return optax.partition(solvers, lambda params: jax.tree.map_with_path(label, params))


def options(config: model.Config) -> dict[str, Any]:
    """The keywords of `model.apply` for a configuration on the device that computes."""
    narrow = device.current().platform != "cpu"
    name = ("bfloat16" if narrow else "float32") if config.precision == "auto" else config.precision
    return {"activation": config.activation, "dtype": jnp.dtype(name)}


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The loss in training, with augmentation, and in tests, which see each image once."""
    kept = {"label_smoothing": config.label_smoothing, **options(config)}

    def augment(key: jax.Array, batch: fit.Batch, epoch: jax.Array) -> jax.Array:
        shift_key, flip_key, _ = jax.random.split(key, 3)
        shown = batch["image"]
        if config.shift:
            shown = move(shift_key, shown, config.shift)
        if config.flip == "alternating":
            shown = mirror(shown, images.alternating_flips(batch["side"], epoch))
        elif config.flip == "random":
            shown = mirror(shown, jax.random.bernoulli(flip_key, 0.5, shown.shape[:1]))
        return scale_pixels(shown)

    # Which images are mirrored depends on the epoch, so the steps are counted in the carry.
    def training(params, batch, key, moments, step):
        batch = {**batch, "image": augment(key, batch, step // steps)}
        value, (metrics, moments) = model.loss_training(params, batch, moments, **kept)
        return value, (metrics, moments, step + 1)

    def testing(params, batch, key, moments):
        batch = {**batch, "image": scale_pixels(batch["image"])}
        return model.loss(params, batch, None, moments, **kept)

    return training, testing


def predictions(config: model.Config) -> dict[str, Prediction]:
    """The class of an image, its logits averaged over views."""
    return _predictions(config.size, config.views, **options(config))


@functools.cache
def _predictions(size: int, views: str, **options: Any) -> dict[str, Prediction]:
    def classify(weights: Weights, inputs: Arrays) -> Arrays:
        seen, shares = images.views(inputs["image"], views)

        def logits(view: jax.Array) -> jax.Array:
            return model.apply(weights["params"], scale_pixels(view), weights["stats"], **options)

        # One view after the other: all at once would take as many times the memory.
        mean = jnp.tensordot(shares, jax.lax.map(logits, seen), 1)
        return {"probabilities": jax.nn.softmax(mean)}

    image = {"image": jax.ShapeDtypeStruct((size, size, 3), np.uint8)}
    return {"classify": Prediction("the probability of each class", image, classify)}


TASK = Task(
    name="ch06_cnn/speedrun",
    model=model,
    about="the network of the speed run on CIFAR-10 (on a CPU: --recipe speedrun-cpu)",
    load=load,
    random=cnn.random,
    init=init,
    prepare=prepare,
    optimizer=optimizer,
    losses=losses,
    metrics=("accuracy",),
    predictions=predictions,
    pictures=cnn.pictures,
    following=lambda dataset: ("predict cat.png",),
    fill=own_pictures.fill,
    stats=lambda config, params: model.init_moments(params),
    carry=lambda config, params: jnp.int32(0),
    average=lambda config: functools.partial(model.running_average, decay=config.average),
    epoch=50_000,
)
