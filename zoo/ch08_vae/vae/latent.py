"""From images to codes and back, and walks through the space of codes.

All take uint8 images [N, H, W] and give grey levels in [0, 1], float32 [..., H, W], 28x28 for
digits.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch08_vae.vae import model
from zoo.common import device

Params = model.Params


def layers(config: model.Config) -> dict[str, model.Function]:
    """The activation of the configuration, a keyword of most functions of the model."""
    return {"activation": getattr(jax.nn, config.activation)}


@device.in_float32
def encode(config: model.Config, params: Params, images: Any) -> tuple[jax.Array, jax.Array]:
    """Mean and log-variance of the codes, each [N, Z]; grey levels are taken as they are."""
    x = model.scale_pixels(jnp.asarray(images), config.pixels)
    return model.encode(params, x, **layers(config))


@device.in_float32
def decode(config: model.Config, params: Params, codes: jax.Array) -> jax.Array:
    """The images of codes [..., Z], the book's scaling undone."""
    grey = jax.nn.sigmoid(model.decode(params, codes, **layers(config)))
    if config.pixels == "book":  # a sigmoid reaches below 0.1 and above 0.999
        grey = jnp.clip((grey - 0.1) / 0.9, 0.0, 1.0)
    return grey.reshape(*codes.shape[:-1], config.size, config.size)


@device.in_float32
def sample(config: model.Config, params: Params, key: jax.Array, count: int) -> np.ndarray:
    """Images of `count` codes drawn from the prior."""
    return np.asarray(decode(config, params, jax.random.normal(key, (count, config.latents))))


@device.in_float32
def interpolate(
    config: model.Config, params: Params, pair: np.ndarray, steps: int = 10
) -> np.ndarray:
    """Images [steps, 28, 28] on the straight line between the codes of two images."""
    start, end = encode(config, params, pair)[0]
    share = jnp.linspace(0.0, 1.0, steps)[:, None]
    return np.asarray(decode(config, params, (1.0 - share) * start + share * end))


@device.in_float32
def traverse(
    config: model.Config, params: Params, image: np.ndarray, units: np.ndarray
) -> np.ndarray:
    """[U, 9, 28, 28]: each of the U `units` goes from -2.5 to 2.5 deviations, the others stay."""
    code = encode(config, params, image[None])[0]
    codes = jnp.tile(code, (len(units), 9, 1))
    codes = codes.at[np.arange(len(units)), :, units].set(jnp.linspace(-2.5, 2.5, 9))
    return np.asarray(decode(config, params, codes))


@device.in_float32
def manifold(config: model.Config, params: Params, size: int = 20) -> np.ndarray:
    """[size * size, 28, 28]: a plane of codes, at the normal quantiles (i + 1/2) / size.

    So each image stands for the same share of the prior. The first unit grows to the right, the
    second upwards.

    Raises:
      ValueError: the codes have another length than 2.
    """
    if config.latents != 2:
        raise ValueError(f"the model has {config.latents} latents, expected 2: train --latents 2")
    quantiles = jax.scipy.stats.norm.ppf((jnp.arange(size) + 0.5) / size)
    right, up = jnp.meshgrid(
        quantiles, quantiles[::-1]
    )  # rows of pictures go down, the second unit up
    codes = jnp.stack([right, up], axis=-1).reshape(-1, 2)
    return np.asarray(decode(config, params, codes))
