"""Chapter 6: a convolutional network that names the pictures of CIFAR-10.

Three times a 5x5 convolution, 2x2 max pooling and ReLU, then two dense layers:
32x32x3 -> 30x30x32 -> 15x15x32 -> 13x13x64 -> 6x6x64 -> 4x4x128 -> 2x2x128 = 512 -> 256 -> 10.
Recipe `book` is the book's program, 392,032 weights and no biases; `modern` keeps the convolutions
and adds what the chapter's exercises name: batch normalisation, augmentation, a better solver.

Axes: B images in a batch, H rows, W columns (32 both), C channels. Images are uint8 [B, H, W, 3]
until `scale_pixels`, then float32. README.md lists where this departs from the book.
"""

import dataclasses
import itertools
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zoo.common import ops, settings
from zoo.common.settings import Bounds, Count, NotNegative, Seed, Share, Size, Strength

Params = dict[str, Any]
Stats = list[dict[str, jax.Array]]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Config:
    """The network and its training."""

    recipe: Literal["modern", "book"] = "modern"
    """the whole configuration to start from; other flags change single fields of it"""
    dataset: Literal["cifar10", "mnist"] = "cifar10"
    """mnist is the chapter's exercise: digits padded to 32x32, grey in all three channels"""
    images: str = ""
    """pictures of your own in place of the data set: a folder with a folder for each class, or an
    NPZ file with image and label"""
    size: Annotated[int, Bounds(22, ceiling=512)] = 32
    """rows and columns of the images; your own are shrunk to it"""
    split: Literal["auto", "official", "holdout"] = "auto"
    """holdout trains on data_batch_1..4 and tests on 5; auto: official if it is found"""
    filters: tuple[Size, Size, Size] = (32, 64, 128)
    """filters of the three convolutions"""
    hidden: Size = 256
    """width of the dense layer"""
    classes: Size = 10
    """number of classes; your own pictures tell it"""
    batch_norm: bool = True
    """normalise behind each convolution and the dense layer, with biases; off: no biases at all"""
    dropout: Share = 0.0
    """share of the maps dropped behind each pooling"""
    dropout_dense: Share = 0.25
    """share of the dense layer dropped"""
    dropout_bug: bool = False
    """scale what dropout keeps by the rate, and drop in tests too, as Gorgonia did in 2019; without
    batch norm only"""
    pixels: Literal["standard", "book"] = "standard"
    """standard: mean 0 and deviation 1 per colour over CIFAR-10; book: 0.9 x + 0.1, up to 0.999"""
    shift: Annotated[int, Bounds(0, 32)] = 4
    """augmentation moves images by up to so many pixels"""
    flip: bool = True
    """augmentation mirrors half of the images"""
    target_on: Share = 0.91
    """target for the right class"""
    target_off: Share = 0.01
    """target for each other class"""
    reduction: Literal["mean", "sum"] = "mean"
    """cross-entropy averaged over the batch, or summed as in the book"""
    shuffle: bool = True
    """draw a new order of the images for each epoch"""
    solver: Literal["nesterov", "rmsprop"] = "nesterov"
    """nesterov: momentum 0.9, warm-up and decay to 0; rmsprop: Gorgonia's, at a constant rate"""
    learning_rate: NotNegative = 0.1
    """peak of the schedule, or the constant rate"""
    weight_decay: Strength = 5e-4
    """L2 penalty on the kernels (nesterov only)"""
    epochs: Count = 20
    """passes over the training images"""
    batch_size: Size = 100
    """images per update"""
    seed: Seed = 0
    """of the weights, the order of the images, augmentation and dropout"""

    def __post_init__(self) -> None:
        settings.check(self)
        if self.dropout_bug and self.batch_norm:
            raise settings.SettingError(
                "got dropout_bug with batch_norm, expected one of them: the bug is of a network "
                "without batch norm"
            )


RECIPES = {
    "modern": Config(),
    "book": Config(
        recipe="book",
        batch_norm=False,
        dropout=0.2,
        dropout_dense=0.55,
        pixels="book",
        shift=0,
        flip=False,
        target_on=0.9,
        target_off=0.1,  # the targets sum to 1.8
        reduction="sum",
        shuffle=False,
        solver="rmsprop",
        learning_rate=0.001,
        weight_decay=0.0,
        epochs=10,
    ),
}


