"""Chapter 3: an autoencoder of MNIST's digits, 784 -> 128 -> 64 -> 128 -> 784.

The narrow layer in the middle is the code: 64 numbers for an image. Recipe `book` is the book's
program: sigmoids everywhere, no biases (217,088 weights), the mean squared error and Adam on a
gradient divided by the batch. `modern` keeps the widths and reconstructs as well as we could make
it. With `noise` the network sees noisy images and has to give back the clean ones (Vincent et al.
2008, "Extracting and composing robust features with denoising autoencoders").

Axes: B images in a batch, D pixels (784), Z numbers in a code (64). Images are uint8 [B, 28, 28]
in the data set and float32 [B, D] here; `zoo.ch03_mnist_ae_rbm.scale_pixels` lies between.
"""

import dataclasses
import itertools
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.common import ops, settings
from zoo.common.settings import Bounds, Count, NotNegative, Seed, Size, Strength

Params = dict[str, list[dict[str, jax.Array]]]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of `autoencoder train`."""

    recipe: Literal["modern", "book"] = "modern"
    """the whole configuration to start from; other flags change single fields of it"""
    images: str = ""
    """pictures of your own in place of the data set: a folder with a folder for each class, or an
    NPZ file with image and label"""
    size: Annotated[int, Bounds(1, ceiling=512)] = 28
    """rows and columns of the images; your own are shrunk to it"""
    hidden: tuple[Size, ...] = (128,)
    """widths of the encoder's hidden layers; mirrored, they are the decoder's"""
    code: Size = 64
    """numbers in the code"""
    bias: bool = True
    """add a bias in each layer"""
    activation: Literal["elu", "relu", "sigmoid"] = "elu"
    """of the hidden layers"""
    code_activation: Literal["linear", "sigmoid"] = "linear"
    """of the code"""
    pixels: Literal["unit", "book"] = "unit"
    """unit: 0 to 1; book: 0.9 x + 0.1, up to 0.999"""
    objective: Literal["mse", "bce"] = "mse"
    """what is made small: the mean squared error, or the cross-entropy of grey values"""
    noise: Strength = 0.0
    """deviation of the noise on the scaled images that go in; what shall come out is clean"""
    shuffle: bool = True
    """draw a new order of the images for each epoch"""
    solver: Literal["adamw", "adam", "rmsprop", "sgd"] = "adamw"
    """adamw: the rate rises, then falls to 0; adam, rmsprop: Gorgonia's, sgd: plain, at one rate"""
    learning_rate: NotNegative = 1e-2
    """peak of the schedule, or the constant rate"""
    weight_decay: Strength = 0.0
    """decay of the kernels, times the rate (adamw only)"""
    epochs: Count = 40
    """passes over the training images"""
    batch_size: Size = 100
    """images per update"""
    seed: Seed = 0
    """of the weights, the order of the images and the noise"""

    def __post_init__(self) -> None:
        settings.check(self)


RECIPES = {
    "modern": Config(),
    "book": Config(
        recipe="book",
        bias=False,
        activation="sigmoid",
        code_activation="sigmoid",
        pixels="book",
        shuffle=False,
        solver="adam",
        learning_rate=0.01,
        epochs=100,
    ),
}

_ACTIVATIONS = {
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}


class Output(NamedTuple):
    """What one pass through the network gives."""

    logits: jax.Array  # [B, D]; their sigmoids are the pixels
    code: jax.Array  # [B, Z]


def init(key: jax.Array, config: Config) -> Params:
    """Kernels as in the book: uniform, variance 2 / (fan in + fan out) (Glorot & Bengio 2010)."""
    glorot = jax.nn.initializers.glorot_uniform()
    down = (config.size**2, *config.hidden, config.code)

    def layers(key: jax.Array, widths: tuple[int, ...]) -> list[dict[str, jax.Array]]:
        shapes = list(itertools.pairwise(widths))
        keys = jax.random.split(key, len(shapes))
        made = [{"kernel": glorot(k, shape)} for k, shape in zip(keys, shapes, strict=True)]
        if config.bias:
            made = [{**layer, "bias": jnp.zeros(layer["kernel"].shape[1])} for layer in made]
        return made

    encoder, decoder = jax.random.split(key)
    return {"encoder": layers(encoder, down), "decoder": layers(decoder, down[::-1])}


def _dense(layers: list[dict[str, jax.Array]], x: jax.Array, activation: str) -> jax.Array:
    """The layers with an activation between them, and none behind the last."""
    ops.check_choice("activation", activation, ("elu", "relu", "sigmoid"))
    *hidden, last = layers
    for layer in hidden:
        x = _ACTIVATIONS[activation](x @ layer["kernel"] + layer.get("bias", 0.0))
    return x @ last["kernel"] + last.get("bias", 0.0)


def encode(
    params: Params, x: jax.Array, *, activation: str = "elu", code_activation: str = "linear"
) -> jax.Array:
    """Codes [B, Z] of scaled images [B, D]."""
    pixels = params["encoder"][0]["kernel"].shape[0]
    ops.check_shape("images", x, ("batch", pixels), "flatten them")
    ops.check_floats("images", x)
    ops.check_choice("code activation", code_activation, ("linear", "sigmoid"))
    return _ACTIVATIONS[code_activation](_dense(params["encoder"], x, activation))


def decode(params: Params, code: jax.Array, *, activation: str = "elu") -> jax.Array:
    """Logits [B, D] of codes [B, Z]; their sigmoids are the scaled pixels."""
    return _dense(params["decoder"], code, activation)


def corrupt(key: jax.Array, x: jax.Array, noise: float) -> jax.Array:
    """Scaled images with normal noise of deviation `noise` added; they may leave [0, 1]."""
    return x + noise * jax.random.normal(key, x.shape) if noise else x


def apply(
    params: Params,
    x: jax.Array,
    key: jax.Array | None = None,
    *,
    activation: str = "elu",
    code_activation: str = "linear",
    noise: float = 0.0,
) -> Output:
    """The network on scaled images [B, D]; with a key, on images with normal `noise` added."""
    if key is not None:
        x = corrupt(key, x, noise)
    code = encode(params, x, activation=activation, code_activation=code_activation)
    return Output(decode(params, code, activation=activation), code)


def loss(
    params: Params,
    batch: Batch,
    key: jax.Array | None = None,
    *,
    objective: str = "mse",
    **how: Any,
) -> tuple[jax.Array, Metrics]:
    """Mean squared error over images and pixels, or the cross-entropy of grey values, in nats.

    Args:
      params: from `init`.
      batch: `image`, scaled, [B, D], in [0, 1]: what goes in and what shall come out.
      key: as in `apply`, which also gets `how` (its keywords).
      objective: `mse`, mean (x - sigmoid(logits))^2, or `bce`, per pixel too.
      **how: keywords of `apply`.

    Returns:
      The loss and, beside it, the mean squared error `mse`.
    """
    ops.check_choice("objective", objective, ("mse", "bce"))
    ops.check_names(batch, "image")
    x = batch["image"]
    logits = apply(params, x, key, **how).logits
    mse = jnp.square(x - jax.nn.sigmoid(logits)).mean()
    if objective == "bce":
        return optax.sigmoid_binary_cross_entropy(logits, x).mean(), {"mse": mse}
    return mse, {"mse": mse}


def example(config: Config, size: int = 2) -> Batch:
    """A small batch, always the same: `image`, float32 [size, D] in [0, 1]."""
    rng = np.random.default_rng(0)
    return {"image": jnp.asarray(rng.uniform(size=(size, config.size**2)).astype(np.float32))}
