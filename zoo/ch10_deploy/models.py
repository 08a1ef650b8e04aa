"""Which models can be served: how a run becomes weights and one pure function of images.

To serve another model, add an entry to `MODELS`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from zoo.ch03_mnist_ae_rbm import feedforward
from zoo.ch03_mnist_ae_rbm import train as digits
from zoo.ch06_cnn import model as cnn
from zoo.ch06_cnn.train import start as start_cnn
from zoo.common.data import DataError

Predict = Callable[[Any, jax.Array], jax.Array]


class Model(NamedTuple):
    """A kind of model that can be exported."""

    chapter: str  # of its runs, as in runs/CHAPTER
    config: type
    shape: tuple[int, ...]  # of one image, uint8
    like: Callable[[Any], Any]  # configuration -> the shapes of a training state
    weights: Callable[[Any], Any]  # training state -> what a prediction needs of it
    predict: Callable[[Any], Predict]  # configuration -> (weights, images) -> probabilities


def _cnn_predict(config: cnn.Config) -> Predict:
    if config.dropout_bug:
        raise DataError(
            "this run drops units in predictions too (--dropout-bug), so an answer would depend on "
            "its place in the batch: export a run without it"
        )

    def predict(weights: Any, images: jax.Array) -> jax.Array:
        x = cnn.scale_pixels(images, config.pixels)
        return jax.nn.softmax(cnn.apply(weights["params"], x, None, weights["stats"]).logits)

    return predict


def _digits_predict(config: feedforward.Config) -> Predict:
    def predict(weights: Any, images: jax.Array) -> jax.Array:
        # Not digits.scale_pixels: it takes the length of the batch, which is a symbol in an export.
        x = images.reshape(images.shape[0], -1).astype("float32") / 255.0
        if config.pixels == "book":
            x = jax.numpy.where(x == 1.0, 0.999, 0.9 * x + 0.1)
        return jax.nn.softmax(feedforward.apply(weights["params"], x))

    return predict


def _shapes(start: Callable[..., Any], config: Any) -> Any:
    return jax.eval_shape(lambda: start(config, config.batch_size)[1])


MODELS = {
    "ch06_cnn": Model(
        chapter="ch06_cnn",
        config=cnn.Config,
        shape=(32, 32, 3),
        like=lambda config: _shapes(start_cnn, config),
        weights=lambda state: {"params": state.params, "stats": state.stats},
        predict=_cnn_predict,
    ),
    "ch03_feedforward": Model(
        chapter="ch03_mnist_ae_rbm/feedforward",
        config=feedforward.Config,
        shape=(28, 28),
        like=lambda config: _shapes(digits.start, config),
        weights=lambda state: {"params": state.params},
        predict=_digits_predict,
    ),
}


def rebuild(name: str, fields: Any) -> tuple[Predict, Any]:
    """The function of a model and the shapes of its weights, from its name and configuration.

    Raises:
      DataError: this version of zoo has no such model, or its configuration has other fields.
    """
    if name not in MODELS:
        raise DataError(f"no model {name!r} in this zoo, expected one of {', '.join(MODELS)}")
    model = MODELS[name]
    known = {field.name for field in dataclasses.fields(model.config)}
    if not isinstance(fields, dict) or set(fields) != known:
        differs = sorted(set(fields) ^ known) if isinstance(fields, dict) else [type(fields)]
        raise DataError(
            f"the configuration of {name} has other fields than this zoo's: {differs}; "
            "export the run again"
        )
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    config = model.config(**fields)
    return model.predict(config), model.weights(model.like(config))
