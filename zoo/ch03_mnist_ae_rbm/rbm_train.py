"""Trains and runs the Boltzmann machine of chapter 3; the notebook calls these, the commands too.

Axes: N examples, V visible units; U users, F films.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from zoo.ch03_mnist_ae_rbm import rbm
from zoo.common import fit


def make_optimizer(config: rbm.Config, steps: int) -> optax.GradientTransformation:
    """Momentum on the CD gradient, with weight decay, for a run of `steps` updates."""

    def weights(params: rbm.Params) -> dict[str, bool]:
        return {name: name.endswith("kernel") for name in params}

    last = config.final_rate * config.learning_rate
    schedule = optax.linear_schedule(config.learning_rate, last, max(1, steps))
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=weights),
        optax.sgd(schedule, momentum=config.momentum),
    )


def log_frequencies(rating: jax.Array, values: int, smoothing: float) -> jax.Array:
    """Visible biases [K, V] under which, without weights, the units have the data's frequencies.

    A unit's frequencies are smoothed by `smoothing` examples with the frequencies of all units.

    Args:
      rating: all examples, integers [N, V], as `encode` takes them.
      values: K.
      smoothing: above 0.
    """
    counts = (rating[:, None] == jnp.arange(1, values + 1)[:, None]).sum(0).astype(jnp.float32)
    trials = counts.sum(0) if values > 1 else jnp.full(counts.shape[1], len(rating))
    overall = (counts.sum(1) + 1) / (trials.sum() + max(values, 2))
    share = (counts + smoothing * overall[:, None]) / (trials + smoothing)
    return jnp.log(share) - jnp.log1p(-share) if values == 1 else jnp.log(share)


def start(config: rbm.Config, rating: np.ndarray) -> tuple[optax.GradientTransformation, fit.State]:
    """The solver and the state before the first step on ratings [N, V]."""
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))
    params = rbm.init(init_key, config)
    if config.prior:
        values = len(params["kernel"])
        params["visible_bias"] = log_frequencies(jnp.asarray(rating), values, config.prior)
    optimizer = make_optimizer(config, config.epochs * (len(rating) // config.batch_size))
    return optimizer, fit.start(params, optimizer, fit_key, metrics=("squared_error",))


def stages(config: rbm.Config) -> list[tuple[int, int]]:
    """(k, last epoch) of each part of a run: CD-k with k as `steps` says, in equal parts."""
    ends = [config.epochs * n // len(config.steps) for n in range(1, len(config.steps) + 1)]
    return list(zip(config.steps, ends, strict=True))


def sized(config: rbm.Config, rating: np.ndarray) -> rbm.Config:
    """The configuration for ratings [N, V]: as many visible units, and no larger a batch."""
    examples, units = rating.shape
    batch_size = min(config.batch_size, examples)
    return dataclasses.replace(config, visible=units, batch_size=batch_size)


def squared_error(
    params: rbm.Params, batch: rbm.Batch, key: jax.Array | None = None, *, targets: float
) -> tuple[jax.Array, rbm.Metrics]:
    """Mean squared error of predicted ratings, as a test for `fit`.

    Args:
      params: from `rbm.init`.
      batch: `rating` [B, V], given; `target` [B, V], to be predicted, 0 where there is none.
      key: not used.
      targets: how many there are in an example on average; means over batches then are means
        over all targets.
    """
    predicted = rbm.predict_ratings(params, batch["rating"]).clip(1, 5)
    error = jnp.where(batch["target"] > 0, predicted - batch["target"], 0.0)
    mean = (error**2).sum() / (len(error) * targets)
    return mean, {"squared_error": mean}


def hit_rate(
    params: rbm.Params, batch: rbm.Batch, key: jax.Array | None = None, *, top: int = 10
) -> tuple[jax.Array, rbm.Metrics]:
    """How well held-out films are ranked, as a test for `fit`.

    Args:
      params: from `rbm.init`, of a binary machine.
      batch: `rating` [B, V], given; `held` [B], a film held out; `negative` [B, K], not seen.
      key: not used.
      top: a hit is a film among so many.

    Returns:
      Mean of -log p(held = 1), nats, and `hit_rate`, as `ranking.leave_one_out` has it.
    """
    scores = rbm.predict_ratings(params, batch["rating"])
    held, negative = batch["held"][:, None], batch["negative"]
    own = jnp.take_along_axis(scores, held, axis=1)
    others = jnp.take_along_axis(scores, negative, axis=1)
    rank = ((others >= own) & (negative != held)).sum(1)
    return -jnp.log(own).mean(), {"hit_rate": (rank < top).mean()}


def train(
    config: rbm.Config,
    data: fit.Batch,
    test: fit.Batch | None = None,
    *,
    state: fit.State | None = None,
    mesh: Mesh | None = None,
    follow: Callable[[Iterator[fit.Progress]], fit.State] = fit.last,
) -> fit.State:
    """Trains the machine on `rating`, uint8 [N, V]; returns the last state.

    Args:
      config: one of `rbm.RECIPES`, `sized` for the data.
      data: what the visible units see.
      test: measured at the end of each epoch, if given: with `target` by `squared_error`, with
        `held` by `hit_rate`. Only its `rating`, which is given, reaches the machine.
      state: a restored state to go on from.
      mesh: several devices to split each batch over.
      follow: consumes the reports of `fit.iterate`: shows progress, saves, stops.
    """
    optimizer, fresh = start(config, data["rating"])
    options = {"batch_size": config.batch_size, "mesh": mesh, "test": test}
    if test is not None:
        options["test_loss"] = hit_rate
    if test is not None and "target" in test:
        targets = np.count_nonzero(test["target"]) / len(test["target"])
        options["test_loss"] = functools.partial(squared_error, targets=targets)

    def reports() -> Iterator[fit.Progress]:
        now = fresh if state is None else state
        per_epoch = fit.steps_per_epoch(data, config.batch_size, mesh)
        for k, last in stages(config):
            if int(now.step) < last * per_epoch or last == config.epochs:
                loss = functools.partial(rbm.loss, k=k, sampled_bias=config.sampled_bias)
                for progress in fit.iterate(loss, optimizer, now, data, epochs=last, **options):
                    yield progress
                now = progress.state

    return follow(reports())
