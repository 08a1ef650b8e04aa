"""Trains and runs the two networks of chapter 3 that read MNIST: feed-forward and autoencoder.

Which of them it is follows from the class of the configuration. The notebooks call these
functions, the command line calls them too. Images are uint8 [N, 28, 28].
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward
from zoo.common import fit, solvers

Config = feedforward.Config | autoencoder.Config

PREDICTION_BATCH = 500


def scale_pixels(images: jax.Array, pixels: str = "unit") -> jax.Array:
    """uint8 images [B, 28, 28] as rows, float32 [B, 784], in a way that `Config.pixels` names."""
    x = images.reshape(len(images), -1).astype(jnp.float32) / 255.0
    if pixels == "book":
        return jnp.where(x == 1.0, 0.999, 0.9 * x + 0.1)
    return x


def unscale_pixels(x: jax.Array, pixels: str = "unit") -> jax.Array:
    """Rows [B, 784] that a network gave, as images [B, 28, 28] in [0, 1]."""
    if pixels == "book":
        x = (x - 0.1) / 0.9
    return jnp.clip(x, 0.0, 1.0).reshape(len(x), 28, 28)


def make_optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """The solver of the configuration for a run of `steps` updates."""
    if config.solver == "sgd":
        return optax.sgd(config.learning_rate)
    if config.solver == "rmsprop":
        return solvers.rmsprop(config.learning_rate)
    if config.solver == "adam":
        return solvers.adam(config.learning_rate, batch=config.batch_size)
    warm_up = max(1, steps // 20)
    share = optax.warmup_cosine_decay_schedule(0.0, 1.0, warm_up, max(steps, warm_up + 1))

    def schedule(count):
        return config.learning_rate * share(count)

    def kernels(params):
        return jax.tree.map(lambda a: a.ndim > 1, params)

    # A shorter memory of squares than the usual 0.999 reconstructs better after the same epochs.
    return optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay, mask=kernels)


def losses(config: Config) -> tuple[fit.Loss, fit.Loss]:
    """The loss in training, with augmentation or noise, and in tests; both take uint8 images."""
    if isinstance(config, feedforward.Config):
        return _feedforward_losses(config)
    return _autoencoder_losses(config)


def _feedforward_losses(config: feedforward.Config) -> tuple[fit.Loss, fit.Loss]:
    names = ("objective", "target_on", "target_off")
    loss = functools.partial(feedforward.loss, **{name: getattr(config, name) for name in names})

    def training(params, batch, key):
        augment_key, dropout_key = jax.random.split(key)
        images = feedforward.augment(augment_key, batch["image"], shift=config.shift)
        scaled = {**batch, "image": scale_pixels(images, config.pixels)}
        return loss(params, scaled, dropout_key, dropout=config.dropout)

    def testing(params, batch, key):
        return loss(params, {**batch, "image": scale_pixels(batch["image"], config.pixels)})

    return training, testing


def _activations(config: autoencoder.Config) -> dict[str, str]:
    return {"activation": config.activation, "code_activation": config.code_activation}


def _autoencoder_losses(config: autoencoder.Config) -> tuple[fit.Loss, fit.Loss]:
    loss = functools.partial(
        autoencoder.loss, objective=config.objective, noise=config.noise, **_activations(config)
    )
    unit = 0.81 if config.pixels == "book" else 1.0

    def training(params, batch, key):
        scaled = {"image": scale_pixels(batch["image"], config.pixels)}
        value, metrics = loss(params, scaled, key)
        return value, {"mse": metrics["mse"] / unit}  # of pixels in [0, 1], whatever the recipe

    def testing(params, batch, key):
        # One draw of noise, the same in each batch and epoch; without `noise` it is not drawn.
        return training(params, batch, jax.random.key(config.seed))

    return training, testing


def start(config: Config, examples: int) -> tuple[optax.GradientTransformation, fit.State]:
    """The solver and the state before the first step of a run over `examples` images."""
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))
    if isinstance(config, feedforward.Config):
        params, metric = feedforward.init(init_key, config), "accuracy"
    else:
        params, metric = autoencoder.init(init_key, config), "mse"
    optimizer = make_optimizer(config, config.epochs * (examples // config.batch_size))
    return optimizer, fit.start(params, optimizer, fit_key, metrics=(metric,))


def train(
    config: Config,
    data: fit.Batch,
    test: fit.Batch | None = None,
    *,
    state: fit.State | None = None,
    mesh: Mesh | None = None,
    follow: Callable[[Iterator[fit.Progress]], fit.State] = fit.last,
) -> fit.State:
    """Fits a network to `image`, uint8 [N, 28, 28], and `label`, [N]; returns the last state.

    Args:
      config: of either network, from its `RECIPES` or changed by `dataclasses.replace`.
      data: the training images; the autoencoder needs no labels.
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
            data,
            epochs=config.epochs,
            batch_size=config.batch_size,
            test=test,
            test_loss=testing,
            shuffle=config.shuffle,
            mesh=mesh,
        )
    )


