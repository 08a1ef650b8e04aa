"""Trains and runs the network of chapter 6; the notebook calls these, the command line too."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from zoo.ch06_cnn import model
from zoo.common import fit, solvers

EVALUATION_BATCH = 500


def make_optimizer(config: model.Config, steps: int) -> optax.GradientTransformation:
    """The solver of the configuration for a run of `steps` updates."""
    if config.solver == "rmsprop":
        return solvers.rmsprop(config.learning_rate)
    warm_up = max(1, steps // 5)
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.1 * config.learning_rate, config.learning_rate, warm_up),
            optax.linear_schedule(config.learning_rate, 0.0, max(1, steps - warm_up)),
        ],
        [warm_up],
    )

    def kernels(params: model.Params) -> model.Params:
        return jax.tree.map(lambda a: a.ndim > 1, params)

    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=kernels),
        optax.sgd(schedule, momentum=0.9, nesterov=True),
    )


def _rates(config: model.Config) -> dict[str, Any]:
    names = ("dropout", "dropout_dense", "dropout_bug")
    return {name: getattr(config, name) for name in names}


def losses(config: model.Config) -> tuple[fit.Loss, fit.Loss]:
    """The loss in training, with augmentation, and in tests; both take uint8 images."""
    loss = functools.partial(
        model.loss,
        target_on=config.target_on,
        target_off=config.target_off,
        reduction=config.reduction,
        **_rates(config),
    )

    def training(params, batch, key, stats):
        augment_key, dropout_key = jax.random.split(key)
        images = model.augment(augment_key, batch["image"], shift=config.shift, flip=config.flip)
        images = model.scale_pixels(images, config.pixels)
        return loss(params, {**batch, "image": images}, dropout_key, stats)

    def testing(params, batch, key, stats):
        # The old Gorgonia went on dropping in the test pass.
        key = jax.random.key(config.seed) if config.dropout_bug else None
        images = model.scale_pixels(batch["image"], config.pixels)
        return loss(params, {**batch, "image": images}, key, stats)

    return training, testing


def start(config: model.Config, examples: int) -> tuple[optax.GradientTransformation, fit.State]:
    """The solver and the state before the first step of a run over `examples` images."""
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))
    params = model.init(init_key, config)
    optimizer = make_optimizer(config, config.epochs * (examples // config.batch_size))
    stats = model.init_stats(params)
    return optimizer, fit.start(params, optimizer, fit_key, stats, metrics=("accuracy",))


def train(
    config: model.Config,
    data: fit.Batch,
    test: fit.Batch | None = None,
    *,
    state: fit.State | None = None,
    mesh: Mesh | None = None,
    follow: Callable[[Iterator[fit.Progress]], fit.State] = fit.last,
) -> fit.State:
    """Fits the network to `image`, uint8 [N, 32, 32, 3], and `label`, [N]; returns the last state.

    Args:
      config: one of `RECIPES`, or changed by `dataclasses.replace`.
      data: the training images.
      test: measured at the end of each epoch, if given.
      state: a restored state to go on from.
      mesh: several devices to split each batch over.
      follow: consumes the reports of `fit.iterate`: shows progress, saves, stops.
    """
    optimizer, fresh = start(config, len(data["label"]))
    training, testing = losses(config)
    return follow(
        fit.iterate(
            training,
            optimizer,
            fresh if state is None else state,
            data,
            epochs=config.epochs,
            batch_size=config.batch_size,
            test=test,
            test_loss=testing,
            shuffle=config.shuffle,
            mesh=mesh,
        )
    )


def predict_probabilities(
    config: model.Config, params: model.Params, stats: model.Stats, images: np.ndarray
) -> np.ndarray:
    """The probability of each class, float32 [N, classes], for uint8 images [N, 32, 32, 3]."""
    key = jax.random.key(config.seed) if config.dropout_bug else None

    def probabilities(x: jax.Array) -> jax.Array:
        x = model.scale_pixels(x, config.pixels)
        return jax.nn.softmax(model.apply(params, x, key, stats, **_rates(config)).logits)

    return fit.predict(probabilities, jnp.asarray(images), min(EVALUATION_BATCH, len(images)))
