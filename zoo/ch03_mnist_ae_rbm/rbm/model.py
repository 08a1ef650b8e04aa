"""Chapter 3: a restricted Boltzmann machine that recommends movies.

Binary hidden units h and visible units v, joined by weights W but not among themselves:
E(v, h) = - sum b v - sum c h - sum v W h, and p(v, h) = exp(-E) / Z (Smolensky 1986; Hinton 2002).
A visible unit stands for a movie and an example is a user, or the other way round. The same
functions serve two kinds of unit, which differ in K, the number of values a unit can take:

- K = 1, binary (the book's): 1 or 0, and all units always take part.
- K = 5, softmax (Salakhutdinov, Mnih & Hinton 2007): one of five ratings, one-hot, or as many as
  the scale of your own has. A movie that was not rated has no unit in that example, and so never
  enters as a zero; that it was rated at all moves the hidden units by `rated_kernel`, the paper's
  conditional machine.

Axes: B examples in a batch, K values, V visible units, H hidden units. Energies are in nats.
`visible` is float32 [B, K, V]; `rated`, float32 [B, V], is 1 where a unit takes part. README.md
lists where this departs from the book.
"""

import dataclasses
from typing import Annotated, Literal

import jax
import jax.numpy as jnp

from zoo.common import ops, settings
from zoo.common.settings import (
    MOST_VALUES,
    Bounds,
    Count,
    NotNegative,
    Scale,
    Seed,
    Share,
    Size,
    Strength,
)

Params = dict[str, jax.Array]
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of `rbm train`."""

    recipe: Literal["modern", "item", "ranking", "book"] = "modern"
    """modern and item predict ratings, item better, ranking ranks movies of MovieLens 1M, book is
    the book's machine; other flags change single fields of it"""
    dataset: Literal["ml-100k", "ml-1m"] = "ml-100k"
    """which ratings of MovieLens"""
    ratings: str = ""
    """a file of your own ratings in place of MovieLens: user,item,rating,time in each line"""
    titles: str = ""
    """a file of titles for them: item,title in each line"""
    rating_scale: tuple[Annotated[float, Bounds(-1000, 1000)], ...] = ()
    """lowest and highest of your own ratings, and the step between; read from the file if empty"""
    split: Literal["auto", "all", "leave-one-out", "u1", "u2", "u3", "u4", "u5"] = "auto"
    """what is held out; auto is u1 of 100K, leave-one-out of 1M, a tenth of your own; or all"""
    example: Literal["user", "item"] = "user"
    """user: movies are the visible units and a user is an example; item: the other way round"""
    units: Literal["softmax", "binary"] = "softmax"
    """softmax: ratings from 1 to 5, missing ones left out; binary: 1 or 0"""
    liked: Annotated[int, Bounds(1, MOST_VALUES)] = 1
    """binary units are 1 from this rating on, counted from the lowest of the scale; 1: always"""
    visible: Size = 1682
    """number of visible units; `train` sets it to what the data have"""
    hidden: Size = 200
    """number of hidden units"""
    scale: Strength = 0.01
    """standard deviation of the first weights"""
    prior: Strength = 20.0
    """first visible biases are log frequencies, smoothed by so many ratings; 0 begins at 0"""
    steps: tuple[Size, ...] = (1, 3, 5)
    """k of CD-k in equal parts of the run, one after the other"""
    sampled_bias: bool = False
    """the hidden biases learn from samples of the data's hidden units, as printed in the book"""
    learning_rate: NotNegative = 0.05
    """at the beginning; it falls to `final_rate` of this in a straight line"""
    final_rate: Share = 0.1
    """share of the learning rate that is left at the end"""
    momentum: Annotated[float, Bounds(0, below=1)] = 0.9
    """share of the last update that is added to the next"""
    weight_decay: Strength = 0.01
    """L2 penalty on the weights, not on the biases"""
    epochs: Count = 60
    """passes over the examples"""
    batch_size: Size = 50
    """examples per update; all of them where there are fewer"""
    seed: Seed = 0
    """of the weights, the order of the examples and the Gibbs chains"""

    def __post_init__(self) -> None:
        settings.check(self)
        if not self.steps:
            raise settings.SettingError("got no steps, expected at least one number, such as 1")
        if self.rating_scale and not (
            len(self.rating_scale) == 3
            and self.rating_scale[2] > 0
            and 2 <= self.scale_of_ratings.values <= MOST_VALUES
        ):
            raise settings.SettingError(
                f"got rating_scale {self.rating_scale}, expected lowest, highest and step of 2 to "
                f"{MOST_VALUES} ratings, such as 0.5 5 0.5"
            )

    @property
    def scale_of_ratings(self) -> Scale:
        """What ratings there are: 1 to 5 if nothing else is said."""
        return Scale(*self.rating_scale)

    @property
    def values(self) -> int:
        """K, the number of values that a visible unit can take."""
        return 1 if self.units == "binary" else self.scale_of_ratings.values


