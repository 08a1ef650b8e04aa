"""Trains many configurations of one shape at once: one compiled epoch, mapped over all of them.

The chapter's exercises ask what a change of a number does. Networks of equal shapes that differ
in numbers alone are lanes of one array program, so `jax.vmap` trains them side by side; each lane
is the run that `train` makes of its configuration.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch03_mnist_ae_rbm import train
from zoo.common import device, fit

SWEPT = ("learning_rate", "weight_decay", "target_on", "target_off", "seed")
"""The fields that may differ between lanes; all others shape the program."""


class Epoch(NamedTuple):
    """What a sweep says after each epoch."""

    number: int  # from 1
    states: fit.State  # of all lanes: each leaf has a leading axis [L]
    metrics: dict[str, np.ndarray]  # the same names as in `fit.Progress`, each [L]


def sweep(
    configs: Sequence[train.Config], data: fit.Batch, test: fit.Batch | None = None
) -> Iterator[Epoch]:
    """Trains all configurations at once, with a report after each epoch.

    Args:
      configs: L of them, equal but for the fields in `SWEPT`.
      data: the training images, as in `train.train`.
      test: measured at the end of each epoch, if given.

    Raises:
      ValueError: there is none, or they differ in another field; names it.
      BatchError: the batch does not fit the data.
    """
    _check(configs)
    config, lanes = configs[0], jnp.arange(len(configs))
    steps = fit.steps_per_epoch(data, config.batch_size)
    examples = steps * config.batch_size
    swept = {name: jnp.array([getattr(c, name) for c in configs]) for name in SWEPT
             if hasattr(config, name)}  # fmt: skip

    def of_lane(lane: jax.Array) -> train.Config:
        return dataclasses.replace(config, **{name: a[lane] for name, a in swept.items()})

    def train_epoch(lane, state, order, data):
        own = of_lane(lane)
        optimizer, _ = train.start(own, examples)
        step = fit.make_step(train.losses(own)[0], optimizer)

        def one(state, index):
            return step(state, {name: a[index] for name, a in data.items()})

        state, metrics = jax.lax.scan(one, state, order)
        return state, {f"train_{name}": values.mean() for name, values in metrics.items()}

    def measure(lane, state, test):
        value, metrics = train.losses(of_lane(lane))[1](state.params, test, None)
        return {"test_loss": value, **{f"test_{name}": m for name, m in metrics.items()}}

    def measure_all(states, test):
        # One lane after the other: a lane's activations of a whole test set fill the memory.
        return jax.lax.map(lambda pair: measure(*pair, test), (lanes, states))

    states = device.jit(jax.vmap(lambda lane: train.start(of_lane(lane), examples)[1]))(lanes)
    train_all = device.jit(jax.vmap(train_epoch, in_axes=(0, 0, 0, None)), donate_argnums=1)
    measure_all = device.jit(measure_all)
    data, test = jax.device_put((data, test))
    for epoch in range(config.epochs):
        whole = len(next(iter(data.values())))
        orders = jax.vmap(lambda s: fit.order(s, epoch, whole, config.shuffle))(states)  # noqa: B023
        orders = orders[:, :examples].reshape(len(configs), steps, config.batch_size)
        states, metrics = train_all(lanes, states, orders, data)
        if test is not None:
            metrics |= measure_all(states, test)
        yield Epoch(epoch + 1, states, {name: np.asarray(m) for name, m in metrics.items()})


def _check(configs: Sequence[train.Config]) -> None:
    if not configs:
        raise ValueError("got no configurations, expected at least one")
    first = dataclasses.asdict(configs[0])
    for number, config in enumerate(configs):
        other = dataclasses.asdict(config)
        if other.keys() != first.keys():
            raise ValueError(f"configuration {number} is of another network than the first")
        differ = [name for name in first if other[name] != first[name] and name not in SWEPT]
        if differ:
            raise ValueError(
                f"configuration {number} differs from the first in {differ}, expected in "
                f"{list(SWEPT)} alone: sweep over other fields one after the other"
            )
