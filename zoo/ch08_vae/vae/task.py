"""What zoo has to know of the variational autoencoder of digits: data, solver, losses, pictures."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from zoo.ch08_vae.vae import latent, model
from zoo.common import fit, keys, ops, run, solvers
from zoo.common.data import Dataset, mnist, own_pictures
from zoo.common.task import Arrays, Prediction, Task, Weights
from zoo.common.trained import Trained

PANELS = {
    "loss": "loss (nats per image)",
    "reconstruction": "−log p(x | z) (nats)",
    "kl": "KL (nats)",
}
Function = Callable[[Weights, Arrays], Arrays]
_OBSERVATIONS = {"bernoulli": model.bernoulli, "squared": model.squared}
_STAGES = 3 ** np.arange(8)  # in passes over the data, 3,280 in all (IWAE paper, section 5)


def load(config: model.Config, data: str, data_dir: Path | None) -> Dataset:
    """MNIST, or the pictures that `config.images` names; the labels only colour a figure."""
    own = own_pictures.given(config, data, 28, "L")
    return mnist.load(data, data_dir) if own is None else own


def random(config: model.Config, count: int) -> fit.Batch:
    """Random images."""
    shape = (count, config.size, config.size)
    return {"image": np.random.default_rng(0).integers(0, 256, shape, np.uint8)}


def make_schedule(name: str, learning_rate: float, steps: int) -> optax.Schedule:
    """The learning rate over a run of `steps` updates, as `Config.schedule` names it.

    `cosine` rises for a tenth of the run, at most 500 updates, then falls to 0. `iwae` is
    rate * 10^(-i / 7) during 3^i of every 3,280 updates, i = 0 to 7.
    """
    ops.check_choice("schedule", name, ("cosine", "constant", "iwae"))
    if name == "cosine":
        rise = max(1, min(steps // 10, 500))  # a tenth of a short run, at least one update
        return optax.warmup_cosine_decay_schedule(
            0.1 * learning_rate, learning_rate, rise, max(steps, rise + 1)
        )
    if name == "constant":
        return optax.constant_schedule(learning_rate)
    rates = learning_rate * 10.0 ** (-np.arange(8) / 7)
    ends = np.round(np.cumsum(_STAGES)[:-1] / _STAGES.sum() * steps).astype(int)
    return optax.join_schedules([optax.constant_schedule(rate) for rate in rates], ends.tolist())


def optimizer(config: model.Config, steps: int) -> optax.GradientTransformation:
    """Adam, or the book's."""
    rate = config.learning_rate
    if config.solver == "gorgonia":
        return solvers.adam(rate, batch=config.batch_size, doubled=config.adam_doubled)
    return optax.adam(make_schedule(config.schedule, rate, steps), eps=config.adam_epsilon)


def options(config: model.Config) -> dict[str, Callable[..., jax.Array]]:
    """What `model.log_weights` and all that builds on it take from the configuration."""
    return {**latent.layers(config), "observation": _OBSERVATIONS[config.observation]}


def binarise(config: model.Config, images: jax.Array, key: jax.Array) -> jax.Array:
    """uint8 images [B, 28, 28] as the model sees them, [B, 784]: scaled, and drawn if binary."""
    x = model.scale_pixels(images, config.pixels)
    return jax.random.bernoulli(key, x).astype(x.dtype) if config.binarise else x


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The recipe's loss, and in tests the negative ELBO with the true KL and one code an image."""
    names = ("importance_weighted", "samples", "beta", "kl_as_printed", "reduction")
    own = {name: getattr(config, name) for name in names}

    return of_images(config, **own), fit.repeatable(of_images(config), config.seed)


def of_images(config: model.Config, **how: Any) -> fit.Loss:
    """`model.loss` with the keywords `how`, of uint8 images, which it binarises if need be."""

    def loss(params, batch, key):
        pixel_key, code_key = jax.random.split(key)  # grey pixels have the codes of drawn ones
        image = binarise(config, batch["image"], pixel_key)
        return model.loss(params, {"image": image}, code_key, **how, **options(config))

    return loss


@functools.cache  # the same functions for the same configuration, so that each is compiled once
def predictions(config: model.Config) -> dict[str, Prediction]:
    """Codes of images, images of codes, and both after one another."""

    def encode(weights: Weights, inputs: Arrays) -> Arrays:
        mean, logvar = latent.encode(config, weights["params"], inputs["image"])
        return {"mean": mean, "logvar": logvar}

    def decode(weights: Weights, inputs: Arrays) -> Arrays:
        return {"image": latent.decode(config, weights["params"], inputs["code"])}

    shape = (config.size, config.size)
    return code_predictions(encode, decode, shape, config.latents, ", grey levels")


