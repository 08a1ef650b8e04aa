"""Chapter 8: a variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114).

Encoder: an image x -> mean and log-variance of a Gaussian q(z | x). Decoder: a code z -> log-odds
of each pixel. The ELBO, E_q[log p(x | z)] - KL(q(z | x) || p(z)), bounds log p(x) from below; k
importance samples tighten it (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519).

Recipe `book` is the book's program, 784-256-128-8 and back without biases, 470,016 weights, with
its slip in the KL; `modern` is 784-500-500-20 with Bernoulli pixels; `iwae` the network
and protocol of the IWAE paper. README.md lists where this departs from the book.

Axes: B images in a batch, D pixels (784), Z latents, k codes drawn for each image. Images are
uint8 [N, 28, 28] until `scale_pixels`, then float32 [B, D].
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.common import ops, settings
from zoo.common.settings import Bounds, Count, NotNegative, Seed, Size, Strength

Params = dict[str, Any]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Function = Callable[..., jax.Array]

LOG_2PI = float(np.log(2.0 * np.pi))  # a number of Python's, so that float32 stays float32


@dataclasses.dataclass(frozen=True)
class Config:
    """The model and its training."""

    recipe: Literal["modern", "book", "iwae"] = "modern"
    """the whole configuration to start from; other flags change single fields of it"""
    images: str = ""
    """pictures of your own in place of the data set: a folder with a folder for each class, or an
    NPZ file with image and label"""
    size: Annotated[int, Bounds(1, ceiling=512)] = 28
    """rows and columns of the images; your own are shrunk to it"""
    hidden: tuple[Size, ...] = (500, 500)
    """widths of the encoder's hidden layers; the decoder's are the same in reverse"""
    latents: Size = 20
    """length of the code"""
    activation: Literal["relu", "tanh"] = "relu"
    """behind each hidden layer"""
    bias: bool = True
    """layers have biases"""
    observation: Literal["bernoulli", "squared"] = "bernoulli"
    """log p(x | z): of Bernoulli pixels, or minus the sum of squared errors"""
    pixels: Literal["unit", "book"] = "unit"
    """unit: grey levels 0 to 1; book: 0.9 x + 0.1, up to 0.999"""
    binarise: bool = False
    """draw each pixel black or white by its grey level, anew at each access"""
    importance_weighted: bool = False
    """train on the IWAE bound of `samples` codes in place of the ELBO"""
    samples: Annotated[int, Bounds(1, ceiling=2**16)] = 1
    """codes drawn for each image in training"""
    beta: Strength = 1.0
    """weight of the KL in the ELBO"""
    kl_as_printed: bool = False
    """the book's slip: the KL takes the logarithm of the deviation for that of the variance"""
    reduction: Literal["mean", "sum"] = "mean"
    """loss averaged over the batch, or summed as in the book"""
    solver: Literal["adam", "gorgonia"] = "adam"
    """gorgonia: Adam on the gradient divided by the batch size"""
    adam_doubled: bool = False
    """the bug of Gorgonia before 0.9.18, a second undivided step (solver gorgonia only)"""
    adam_epsilon: Annotated[float, Bounds(1e-30)] = 1e-8
    """Adam's epsilon (solver adam only)"""
    schedule: Literal["cosine", "constant", "iwae"] = "cosine"
    """how the rate falls (solver adam only); iwae: to a tenth in eight stages, each three times the
    one before"""
    learning_rate: NotNegative = 2e-3
    """at the top of the schedule"""
    shuffle: bool = True
    """draw a new order of the images for each epoch"""
    epochs: Count = 10
    """passes over the training images"""
    batch_size: Size = 100
    """images per update"""
    seed: Seed = 0
    """of the weights, the order of the images and the codes"""

    def __post_init__(self) -> None:
        settings.check(self)


RECIPES = {
    "modern": Config(),
    "book": Config(
        recipe="book",
        hidden=(256, 128),
        latents=8,
        bias=False,  # 470,016 weights in all
        observation="squared",
        pixels="book",
        kl_as_printed=True,
        reduction="sum",
        solver="gorgonia",  # divides the gradient of that sum by the batch size
        schedule="constant",
        learning_rate=0.01,
        shuffle=False,  # its program reads the images in the order of the file
        epochs=100,
    ),
    "iwae": Config(
        recipe="iwae",
        hidden=(200, 200),
        latents=50,
        activation="tanh",
        binarise=True,
        importance_weighted=True,
        samples=5,
        adam_epsilon=1e-4,  # as in section 5 of the paper
        learning_rate=1e-3,
        epochs=160,  # the paper's 3,280 need its stages: --schedule iwae
        batch_size=20,
    ),
}


class Output(NamedTuple):
    """What one pass through the network gives."""

    logits: jax.Array  # [B, D], log-odds of each pixel
    mean: jax.Array  # [B, Z]
    logvar: jax.Array  # [B, Z], log of the variance, not of the deviation


