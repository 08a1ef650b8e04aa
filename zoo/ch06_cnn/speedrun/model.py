"""The speed run of chapter 6: a network that learns CIFAR-10 in as little computation as can be.

Fixed filters that whiten 2x2 patches, then three blocks of convolution, 2x2 max pooling and
convolution, each convolution followed by batch normalisation and GELU, then one dense layer:
32x32x3 -> 31x31x24 -> 15x15xW -> 7x7x4W -> 3x3x4W -> 4W -> 10 with W the `width`. What makes it
fast are known ideas, one function each, with its source: here `partial_identity`, `on_spheres` and
`running_average`, what is done to images in `images.py`, the solver in `task.py`. The line goes
back to Page (2018), hlb-CIFAR10 (Balsam 2023) and airbench (Jordan 2024, arXiv:2404.00498).

Axes: B images in a batch, H rows, W columns (32 both), C channels, K classes. Images are uint8
[B, H, W, 3] until
`cnn.scale_pixels`, then float32; inside `apply` they may be bfloat16, parameters stay float32.
"""

import dataclasses
import itertools
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zoo.common import ops, settings
from zoo.common.settings import Bounds, Count, NotNegative, Seed, Share, Size

Params = dict[str, Any]
Moments = list[dict[str, jax.Array]]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Config:
    """The network and its training."""

    recipe: Literal["speedrun", "speedrun-cpu"] = "speedrun"
    """speedrun is for a GPU; speedrun-cpu is narrower, with smaller batches"""
    dataset: Literal["cifar10", "mnist"] = "cifar10"
    """mnist: digits padded to 32x32; use --flip none"""
    images: str = ""
    """pictures of your own in place of the data set: a folder with a folder for each class, or an
    NPZ file with image and label"""
    size: Annotated[int, Bounds(9, ceiling=512)] = 32
    """rows and columns of the images; your own are shrunk to it"""
    split: Literal["auto", "official", "holdout", "all"] = "auto"
    """all: train on data_batch_1..5, test on the first 1,000 official images; else as in modern"""
    classes: Size = 10
    """number of classes; your own pictures tell it"""
    width: Size = 64
    """filters of the first block; the others have four times as many"""
    patch: Annotated[int, Bounds(1, 25)] = 2
    """side of the patches that the first layer whitens"""
    whiten: bool = True
    """fix the first layer to the data's whitening filters; off: random ones, which are learnt"""
    identity: bool = True
    """convolutions begin by passing their input on"""
    activation: Literal["gelu", "silu", "relu"] = "gelu"
    """behind each batch normalisation"""
    scales: bool = False
    """learn a scale for each normalised channel; off: they stay 1"""
    flip: Literal["alternating", "random", "none"] = "alternating"
    """alternating: each image is mirrored in every second epoch"""
    shift: Annotated[int, Bounds(0, 31)] = 2
    """images move by up to so many pixels, their edges mirrored"""
    label_smoothing: Annotated[float, Bounds(0, below=1)] = 0.2
    """share of the target that is spread over all classes"""
    solver: Literal["muon", "nesterov"] = "muon"
    """of the convolutions; all else is trained by Nesterov's momentum"""
    learning_rate: NotNegative = 0.24
    """peak, of the convolutions: how far a step turns filters of length 1"""
    bias_rate: NotNegative = 40.0
    """peak, of biases and scales"""
    head_rate: NotNegative = 5.0
    """peak, of the dense layer"""
    rise: Share = 0.1
    """share of the run in which the rates rise to their peak, before they fall to 0"""
    average: Annotated[float, Bounds(0, below=1)] = 0.98
    """share of the running average of the weights that stays at a step; 0: no average"""
    views: Literal["plain", "flips", "flips and shifts"] = "flips and shifts"
    """what predictions average over"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """of the convolutions; auto is bfloat16 on a GPU or TPU, float32 on a CPU"""
    epochs: Count = 8
    """passes over the training images"""
    batch_size: Size = 2000
    """images per update"""
    seed: Seed = 0
    """of the weights, the order of the images and augmentation"""

    def __post_init__(self) -> None:
        settings.check(self)
        if self.size < self.patch + 7:  # three poolings leave no pixel
            raise settings.SettingError(
                f"got size {self.size} and patch {self.patch}, expected a size of {self.patch + 7} "
                "at least"
            )


# Narrower and in smaller batches: some minutes on two cores.
_CPU = Config("speedrun-cpu", width=32, bias_rate=10.0, head_rate=2.0, batch_size=500)
RECIPES = {"speedrun": Config(), "speedrun-cpu": _CPU}


class Output(NamedTuple):
    """What one pass through the network gives."""

    logits: jax.Array  # float32 [B, K]
    moments: Moments  # running moments of each batch normalisation, updated


def partial_identity(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A kernel [3, 3, C, O] whose first min(C, O) filters pass a channel on, the others random.

    So a deep network begins as a shallow one (Zagoruyko & Komodakis 2017, arXiv:1706.00388; for
    these networks Jordan 2024).
    """
    same = min(shape[2:])
    kernel = jax.nn.initializers.lecun_normal()(key, shape).at[..., :same].set(0.0)
    return kernel.at[shape[0] // 2, shape[1] // 2, jnp.arange(same), jnp.arange(same)].set(1.0)


def init(key: jax.Array, config: Config) -> Params:
    """The parameters before training, the first layer random: see `images.whitening_kernel`."""
    first = 6 * config.patch**2
    maps = (first, *(n * config.width for n in (1, 1, 4, 4, 4, 4)))
    lecun = jax.nn.initializers.lecun_normal()
    whiten_key, output_key, *keys = jax.random.split(key, 2 + len(maps) - 1)
    kernel_of = partial_identity if config.identity else lecun
    layers = []
    for layer_key, pair in zip(keys, itertools.pairwise(maps), strict=True):
        layer = {"kernel": kernel_of(layer_key, (3, 3, *pair)), "bias": jnp.zeros(pair[1])}
        if config.scales:
            layer["scale"] = jnp.ones(pair[1])
        layers.append(layer)
    kernel = lecun(whiten_key, (config.patch, config.patch, 3, first))
    return {
        "whiten": {"kernel": kernel, "bias": jnp.zeros(first)},
        "conv": layers,
        "output": {"kernel": lecun(output_key, (maps[-1], config.classes))},
    }


def init_moments(params: Params) -> Moments:
    """Running moments before training: mean 0, variance 1."""
    biases = [layer["bias"] for layer in params["conv"]]
    return [{"mean": jnp.zeros_like(bias), "var": jnp.ones_like(bias)} for bias in biases]


def example(config: Config, size: int = 2) -> Batch:
    """A small batch as `loss` takes it, always the same: `image` [B, H, W, 3], `label` [B]."""
    image = jax.random.normal(jax.random.key(0), (size, config.size, config.size, 3))
    return {"image": image, "label": jnp.arange(size) % config.classes}


def apply(
    params: Params,
    x: jax.Array,
    moments: Moments | None = None,
    *,
    activation: str = "gelu",
    dtype: Any = jnp.float32,
) -> jax.Array:
    """The logits, float32 [B, K], of scaled images [B, H, W, 3], in evaluation.

    Batch norm uses the running `moments`, those of `init_moments` if there are none. Convolutions
    compute in `dtype`, batch norm and the dense layer in float32.
    """
    return _forward(params, x, moments, training=False, activation=activation, dtype=dtype).logits


def apply_training(
    params: Params, x: jax.Array, moments: Moments | None = None, **options: Any
) -> Output:
    """As `apply`, in training: batch norm uses the batch's own moments and updates `moments`."""
    return _forward(params, x, moments, training=True, **options)


def _forward(params, x, moments, *, training, activation="gelu", dtype=jnp.float32) -> Output:
    ops.check_shape("images", x, ("batch", "rows", "columns", 3), "resize them")
    ops.check_floats("images", x)
    ops.check_choice("activation", activation, ("gelu", "silu", "relu"))
    activate = {"gelu": jax.nn.gelu, "silu": jax.nn.silu, "relu": jax.nn.relu}[activation]
    before = init_moments(params) if moments is None else moments
    first, updated = params["whiten"], []
    x = ops.conv2d(x.astype(dtype), first["kernel"].astype(dtype))
    x = activate(x + first["bias"].astype(dtype))
    for n, (layer, old) in enumerate(zip(params["conv"], before, strict=True)):
        x = ops.conv2d(x, layer["kernel"].astype(dtype), padding=1)
        if n % 2 == 0:  # before the normalisation: a quarter of the work behind it
            x = ops.max_pool2d(x)
        norm = {"scale": layer.get("scale", jnp.float32(1)), "bias": layer["bias"]}
        x, new = ops.batch_norm(norm, old, x.astype(jnp.float32), training=training)
        x = activate(x.astype(dtype))
        updated.append(new)
    features = x.max((1, 2)).astype(jnp.float32)
    # Divided so that the rate of the dense layer does not depend on the width.
    return Output(features @ params["output"]["kernel"] / features.shape[-1] ** 0.5, updated)


def running_average(average: Params, params: Params, step: jax.Array, decay: float) -> Params:
    """The weights averaged over about the last 1 / (1 - decay) steps, which generalise better.

    Polyak & Juditsky (1992); shorter at the beginning: a twentieth of the steps made. `params` are
    those after a step, `step` counts the steps before it, and `decay` 0 keeps no average.
    """
    share = jnp.maximum(1.0 - decay, 20.0 / (20.0 + step))
    return optax.incremental_update(params, average, share)


def loss(
    params: Params,
    batch: Batch,
    key: jax.Array | None = None,
    moments: Moments | None = None,
    *,
    label_smoothing: float = 0.0,
    **options: Any,
) -> tuple[jax.Array, tuple[Metrics, Moments | None]]:
    """Mean cross-entropy in nats on targets (1 - s) one-hot + s / K (Szegedy et al. 2016).

    It is the loss in evaluation; `loss_training` is that of an update. The batch has `image`,
    scaled, [B, H, W, 3], and `label`, integers [B]; `label_smoothing` is s. The network draws
    nothing, so `key` is not used.

    Returns:
      The loss and, beside it, the accuracy in [0, 1] and the moments as they were.
    """
    ops.check_names(batch, "image", "label")
    logits = apply(params, batch["image"], moments, **options)
    value, metrics = _cross_entropy(logits, batch["label"], label_smoothing)
    return value, (metrics, moments)


def loss_training(
    params: Params,
    batch: Batch,
    moments: Moments | None = None,
    *,
    label_smoothing: float = 0.0,
    **options: Any,
) -> tuple[jax.Array, tuple[Metrics, Moments]]:
    """As `loss`, with the batch's own moments; it returns the running `moments` updated."""
    ops.check_names(batch, "image", "label")
    logits, moments = apply_training(params, batch["image"], moments, **options)
    value, metrics = _cross_entropy(logits, batch["label"], label_smoothing)
    return value, (metrics, moments)


def _cross_entropy(
    logits: jax.Array, labels: jax.Array, label_smoothing: float
) -> tuple[jax.Array, Metrics]:
    ops.check_shape("labels", labels, logits.shape[:1], "one for an image")
    ops.check_integers("labels", labels, "the number of each image's class")
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    accuracy = (logits.argmax(-1) == labels).mean()
    return optax.softmax_cross_entropy(logits, targets).mean(), {"accuracy": accuracy}


def on_spheres() -> optax.GradientTransformation:
    """Ends an update so that filters [..., O] keep the length 1 in the mean, norm sqrt(O).

    Behind a convolution stands batch norm, so that lengths mean nothing, but long filters turn
    slowly: this takes the place of weight decay (Jordan 2024, in airbench94_muon).
    """

    def update(updates, state, params):
        def back(u, w):
            moved = w + u
            return moved * jnp.sqrt(w.shape[-1] / jnp.sum(moved**2)) - w

        return jax.tree.map(back, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