def code_predictions(
    encode: Function, decode: Function, shape: tuple[int, ...], latents: int, kind: str = ""
) -> dict[str, Prediction]:
    """The predictions of an autoencoder of uint8 images: through the code, to it, and from it."""

    def reconstruct(weights: Weights, inputs: Arrays) -> Arrays:
        return decode(weights, {"code": encode(weights, inputs)["mean"]})

    image = {"image": jax.ShapeDtypeStruct(shape, np.uint8)}
    code = {"code": jax.ShapeDtypeStruct((latents,), np.float32)}
    return {
        "reconstruct": Prediction(f"an image through its code{kind}", image, reconstruct),
        "encode": Prediction("mean and log-variance of an image's code", image, encode),
        "decode": Prediction(f"the image of a code{kind}", code, decode),
    }


def ten_digits(test: dict[str, np.ndarray]) -> np.ndarray:
    """The first test image of each digit, or of at most ten classes, uint8 [10, 28, 28]."""
    return test["image"][np.unique(test["label"], return_index=True)[1][:10]]


def pictures(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """Curves, reconstructions, samples, walks between digits and along single units.

    A model of two latents also gets its manifold and the map of the test images' codes.
    """
    from zoo.ch08_vae.vae import figures as own  # here, as matplotlib takes a second to load
    from zoo.common import figures

    config, params = trained.config, trained.params
    test, caption = dataset.test, dataset.description
    digits = ten_digits(test)
    mean = trained.predict("encode", image=test["image"])["mean"]
    busiest = np.argsort(-mean.var(axis=0))[:10]  # a unit that is not in use changes no picture
    names = [dataset.classes[label] for label in np.unique(test["label"])]
    three = min(3, len(digits) - 1)
    turns = latent.traverse(config, params, digits[three], busiest)
    rows = {f"unit {unit}": row for unit, row in zip(busiest, turns, strict=True)}
    turned = f"a {names[three]}, one unit of its code at a time from −2.5 to 2.5"
    pairs = [(i, i + 1) for i in range(0, len(digits) - 1, 2)]
    walks = {
        f"{names[i]} to {names[j]}": latent.interpolate(config, params, digits[[i, j]])
        for i, j in pairs
    }
    drawn = latent.sample(config, params, keys.derive(config.seed, "samples"), 100)
    drawings = first_pictures(trained, digits, drawn, PANELS, caption)
    kind = "image" if config.images else "digit"
    drawings["interpolations"] = figures.strips(walks, f"from {kind} to {kind}", caption)
    drawings["traversals"] = figures.strips(rows, turned, caption)
    if config.latents == 2:
        plane = latent.manifold(config, params)
        drawings["manifold"] = figures.mosaic(plane, 20, "the plane of codes", caption)
        drawings["codes"] = own.scatter(mean, test["label"], caption, dataset.classes)
    return drawings


def first_pictures(
    trained: Trained, images: np.ndarray, drawn: np.ndarray, panels: dict[str, str], caption: str
) -> dict[str, Any]:
    """What every autoencoder shows: images and what comes back, samples from the prior, curves."""
    from zoo.common import figures

    back = {"input": images, "output": trained.predict(image=images)["image"]}
    drawings = {"reconstructions": figures.strips(back, caption=caption)}
    drawings["samples"] = figures.mosaic(drawn, 10, "drawn from the prior", caption)
    if metrics := run.read_metrics(trained.folder):  # a published model has none
        drawings["curves"] = figures.training_curves(metrics, panels, caption)
    return drawings


def _drawing(config: model.Config, weights: Weights) -> dict[str, tuple]:
    def draw(params: model.Params, key: jax.Array) -> jax.Array:
        return model.sample(params, key, 10_000, **latent.layers(config))

    return {"10,000 digits drawn": (draw, (weights["params"], keys.derive(0, "samples")), 10_000)}


TASK = Task(
    name="ch08_vae",
    model=model,
    about="a variational autoencoder on MNIST",
    load=load,
    random=random,
    prepare=lambda config, data: {"image": data["image"]},  # without the labels
    optimizer=optimizer,
    losses=losses,
    metrics=("reconstruction", "kl"),
    predictions=predictions,
    pictures=pictures,
    following=lambda dataset: ("sample", "reconstruct 7.png", "interpolate 0 1"),
    fill=own_pictures.fill,
    timings=_drawing,
    epoch=60_000,
)
