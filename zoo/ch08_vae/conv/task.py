"""What zoo has to know of the variational autoencoders of CIFAR-10, convolutional and dense."""

import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from zoo.ch08_vae.conv import model
from zoo.ch08_vae.vae.task import code_predictions, first_pictures, make_schedule
from zoo.common import fit, keys
from zoo.common.data import Dataset, cifar10, own_pictures
from zoo.common.task import Arrays, Prediction, Task, Weights, called
from zoo.common.trained import Trained


def load(config: model.Config, data: str, data_dir: Path | None) -> Dataset:
    """CIFAR-10, or the pictures that `config.images` names; the labels are not used."""
    own = own_pictures.given(config, data, 32)
    return cifar10.load(data, data_dir, config.split) if own is None else own


def random(config: model.Config, count: int) -> fit.Batch:
    """Random images."""
    return {"image": np.random.default_rng(0).integers(0, 256, (count, *_shape(config)), np.uint8)}


def _shape(config: model.Config) -> tuple[int, int, int]:
    return config.size, config.size, model.CHANNELS


def optimizer(config: model.Config, steps: int) -> optax.GradientTransformation:
    """Adam with a rate that rises and falls."""
    return optax.adam(make_schedule("cosine", config.learning_rate, steps))


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The negative ELBO; in tests with the same code for an image whenever they are repeated."""

    def training(params, batch, key):
        return model.loss(params, {"image": model.scale_pixels(batch["image"])}, key)

    return training, fit.repeatable(training, config.seed)


@functools.cache
def predictions(config: model.Config) -> dict[str, Prediction]:
    """Codes of images, images of codes, and both after one another."""

    def encode(weights: Weights, inputs: Arrays) -> Arrays:
        mean, logvar = model.encode(weights["params"], model.scale_pixels(inputs["image"]))
        return {"mean": mean, "logvar": logvar}

    def decode(weights: Weights, inputs: Arrays) -> Arrays:
        return {"image": jnp.clip(model.decode(weights["params"], inputs["code"]), 0.0, 1.0)}

    return code_predictions(encode, decode, _shape(config), config.latents)


def pictures(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """Curves, reconstructions and samples."""
    key = keys.derive(trained.config.seed, "samples")
    drawn = np.asarray(model.sample(trained.params, key, 100))
    images, panels = dataset.test["image"][:10], {"bits_per_dim": "bits per dimension"}
    return first_pictures(trained, images, drawn, panels, dataset.description)


TASK = Task(
    name="ch08_vae/conv",
    model=model,
    about="a variational autoencoder on CIFAR-10, convolutional or (--recipe dense) dense",
    load=load,
    random=random,
    prepare=lambda config, data: {"image": data["image"]},
    optimizer=optimizer,
    losses=losses,
    metrics=("reconstruction", "kl", "bits_per_dim"),
    result=called("test bits per dimension", "test_bits_per_dim"),
    predictions=predictions,
    pictures=pictures,
    fill=own_pictures.fill,
    epoch=50_000,
)