def init(key: jax.Array, config: Config) -> Params:
    """Kernels uniform within sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010), biases zero."""
    glorot = jax.nn.initializers.glorot_uniform()
    down = (config.size**2, *config.hidden)
    up = (config.latents, *reversed(down))
    shapes = [*itertools.pairwise(down), *[(down[-1], config.latents)] * 2, *itertools.pairwise(up)]
    keys = jax.random.split(key, len(shapes))
    layers = [{"kernel": glorot(k, shape)} for k, shape in zip(keys, shapes, strict=True)]
    if config.bias:
        for layer in layers:
            layer["bias"] = jnp.zeros(layer["kernel"].shape[1])
    encoder, (mean, logvar, *decoder) = layers[: len(down) - 1], layers[len(down) - 1 :]
    return {"encoder": encoder, "mean": mean, "logvar": logvar, "decoder": decoder}


def example(config: Config, size: int = 2) -> Batch:
    """A batch of `size` random scaled images, the same at each call."""
    images = np.random.default_rng(0).random((size, config.size**2), np.float32)
    return {"image": jnp.asarray(images)}


def scale_pixels(images: jax.Array, pixels: str = "unit") -> jax.Array:
    """uint8 images [B, 28, 28] as float32 [B, D], in one of the ways of `Config.pixels`."""
    ops.check_choice("pixels", pixels, ("unit", "book"))
    ops.check_bytes("images", images)
    x = images.reshape(images.shape[0], -1)  # len() would fail on an export's symbolic batch
    grey = x.astype(jnp.float32) / 255.0
    # The book's program keeps clear of 0 and 1, as a sigmoid does.
    return jnp.where(x == 255, 0.999, 0.9 * grey + 0.1) if pixels == "book" else grey


def _dense(layer: Params, x: jax.Array) -> jax.Array:
    x = x @ layer["kernel"]
    return x + layer["bias"] if "bias" in layer else x


def encode(
    params: Params, x: jax.Array, *, activation: Function = jax.nn.relu
) -> tuple[jax.Array, jax.Array]:
    """Mean and log-variance, each [B, Z], of q(z | x) for images [B, D].

    Raises:
      ValueError: the images are not flat, or have another number of pixels than the weights.
    """
    pixels = params["decoder"][-1]["kernel"].shape[1]
    ops.check_shape("images", x, ("batch", pixels), "flatten them")
    ops.check_floats("images", x)
    for layer in params["encoder"]:
        x = activation(_dense(layer, x))
    return _dense(params["mean"], x), _dense(params["logvar"], x)


def reparameterise(
    key: jax.Array, mean: jax.Array, logvar: jax.Array, count: tuple[int, ...] = ()
) -> jax.Array:
    """Codes `mean + deviation * noise`, [count, B, Z], through which gradients reach q(z | x)."""
    noise = jax.random.normal(key, (*count, *mean.shape), mean.dtype)
    return mean + jnp.exp(0.5 * logvar) * noise


def decode(params: Params, z: jax.Array, *, activation: Function = jax.nn.relu) -> jax.Array:
    """Log-odds [..., D] of the pixels for codes [..., Z]."""
    *hidden, last = params["decoder"]
    for layer in hidden:
        z = activation(_dense(layer, z))
    return _dense(last, z)


def apply(
    params: Params,
    x: jax.Array,
    key: jax.Array | None = None,
    *,
    activation: Function = jax.nn.relu,
) -> Output:
    """Reconstructs images [B, D]; without a key the code is the mean, so the result is exact."""
    mean, logvar = encode(params, x, activation=activation)
    z = mean if key is None else reparameterise(key, mean, logvar)
    return Output(decode(params, z, activation=activation), mean, logvar)


def bernoulli(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Of Bernoulli pixels, log p(x | z) = sum_d x log p + (1 - x) log(1 - p) in nats, [...]."""
    return jnp.sum(x * logits - jax.nn.softplus(logits), axis=-1)  # no logarithm of a rounded 0


def squared(logits: jax.Array, x: jax.Array) -> jax.Array:
    """-sum_d (x - sigmoid)^2: log p(x | z) of Gaussian pixels of variance 1/2, less a constant."""
    return -jnp.sum((x - jax.nn.sigmoid(logits)) ** 2, axis=-1)


def log_normal(z: jax.Array, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """Log-density of N(mean, exp(logvar)) in nats, summed over the last axis."""
    scaled = (z - mean) ** 2 * jnp.exp(-logvar)
    return -0.5 * jnp.sum(scaled + logvar + LOG_2PI, axis=-1)


def kl_to_standard_normal(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL(N(mean, exp(logvar)) || N(0, 1)) in nats, summed over the last axis."""
    return 0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1.0 - logvar, axis=-1)


