"""Chapter 7: Q-networks for one maze, and what a DQN learns from (Mnih et al. 2015).

Two networks with the same functions. `site` sees the number of the site as a one-hot vector and
gives the values of all four actions at once; `coordinates` is the book's, which sees
(x, y, dx, dy) and gives one value, so it is applied once for each action. `apply` tells them apart
by their last layer. The targets that `loss` compares with are computed outside of it, from a frozen
copy of the parameters.

Axes: B transitions in a batch, S sites of the maze, A = 4 actions, F = 4 numbers of the book's
input. `_tm1` is before a step, `_t` after it. README.md lists where this departs from the book.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax

from zoo.ch07_dqn import kinds
from zoo.common import ops
from zoo.common.settings import Bounds, Count, NotNegative, Seed, SettingError, Share, Size

Params = dict[str, Any]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
ACTIONS = 4


@dataclasses.dataclass(frozen=True)
class Config:
    """The agents, their mazes and their training."""

    recipe: Literal["modern", "mended", "book"] = "modern"
    """the whole configuration to start from; other flags change single fields of it"""
    maze: str = ""
    """a file with the plan of a maze of your own: # walls, spaces floor, S start, G goal"""
    rows: Size = 5
    """rows of cells"""
    columns: Size = 10
    """columns of cells; 5x10 cells are 11x21 tiles"""
    method: Literal["depth-first", "prim"] = "depth-first"
    """how mazes are made: long corridors, or many short dead ends"""
    extra: Share = 0.0
    """share of the other inner walls opened as well; above 0 several ways lead to the goal"""
    mazes: Size = 1
    """so many mazes at once; their seeds count up from maze_seed"""
    agents: Size = 1
    """so many agents in each maze, with seeds of their own"""
    maze_seed: Annotated[int, Bounds(0)] = 0
    """seed of the first maze"""
    rewards: Literal["modern", "book"] = "modern"
    """modern: -1 a step; book: goal 100, start -100, other floor 0 or -1"""
    transposed: bool = False
    """take rows for columns as the book does: the goal then lies where no way leads"""
    spread: bool = True
    """episodes start all over the maze, not only at its entrance"""
    limit: Count = 200
    """steps until an episode is cut off"""
    endless: bool = False
    """never begin a new episode, neither at the goal nor at the limit, as the book does"""
    network: Literal["site", "coordinates"] = "site"
    """what the network sees: one input for each site, or the book's x, y, dx, dy"""
    hidden: tuple[Size, ...] = (32,)
    """widths of the hidden layers"""
    activation: Literal["relu", "tanh"] = "relu"
    """behind each hidden layer"""
    bias: bool = True
    """layers have biases"""
    scaled: bool = True
    """coordinates from -1 to 1; off: as they are, up to 20"""
    optimistic: bool = True
    """the last layer begins near 0: values better than any to come, so every move gets tried"""
    discount: Share = 0.99
    """gamma, by which a reward loses with each step that it lies ahead"""
    epsilon: Share = 1.0
    """share of random moves in the first episode"""
    epsilon_decay: Share = 0.995
    """by this factor it falls with each episode"""
    epsilon_min: Share = 0.01
    """down to this"""
    legal_moves: bool = True
    """only moves that are open are chosen, and looked at in targets"""
    choice: Literal["best", "running-maximum"] = "best"
    """running-maximum: any action better than those before it in the list, as the book does"""
    replay: Literal["sample", "first", "never"] = "sample"
    """how memory is used: drawn at random, always its first places, not at all"""
    capacity: Annotated[int, Bounds(1, ceiling=2**24)] = 2000
    """transitions in memory"""
    batch_size: Size = 32
    """transitions per update; one update a step"""
    n_step: Size = 1
    """so many rewards are added up before the network's value takes their place"""
    double: bool = True
    """the newest network names the best next action, the target network values it"""
    target_every: Count = 100
    """steps from one copy of the target network to the next"""
    loss: Literal["huber", "squared"] = "huber"
    """of the temporal-difference error"""
    crossed_cost: bool = False
    """compare every target with every value, a row less a column, as the book's cost does"""
    solver: Literal["rmsprop", "adam"] = "rmsprop"
    """rmsprop: Gorgonia's; it is also the one of the first DQN"""
    learning_rate: NotNegative = 1e-3
    """of the solver"""
    epochs: Count = 60
    """parts of a run; after each one the greedy policy is tested"""
    epoch_steps: Annotated[int, Bounds(1, ceiling=2**24)] = 1000
    """steps in each part"""
    seed: Seed = 0
    """of the weights, the exploration and the samples"""

    def __post_init__(self) -> None:
        kinds.check(self)
        if self.maze and self.mazes > 1:
            raise SettingError(f"got a maze and mazes {self.mazes}, expected 1: there is one plan")
        if self.maze_seed + self.mazes > 2**31:
            raise SettingError(
                f"got maze_seed {self.maze_seed} and {self.mazes} mazes, whose seeds count up from "
                f"it, expected them below {2**31:,}"
            )
        if self.epoch_steps % self.target_every:
            raise SettingError(
                f"got epoch_steps {self.epoch_steps} and target_every {self.target_every}: the "
                "first must be a multiple of the second"
            )
        if self.n_step > self.capacity:
            raise SettingError(
                f"got n_step {self.n_step} and capacity {self.capacity}: memory must hold so many "
                "transitions"
            )
        if self.n_step > 1 and self.replay == "first":
            raise SettingError(
                f"got n_step {self.n_step} and replay first, which takes single transitions: use "
                "replay sample"
            )


