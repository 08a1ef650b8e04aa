"""The one supervised training loop, in the caller's hand: `iterate`, and `last` for its end.

The data set lies on the device, an epoch's order is drawn there, and a batch is gathered inside
the compiled loop. How many steps one compiled call makes is the loop's own business and changes
nothing in the result, so progress can be shown and a run can be stopped within an epoch.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo.common import device, keys, ops

Batch = dict[str, Any]
Loss = Callable[..., tuple[jax.Array, Any]]
Weights = dict[str, Any]
"""What evaluation and prediction need of a state: `params` and, where there are any, `stats`."""
Average = Callable[[Any, Any, jax.Array], Any]
"""(average, parameters after a step, steps made before it) -> the average after it."""
Form = Literal["loop", "step"]


class State(NamedTuple):
    """All that training carries on; a run resumed from it equals an unbroken one."""

    params: Any
    opt_state: Any
    stats: Any  # running statistics that no gradient teaches (batch norm); None if there are none
    carry: Any  # what a batch hands on (a recurrent state [batch, ...], a count); None for nothing
    average: Any  # of the parameters over the steps; None if none is kept
    key: jax.Array  # of the whole run; those of steps and orders are derived from it
    step: jax.Array  # int32 [], updates made so far
    totals: dict[str, jax.Array]  # sums of the metrics since the epoch began


S = TypeVar("S")  # a loop's own state: `State`, or that of an algorithm that owns its loop


class Progress(NamedTuple, Generic[S]):
    """What `iterate` reports after each compiled call."""

    state: S  # its buffers are given to the next call: read or save it before asking for more
    epoch: int  # the epoch under way or just ended, from 1
    steps: int  # updates that this call made
    seconds: float  # that this call took, compilation apart
    compile_seconds: float  # spent on compilation since the last report
    metrics: dict[str, float] | None  # at an epoch's end: its means and the test's; else None


def weights_of(state: State) -> Weights:
    """The parameters of a state, averaged if an average is kept, and its running statistics."""
    stats = {} if state.stats is None else {"stats": state.stats}
    return {"params": state.params if state.average is None else state.average, **stats}


class BatchError(ValueError):
    """The batch does not fit the data set or the devices."""


class FinishedError(ValueError):
    """There is nothing left to train."""


class NonFiniteError(ValueError):
    """The loss, or what an update made, became infinite or not a number."""


def finite(tree: Any) -> jax.Array:
    """Whether all numbers of a tree are finite, bool []."""
    leaves = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in leaves]))


def start(
    params: Any,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    metrics: tuple[str, ...] = (),
    *,
    stats: Any = None,
    carry: Any = None,
    averaged: bool = False,
) -> State:
    """The state before the first step; `metrics` names what the loss returns beside its value.

    `stats` and `carry` are those before the first batch; `averaged`, an average of the parameters
    is kept, which `make_step` updates.
    """
    totals = {name: jnp.float32(0) for name in ("loss", *metrics, "bad_step")}
    average = jax.tree.map(jnp.copy, params) if averaged else None
    opt_state = optimizer.init(params)
    return State(params, opt_state, stats, carry, average, key, jnp.int32(0), totals)


def kept(state: State) -> tuple[Any, ...]:
    """What a loss takes behind the key and returns updated: statistics, carry, or neither."""
    return tuple(part for part in (state.stats, state.carry) if part is not None)


def make_step(
    loss: Loss, optimizer: optax.GradientTransformation, average: Average | None = None
) -> Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]:
    """One update as a pure function: (state, batch) -> (state, metrics).

    `loss(params, batch, key)` returns (value, metrics); where a state has running statistics or a
    carry, it is `loss(params, batch, key, *kept)` and returns `(value, (metrics, *kept))`, see
    `kept`. `average` makes the average that a state keeps follow the updated parameters.

    Where the batch is split over shards, see `iterate`, each draws from a key of its own, and loss,
    metrics and gradients are the means over the shards.
    """

    def step(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        if (state.average is None) != (average is None):
            raise ValueError("got an average without a rule for it, or the other way round")
        key = keys.derive(state.key, "step", state.step)  # a resumed run draws the same numbers
        if ops.shards() > 1:
            key = jax.random.fold_in(key, ops.shard())
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, aux), grads = gradient(state.params, batch, key, *kept(state))
        metrics, *after = aux if kept(state) else (aux,)
        metrics, grads = ops.mean_over_shards(({"loss": value, **metrics}, grads))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state._replace(
            params=params,
            opt_state=opt_state,
            stats=None if state.stats is None else after[0],
            carry=None if state.carry is None else after[-1],
            average=None if average is None else average(state.average, params, state.step),
            step=state.step + 1,
        )
        return state, metrics

    return step


def steps_per_epoch(data: Batch, batch_size: int, mesh: Mesh | None = None) -> int:
    """Updates in a pass over the data; a rest smaller than a batch is left out.

    Raises:
      BatchError: the arrays disagree in length, or the batch does not fit them or the mesh.
    """
    sizes = {name: array.shape[0] for name, array in data.items()}
    if len(set(sizes.values())) != 1:
        raise BatchError(f"the arrays of a data set must be of one length, got {sizes}")
    examples = next(iter(sizes.values()))
    asked = f"a batch of {batch_size}"
    if not 1 <= batch_size <= examples:
        raise BatchError(
            f"got {asked} for {examples} examples: choose a batch size from 1 to {examples}"
        )
    if mesh is not None and batch_size % mesh.size:
        advice = f"choose a multiple of {mesh.size}"
        raise BatchError(f"{asked} does not divide by {mesh.size} devices: {advice}")
    return examples // batch_size


def order(state: State, epoch: int, examples: int, shuffle: bool = True) -> jax.Array:
    """The order of the examples in `epoch` (from 0), int32 [examples]: a function of state.key."""
    if not shuffle:
        return jnp.arange(examples, dtype=jnp.int32)
    key = keys.derive(state.key, "order", epoch)
    return jax.random.permutation(key, examples).astype(jnp.int32)


def _make_call(step, batch_size: int, form: Form, mesh: Mesh | None):
    """To be compiled: (state, data, order, first, last) -> state after batches first..last-1.

    On a mesh each device runs the whole loop on its part of each batch, and they wait for each
    other once an update: left to XLA's partitioner, they would in each operation.
    """

    def one(i, state: State, data: Batch, order: jax.Array) -> State:
        size = batch_size // ops.shards()
        first = i * batch_size + ops.shard() * size
        index = jax.lax.dynamic_slice_in_dim(order, first, size)
        batch = jax.tree.map(lambda a: a.at[index].get(mode="promise_in_bounds"), data)
        state, metrics = step(state, batch)
        _check_metrics(metrics, state.totals)
        totals = {name: state.totals[name] + value for name, value in metrics.items()}
        bad = (state.totals["bad_step"] == 0) & ~jnp.isfinite(metrics["loss"])
        # The first step whose loss was not finite, counted from 1; 0 if there was none.
        totals["bad_step"] = jnp.where(bad, state.step, state.totals["bad_step"])
        return state._replace(totals=totals)

    def checked(state: State) -> State:
        # The loss of a step is of the parameters before its update, which only the next one sees.
        totals, bad = state.totals, state.totals["bad_step"] == 0
        bad &= ~finite(state)
        return state._replace(
            totals={**totals, "bad_step": jnp.where(bad, state.step, totals["bad_step"])}
        )

    def loop(state, data, order, first, last):
        return jax.lax.fori_loop(first, last, lambda i, s: one(i, s, data, order), state)

    def single(state, data, order, first, last):
        return one(first, state, data, order)

    run = loop if form == "loop" else single

    def call(state, data, order, first, last):
        return checked(run(state, data, order, first, last))

    def part(state, data, order, first, last):
        size = batch_size // ops.shards()
        each = jax.tree.map(lambda a: a.shape[:1] == (batch_size,), state.carry)  # for an example

        def cut(a, of_example):
            start = ops.shard() * size
            return jax.lax.dynamic_slice_in_dim(a, start, size) if of_example else a

        def join(a, of_example):
            return jax.lax.all_gather(a, ops.SHARDS, tiled=True) if of_example else a

        state = state._replace(carry=jax.tree.map(cut, state.carry, each))
        state = run(state, data, order, first, last)
        return checked(state._replace(carry=jax.tree.map(join, state.carry, each)))

    if mesh is None:
        return call
    whole = PartitionSpec()
    return jax.shard_map(part, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False)


@device.in_float32
def iterate(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: State,
    data: Batch,
    *,
    epochs: int,
    batch_size: int,
    average: Average | None = None,
    test: Batch | None = None,
    test_loss: Loss | None = None,
    tested: Callable[[State], Weights] = weights_of,
    shuffle: bool = True,
    form: Form = "loop",
    mesh: Mesh | None = None,
    call_seconds: float = 0.5,
) -> Iterator[Progress[State]]:
    """Trains from `state` up to the end of epoch `epochs`, with a report after each compiled call.

    Args:
      loss: as `make_step` takes it.
      optimizer: an Optax transformation.
      state: from `start`, or a restored one; it is copied, so that it stays valid.
      data: arrays with the examples along the first axis; a rest smaller than a batch is left out
        of each epoch (another rest each time if shuffled).
      epochs: where to stop, counted from the very beginning of the run.
      batch_size: examples per update.
      average: as `make_step` takes it; needed if the state keeps an average.
      test: measured at the end of each epoch, if given.
      test_loss: as `make_evaluate` takes it; `loss` itself if not given.
      tested: the weights that the test measures.
      shuffle: whether each epoch has its own random order.
      form: `loop` makes many steps in one compiled call, `step` one per call; equal results.
      mesh: splits each batch over the devices, of which each takes a shard of it. The results are
        those of one device to rounding; what the loss draws depends on how many there are.
      call_seconds: about how long one compiled call of the loop should last.

    Raises:
      BatchError: the arrays disagree in length, or the batch does not fit.
      FinishedError: the state has all these epochs behind it.
      NonFiniteError: the loss, what an update made or the test is infinite or not a number; says
        at which step.
    """
    per_epoch, last_metrics = steps_per_epoch(data, batch_size, mesh), None
    check_unfinished(state, epochs, per_epoch)
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    data, state = device.place(device.narrow((data, jax.tree.map(jnp.copy, state))), everywhere)
    test = jax.device_put(test, None if mesh is None else device.own(state.step).device)
    evaluate = make_evaluate(test_loss or loss, batch_size)
    step, target = make_step(loss, optimizer, average), call_seconds if form == "loop" else None
    call, compile_seconds = compile_call(step, state, data, batch_size, form, mesh)
    for made in _calls(call, state, data, epochs, per_epoch, shuffle, target, everywhere):
        _check_finite(made.totals, last_metrics)
        metrics = None
        if made.ended:
            measured = {} if test is None else evaluate(tested(device.own(made.state)), test)
            if not np.isfinite(list(measured.values())).all():
                raise NonFiniteError(f"the test after epoch {made.epoch} gave {measured}")
            last_metrics = metrics = _means(made.totals, per_epoch, measured)
        yield Progress(made.state, made.epoch, made.steps, made.seconds, compile_seconds, metrics)
        compile_seconds = 0.0


def compile_call(
    step: Callable[[State, Batch], tuple[State, dict[str, jax.Array]]],
    state: State,
    data: Batch,
    batch_size: int,
    form: Form,
    mesh: Mesh | None,
) -> tuple[Callable[..., State], float]:
    """The compiled call of `_make_call`, and the seconds that compiling it took."""
    began, (examples, *_) = time.perf_counter(), jax.tree.leaves(data)[0].shape
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    order = jax.ShapeDtypeStruct((examples,), jnp.int32, sharding=everywhere)
    call = _make_call(step, batch_size, form, mesh)
    # The state is donated, else there would be two of them in memory.
    compiled = device.compile(call, state, data, order, 0, 1, donate_argnums=0)
    return compiled, time.perf_counter() - began  # first and last are traced


class _Made(NamedTuple):
    """A compiled call that was made."""

    state: State  # after it; its totals begin anew where an epoch has ended
    totals: dict[str, jax.Array]  # of the epoch
    epoch: int  # from 1
    steps: int
    seconds: float
    ended: bool  # whether the epoch has


def _calls(
    call: Callable[..., State],
    state: State,
    data: Batch,
    epochs: int,
    per_epoch: int,
    shuffle: bool,
    target: float | None,
    sharding: NamedSharding | None,
) -> Iterator[_Made]:
    """Makes calls of about `target` seconds each up to the last epoch; of one step if None."""
    # The first call makes one step, since nobody knows yet how long a step takes.
    done, size, examples = int(state.step), 1, jax.tree.leaves(data)[0].shape[0]
    while done < epochs * per_epoch:
        epoch, first = divmod(done, per_epoch)
        indices = device.place(order(state, epoch, examples, shuffle), sharding)
        while first < per_epoch:
            last = min(first + size, per_epoch)
            began = time.perf_counter()
            state = jax.block_until_ready(call(state, data, indices, first, last))
            seconds, totals, ended = time.perf_counter() - began, state.totals, last == per_epoch
            done, steps, first = done + last - first, last - first, last
            if target is not None:  # at most doubled, so that one slow call does not mislead it
                slowest = float(device.everyone(seconds).max())  # all processes make equal calls
                size = max(1, min(2 * size, round(steps * target / max(slowest, 1e-6))))
            if ended:
                state = state._replace(totals=jax.tree.map(jnp.zeros_like, totals))
            yield _Made(state, totals, epoch + 1, steps, seconds, ended)


def _means(
    totals: dict[str, jax.Array], steps: int, measured: dict[str, float]
) -> dict[str, float]:
    """An epoch's metrics: the means over its steps, and what the test measured."""
    sums = {name: float(total) for name, total in totals.items() if name != "bad_step"}
    means = {f"train_{name}": total / steps for name, total in sums.items()}
    return means | {f"test_{name}": value for name, value in measured.items()}


