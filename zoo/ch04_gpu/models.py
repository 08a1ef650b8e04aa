"""The models of the zoo as chapter 4 measures them: what to train, on what, how to ask it.

One row for each model, written out: data of the right shape (random numbers, since the time does
not depend on their values), what is counted, how much of it makes an epoch of its chapter, and
the function that is timed as inference. Adding a model to the zoo means adding a row here.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from zoo.ch02_basic_nn import model as first_network
from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward, rbm, rbm_train
from zoo.ch03_mnist_ae_rbm import train as digits
from zoo.ch05_lstm import model as lstm
from zoo.ch05_lstm.train import losses as lstm_losses
from zoo.ch05_lstm.train import start as lstm_start
from zoo.ch06_cnn import model as cnn
from zoo.ch06_cnn.train import losses as cnn_losses
from zoo.ch06_cnn.train import start as cnn_start
from zoo.ch07_dqn import model as dqn
from zoo.ch07_dqn import planner
from zoo.ch08_vae import conv as conv_vae
from zoo.ch08_vae import model as vae
from zoo.ch08_vae.train import layers as vae_layers
from zoo.ch08_vae.train import losses as vae_losses
from zoo.ch08_vae.train import start as vae_start
from zoo.common import fit
from zoo.common.data import DataError

Batch = dict[str, Any]


class Work(NamedTuple):
    """What `fit.iterate` needs to train a model."""

    loss: fit.Loss
    optimizer: optax.GradientTransformation
    state: fit.State
    data: Batch


class Model(NamedTuple):
    """A row of the table; build what it trains with `work`."""

    name: str
    module: ModuleType  # init, loss, example, RECIPES
    recipe: str
    unit: str  # what is counted, "images"
    epoch: int  # examples in an epoch of its chapter
    make: Callable[[Any, int], Batch]  # (config, examples) -> NumPy arrays
    start: Callable[[Any, Batch], tuple[optax.GradientTransformation, fit.State]]
    loss: Callable[[Any], fit.Loss]
    infer: Callable[[Any, Any, Any, Batch], jax.Array]  # (config, params, stats, batch)
    items: int = 1  # of the unit in an example

    @property
    def config(self) -> Any:
        """The recipe's configuration."""
        return self.module.RECIPES[self.recipe]


def work(model: Model, examples: int | None = None) -> Work:
    """The training of a model on random data; `examples` of them, or its chapter's epoch."""
    data = model.make(model.config, examples or model.epoch)
    optimizer, state = model.start(model.config, data)
    return Work(model.loss(model.config), optimizer, state, data)


def _digits(config: Any, count: int) -> Batch:
    return _pictures((28, 28), count)


def _colours(config: Any, count: int) -> Batch:
    return _pictures((32, 32, 3), count)


def _pictures(shape: tuple[int, ...], count: int) -> Batch:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    return {"image": images, "label": rng.integers(0, 10, count).astype(np.uint8)}


def _text(config: lstm.Config, count: int) -> Batch:
    ids = np.random.default_rng(0).integers(0, config.vocabulary, (count, config.chunk + 1))
    ids = ids.astype(np.int32)
    return {"input": ids[:, :-1], "target": ids[:, 1:], "first": np.zeros(count, bool)}


def _images_only(make: Callable[[Any, int], Batch]) -> Callable[[Any, int], Batch]:
    return lambda config, count: {"image": make(config, count)["image"]}


def _ratings(config: rbm.Config, count: int) -> Batch:
    rng = np.random.default_rng(0)
    drawn = rng.integers(1, 6, (count, config.visible), np.uint8)
    return {"rating": np.where(rng.random(drawn.shape) < 0.06, drawn, 0).astype(np.uint8)}


def _examples(module: ModuleType) -> Callable[[Any, int], Batch]:
    """The module's own example, as large as is wanted."""
    return lambda config, count: jax.tree.map(np.asarray, module.example(config, count))


def _start_plain(module: ModuleType, solver: Callable[[float], Any]) -> Callable[[Any, Batch], Any]:
    """With a plain solver at the recipe's rate, for models that have loops of their own."""

    def start(config: Any, data: Batch) -> tuple[optax.GradientTransformation, fit.State]:
        init_key, fit_key = jax.random.split(jax.random.key(config.seed))
        optimizer, params = solver(config.learning_rate), module.init(init_key, config)
        metrics = jax.eval_shape(module.loss, params, module.example(config))[1]
        return optimizer, fit.start(params, optimizer, fit_key, metrics=tuple(metrics))

    return start


def _by_length(start: Callable[[Any, int], Any]) -> Callable[[Any, Batch], Any]:
    return lambda config, data: start(config, len(data["image"]))


