"""Images that a trained autoencoder of chapter 8 makes: what the figures show.

All take uint8 images [N, 28, 28] and give grey levels in [0, 1], float32 [..., 28, 28].
"""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch08_vae import model
from zoo.ch08_vae.train import layers

Params = model.Params


def to_pictures(config: model.Config, logits: jax.Array) -> np.ndarray:
    """Grey levels of log-odds [..., 784], the book's scaling undone."""
    grey = jax.nn.sigmoid(logits)
    if config.pixels == "book":
        grey = jnp.clip((grey - 0.1) / 0.9, 0.0, 1.0)
    return np.asarray(grey).reshape(*logits.shape[:-1], 28, 28)


def encode(config: model.Config, params: Params, images: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Mean and log-variance of the codes, each [N, Z]; grey levels are taken as they are."""
    x = model.scale_pixels(jnp.asarray(images), config.pixels)
    return model.encode(params, x, **layers(config))


def decode(config: model.Config, params: Params, codes: jax.Array) -> np.ndarray:
    """The pictures of codes [..., Z]."""
    return to_pictures(config, model.decode(params, codes, **layers(config)))


def reconstruct(config: model.Config, params: Params, images: np.ndarray) -> np.ndarray:
    """What comes back from the mean codes of images."""
    return decode(config, params, encode(config, params, images)[0])


def sample(config: model.Config, params: Params, key: jax.Array, count: int) -> np.ndarray:
    """Pictures of `count` codes drawn from the prior."""
    return decode(config, params, jax.random.normal(key, (count, config.latents)))


def interpolate(
    config: model.Config, params: Params, pair: np.ndarray, steps: int = 10
) -> np.ndarray:
    """Pictures [steps, 28, 28] on the straight line between the codes of two images."""
    start, end = encode(config, params, pair)[0]
    share = jnp.linspace(0.0, 1.0, steps)[:, None]
    return decode(config, params, (1.0 - share) * start + share * end)


def traverse(
    config: model.Config,
    params: Params,
    image: np.ndarray,
    units: np.ndarray,
    steps: int = 9,
    reach: float = 2.5,
) -> np.ndarray:
    """[U, steps, 28, 28]: each of the U `units` goes from -reach to reach, the others stay."""
    code = encode(config, params, image[None])[0]
    values = jnp.linspace(-reach, reach, steps)
    codes = jnp.tile(code, (len(units), steps, 1))
    for row, unit in enumerate(units):
        codes = codes.at[row, :, unit].set(values)
    return decode(config, params, codes)


def manifold(config: model.Config, params: Params, size: int = 20) -> np.ndarray:
    """[size * size, 28, 28]: a plane of codes, at the normal quantiles (i + 1/2) / size.

    So each picture stands for the same share of the prior. The first unit grows to the right, the
    second upwards.

    Raises:
      ValueError: the codes have another length than 2.
    """
    if config.latents != 2:
        raise ValueError(f"the model has {config.latents} latents, expected 2: train --latents 2")
    quantiles = jax.scipy.stats.norm.ppf((jnp.arange(size) + 0.5) / size)
    right, up = jnp.meshgrid(quantiles, quantiles[::-1])
    return decode(config, params, jnp.stack([right, up], axis=-1).reshape(-1, 2))