_MEANT: dict[str, Any] = {  # what the text means
    **{"rewards": "book", "network": "coordinates", "hidden": (128, 128), "activation": "tanh"},
    **{"optimistic": False, "discount": 0.95, "loss": "squared"},
}
_PRINTED: dict[str, Any] = {  # where the program isn't what the text means
    **{"transposed": True, "spread": False, "limit": 1000, "endless": True},  # its maze
    **{"hidden": (2, 128, 128), "bias": False, "scaled": False},  # its network
    **{"epsilon": 0.0, "epsilon_min": 0.0, "choice": "running-maximum"},  # its choice
    **{"replay": "never", "double": False, "target_every": 1, "crossed_cost": True},  # its updates
}

RECIPES = {
    "modern": Config(),
    "mended": Config("mended", **_MEANT),
    "book": Config("book", **_MEANT | _PRINTED),
}


def sites(config: Config) -> int:
    """S, the tiles of the maze."""
    return (2 * config.rows + 1) * (2 * config.columns + 1)


def init(key: jax.Array, config: Config) -> Params:
    """Normal kernels, variance 2 / (fan in + fan out): Gorgonia's GlorotU in float32; biases 0."""
    glorot = jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal")
    ends = (sites(config), ACTIONS) if config.network == "site" else (4, 1)
    widths = list(itertools.pairwise((ends[0], *config.hidden, ends[1])))
    keys = jax.random.split(key, len(widths))
    layers = [{"kernel": glorot(k, pair)} for k, pair in zip(keys, widths, strict=True)]
    if config.bias:
        layers = [{**layer, "bias": jnp.zeros(layer["kernel"].shape[1])} for layer in layers]
    if config.optimistic:
        layers[-1]["kernel"] *= 0.01  # 0 is more than any return at -1 a step
    return {"dense": layers}


def example(config: Config, size: int = 2) -> Batch:
    """A small batch as `loss` takes it, always the same."""
    number = jnp.arange(size)
    obs = number % sites(config)
    if config.network == "coordinates":
        obs = coordinates(obs, 2 * config.columns + 1, 2 * config.rows + 1, config.scaled)
    return {"obs": obs, "action": number % ACTIONS, "target": -1.0 * number}