def _one_pass(
    params: Params,
    x: jax.Array,
    key: jax.Array | None,
    k: int,
    observation: Function = bernoulli,
    activation: Function = jax.nn.relu,
) -> tuple[jax.Array, ...]:
    """Mean, log-variance, k codes for each image, and log p(x | z), [k, B]."""
    mean, logvar = encode(params, x, activation=activation)
    z = mean[None] if key is None else reparameterise(key, mean, logvar, (k,))
    return mean, logvar, z, observation(decode(params, z, activation=activation), x)


def _importance(mean: jax.Array, logvar: jax.Array, z: jax.Array, log_px: jax.Array) -> jax.Array:
    zero = jnp.zeros_like(mean)  # the prior's mean and log-variance
    return log_px + log_normal(z, zero, zero) - log_normal(z, mean, logvar)


def log_weights(
    params: Params, x: jax.Array, key: jax.Array, k: int, **options: Function
) -> jax.Array:
    """Log importance weights, log p(x, z) - log q(z | x) in nats, [k, B], z drawn from q(z | x).

    The options are `activation`, behind each hidden layer, and `observation`, log p(x | z) as a
    function of the decoder's output [k, B, D] and the images `x` [B, D], such as `bernoulli`.
    """
    return _importance(*_one_pass(params, x, key, k, **options))


def elbo(
    params: Params, x: jax.Array, key: jax.Array | None = None, **options: Function
) -> jax.Array:
    """E_q[log p(x | z)] by one code, less the exact KL: at most log p(x) on average; nats, [B]."""
    mean, logvar, _, log_px = _one_pass(params, x, key, 1, **options)
    return log_px[0] - kl_to_standard_normal(mean, logvar)


def iwae_bound(
    params: Params, x: jax.Array, key: jax.Array, k: int, **options: Function
) -> jax.Array:
    """The log of the mean of k `log_weights`, nats, [B]: rises with k towards log p(x)."""
    return jax.nn.logsumexp(log_weights(params, x, key, k, **options), axis=0) - jnp.log(k)


def log_likelihood(
    params: Params,
    x: jax.Array,
    key: jax.Array,
    samples: int = 5_000,
    chunk: int = 50,
    **options: Function,
) -> jax.Array:
    """Estimates log p(x) in nats, [B]: `iwae_bound` of `samples`, `chunk` codes at a time.

    Raises:
      ValueError: the samples are no multiple of the chunk.
    """
    if chunk < 1 or samples < chunk or samples % chunk:
        raise ValueError(
            f"got {samples} samples in chunks of {chunk}, expected a multiple of the chunk: "
            f"ask for {chunk * max(1, round(samples / max(chunk, 1)))}"
        )

    # Weights are about e^-100, which float32 lacks: their sum is kept as a logarithm.
    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        weights = log_weights(params, x, key, chunk, **options)
        return jnp.logaddexp(total, jax.nn.logsumexp(weights, axis=0)), None

    keys = jax.random.split(key, samples // chunk)
    total, _ = jax.lax.scan(add, jnp.full(len(x), -jnp.inf, x.dtype), keys)
    return total - jnp.log(samples)  # the sum becomes a mean


def loss(
    params: Params,
    batch: Batch,
    key: jax.Array | None = None,
    *,
    importance_weighted: bool = False,
    samples: int = 1,
    beta: float = 1.0,
    kl_as_printed: bool = False,
    reduction: str = "mean",
    **options: Function,
) -> tuple[jax.Array, Metrics]:
    """The negative ELBO or IWAE bound in nats for `image`, scaled, [B, D].

    The keywords are fields of `Config`, `options` those of `log_weights`. Without a key the code is
    the mean, and the ELBO's formula is taken; so it is for an IWAE bound of one sample, which is
    the ELBO in expectation, but noisier.

    Returns:
      The loss and, beside it, means over the batch of -log p(x | z) and of the true KL.
    """
    ops.check_choice("reduction", reduction, ("mean", "sum"))
    ops.check_names(batch, "image")
    mean, logvar, z, log_px = _one_pass(params, batch["image"], key, samples, **options)
    reconstruction, kl = -log_px.mean(0), kl_to_standard_normal(mean, logvar)
    if importance_weighted and samples > 1 and key is not None:
        weights = _importance(mean, logvar, z, log_px)
        value = jnp.log(samples) - jax.nn.logsumexp(weights, axis=0)
    else:
        # The slip: the book's layer gives half the log-variance, its KL takes that for the whole.
        penalty = kl_to_standard_normal(mean, 0.5 * logvar) if kl_as_printed else kl
        value = reconstruction + beta * penalty
    metrics = {"reconstruction": reconstruction.mean(), "kl": kl.mean()}
    return ops.shards() * value.sum() if reduction == "sum" else value.mean(), metrics


def sample(
    params: Params, key: jax.Array, count: int, *, activation: Function = jax.nn.relu
) -> jax.Array:
    """Grey levels [count, D] of images whose codes are drawn from the prior N(0, 1)."""
    latents = params["decoder"][0]["kernel"].shape[0]
    z = jax.random.normal(key, (count, latents))
    return jax.nn.sigmoid(decode(params, z, activation=activation))