RECIPES = {
    "modern": Config(),
    "item": Config(
        recipe="item",
        example="item",
        visible=943,
        prior=5.0,
        learning_rate=0.02,
        weight_decay=1e-3,
    ),
    "ranking": Config(
        recipe="ranking",
        dataset="ml-1m",
        units="binary",
        visible=3706,
        prior=5.0,
        steps=(1,),
        learning_rate=0.1,
        weight_decay=1e-3,
        epochs=30,
        batch_size=100,
    ),
    "book": Config(
        recipe="book",
        dataset="ml-1m",
        split="all",
        units="binary",
        liked=4,
        visible=3706,
        scale=1.0,
        prior=0.0,
        steps=(1,),
        sampled_bias=True,
        learning_rate=1.0,
        final_rate=1.0,
        momentum=0.0,
        weight_decay=0.0,
        epochs=100,
        batch_size=604,  # ten updates an epoch of 6,040 users: the book's 1,000 iterations
    ),
}


def init(key: jax.Array, config: Config) -> Params:
    """Weights from N(0, scale^2), biases 0; only softmax units have a `rated_kernel`."""
    kernel_key, rated_key = jax.random.split(key)
    units, hidden = config.visible, config.hidden
    values = config.values
    params = {
        "kernel": config.scale * jax.random.normal(kernel_key, (values, units, hidden)),
        "visible_bias": jnp.zeros((values, units)),
        "hidden_bias": jnp.zeros(hidden),
    }
    if values > 1:
        params["rated_kernel"] = config.scale * jax.random.normal(rated_key, (units, hidden))
    return params


def encode(rating: jax.Array, values: int) -> tuple[jax.Array, jax.Array]:
    """Ratings, integers [B, V], 0 where there is none, as (`visible`, `rated`).

    With one value the entries are 1 or 0 and all take part; with more, those above 0 do.
    """
    ops.check_integers("ratings", rating, "counted from 1, the lowest of the scale; 0 for none")
    visible = (rating[:, None] == jnp.arange(1, values + 1)[:, None]).astype(jnp.float32)
    rated = rating > 0 if values > 1 else jnp.ones(rating.shape)
    return visible, rated.astype(jnp.float32)


def free_energy(params: Params, visible: jax.Array, rated: jax.Array) -> jax.Array:
    """F(v) = -log sum_h exp(-E(v, h)) = - b v - sum_h softplus(c + v W + r D), [B]."""
    inputs = hidden_inputs(params, visible, rated)
    bias = jnp.einsum("bkv,kv->b", visible, params["visible_bias"])
    return -bias - jax.nn.softplus(inputs).sum(-1)


def hidden_inputs(params: Params, visible: jax.Array, rated: jax.Array) -> jax.Array:
    """Log-odds c + v W + r D of the hidden units, [B, H]."""
    values, units, hidden = params["kernel"].shape
    ops.check_shape("visible units", visible, ("batch", values, units), "make them by `encode`")
    ops.check_shape("marks of rated units", rated, (visible.shape[0], units))
    flat = visible.reshape(-1, values * units)  # one matrix product for all K values
    inputs = params["hidden_bias"] + flat @ params["kernel"].reshape(-1, hidden)
    return inputs + rated @ params["rated_kernel"] if "rated_kernel" in params else inputs


def hidden_given_visible(params: Params, visible: jax.Array, rated: jax.Array) -> jax.Array:
    """p(h = 1 | v), [B, H]: the sigmoid of `hidden_inputs`."""
    return jax.nn.sigmoid(hidden_inputs(params, visible, rated))


def visible_given_hidden(params: Params, hidden: jax.Array, rated: jax.Array) -> jax.Array:
    """p(v | h), [B, K, V]: sigmoid for K = 1, else softmax over the values; 0 where not rated."""
    values, units, width = params["kernel"].shape
    inputs = hidden @ params["kernel"].reshape(-1, width).T
    inputs = inputs.reshape(-1, values, units) + params["visible_bias"]
    probabilities = jax.nn.sigmoid(inputs) if values == 1 else jax.nn.softmax(inputs, axis=1)
    return probabilities * rated[:, None]


def sample_hidden(key: jax.Array | None, probabilities: jax.Array) -> jax.Array:
    """Units drawn from their probabilities [B, H]; the probabilities themselves without a key."""
    if key is None:
        return probabilities
    return jax.random.bernoulli(key, probabilities).astype(jnp.float32)


def sample_visible(key: jax.Array | None, probabilities: jax.Array) -> jax.Array:
    """One-hot values drawn from probabilities [B, K, V]; without a key, the probabilities."""
    if key is None:
        return probabilities
    uniform = jax.random.uniform(key, (probabilities.shape[0], 1, probabilities.shape[2]))
    below = (uniform < jnp.cumsum(probabilities, axis=1)).astype(jnp.float32)
    return jnp.diff(below, axis=1, prepend=0.0)  # the first value that passes it


