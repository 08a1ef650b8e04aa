"""How the Boltzmann machine is trained: CD-k with k growing in stages, and what its tests measure.

Axes: N examples, V visible units, K values of a unit; in a batch B examples.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from zoo.ch03_mnist_ae_rbm.rbm import model
from zoo.ch03_mnist_ae_rbm.rbm.ratings import TOP, prepare
from zoo.common import fit, ops, settings


def optimizer(config: model.Config, steps: int) -> optax.GradientTransformation:
    """Momentum on the CD gradient, with weight decay, for a run of `steps` updates."""

    def weights(params: model.Params) -> dict[str, bool]:
        return {name: name.endswith("kernel") for name in params}

    last = config.final_rate * config.learning_rate
    schedule = optax.linear_schedule(config.learning_rate, last, max(1, steps))
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=weights),
        optax.sgd(schedule, momentum=config.momentum),
    )


def init(key: jax.Array, config: model.Config, data: fit.Batch) -> model.Params:
    """`model.init`, with visible biases that are the log-frequencies in the data."""
    params = model.init(key, config)
    if config.prior:
        rating = jnp.asarray(prepare(config, data)["rating"])
        values = len(params["kernel"])
        params["visible_bias"] = log_frequencies(rating, values, config.prior)
    return params


def log_frequencies(rating: jax.Array, values: int, smoothing: float) -> jax.Array:
    """Visible biases [K, V] under which, without weights, the units have the data's frequencies.

    A unit's frequencies are smoothed by `smoothing` examples with the frequencies of all units.

    Args:
      rating: all examples, integers [N, V], as `model.encode` takes them.
      values: K.
      smoothing: above 0.
    """
    counts = (rating[:, None] == jnp.arange(1, values + 1)[:, None]).sum(0).astype(jnp.float32)
    trials = counts.sum(0) if values > 1 else jnp.full(counts.shape[1], len(rating))
    # One more of each value, so that one that nobody gave has a finite logarithm.
    overall = (counts.sum(1) + 1) / (trials.sum() + max(values, 2))
    share = (counts + smoothing * overall[:, None]) / (trials + smoothing)
    return jnp.log(share) - jnp.log1p(-share) if values == 1 else jnp.log(share)


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """CD-k with the k that a run begins with, and `held_out`."""
    return _training(config, config.steps[0]), _held_out(config)


def _training(config: model.Config, k: int) -> fit.Loss:
    step = config.scale_of_ratings.step
    return functools.partial(model.loss, k=k, sampled_bias=config.sampled_bias, step=step)


def _held_out(config: model.Config) -> fit.Loss:
    return functools.partial(held_out, step=config.scale_of_ratings.step)


def held_out(
    params: model.Params, batch: fit.Batch, key: Any = None, step: float = 1.0
) -> tuple[jax.Array, model.Metrics]:
    """What a test measures, by what is held out in it: `squared_error`, `hit_rate` or the loss."""
    if "target" in batch:
        return squared_error(params, batch, step)
    return hit_rate(params, batch) if "held" in batch else model.loss(params, batch)


def squared_error(
    params: model.Params, batch: fit.Batch, step: float = 1.0
) -> tuple[jax.Array, model.Metrics]:
    """Mean squared error of the predicted ratings `target` [B, V], 0 where there is none.

    Predictions and targets are counted in steps of the rating scale, the error in its units. The
    metrics hold its `weight` in a mean over several batches, the number of these ratings.
    """
    predicted = model.apply(params, batch["rating"]).clip(1, len(params["kernel"]))
    ops.check_shape("targets", batch["target"], predicted.shape)
    given = batch["target"] > 0
    error = jnp.where(given, predicted - batch["target"], 0.0)
    count = given.sum().astype(jnp.float32)
    mean = step**2 * (error**2).sum() / jnp.maximum(count, 1.0)
    return mean, {"squared_error": mean, "weight": count}


def hit_rate(
    params: model.Params, batch: fit.Batch, top: int = TOP
) -> tuple[jax.Array, model.Metrics]:
    """Mean of -log p(held = 1), nats, and `hit_rate`, as `ratings.leave_one_out` has it.

    The batch has `rating` [B, V], `held` [B], a movie held out, and `negative` [B, K], not seen.
    """
    scores = model.apply(params, batch["rating"])
    ops.check_shape("held", batch["held"], scores.shape[:1], "one movie for an example")
    ops.check_shape("negatives", batch["negative"], (len(scores), "negatives"))
    held, negative = batch["held"][:, None], batch["negative"]
    own = jnp.take_along_axis(scores, held, axis=1)
    others = jnp.take_along_axis(scores, negative, axis=1)
    rank = ((others >= own) & (negative != held)).sum(1)
    return -jnp.log(own).mean(), {"hit_rate": (rank < top).mean()}


def stages(config: model.Config) -> list[tuple[int, int]]:
    """(k, last epoch) of each part of a run: CD-k with k as `steps` says, in equal parts."""
    ends = [config.epochs * n // len(config.steps) for n in range(1, len(config.steps) + 1)]
    return list(zip(config.steps, ends, strict=True))


def iterate(
    config: model.Config,
    state: fit.State,
    data: fit.Batch,
    test: fit.Batch | None = None,
    mesh: Mesh | None = None,
) -> Iterator[fit.Progress[fit.State]]:
    """Trains on `rating`, uint8 [N, V], stage by stage.

    Of `test`, measured by `held_out` at the end of each epoch, only `rating` reaches the machine.
    """
    most, values = int(data["rating"].max()), config.scale_of_ratings.values
    if config.units == "softmax" and most > values:
        raise settings.SettingError(f"got a rating {most}, expected 1 to {values}, and 0 for none")
    steps = fit.steps_per_epoch(data, config.batch_size, mesh)
    for k, last in stages(config):
        # Stages that lie behind are left out; the last one refuses a run that is at its end.
        if int(state.step) < last * steps or last == config.epochs:
            for progress in fit.iterate(
                _training(config, k),
                optimizer(config, config.epochs * steps),
                state,
                prepare(config, data),
                epochs=last,
                batch_size=config.batch_size,
                test=None if test is None else prepare(config, test),
                test_loss=_held_out(config),
                mesh=mesh,
            ):
                yield progress
            state = progress.state
