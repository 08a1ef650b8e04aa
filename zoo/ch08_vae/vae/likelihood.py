"""How well a trained autoencoder of chapter 8 does, in nats: bounds, likelihood, active units."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch08_vae.vae import latent, model
from zoo.ch08_vae.vae.task import binarise, of_images, options
from zoo.common import device, fit, keys
from zoo.common.trained import Trained

BATCH, CHUNK = 100, 50  # images and codes that are in memory at a time
ACTIVE = 0.01  # variance over the images of a unit's mean code (IWAE paper, section 5)


def bounds(trained: Trained, images: np.ndarray) -> dict[str, float]:
    """Means over images: `reconstruction`, `kl`, `elbo`, and the book's `printed_kl`; nats."""
    config = trained.config
    elbo, slip = of_images(config), of_images(config, kl_as_printed=True)

    def loss(params, batch, key):
        value, metrics = elbo(params, batch, key)
        printed = slip(params, batch, jax.random.clone(key))[0]  # by the same pixels and codes
        return value, metrics | {"printed_kl": printed - metrics["reconstruction"]}

    evaluate = fit.make_evaluate(fit.repeatable(loss, config.seed), BATCH)
    means = evaluate(trained.weights, {"image": images})
    parts = {name: means[name] for name in ("reconstruction", "kl", "printed_kl")}
    return {**parts, "elbo": -means["loss"]}


def active_units(trained: Trained, images: np.ndarray) -> np.ndarray:
    """Which units the codes use: Var_x(E_q[z]) > 0.01, bool [Z]."""
    mean = latent.encode(trained.config, trained.params, images)[0]
    return np.asarray(mean).var(axis=0) > ACTIVE


def log_likelihoods(
    trained: Trained,
    images: np.ndarray,
    samples: int,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """Estimates log p(x) of each of the uint8 images [N, 28, 28] by `samples` codes, nats [N].

    With `config.binarise` each image is drawn black and white once. `track` shows progress.
    """
    config = trained.config
    chunk = max(
        c for c in range(1, min(CHUNK, samples) + 1) if not samples % c
    )  # chunks of one size

    def one(images: jax.Array, key: jax.Array) -> jax.Array:
        pixel_key, code_key = jax.random.split(key)
        x = binarise(config, images, pixel_key)
        return model.log_likelihood(trained.params, x, code_key, samples, chunk, **options(config))

    compiled = device.jit(one)  # once for all batches
    size = min(BATCH, len(images))
    batches = -(-len(images) // size)
    batch_keys = jax.random.split(keys.derive(config.seed, "likelihood"), batches)
    parts = []
    for number in track(range(batches)):
        first = min(number * size, len(images) - size)  # the last batch reaches back: one shape
        values = compiled(jnp.asarray(images[first : first + size]), batch_keys[number])
        parts.append(np.asarray(values)[number * size - first :])
    return np.concatenate(parts)