def gibbs(
    params: Params, hidden: jax.Array, rated: jax.Array, key: jax.Array | None = None, k: int = 1
) -> jax.Array:
    """`visible` after k steps from hidden units [B, H]: v ~ p(v|h), and h ~ p(h|v) between.

    Without a key each layer is set to its probabilities instead (mean field).
    """

    def keys(step: int) -> tuple[jax.Array | None, jax.Array | None]:
        if key is None:
            return None, None
        up_key, down_key = jax.random.split(jax.random.fold_in(key, step))
        return up_key, down_key

    def step(n: int, visible: jax.Array) -> jax.Array:
        up_key, down_key = keys(n)
        hidden = sample_hidden(up_key, hidden_given_visible(params, visible, rated))
        return sample_visible(down_key, visible_given_hidden(params, hidden, rated))

    visible = sample_visible(keys(0)[1], visible_given_hidden(params, hidden, rated))
    return jax.lax.fori_loop(1, k, step, visible) if k > 1 else visible


def loss(
    params: Params,
    batch: Batch,
    key: jax.Array | None = None,
    *,
    k: int = 1,
    sampled_bias: bool = False,
    step: float = 1.0,
) -> tuple[jax.Array, Metrics]:
    """Mean free energy of the data minus that of a Gibbs chain's end, in nats per example.

    Its gradient, with the chain held fixed, is that of contrastive divergence, CD-k: for the
    weights the mean of v_k p(h | v_k) - v_0 p(h | v_0) (Hinton 2002). Its value is no measure of
    progress.

    Args:
      params: from `init`.
      batch: `rating`, integers [B, V], as `encode` takes it.
      key: of the chain; without it there is mean field in place of samples.
      k: how many steps of Gibbs sampling.
      sampled_bias: in the hidden biases' gradient the data's part is a sample, as the book prints.
      step: of the rating scale, in whose units the error is measured.

    Returns:
      The loss and, beside it, `squared_error` between data and chain, per unit that takes part.
    """
    ops.check_names(batch, "rating")
    ops.check_shape("ratings", batch["rating"], ("batch", params["kernel"].shape[1]))
    up_key, chain_key = (None, None) if key is None else jax.random.split(key)
    data, rated = encode(batch["rating"], params["kernel"].shape[0])
    fixed = jax.lax.stop_gradient(params)
    probabilities = hidden_given_visible(fixed, data, rated)
    sample = sample_hidden(up_key, probabilities)
    end = gibbs(fixed, sample, rated, chain_key, k)
    value = (free_energy(params, data, rated) - free_energy(params, end, rated)).mean()
    if sampled_bias:  # of no expectation; it turns the data's mean into its sample
        value += (probabilities - sample).mean(0) @ params["hidden_bias"]
    # A sum of products and no matrix product, which would not be fused: 6 % of a step.
    difference = ((data - end) * jnp.arange(1.0, data.shape[1] + 1)[:, None]).sum(1)
    error = (difference**2).sum() / jnp.maximum(ops.mean_over_shards(rated.sum()), 1.0)
    return value, {"squared_error": step**2 * error}


def apply(params: Params, rating: jax.Array) -> jax.Array:
    """The expected rating of every movie, [B, V], given the known ones; with K = 1, p(v = 1).

    Ratings are counted from 1, the lowest of the scale. One step of mean field gives all units'
    values, from the probabilities of the hidden units.
    """
    ops.check_shape("ratings", rating, ("batch", params["kernel"].shape[1]))
    visible, rated = encode(rating, params["kernel"].shape[0])
    hidden = hidden_given_visible(params, visible, rated)
    probabilities = visible_given_hidden(params, hidden, jnp.ones_like(rated))
    return jnp.einsum("bkv,k->bv", probabilities, jnp.arange(1.0, probabilities.shape[1] + 1))


def likeness(params: Params, rating: jax.Array, given: jax.Array) -> jax.Array:
    """How likely each visible unit is that of a person who has none, [V]; the sum is 1.

    The units of an item-based machine are its users. Without ratings of a newcomer any of them is
    as likely to be theirs; with `given`, p(u | r) is proportional to prod_b p(v_u = r_b | h_b). The
    mean of `apply` over the units, weighted by this, is what is expected of the newcomer.

    Args:
      params: of softmax units.
      rating: of the movies that the newcomer rated, the users' ratings, as in `apply` [B, V].
      given: the newcomer's, integers from 1 [B].
    """
    ops.check_shape("ratings", rating, ("batch", params["kernel"].shape[1]))
    ops.check_shape("a newcomer's ratings", given, rating.shape[:1], "one for each movie")
    ops.check_integers("a newcomer's ratings", given, "counted from 1, the lowest of the scale")
    visible, rated = encode(rating, params["kernel"].shape[0])
    hidden = hidden_given_visible(params, visible, rated)
    probabilities = visible_given_hidden(params, hidden, jnp.ones_like(rated))
    own = jnp.take_along_axis(probabilities, given[:, None, None] - 1, axis=1)[:, 0]
    return jax.nn.softmax(jnp.log(jnp.maximum(own, 1e-30)).sum(0))  # a zero would exclude for good


def example(config: Config, size: int = 2) -> Batch:
    """A batch of made-up ratings, the same each time: about a third of the units are rated."""
    key = jax.random.key(0)
    highest = config.values
    drawn = jax.random.randint(key, (size, config.visible), -2 * highest + 1, highest + 1)
    return {"rating": jnp.maximum(drawn, 0).astype(jnp.uint8)}