class Output(NamedTuple):
    """What one pass through the network gives."""

    logits: jax.Array  # [B, classes]
    stats: Stats  # running moments of each batch normalisation, updated if there was a key


def init(key: jax.Array, config: Config) -> Params:
    """Kernels as in the book: normal, variance 2 / (fan in + fan out) (Glorot & Bengio 2010)."""
    glorot = jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal")
    maps = (3, *config.filters)
    shapes: list[tuple[int, ...]] = [(5, 5, *pair) for pair in itertools.pairwise(maps)]
    shapes.append((side(config.size) ** 2 * maps[-1], config.hidden))
    *hidden, last = jax.random.split(key, len(shapes) + 1)
    layers = [{"kernel": glorot(k, shape)} for k, shape in zip(hidden, shapes, strict=True)]
    output = {"kernel": glorot(last, (config.hidden, config.classes))}
    if config.batch_norm:
        for layer in layers:
            width = layer["kernel"].shape[-1]
            layer |= {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
        output["bias"] = jnp.zeros(config.classes)
    return {"conv": layers[:-1], "dense": layers[-1], "output": output}


def side(size: int) -> int:
    """Rows and columns of the last map of images with so many: 2 of 32."""
    for _ in range(3):
        size = (size - 2) // 2  # a convolution takes two away, pooling half
    return size


def init_stats(params: Params) -> Stats:
    """Running moments before training: mean 0, variance 1; an empty list without batch norm."""
    biases = [layer["bias"] for layer in (*params["conv"], params["dense"]) if "scale" in layer]
    return [{"mean": jnp.zeros_like(bias), "var": jnp.ones_like(bias)} for bias in biases]


def example(config: Config, size: int = 2) -> Batch:
    """A small batch as `loss` takes it, always the same: `image` [B, H, W, 3], `label` [B]."""
    image = jax.random.normal(jax.random.key(0), (size, config.size, config.size, 3))
    return {"image": image, "label": jnp.arange(size) % config.classes}


def scale_pixels(images: jax.Array, pixels: str = "standard") -> jax.Array:
    """uint8 images as float32, in one of the ways that `Config.pixels` describes."""
    ops.check_choice("pixels", pixels, ("standard", "book"))
    ops.check_bytes("images", images)
    shape = ("batch", "rows", "columns", 3)
    ops.check_shape("images", images, shape, "give grey ones three equal channels")
    x = images.astype(jnp.float32) / 255.0
    if pixels == "book":
        return jnp.where(images == 255, 0.999, 0.9 * x + 0.1)
    mean = jnp.array([0.4914, 0.4822, 0.4465])  # of CIFAR-10's training images
    return (x - mean) / jnp.array([0.2470, 0.2435, 0.2616])


def augment(key: jax.Array, images: jax.Array, *, shift: int = 4, flip: bool = True) -> jax.Array:
    """Moves each image by up to `shift` pixels either way (edges mirrored) and mirrors half."""
    shift_key, flip_key = jax.random.split(key)
    if shift:
        images = move(shift_key, images, shift)
    if flip:
        images = mirror(images, jax.random.bernoulli(flip_key, 0.5, images.shape[:1]))
    return images


def move(key: jax.Array, images: jax.Array, shift: int) -> jax.Array:
    """Moves each image by up to `shift` pixels either way, its edges mirrored.

    He et al. (2016) moved by four over black; mirrored edges are Page's (2018).
    """
    batch, height, width, _ = images.shape
    edges = ((0, 0), (shift, shift), (shift, shift), (0, 0))
    padded = jnp.pad(images, edges, mode="reflect")
    top, left = jax.random.randint(key, (2, batch, 1), 0, 2 * shift + 1)
    rows, columns = top + jnp.arange(height), left + jnp.arange(width)
    return padded[jnp.arange(batch)[:, None, None], rows[:, :, None], columns[:, None]]


def mirror(images: jax.Array, which: jax.Array) -> jax.Array:
    """Images [B, H, W, C], those of `which` (bool [B]) mirrored left to right."""
    return jnp.where(which[:, None, None, None], images[:, :, ::-1], images)


def apply(
    params: Params,
    x: jax.Array,
    key: jax.Array | None = None,
    stats: Stats | None = None,
    *,
    dropout: float = 0.0,
    dropout_dense: float = 0.0,
    dropout_bug: bool = False,
) -> Output:
    """The network on scaled images [B, H, W, 3], H and W as in `Config.size`.

    Without a key nothing is dropped and batch norm uses the running moments `stats` (those of
    `init_stats` if there are none), so the result is exact. ReLU stands behind the pooling: they
    commute, and there are a quarter of the numbers.
    """
    ops.check_shape("images", x, ("batch", "rows", "columns", 3), "resize them")
    ops.check_floats("images", x)
    found, maps = [side(s) for s in x.shape[1:3]], params["conv"][-1]["kernel"].shape[-1]
    if found[0] * found[1] * maps != (given := params["dense"]["kernel"].shape[0]):
        raise ValueError(
            f"images must be of the size that the network was made for, got {x.shape}: their last "
            f"map is {found[0]} x {found[1]}, expected {given // maps} pixels: resize them"
        )
    *conv_keys, dense_key = [None] * 4 if key is None else jax.random.split(key, 4)
    moments = iter(init_stats(params) if stats is None else stats)
    updated = []

    def normalise(layer: Params, x: jax.Array) -> jax.Array:
        if "scale" in layer:
            x, new = ops.batch_norm(layer, next(moments), x, training=key is not None)
            updated.append(new)
        return x

    def drop(key: jax.Array | None, x: jax.Array, rate: float) -> jax.Array:
        dropped = ops.dropout(key, x, rate)  # divides by 1 - rate, which the bug takes back
        return dropped * rate * (1.0 - rate) if dropout_bug and rate else dropped

    for layer, layer_key in zip(params["conv"], conv_keys, strict=False):
        x = ops.max_pool2d(ops.conv2d(x, layer["kernel"], padding=1))
        x = drop(layer_key, jax.nn.relu(normalise(layer, x)), dropout)
    x = x.reshape(x.shape[0], -1) @ params["dense"]["kernel"]
    x = drop(dense_key, jax.nn.relu(normalise(params["dense"], x)), dropout_dense)
    logits = x @ params["output"]["kernel"] + params["output"].get("bias", 0.0)
    return Output(logits, updated)


def loss(
    params: Params,
    batch: Batch,
    key: jax.Array | None = None,
    stats: Stats | None = None,
    *,
    target_on: float = 1.0,
    target_off: float = 0.0,
    reduction: str = "mean",
    **rates: Any,
) -> tuple[jax.Array, tuple[Metrics, Stats]]:
    """Softmax cross-entropy in nats, -sum_c target_c log p_c, per image or summed over the batch.

    The batch has `image`, scaled, [B, H, W, 3], and `label`, integers [B]; the targets are
    `target_on` for the right class and `target_off` for each other one; `key`, `stats` and `rates`
    go to `apply`.

    Returns:
      The loss and, beside it, the accuracy in [0, 1] and the updated running moments.
    """
    ops.check_choice("reduction", reduction, ("mean", "sum"))
    ops.check_names(batch, "image", "label")
    ops.check_shape("labels", batch["label"], batch["image"].shape[:1], "one for an image")
    ops.check_integers("labels", batch["label"], "the number of each image's class")
    logits, stats = apply(params, batch["image"], key, stats, **rates)
    right = jax.nn.one_hot(batch["label"], logits.shape[-1])
    targets = target_off + (target_on - target_off) * right
    entropy = optax.softmax_cross_entropy(logits, targets)
    accuracy = (logits.argmax(-1) == batch["label"]).mean()
    value = ops.shards() * entropy.sum() if reduction == "sum" else entropy.mean()
    return value, ({"accuracy": accuracy}, stats)


def correlate(image: jax.Array, kernel: jax.Array) -> jax.Array:
    """The chapter's sliding dot product: [H, W] with [h, w] gives [H - h + 1, W - w + 1]."""
    return ops.conv2d(image[None, :, :, None], kernel[:, :, None, None])[0, :, :, 0]


def pool(image: jax.Array) -> jax.Array:
    """The chapter's 2x2 max pooling of one map: [H, W] gives [H // 2, W // 2]."""
    return ops.max_pool2d(image[None, :, :, None])[0, :, :, 0]
