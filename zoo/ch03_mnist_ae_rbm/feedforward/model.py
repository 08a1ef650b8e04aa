"""Chapter 3: a feed-forward network that reads the digits of MNIST.

Dense layers 784 -> 300 -> 100 -> 10 with ReLU between them. Recipe `book` is the book's program:
266,200 weights, no biases, and a loss that it calls cross-entropy but that has no logarithm.
`modern` keeps the widths and adds biases, the true cross-entropy and regularisation.

Axes: B images in a batch, D pixels (784), K classes (10). Images are uint8 [B, 28, 28] in the data
set and float32 [B, D] here; `zoo.ch03_mnist_ae_rbm.scale_pixels` lies between.
"""

import dataclasses
import itertools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.common import ops, settings
from zoo.common.settings import Bounds, Count, NotNegative, Seed, Share, Size, Strength

Params = list[dict[str, jax.Array]]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of `train`."""

    recipe: Literal["modern", "book"] = "modern"
    """the whole configuration to start from; other flags change single fields of it"""
    images: str = ""
    """pictures of your own in place of the data set: a folder with a folder for each class, or an
    NPZ file with image and label"""
    size: Annotated[int, Bounds(1, ceiling=512)] = 28
    """rows and columns of the images; your own are shrunk to it"""
    hidden: tuple[Size, ...] = (300, 100)
    """widths of the hidden layers, as many as there shall be"""
    classes: Size = 10
    """number of classes; your own pictures tell it"""
    bias: bool = True
    """add a bias in each layer"""
    pixels: Literal["unit", "book"] = "unit"
    """unit: 0 to 1; book: 0.9 x + 0.1, up to 0.999"""
    objective: Literal["cross-entropy", "product"] = "cross-entropy"
    """what is made small; product: the book's, -mean(probability * target), without a logarithm"""
    target_on: Share = 1.0
    """target for the right class"""
    target_off: Share = 0.0
    """target for each other class"""
    dropout: Share = 0.0
    """share of each hidden layer dropped"""
    shift: Annotated[int, Bounds(0, 28)] = 1
    """augmentation moves images by up to so many pixels"""
    shuffle: bool = True
    """draw a new order of the images for each epoch"""
    solver: Literal["adamw", "adam", "rmsprop", "sgd"] = "adamw"
    """adamw: the rate rises, then falls to 0; adam, rmsprop: Gorgonia's, sgd: plain, at one rate"""
    learning_rate: NotNegative = 4e-3
    """peak of the schedule, or the constant rate"""
    weight_decay: Strength = 0.1
    """decay of the kernels, times the rate (adamw only)"""
    epochs: Count = 30
    """passes over the training images"""
    batch_size: Size = 100
    """images per update"""
    seed: Seed = 0
    """of the weights, the order of the images, augmentation and dropout"""

    def __post_init__(self) -> None:
        settings.check(self)


RECIPES = {
    "modern": Config(),
    "book": Config(
        recipe="book",
        bias=False,
        pixels="book",
        objective="product",
        target_on=0.9,
        target_off=0.1,
        dropout=0.0,
        shift=0,
        shuffle=False,
        solver="rmsprop",
        learning_rate=0.001,
        weight_decay=0.0,
        epochs=100,
    ),
}


def init(key: jax.Array, config: Config) -> Params:
    """Kernels as in the book: normal, variance 2 / (fan in + fan out) (Glorot & Bengio 2010)."""
    glorot = jax.nn.initializers.glorot_normal()
    shapes = list(itertools.pairwise((config.size**2, *config.hidden, config.classes)))
    keys = jax.random.split(key, len(shapes))
    layers = [{"kernel": glorot(k, shape)} for k, shape in zip(keys, shapes, strict=True)]
    if config.bias:
        layers = [{**layer, "bias": jnp.zeros(layer["kernel"].shape[1])} for layer in layers]
    return layers


def augment(key: jax.Array, images: jax.Array, *, shift: int = 1) -> jax.Array:
    """Moves each image [B, H, W] by up to `shift` pixels either way; what comes in is 0, paper."""
    if not shift:
        return images
    batch, height, width = images.shape
    padded = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift)))
    corners = jax.random.randint(key, (batch, 2), 0, 2 * shift + 1)

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, corner, (height, width))

    return jax.vmap(cut)(padded, corners)


def apply(
    params: Params, x: jax.Array, key: jax.Array | None = None, *, dropout: float = 0.0
) -> jax.Array:
    """Logits [B, K] of scaled images [B, D]; without a key nothing is dropped."""
    pixels = params[0]["kernel"].shape[0]
    ops.check_shape("images", x, ("batch", pixels), "flatten them")
    ops.check_floats("images", x)
    *hidden, last = params
    keys = [None] * len(hidden) if key is None else jax.random.split(key, len(hidden))
    for layer, layer_key in zip(hidden, keys, strict=True):
        x = jax.nn.relu(x @ layer["kernel"] + layer.get("bias", 0.0))
        x = ops.dropout(layer_key, x, dropout)
    return x @ last["kernel"] + last.get("bias", 0.0)


def loss(
    params: Params,
    batch: Batch,
    key: jax.Array | None = None,
    *,
    objective: str = "cross-entropy",
    target_on: float = 1.0,
    target_off: float = 0.0,
    dropout: float = 0.0,
) -> tuple[jax.Array, Metrics]:
    """The cross-entropy in nats per image, -sum_k y_k log p_k, or the book's -mean(p y).

    The book's is a mean over images and classes: with its targets 0.9 and 0.1 it is -0.018 for
    uniform probabilities and never below -0.09.

    Args:
      params: from `init`.
      batch: `image`, scaled, [B, D], and `label`, integers [B].
      key: as in `apply`, which also gets `dropout`.
      objective: `cross-entropy` or `product`.
      target_on: y for the right class.
      target_off: y for the others.
      dropout: share of each hidden layer dropped.

    Returns:
      The loss and, beside it, the accuracy in [0, 1].
    """
    ops.check_choice("objective", objective, ("cross-entropy", "product"))
    ops.check_names(batch, "image", "label")
    ops.check_shape("labels", batch["label"], batch["image"].shape[:1], "one for an image")
    ops.check_integers("labels", batch["label"], "the number of each image's class")
    logits = apply(params, batch["image"], key, dropout=dropout)
    right = jax.nn.one_hot(batch["label"], logits.shape[-1])
    targets = target_off + (target_on - target_off) * right
    accuracy = (logits.argmax(-1) == batch["label"]).mean()
    if objective == "product":
        return -(jax.nn.softmax(logits) * targets).mean(), {"accuracy": accuracy}
    return optax.softmax_cross_entropy(logits, targets).mean(), {"accuracy": accuracy}


def example(config: Config, size: int = 2) -> Batch:
    """A small batch, always the same: `image` float32 [size, D] in [0, 1], `label` [size]."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(size, config.size**2)).astype(np.float32)
    return {"image": jnp.asarray(images), "label": jnp.arange(size) % config.classes}