def make_evaluate(loss: Loss, batch_size: int) -> Callable[[Weights, Batch], dict[str, float]]:
    """A function (weights, data) -> means over all examples of the loss and its metrics.

    `loss(params, batch, None)`, or `loss(params, batch, None, stats)` for weights with statistics,
    returns means over a batch as it does in training. A batch counts by its examples; where a mean
    is over something else, as the characters that are scored, the loss returns how many there are
    as the metric `weight`. So the result depends on `batch_size` by rounding alone.
    """

    def measure(params: Any, stats: Any, batch: Batch) -> tuple[dict[str, jax.Array], jax.Array]:
        """Means times the share of the weight in the examples, and this share."""
        value, aux = loss(params, batch, None, *(() if stats is None else (stats,)))
        means = {"loss": value, **(aux if stats is None else aux[0])}
        examples = jax.tree.leaves(batch)[0].shape[0]
        share = jnp.float32(means.pop("weight", examples) / examples)
        return {name: share * mean for name, mean in means.items()}, share

    def whole(params: Any, stats: Any, data: Batch, count: int) -> Any:
        def one(i, totals):
            cut = functools.partial(
                jax.lax.dynamic_slice_in_dim, start_index=i * batch_size, slice_size=batch_size
            )
            return jax.tree.map(jnp.add, totals, measure(params, stats, jax.tree.map(cut, data)))

        first = jax.tree.map(lambda a: a[:batch_size], data)
        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(measure, params, stats, first))
        return jax.lax.fori_loop(0, count, one, zero)

    whole, rest = device.jit(whole), device.jit(measure)

    @device.in_float32
    def evaluate(weights: Weights, data: Batch) -> dict[str, float]:
        given = weights["params"], weights.get("stats")
        count, left = divmod(jax.tree.leaves(data)[0].shape[0], batch_size)
        parts = []
        if count:
            parts.append((batch_size, whole(*given, data, count)))
        if left:
            parts.append((left, rest(*given, jax.tree.map(lambda a: a[-left:], data))))
        weight = sum(size * float(share) for size, (_, share) in parts)
        if not weight:
            raise ValueError("there is nothing to measure: no example has any weight")
        names = parts[0][1][0]
        sums = {n: sum(size * float(total[n]) for size, (total, _) in parts) for n in names}
        return {name: total / weight for name, total in sums.items()}

    return evaluate