def coordinates(site: jax.Array, width: int, height: int, scaled: bool = True) -> jax.Array:
    """The book's input for each action at a site, int32 [...]: x, y, dx, dy, float32 [..., A, F].

    The grid has `width` columns and `height` rows; scaled, x and y go from -1 to 1.
    """
    y, x = (part.astype(jnp.float32) for part in jnp.divmod(site, width))
    if scaled:
        x, y = 2.0 * x / (width - 1) - 1.0, 2.0 * y / (height - 1) - 1.0
    here = jnp.stack([x, y], -1)[..., None, :]
    moves = jnp.array([(1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (-1.0, 0.0)])
    shape = (*site.shape, ACTIONS, 2)
    return jnp.concatenate([jnp.broadcast_to(here, shape), jnp.broadcast_to(moves, shape)], -1)


def apply(
    params: Params, obs: jax.Array, key: jax.Array | None = None, activation: str = "relu"
) -> jax.Array:
    """Values of all actions, float32 [..., A]; nothing is random, `key` is not used.

    A network with one input for each site takes integers [...]; the book's takes `coordinates`,
    floats [..., A, F], which it values one by one (A may be any number).
    """
    ops.check_choice("activation", activation, ("relu", "tanh"))
    first, *rest = params["dense"]
    inputs, by_site = len(first["kernel"]), params["dense"][-1]["kernel"].shape[1] == ACTIONS
    whole = jnp.issubdtype(obs.dtype, jnp.integer)
    if whole != by_site or not (by_site or (obs.ndim > 1 and obs.shape[-1] == inputs)):
        floats = f"floats of shape (..., actions, {inputs}): make them by `coordinates`"
        raise ValueError(
            f"observations are {obs.dtype} of shape {obs.shape}, expected "
            f"{'integers, the numbers of sites' if by_site else floats}"
        )
    # A one-hot vector times the kernel, without the zeros; or the product itself.
    x = first["kernel"][obs] if by_site else obs @ first["kernel"]
    x += first.get("bias", 0.0)
    for layer in rest:
        x = getattr(jax.nn, activation)(x) @ layer["kernel"] + layer.get("bias", 0.0)
    return x if by_site else x[..., 0]


def td_error(value_tm1: jax.Array, target: jax.Array) -> jax.Array:
    """The temporal-difference error, target - Q(s, a), elementwise."""
    return target - value_tm1


def loss(
    params: Params,
    batch: Batch,
    key: jax.Array | None = None,
    *,
    activation: str = "relu",
    kind: str = "huber",
    errors: Callable[[jax.Array, jax.Array], jax.Array] = td_error,
) -> tuple[jax.Array, Metrics]:
    """Mean cost of the errors of the values of the actions taken: squared, or Huber's.

    Huber's is `e^2 / 2` up to `|e| = 1`, then `|e| - 1 / 2`. The batch has `obs` as `apply` takes
    it, `action`, integers [B], `target`, float32 [B]; `errors` are of values and targets [B]; the
    book's are of all pairs. Nothing is random, `key` is not used.

    Returns:
      The loss and, beside it, the mean absolute error and the mean value.
    """
    ops.check_choice("kind", kind, ("huber", "squared"))
    ops.check_names(batch, "obs", "action", "target")
    values = apply(params, batch["obs"], key, activation)
    ops.check_shape("values", values, ("transitions", "actions"), "one site for a transition")
    for name in ("action", "target"):  # another shape would compare every target with every value
        ops.check_shape(f"{name}s", batch[name], values.shape[:1], "one for an observation")
    value = pick(values, batch["action"])
    error = errors(value, batch["target"])
    costs = error**2 if kind == "squared" else optax.losses.huber_loss(error)
    return costs.mean(), {"td_error": jnp.abs(error).mean(), "value": value.mean()}


def pick(values: jax.Array, action: jax.Array) -> jax.Array:
    """The values [...] of one action each out of [..., A]."""
    # A product, because the gradient of an indexing is slow on CPUs.
    return (values * jax.nn.one_hot(action, values.shape[-1])).sum(-1)


def td_target(
    reward_t: jax.Array,
    discount_t: jax.Array,
    values_t: jax.Array,
    choosing_t: jax.Array,
    legal_t: jax.Array,
) -> jax.Array:
    """What the value of a transition should have been: r + discount Q(s', argmax_b P(s', b)).

    Args:
      reward_t: r [].
      discount_t: [], 0 where the episode terminated.
      values_t: Q [A], of the target network at the next site.
      choosing_t: P [A]: the same for DQN, of the newest network for double DQN (van Hasselt, Guez &
        Silver 2016), which so overestimates less.
      legal_t: bool [A], the actions to choose from.
    """
    best = jnp.argmax(jnp.where(legal_t, choosing_t, -jnp.inf))
    return reward_t + discount_t * pick(values_t, best)


def n_step_return(
    rewards: jax.Array, terminated: jax.Array, ended: jax.Array, discount: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The rewards [n] of n consecutive steps as one transition, which stops where the episode does.

    Bool [n] say where the goal was reached (`terminated`), and where the goal or the limit was
    (`ended`).

    Returns:
      sum_k gamma^k r_k, the discount of what follows (0 after the goal), and which of the n steps
      was the last.
    """
    before = jnp.cumprod(jnp.concatenate([jnp.ones(1), 1.0 - ended[:-1]]))
    powers = discount ** jnp.arange(len(rewards))
    last = before.sum().astype(jnp.int32) - 1
    follows = discount * powers[last] * (1.0 - terminated[last])
    return (before * powers * rewards).sum(), follows, last


def choose(values: jax.Array, legal: jax.Array, chance: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Epsilon-greedy: a random legal action with probability `epsilon`, else the best one.

    `values` are float32 [A], `legal` is bool [A], `chance` two uniform numbers in [0, 1).
    """
    greedy = jnp.argmax(jnp.where(legal, values, -jnp.inf))
    return jnp.where(chance[0] < epsilon, pick_one(legal, chance[1]), greedy)


def pick_one(mask: jax.Array, chance: jax.Array) -> jax.Array:
    """The index of one of the set bits [A], all equally likely for a uniform `chance`."""
    number = jnp.floor(chance * mask.sum()).astype(jnp.int32)
    return jnp.argmax(jnp.cumsum(mask) > number)
