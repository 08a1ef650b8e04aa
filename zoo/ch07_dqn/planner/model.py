"""Chapter 7: one Q-network for mazes that it has never seen; it looks at the whole grid.

The maze comes as an image of cells: four channels for the exits, one for the goal, one of ones
(which marks where the padding begins). One convolution, applied again and again to the image
and its last result, gives a value for each action in each cell, and the best of the open ones is
the value of the cell: a value iteration network (Tamar et al. 2016) that knows which moves are
open, and learns where they lead and what that is worth. News of the goal spread one cell in each
round, so a network trained on small mazes can be run for longer on larger ones. All actions in
all cells are valued in one pass; an agent reads what is said of its own cell.

Axes: B mazes, H rows, W columns of cells, C values of a cell, I = 6 channels of the image, T
transitions of each maze, A = 4 actions.
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax

from zoo.ch07_dqn import kinds
from zoo.common import ops
from zoo.common.settings import (
    Bounds,
    Count,
    NotNegative,
    Positive,
    Seed,
    SettingError,
    Share,
    Size,
)

Params = dict[str, Any]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
ACTIONS, PLANES = 4, 6


@dataclasses.dataclass(frozen=True)
class Config:
    """The planner, its mazes and its training."""

    recipe: Literal["modern", "large"] = "modern"
    """the whole configuration to start from; large: for 5x10 cells"""
    rows: Size = 5
    """rows of cells"""
    columns: Size = 5
    """columns of cells"""
    method: Literal["depth-first", "prim"] = "depth-first"
    """how mazes are made: long corridors, or many short dead ends"""
    extra: Share = 0.0
    """share of the other inner walls opened as well; above 0 several ways lead to the goal"""
    channels: Size = 1
    """values that are kept of a cell; the first one is that of going on from it"""
    rounds: Count = 26
    """how often the convolution is applied: at least as often as the longest way has steps"""
    discount: Share = 0.95
    """gamma"""
    epsilon: Share = 1.0
    """share of random moves at the beginning"""
    epsilon_min: Share = 0.1
    """share of random moves from the middle of the run on"""
    walkers: Size = 64
    """mazes walked at the same time, all new in each update"""
    walk_steps: Size = 16
    """steps of each walker between two updates; they begin anywhere in the maze"""
    capacity: Annotated[int, Bounds(1, ceiling=2**24)] = 2048
    """walks in memory, with their mazes"""
    batch_size: Size = 64
    """walks per update"""
    target_every: Count = 20
    """updates from one copy of the target network to the next"""
    learning_rate: NotNegative = 1e-2
    """of Adam; it rises for 100 updates and falls to 0 as a cosine"""
    clip: Positive = 1.0
    """largest norm of a gradient"""
    epochs: Count = 20
    """parts of a run; after each one it walks 200 mazes that it was not trained on"""
    epoch_steps: Annotated[int, Bounds(1, ceiling=2**24)] = 100
    """updates in each part"""
    seed: Seed = 0
    """of the weights, the mazes, the exploration and the samples"""

    def __post_init__(self) -> None:
        kinds.check(self)
        if self.walkers > self.capacity:
            raise SettingError(
                f"got walkers {self.walkers} and capacity {self.capacity}: memory must hold all "
                "walks of an update"
            )


RECIPES = {"modern": Config(), "large": Config("large", columns=10, rounds=51)}


def init(key: jax.Array, config: Config) -> Params:
    """Small normal kernels, biases 0."""
    shape = (3, 3, PLANES + config.channels, ACTIONS * config.channels)
    kernel = 0.05 * jax.random.normal(key, shape)
    return {"round": {"kernel": kernel, "bias": jnp.zeros(shape[-1])}}


def image(exits: jax.Array, goal: jax.Array) -> jax.Array:
    """What the network sees of mazes of cells, uint8 [B, H, W] and int32 [B]: [B, H, W, I]."""
    batch, height, width = exits.shape
    ways = exits[..., None] >> jnp.arange(ACTIONS, dtype=jnp.uint8) & 1
    target = jax.nn.one_hot(goal, height * width).reshape(batch, height, width, 1)
    ones = jnp.ones_like(target)
    return jnp.concatenate([ways.astype(jnp.float32), target, ones], -1)


def apply(
    params: Params, x: jax.Array, key: jax.Array | None = None, rounds: int = 26
) -> jax.Array:
    """Values of all actions in all cells, [B, H, W, A], of images [B, H, W, I].

    They are of the parameters' type, float32. Nothing is random, `key` is not used.
    """
    ops.check_shape("mazes", x, ("batch", "rows", "columns", PLANES), "make them by `image`")
    layer = params["round"]
    channels, x = layer["kernel"].shape[2] - PLANES, x.astype(layer["kernel"].dtype)
    barred = jnp.where(x[..., :ACTIONS, None] > 0, 0.0, -jnp.inf)

    def look(v: jax.Array) -> jax.Array:
        """Values of all actions [B, H, W, A, C] from those of the cells [B, H, W, C]."""
        q = ops.conv2d(jnp.concatenate([v, x], -1), layer["kernel"], padding=1) + layer["bias"]
        return q.reshape(*x.shape[:3], ACTIONS, channels)

    def again(v: jax.Array, _: None) -> tuple[jax.Array, None]:
        return (look(v) + barred).max(-2), None

    # A scan: the program stays as small for 51 rounds as for 26.
    first = jnp.zeros((*x.shape[:3], channels), x.dtype)
    v, _ = jax.lax.scan(again, first, length=rounds - 1)
    return look(v)[..., 0]


def loss(
    params: Params, batch: Batch, key: jax.Array | None = None, *, rounds: int = 26
) -> tuple[jax.Array, Metrics]:
    """Huber's error of the values of the actions taken, target - Q(s, a), mean over transitions.

    The batch has `exits` and `goal` as `image` takes them; `site` and `action`, integers [B, T];
    `target` and `weight`, float32 [B, T], of which the weight is 0 for what is no transition.
    """
    ops.check_names(batch, "exits", "goal", "site", "action", "target", "weight")
    size = len(batch["exits"])
    ops.check_shape("exits", batch["exits"], (size, "rows", "columns"))
    ops.check_shape("goals", batch["goal"], (size,), "one for a maze")
    ops.check_shape("sites", batch["site"], (size, "transitions"))
    for name in ("action", "target", "weight"):
        ops.check_shape(f"{name}s", batch[name], batch["site"].shape, "one for a transition")
    values = apply(params, image(batch["exits"], batch["goal"]), key, rounds)
    values = read(values, batch["site"])
    value = jnp.take_along_axis(values, batch["action"][..., None], -1)[..., 0]
    error, weight = batch["target"] - value, batch["weight"]
    # At least 1, since a batch may consist of held-out mazes alone.
    total = jnp.maximum(ops.mean_over_shards(weight.sum()), 1.0)
    mean = (weight * optax.losses.huber_loss(error)).sum() / total
    return mean, {"td_error": (weight * jnp.abs(error)).sum() / total}


def read(values: jax.Array, site: jax.Array) -> jax.Array:
    """Values [B, T, A] at the cells `site` [B, T] out of those of all cells [B, H, W, A]."""
    flat = values.reshape(values.shape[0], -1, ACTIONS)
    return jnp.take_along_axis(flat, site[..., None], 1)


def example(config: Config, size: int = 2) -> Batch:
    """A small batch as `loss` takes it, always the same: mazes without walls, two steps in each."""
    sites = config.rows * config.columns
    number = jnp.arange(2 * size).reshape(size, 2)
    return {
        "exits": jnp.full((size, config.rows, config.columns), 15, jnp.uint8),
        "goal": jnp.full(size, sites - 1),
        "site": number % sites,
        "action": number % ACTIONS,
        "target": -1.0 * number,
        "weight": jnp.ones((size, 2)),
    }