def _read_digits(config, params, stats, batch):
    return feedforward.apply(params, digits.scale_pixels(batch["image"], config.pixels))


def _reconstruct_digits(config, params, stats, batch):
    return digits.output(config, params, batch["image"])


def _name_pictures(config, params, stats, batch):
    images = cnn.scale_pixels(batch["image"], config.pixels)
    return cnn.apply(params, images, None, stats).logits


def _reconstruct(config, params, stats, batch):
    images = vae.scale_pixels(batch["image"], config.pixels)
    return vae.apply(params, images, **vae_layers(config)).logits


def _reconstruct_colours(config, params, stats, batch):
    return conv_vae.apply(params, conv_vae.scale_pixels(batch["image"])).location


def _network(name: str, module: ModuleType, recipe: str, infer: Callable[..., jax.Array]) -> Model:
    """A network of chapter 3 on MNIST's 60,000 digits."""
    start, loss = _by_length(digits.start), lambda config: digits.losses(config)[0]
    return Model(name, module, recipe, "images", 60_000, _digits, start, loss, infer)


def _cnn(name: str, recipe: str) -> Model:
    start, loss = _by_length(cnn_start), lambda config: cnn_losses(config)[0]
    return Model(name, cnn, recipe, "images", 50_000, _colours, start, loss, _name_pictures)


def _vae(name: str, module: ModuleType, recipe: str, epoch: int, make, infer) -> Model:
    start, loss = _by_length(vae_start), lambda config: vae_losses(config)[0]
    return Model(name, module, recipe, "images", epoch, _images_only(make), start, loss, infer)


def _rbm(name: str, recipe: str, unit: str, epoch: int) -> Model:
    def start(config, data):
        return rbm_train.start(config, data["rating"])

    def infer(config, params, stats, batch):
        return rbm.predict_ratings(params, batch["rating"])

    def loss(config):
        return rbm.loss

    return Model(name, rbm, recipe, unit, epoch, _ratings, start, loss, infer)


MODELS = (
    Model(
        "first-network", first_network, "modern", "rows", 40_000,  # 10,000 steps of four rows
        _examples(first_network), _start_plain(first_network, optax.sgd),
        lambda config: first_network.loss,
        lambda config, params, stats, batch: first_network.apply(params, batch["input"]),
    ),
    _network("feedforward-book", feedforward, "book", _read_digits),
    _network("feedforward", feedforward, "modern", _read_digits),
    _network("autoencoder", autoencoder, "modern", _reconstruct_digits),
    _rbm("rbm", "modern", "users", 943),
    Model(
        "lstm", lstm, "modern", "characters", 15_680,  # rows of Tiny Shakespeare's first 90 %
        _text, lambda config, data: lstm_start(config, len(data["first"])),
        lambda config: lstm_losses(config)[0],
        lambda config, params, stats, batch: lstm.apply(params, batch["input"], None, stats).logits,
        items=lstm.RECIPES["modern"].chunk,
    ),
    _cnn("cnn-book", "book"),
    _cnn("cnn", "modern"),
    Model(
        "dqn", dqn, "modern", "transitions", 32_000,  # updates of 1,000 moves, without the maze
        _examples(dqn), _start_plain(dqn, optax.adam), lambda config: dqn.loss,
        lambda config, params, stats, batch: dqn.apply(params, batch["obs"]),
    ),
    Model(
        "planner", planner, "modern", "mazes", 6_400,  # a part of its run, 100 updates
        _examples(planner), _start_plain(planner, optax.adam),
        lambda config: functools.partial(planner.loss, rounds=config.rounds),
        lambda config, params, stats, batch: planner.apply(
            params, batch["image"], rounds=config.rounds
        ),
    ),
    _vae("vae", vae, "modern", 60_000, _digits, _reconstruct),
    _vae("vae-conv", conv_vae, "modern", 50_000, _colours, _reconstruct_colours),
)  # fmt: skip

BOOK_SECONDS = {"feedforward-book": (26.5, 23.5), "cnn-book": (166.0, 145.0)}
"""Seconds an epoch in the book: on its CPU (Core i7-2700K) and its GPU (GTX 960)."""


def batch_size(model: Model) -> int:
    """Of the model's recipe; the first network has four rows, and all of them make a batch."""
    return getattr(model.config, "batch_size", 4)


def choose(names: tuple[str, ...] = ()) -> list[Model]:
    """The rows of these names, or all of them.

    Raises:
      DataError: there is no such model.
    """
    known = {model.name: model for model in MODELS}
    for name in names:
        if name not in known:
            raise DataError(f"got the model {name!r}, expected one of {', '.join(known)}")
    return [known[name] for name in names] or list(MODELS)
