"""Trains the autoencoders of chapter 8; the notebook calls `train`, the command line too."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from zoo.ch08_vae import conv, model
from zoo.common import fit, solvers

Config = model.Config | conv.Config

_OBSERVATIONS = {"bernoulli": model.bernoulli, "squared": model.squared}
_STAGES = 3 ** np.arange(8)  # in passes over the data, 3,280 in all (IWAE paper, section 5)


def make_schedule(name: str, learning_rate: float, steps: int) -> optax.Schedule:
    """The learning rate over a run of `steps` updates, as `Config.schedule` names it.

    `cosine` rises for a tenth of the run, at most 500 updates, then falls to 0. `iwae` is
    rate * 10^(-i / 7) during 3^i of every 3,280 updates, i = 0 to 7.
    """
    if name == "cosine":
        rise = max(1, min(steps // 10, 500))
        return optax.warmup_cosine_decay_schedule(
            0.1 * learning_rate, learning_rate, rise, max(steps, rise + 1)
        )
    if name == "constant":
        return optax.constant_schedule(learning_rate)
    rates = learning_rate * 10.0 ** (-np.arange(8) / 7)
    ends = np.round(np.cumsum(_STAGES)[:-1] / _STAGES.sum() * steps).astype(int)
    return optax.join_schedules([optax.constant_schedule(rate) for rate in rates], ends.tolist())


def make_optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """The solver of the configuration for a run of `steps` updates."""
    if isinstance(config, conv.Config):
        return optax.adam(make_schedule("cosine", config.learning_rate, steps))
    if config.solver == "gorgonia":
        return solvers.adam(
            config.learning_rate, batch=config.batch_size, doubled=config.adam_doubled
        )
    schedule = make_schedule(config.schedule, config.learning_rate, steps)
    return optax.adam(schedule, eps=config.adam_epsilon)


def layers(config: model.Config) -> dict[str, model.Function]:
    """The activation of the configuration, a keyword of most functions of the model."""
    return {"activation": getattr(jax.nn, config.activation)}


def options(config: model.Config) -> dict[str, model.Function]:
    """What `model.log_weights` and all that builds on it take from the configuration."""
    return {**layers(config), "observation": _OBSERVATIONS[config.observation]}


def prepare(config: model.Config, images: jax.Array, key: jax.Array) -> jax.Array:
    """uint8 images [B, 28, 28] as the model sees them, [B, 784]: scaled, and drawn if binary."""
    x = model.scale_pixels(images, config.pixels)
    return jax.random.bernoulli(key, x).astype(x.dtype) if config.binarise else x


def content_key(seed: int, images: jax.Array) -> jax.Array:
    """A key made of the seed and the images: a test's noise, the same whenever it is repeated."""
    return jax.random.fold_in(jax.random.key(seed), images.astype(jnp.uint32).sum())


def losses(config: Config) -> tuple[fit.Loss, fit.Loss]:
    """The loss in training and in tests; both take uint8 images.

    The test's is the negative ELBO per image, with the true KL and one code drawn for each image.
    """
    if isinstance(config, conv.Config):
        return _conv_losses(config)
    loss = functools.partial(model.loss, **options(config))

    def training(params, batch, key):
        pixel_key, code_key = jax.random.split(key)
        return loss(
            params,
            {"image": prepare(config, batch["image"], pixel_key)},
            code_key,
            importance_weighted=config.importance_weighted,
            samples=config.samples,
            beta=config.beta,
            kl_as_printed=config.kl_as_printed,
            reduction=config.reduction,
        )

    def testing(params, batch, key):
        pixel_key, code_key = jax.random.split(content_key(config.seed, batch["image"]))
        return loss(params, {"image": prepare(config, batch["image"], pixel_key)}, code_key)

    return training, testing


def _conv_losses(config: conv.Config) -> tuple[fit.Loss, fit.Loss]:
    def training(params, batch, key):
        return conv.loss(params, {"image": conv.scale_pixels(batch["image"])}, key)

    def testing(params, batch, key):
        return training(params, batch, content_key(config.seed, batch["image"]))

    return training, testing


def start(config: Config, examples: int) -> tuple[optax.GradientTransformation, fit.State]:
    """The solver and the state before the first step of a run over `examples` images."""
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))
    optimizer = make_optimizer(config, config.epochs * (examples // config.batch_size))
    metrics = ("reconstruction", "kl")
    if isinstance(config, conv.Config):
        params, metrics = conv.init(init_key, config), (*metrics, "bits_per_dim")
    else:
        params = model.init(init_key, config)
    return optimizer, fit.start(params, optimizer, fit_key, metrics=metrics)


def train(
    config: Config,
    data: fit.Batch,
    test: fit.Batch | None = None,
    *,
    state: fit.State | None = None,
    mesh: Mesh | None = None,
    follow: Callable[[Iterator[fit.Progress]], fit.State] = fit.last,
) -> fit.State:
    """Fits a model to `image`, uint8 [N, ...]; returns the last state.

    Args:
      config: one of the `RECIPES` of `model` or `conv`, or changed by `dataclasses.replace`.
      data: the training images; labels are not looked at.
      test: measured at the end of each epoch, if given.
      state: a restored state to go on from.
      mesh: several devices to split each batch over.
      follow: consumes the reports of `fit.iterate`: shows progress, saves, stops.
    """
    optimizer, fresh = start(config, len(data["image"]))
    training, testing = losses(config)
    return follow(
        fit.iterate(
            training,
            optimizer,
            fresh if state is None else state,
            {"image": data["image"]},
            epochs=config.epochs,
            batch_size=config.batch_size,
            test=None if test is None else {"image": test["image"]},
            test_loss=testing,
            shuffle=isinstance(config, conv.Config) or config.shuffle,
            mesh=mesh,
        )
    )
