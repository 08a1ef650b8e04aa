"""Trains the network of the speed run, epoch by epoch (`train`) or in one program (`whole_run`)."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from zoo.ch06_cnn import speedrun, speedrun_images
from zoo.common import device, fit

WHITENED = 5_000
"""So many of the first images give the whitening filters."""
EVALUATION_BATCH = 500


def triangle(peak: float, steps: int, rise: float) -> optax.Schedule:
    """A rate that rises from a fifth of its peak, in `rise` of the steps, and falls to 0."""
    top = max(1, round(rise * steps))
    parts = [
        optax.linear_schedule(0.2 * peak, peak, top),
        optax.linear_schedule(peak, 0.0, max(1, steps - top)),
    ]
    return optax.join_schedules(parts, [top])


def as_matrices(kernels: Any) -> Any:
    """For each kernel [rows, columns, C, O] that Muon shall take it as a matrix of O columns."""
    axes = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
    return jax.tree.map(lambda w: axes, kernels)


def make_optimizer(config: speedrun.Config, steps: int) -> optax.GradientTransformation:
    """Muon or Nesterov's momentum for the convolutions, Nesterov's for the rest, over `steps`.

    Muon (Jordan et al. 2024) makes the momentum of a kernel, as a matrix, orthogonal: all
    directions are learnt at the same pace. The whitening filters stay.
    """
    schedule = functools.partial(triangle, steps=steps, rise=config.rise)
    down = optax.scale_by_learning_rate

    muon = optax.contrib.scale_by_muon(
        ns_steps=3, beta=0.6, nesterov=True, weight_dimension_numbers=as_matrices
    )
    momentum = optax.trace(0.85, nesterov=True)
    direction = muon if config.solver == "muon" else momentum
    solvers = {
        "conv": optax.chain(direction, down(schedule(config.learning_rate)), speedrun.on_spheres()),
        "bias": optax.chain(momentum, down(schedule(config.bias_rate))),
        "head": optax.chain(momentum, down(schedule(config.head_rate))),
        "fixed": optax.set_to_zero(),
    }

    def label(path: tuple[Any, ...], leaf: jax.Array) -> str:
        layer, name = path[0].key, path[-1].key
        if name != "kernel":
            return "bias"
        first = "fixed" if config.whiten else "conv"
        return {"whiten": first, "conv": "conv", "output": "head"}[layer]

    return optax.partition(solvers, lambda params: jax.tree.map_with_path(label, params))


def options(config: speedrun.Config) -> dict[str, Any]:
    """The keywords of `speedrun.apply` for a configuration on the device that computes."""
    narrow = device.current().platform != "cpu"
    name = ("bfloat16" if narrow else "float32") if config.precision == "auto" else config.precision
    return {"activation": config.activation, "dtype": jnp.dtype(name)}


def with_sides(data: fit.Batch, seed: int) -> fit.Batch:
    """The data with a random bit for each image, `side`: see `alternating_flips`."""
    bits = np.random.default_rng(seed).integers(0, 2, len(data["label"]), np.uint8)
    return {**data, "side": bits}


def losses(config: speedrun.Config, steps: int = 1) -> tuple[fit.Loss, fit.Loss]:
    """The loss in training, with augmentation, and in tests; both take uint8 images.

    `steps` are those of an epoch. Tests ask the averaged weights, and see each image once.
    """
    kept = options(config)

    def training(params, batch, key, stats):
        shift_key, flip_key, apply_key = jax.random.split(key, 3)
        images = batch["image"]
        if config.shift:
            images = speedrun_images.reflected_shifts(shift_key, images, config.shift)
        if config.flip == "alternating":
            which = speedrun_images.alternating_flips(batch["side"], stats["step"] // steps)
            images = speedrun_images.mirror(images, which)
        elif config.flip == "random":
            images = speedrun_images.mirror(
                images, jax.random.bernoulli(flip_key, 0.5, images.shape[:1])
            )
        scaled = {**batch, "image": speedrun.scale_pixels(images)}
        return speedrun.loss(
            params,
            scaled,
            apply_key,
            stats,
            label_smoothing=config.label_smoothing,
            average=config.average,
            **kept,
        )

    def testing(params, batch, key, stats):
        scaled = {**batch, "image": speedrun.scale_pixels(batch["image"])}
        return speedrun.loss(
            stats["average"], scaled, None, stats, label_smoothing=config.label_smoothing, **kept
        )

    return training, testing


def start(
    config: speedrun.Config, examples: int, images: jax.Array | None = None
) -> tuple[optax.GradientTransformation, fit.State]:
    """The solver and the state before the first step of a run over `examples` images.

    Args:
      config: one of `SPEEDRUNS`, or changed by `dataclasses.replace`.
      examples: how many images there are to train on.
      images: them, uint8; where they are not given the first layer is not whitened.
    """
    return _start(config, examples, images, jax.random.key(config.seed))


def _start(config, examples, images, key):
    init_key, fit_key = jax.random.split(key)
    params = speedrun.init(init_key, config)
    if config.whiten and images is not None:
        params = speedrun.whiten(params, jnp.asarray(images[:WHITENED]))
    optimizer = make_optimizer(config, config.epochs * (examples // config.batch_size))
    stats = speedrun.init_stats(params)
    return optimizer, fit.start(params, optimizer, fit_key, stats, metrics=("accuracy",))


def train(
    config: speedrun.Config,
    data: fit.Batch,
    test: fit.Batch | None = None,
    *,
    state: fit.State | None = None,
    mesh: Mesh | None = None,
    follow: Callable[[Iterator[fit.Progress]], fit.State] = fit.last,
) -> fit.State:
    """Fits the network to `image`, uint8 [N, 32, 32, 3], and `label`, [N]; returns the last state.

    The arguments are those of `zoo.ch06_cnn.train`.
    """
    steps = fit.steps_per_epoch(data, config.batch_size, mesh)
    training, testing = losses(config, steps)
    optimizer, fresh = start(config, len(data["label"]), data["image"])
    return follow(
        fit.iterate(
            training,
            optimizer,
            fresh if state is None else state,
            with_sides(data, config.seed),
            epochs=config.epochs,
            batch_size=config.batch_size,
            test=test,
            test_loss=testing,
            mesh=mesh,
        )
    )


def probabilities(
    config: speedrun.Config,
    params: speedrun.Params,
    moments: speedrun.Moments,
    images: jax.Array,
) -> jax.Array:
    """The probability of each class, float32 [B, 10], for uint8 images, averaged over views."""
    seen, weights = speedrun_images.views(images, config.views)

    def logits(view: jax.Array) -> jax.Array:
        scaled = speedrun.scale_pixels(view)
        return speedrun.apply(params, scaled, None, moments, **options(config)).logits

    return jax.nn.softmax(jnp.tensordot(weights, jax.lax.map(logits, seen), 1))


def predict(
    config: speedrun.Config,
    params: speedrun.Params,
    moments: speedrun.Moments,
    images: np.ndarray,
) -> np.ndarray:
    """The same for any number of images [N, 32, 32, 3]: float32 [N, 10]."""
    ask = functools.partial(probabilities, config, params, moments)
    return fit.predict(ask, jnp.asarray(images), min(EVALUATION_BATCH, len(images)))


def predict_probabilities(
    config: speedrun.Config, params: speedrun.Params, stats: speedrun.Stats, images: np.ndarray
) -> np.ndarray:
    """As `predict`, from the state of a run, whose averaged weights are asked."""
    return predict(config, stats["average"], stats["moments"], images)


def whole_run(config: speedrun.Config, examples: int) -> Callable[..., dict[str, jax.Array]]:
    """A run as one function to compile: (key, data, test) -> its figures.

    Whitening, all epochs with their shuffling and augmentation, and the test with all views are in
    it. `data` holds `image`, `label` and `side`; the figures are `loss` and `accuracy` [epochs],
    the means over each epoch's steps, and `test_accuracy`. With the key `jax.random.key(seed)` and
    the sides of that seed it is the run of `train`.
    """
    steps = examples // config.batch_size
    training, _ = losses(config, steps)

    def run(key: jax.Array, data: fit.Batch, test: fit.Batch) -> dict[str, jax.Array]:
        optimizer, state = _start(config, examples, data["image"], key)
        step = fit.make_step(training, optimizer)

        def one(state, index):
            return step(state, jax.tree.map(lambda a: a[index], data))

        def epoch(state, number):
            order_key = jax.random.fold_in(state.key, jnp.uint32(2**32 - 1) - number)
            order = jax.random.permutation(order_key, examples)[: steps * config.batch_size]
            state, metrics = jax.lax.scan(one, state, order.reshape(steps, config.batch_size))
            return state, jax.tree.map(jnp.mean, metrics)

        state, figures = jax.lax.scan(epoch, state, jnp.arange(config.epochs, dtype=jnp.uint32))
        answers = _ask_all(config, state.stats, test["image"])
        return {**figures, "test_accuracy": (answers == test["label"]).mean()}

    return run


def _ask_all(config: speedrun.Config, stats: speedrun.Stats, images: jax.Array) -> jax.Array:
    """The likeliest class of each image [N], batch by batch inside a compiled program."""
    size = min(EVALUATION_BATCH, len(images))
    batches = -(-len(images) // size)
    index = np.arange(batches * size).reshape(batches, size).clip(max=len(images) - 1)

    def one(index: jax.Array) -> jax.Array:
        found = probabilities(config, stats["average"], stats["moments"], images[index])
        return found.argmax(-1)

    return jax.lax.map(one, index).ravel()[: len(images)]