def _predict(function: Callable[[jax.Array], jax.Array], images: np.ndarray) -> np.ndarray:
    return fit.predict(function, jnp.asarray(images), min(PREDICTION_BATCH, len(images)))


def predict_probabilities(
    config: feedforward.Config, params: feedforward.Params, images: np.ndarray
) -> np.ndarray:
    """The probability of each class, float32 [N, classes]."""

    def probabilities(x: jax.Array) -> jax.Array:
        return jax.nn.softmax(feedforward.apply(params, scale_pixels(x, config.pixels)))

    return _predict(probabilities, images)


def output(config: autoencoder.Config, params: autoencoder.Params, images: jax.Array) -> jax.Array:
    """What comes out for one batch of uint8 images [B, 28, 28], float32 [B, 28, 28] in [0, 1]."""
    x = scale_pixels(images, config.pixels)
    logits = autoencoder.apply(params, x, **_activations(config)).logits
    return unscale_pixels(jax.nn.sigmoid(logits), config.pixels)


def reconstruct(
    config: autoencoder.Config, params: autoencoder.Params, images: np.ndarray
) -> np.ndarray:
    """What comes out for uint8 images [N, 28, 28], float32 [N, 28, 28] in [0, 1]."""
    return _predict(functools.partial(output, config, params), images)


def denoise(
    config: autoencoder.Config, params: autoencoder.Params, images: np.ndarray, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """The images with the configuration's noise, and what comes out for these; as `reconstruct`."""
    noisy = autoencoder.corrupt(key, scale_pixels(images, config.pixels), config.noise)
    logits = autoencoder.apply(params, noisy, **_activations(config)).logits
    shown = (unscale_pixels(x, config.pixels) for x in (noisy, jax.nn.sigmoid(logits)))
    return tuple(map(np.asarray, shown))


def encode(
    config: autoencoder.Config, params: autoencoder.Params, images: np.ndarray
) -> np.ndarray:
    """The codes, float32 [N, Z], of uint8 images [N, 28, 28]."""

    def one(x: jax.Array) -> jax.Array:
        x = scale_pixels(x, config.pixels)
        return autoencoder.encode(params, x, **_activations(config))

    return _predict(one, images)


def nearest(points: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the `count` points [N, Z] nearest to each of `queries`, themselves left out.

    Args:
      points: codes, or images as rows.
      queries: numbers of points, [Q].
      count: how many, less than N.

    Returns:
      [Q, count], the nearest first, by Euclidean distance.
    """
    squares = np.square(points).sum(1)
    found = []
    for part in np.array_split(queries, -(-len(queries) // 500)):
        distances = squares - 2 * points[part] @ points.T  # less the query's own square
        distances[np.arange(len(part)), part] = np.inf
        closest = np.argpartition(distances, count - 1)[:, :count]
        order = np.argsort(np.take_along_axis(distances, closest, 1), 1, kind="stable")
        found.append(np.take_along_axis(closest, order, 1))
    return np.concatenate(found)
