"""Chapter 8's exercise: a convolutional variational autoencoder on CIFAR-10, and a dense one.

Three convolutions of stride 2 bring 32x32x3 to 4x4 maps, and a dense layer brings them to the
code. The decoder goes back by convolutions whose channels become pixels (Shi et al. 2016,
arXiv:1609.05158). A pixel follows a logistic distribution, cut into 256 bins, around the decoder's
output, with one learnt scale per colour (Kingma et al. 2016, arXiv:1606.04934, appendix), so that
the negative ELBO bounds the bits that a lossless code would need: bits per dimension can be
compared between models.

Axes: B images in a batch, H rows, W columns (both 32, or `Config.size`), C channels (3), Z latents.
Images are uint8 [B, H, W, C] until `scale_pixels`, then multiples of 1/255 in float32.
"""

import dataclasses
import itertools
import math
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch08_vae.vae.model import kl_to_standard_normal, reparameterise
from zoo.common import ops, settings
from zoo.common.settings import Bounds, Count, NotNegative, Seed, Size

Params = dict[str, Any]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]

CHANNELS = 3
SHRUNK = 8  # rows of an image for one of the smallest maps


@dataclasses.dataclass(frozen=True)
class Config:
    """The model and its training."""

    recipe: Literal["modern", "dense"] = "modern"
    """modern: convolutions; dense: layers of `hidden` units with the same code and likelihood"""
    images: str = ""
    """pictures of your own in place of CIFAR-10: a folder with a folder for each class, or an NPZ
    file with image and label"""
    size: Annotated[int, Bounds(SHRUNK, ceiling=512)] = 32
    """rows and columns of the images, a multiple of 8; your own are shrunk to it"""
    filters: tuple[Size, Size, Size] = (32, 64, 128)
    """maps of the encoder's convolutions; the decoder's are the same in reverse"""
    hidden: tuple[Size, ...] = (512, 512)
    """widths of the dense encoder's layers (recipe dense only)"""
    latents: Size = 128
    """length of the code"""
    split: Literal["auto", "official", "holdout"] = "auto"
    """holdout trains on data_batch_1..4 and tests on 5; auto: official if it is found"""
    learning_rate: NotNegative = 2e-3
    """Adam's at its peak; it falls to 0 as a cosine"""
    epochs: Count = 10
    """passes over the training images"""
    batch_size: Size = 100
    """images per update"""
    seed: Seed = 0
    """of the weights, the order of the images and the codes"""

    def __post_init__(self) -> None:
        settings.check(self)
        if self.size % SHRUNK:
            raise settings.SettingError(f"got size {self.size}, expected a multiple of {SHRUNK}")


RECIPES = {"modern": Config(), "dense": Config(recipe="dense")}


class Output(NamedTuple):
    """What one pass through the network gives."""

    location: jax.Array  # [B, H, W, C], centre of each pixel's distribution, black 0, white 1
    mean: jax.Array  # [B, Z]
    logvar: jax.Array  # [B, Z]