def repeatable(loss: Loss, seed: int) -> Loss:
    """A loss of uint8 images for tests, whose noise is that of the image and the seed.

    An image has the same noise in each test and wherever in a batch it comes.
    """

    def testing(params: Any, batch: Batch, key: Any) -> tuple[jax.Array, Any]:
        def one(image: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
            return loss(params, {"image": image[None]}, key)

        drawn = keys.of_content(keys.derive(seed, "test"), batch["image"])
        return jax.tree.map(jnp.mean, jax.vmap(one)(batch["image"], drawn))

    return testing


@device.in_float32
def predict(function: Callable[[Any, Any], Any], weights: Any, inputs: Any, batch_size: int) -> Any:
    """`function(weights, inputs)` of any number of examples, in batches of few compiled sizes.

    The inputs are a tree of arrays [N, ...], the result is one of NumPy arrays [N, ...]; between
    them the function takes and gives [B, ...]. It is compiled once for each function object and
    size of a batch, see `in_batches`, so hand the same object again.
    """
    if not jax.tree.leaves(inputs)[0].shape[0]:
        raise ValueError("there is nothing to predict: the inputs hold no example")
    compiled, weights = _compiled(function), jax.device_put(weights)
    return in_batches(lambda batch: jax.device_get(compiled(weights, batch)), inputs, batch_size)


def in_batches(call: Callable[[Any], Any], inputs: Any, largest: int) -> Any:
    """`call` of trees of NumPy arrays [B, ...] for one or more examples, [N, ...] to [N, ...].

    B is `largest`, or for what is left a power of two up to it, so that few sizes are compiled.
    """
    examples, parts = jax.tree.leaves(inputs)[0].shape[0], []
    for first in range(0, examples, largest):
        number = min(largest, examples - first)
        size = min(largest, 1 << (number - 1).bit_length())
        rows = first + np.arange(size).clip(max=number - 1)  # filled up with the last example
        found = call(jax.tree.map(lambda a, rows=rows: np.asarray(a)[rows], inputs))
        parts.append(jax.tree.map(lambda a, number=number: a[:number], found))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


@functools.lru_cache(maxsize=64)  # a server calls the same few functions again and again
def _compiled(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return device.jit(function)


def _check_metrics(metrics: dict[str, jax.Array], totals: dict[str, jax.Array]) -> None:
    got, expected = {k: v.shape for k, v in metrics.items()}, set(totals) - {"bad_step"}
    if set(got) != expected or any(got.values()):
        raise ValueError(
            f"the loss gives the metrics {got}, expected scalars named {sorted(expected)}: "
            "name them in `start(..., metrics=(...))`"
        )


def check_unfinished(state: Any, epochs: int, per_epoch: int) -> None:
    """Refuses a state that leaves nothing to train up to the end of epoch `epochs`.

    Raises:
      FinishedError: says at which step it is.
    """
    if int(state.step) >= epochs * per_epoch:
        raise FinishedError(
            f"the state is at step {int(state.step)}, and {epochs} epochs of {per_epoch} steps end "
            "there or before: ask for more epochs"
        )


def _check_finite(totals: dict[str, jax.Array], last_metrics: dict[str, float] | None) -> None:
    step = int(totals["bad_step"])
    if step == 1 and not np.isfinite(totals["loss"]):
        raise NonFiniteError(
            f"the loss was {float(totals['loss'])} before any update: look at the data, and at "
            "settings that are far from the recipe's"
        )
    if step:
        raise NonFiniteError(
            f"the loss or the update was not finite at step {step}; the last finite epoch had "
            f"{last_metrics}. "
            "Try a smaller --learning-rate, or look at the data"
        )


def last(reports: Iterator[Progress[S]]) -> S:
    """The state at the end of `iterate`.

    Raises:
      FinishedError: there was nothing left to train.
    """
    state = None
    for progress in reports:
        state = progress.state
    if state is None:
        raise FinishedError("the reports came to an end at once: there was nothing left to train")
    return state
