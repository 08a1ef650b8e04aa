"""Chapter 2: the first network, one sigmoid unit on four rows of three numbers.

The answer is the first number of each row; the third is always 1 and serves as a bias. The book has
three programs for it, and they differ: recipe `text` is the one that it prints, `repo` the one in
its repository, `numpy` the well-known eleven lines of NumPy whose output it prints. `modern`
minimises the cross-entropy, -log of the probability given to the right answer: its gradient for a
logit is p - y, where the squared error's has a factor p (1 - p), which vanishes when the unit is
sure, right or wrong. It has no hidden layer, since a plane divides the rows.

Axes: B rows in a batch, F numbers in a row (3), H hidden units. README.md lists where this departs
from the book.
"""

import dataclasses
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.common import ops, settings
from zoo.common.settings import Bounds, NotNegative, Seed

Params = dict[str, Any]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Cost = Literal["cross-entropy", "mean-square", "half-sum-square", "mean-signed"]

INPUTS = ((0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1))
LABELS = (0, 0, 1, 1)
GO_WEIGHTS = (-0.19097864664496583, 0.5795821878299412, -1.366007618242934)
"""The standard normals of Go's math/rand after rand.Seed(31337), which `repo` begins with."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of `train`."""

    recipe: Literal["modern", "text", "repo", "numpy"] = dataclasses.field(
        default="modern", metadata={"aliases": ("--program",)}
    )
    """the program to start from; other flags change single fields of it"""
    cost: Cost = "cross-entropy"
    """what is minimised, for labels y and outputs p: mean-square is mean (y - p)^2, half-sum-square
    is sum (y - p)^2 / 2, mean-signed is mean (y - p), which only pushes every output up"""
    hidden: Annotated[int, Bounds(0, ceiling=2**20)] = 0
    """tanh units between the numbers and the output; 0 for none, as in all three programs"""
    weights: tuple[float, float, float] | None = None
    """what the weights begin as, if there is no hidden layer; None draws them by the seed"""
    learning_rate: NotNegative = 1.0
    """of gradient descent"""
    steps: Annotated[int, Bounds(1, ceiling=2**24)] = 10_000
    """updates, each on all four rows"""
    dtype: Literal["float32", "float64"] = "float32"
    """the numbers' precision"""
    seed: Seed = 0
    """of the weights, where none are given"""

    def __post_init__(self) -> None:
        settings.check(self)

    @property
    def batch_size(self) -> int:
        """Rows in a step: all of them."""
        return len(LABELS)


RECIPES = {
    "modern": Config(),
    # The text's first weight is a misprint of NumPy's.
    "text": Config(
        recipe="text",
        cost="mean-signed",
        weights=(-0.167855599, 0.44064899, -0.99977125),
        learning_rate=0.001,
        dtype="float64",
    ),
    "repo": Config(
        recipe="repo",
        cost="mean-square",
        weights=GO_WEIGHTS,
        dtype="float64",
    ),
    # 2 * numpy.random.random(3) - 1 after numpy.random.seed(1).
    "numpy": Config(
        recipe="numpy",
        cost="half-sum-square",
        weights=(-0.165955990594852, 0.4406489868843162, -0.9997712503653102),
        dtype="float64",
    ),
}


def example(config: Config, size: int = 4) -> Batch:
    """The toy: `input`, float32 [size, 3], and `label`, float32 [size]; rows repeat beyond four."""
    rows = np.arange(size) % len(LABELS)
    return {
        "input": jnp.asarray(np.array(INPUTS, np.float32)[rows]),
        "label": jnp.asarray(np.array(LABELS, np.float32)[rows]),
    }


def init(key: jax.Array, config: Config) -> Params:
    """Kernels [in, out] from Glorot's uniform distribution; `Config.weights` is left to `train`."""
    glorot = jax.nn.initializers.glorot_uniform()
    hidden_key, output_key = jax.random.split(key)
    features = len(INPUTS[0])
    params = {"output": {"kernel": glorot(output_key, (config.hidden or features, 1))}}
    if config.hidden:
        params["hidden"] = {"kernel": glorot(hidden_key, (features, config.hidden))}
    return params


def apply(params: Params, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """The log-odds [B] that each row of `x`, [B, F], is a 1. Nothing is random: `key` is unused.

    Raises:
      ValueError: `x` has another shape.
    """
    first = params["hidden"] if "hidden" in params else params["output"]
    ops.check_shape("inputs", x, ("batch", first["kernel"].shape[0]), "a row each")
    if "hidden" in params:
        x = jnp.tanh(x @ params["hidden"]["kernel"])
    return (x @ params["output"]["kernel"])[:, 0]


def loss(
    params: Params, batch: Batch, key: jax.Array | None = None, *, cost: Cost = "cross-entropy"
) -> tuple[jax.Array, Metrics]:
    """The cost that `Config.cost` names (cross-entropy: nats per row), and the accuracy in [0, 1].

    Args:
      params: from `init`.
      batch: `input`, [B, F], and `label`, 0 or 1, [B].
      key: unused; nothing is random.
      cost: one of `Cost`.

    Raises:
      ValueError: an array has another shape, or there is no such cost.
    """
    ops.check_choice("cost", cost, get_args(Cost))
    ops.check_names(batch, "input", "label")
    logits, label = apply(params, batch["input"]), batch["label"]
    ops.check_shape("labels", label, logits.shape, "one for a row")
    error = label - jax.nn.sigmoid(logits)
    if cost == "cross-entropy":
        value = optax.sigmoid_binary_cross_entropy(logits, label).mean()
    elif cost == "mean-square":
        value = (error**2).mean()
    elif cost == "half-sum-square":
        value = 0.5 * (error**2).sum()
    else:
        value = error.mean()
    return value, {"accuracy": ((logits > 0) == (label > 0.5)).mean()}