def init(key: jax.Array, config: Config) -> Params:
    """Kernels normal with variance 2 / fan in (He et al. 2015), heads 1 / fan in, biases zero."""
    if config.recipe == "dense":
        down = (config.size**2 * CHANNELS, *config.hidden)
        width = down[-1]
        into: list[tuple[int, ...]] = [*itertools.pairwise(down)]
        up: list[tuple[int, ...]] = [*itertools.pairwise((config.latents, *reversed(down)))]
    else:
        maps = (CHANNELS, *config.filters)
        into = [(3, 3, *pair) for pair in itertools.pairwise(maps)]
        width = (config.size // SHRUNK) ** 2 * maps[-1]
        pairs = itertools.pairwise(reversed(maps))  # four channels for each pixel of the next map
        up = [(config.latents, width), *[(3, 3, few, 4 * many) for few, many in pairs]]
    heads = [(width, config.latents)] * 2
    keys = iter(jax.random.split(key, len(into) + len(heads) + len(up)))

    def layer(shape: tuple[int, ...], gain: float = 2.0) -> Params:
        draw = jax.nn.initializers.variance_scaling(gain, "fan_in", "normal")
        return {"kernel": draw(next(keys), shape), "bias": jnp.zeros(shape[-1])}

    params: Params = {"encoder": [layer(shape) for shape in into]}
    params["mean"], params["logvar"] = (layer(shape, 1.0) for shape in heads)  # no ReLU follows
    params["decoder"] = [layer(shape) for shape in up[:-1]] + [layer(up[-1], 0.01)]
    params["decoder"][-1]["bias"] += 0.5  # grey; the small kernel keeps the first images near it
    return params | {"log_scale": jnp.full(CHANNELS, math.log(0.1))}


def shape_of(params: Params) -> tuple[int, int, int]:
    """(H, W, C) of the images that the parameters are for."""
    first, *_, last = (layer["kernel"].shape for layer in params["decoder"])
    if len(last) == 4:
        side = SHRUNK * math.isqrt(first[-1] // params["decoder"][1]["kernel"].shape[2])
    else:
        side = math.isqrt(last[-1] // CHANNELS)
    return side, side, CHANNELS


def example(config: Config, size: int = 2) -> Batch:
    """A batch of `size` random scaled images, the same at each call."""
    shape = (size, config.size, config.size, CHANNELS)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return {"image": scale_pixels(jnp.asarray(images))}


def scale_pixels(images: jax.Array) -> jax.Array:
    """uint8 images as float32 from 0 to 1."""
    ops.check_bytes("images", images)
    return images.astype(jnp.float32) / 255.0


def _layer(layer: Params, x: jax.Array, stride: int = 1) -> jax.Array:
    kernel = layer["kernel"]
    if kernel.ndim == 4:  # it has rows and columns: a convolution
        return ops.conv2d(x, kernel, stride=stride, padding=1) + layer["bias"]  # halves at stride 2
    return x.reshape(x.shape[0], -1) @ kernel + layer["bias"]


def channels_to_pixels(x: jax.Array) -> jax.Array:
    """Every four channels of a pixel become 2x2 pixels: [B, H, W, 4 C] gives [B, 2 H, 2 W, C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels // 4)


def encode(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log-variance, each [B, Z], of q(z | x) for scaled images [B, H, W, C]."""
    ops.check_shape("images", x, ("batch", *shape_of(params)), "resize them")
    ops.check_floats("images", x)
    x = x - 0.5  # about 0 on average, as the initialisation expects
    for layer in params["encoder"]:
        x = jax.nn.relu(_layer(layer, x, stride=2))
    return _layer(params["mean"], x), _layer(params["logvar"], x)


def decode(params: Params, z: jax.Array) -> jax.Array:
    """The centres [B, H, W, C] of the pixels' distributions for codes [B, Z]."""
    (side, _, channels), (first, *others) = shape_of(params), params["decoder"]
    x = _layer(first, z)
    for layer in others:
        if layer["kernel"].ndim == 4:
            small = side // SHRUNK
            maps = x if x.ndim == 4 else x.reshape(x.shape[0], small, small, -1)
            x = channels_to_pixels(_layer(layer, jax.nn.relu(maps)))
        else:
            x = _layer(layer, jax.nn.relu(x))
    return x.reshape(x.shape[0], side, side, channels)


def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> Output:
    """Reconstructs scaled images; without a key the code is the mean, so the result is exact."""
    mean, logvar = encode(params, x)
    z = mean if key is None else reparameterise(key, mean, logvar)
    return Output(decode(params, z), mean, logvar)


def log_discretised_logistic(x: jax.Array, location: jax.Array, log_scale: jax.Array) -> jax.Array:
    """Log-probability in nats of grey levels `x`, multiples of 1/255, elementwise.

    P(x) = S(x + 1/510) - S(x - 1/510) with S(a) = sigmoid((a - location) / scale); the outermost
    bins reach to infinity. With S(a) - S(b) = S(a) (1 - S(b)) (1 - exp((b - a) / scale)) no
    difference of nearly equal numbers is taken.
    """
    inverse, half = jnp.exp(-log_scale), 0.5 / 255.0
    above = (x + half - location) * inverse
    below = (x - half - location) * inverse
    low = jnp.where(x > 1.0 - half, 0.0, jax.nn.log_sigmoid(above))  # log S(a)
    high = jnp.where(x < half, 0.0, jax.nn.log_sigmoid(-below))  # log (1 - S(b))
    inner = (x > half) & (x < 1.0 - half)
    return low + high + jnp.where(inner, jnp.log(-jnp.expm1(-2.0 * half * inverse)), 0.0)


def loss(params: Params, batch: Batch, key: jax.Array | None = None) -> tuple[jax.Array, Metrics]:
    """The negative ELBO in nats per image for `image`, scaled, [B, H, W, C].

    Beside it: -log p(x | z) and the KL in nats, and the ELBO in bits per dimension (of H W C).
    """
    ops.check_names(batch, "image")
    x = batch["image"]
    location, mean, logvar = apply(params, x, key)
    log_px = log_discretised_logistic(x, location, params["log_scale"])
    reconstruction = -log_px.sum((1, 2, 3)).mean()
    kl = kl_to_standard_normal(mean, logvar).mean()
    value = reconstruction + kl
    bits = value / (math.prod(x.shape[1:]) * math.log(2.0))
    return value, {"reconstruction": reconstruction, "kl": kl, "bits_per_dim": bits}


def sample(params: Params, key: jax.Array, count: int) -> jax.Array:
    """Images [count, H, W, C] in [0, 1]: the centres for codes drawn from the prior."""
    latents = params["mean"]["bias"].shape[0]
    drawn = decode(params, jax.random.normal(key, (count, latents)))
    return jnp.clip(drawn, 0.0, 1.0)  # a centre may lie beyond black or white
