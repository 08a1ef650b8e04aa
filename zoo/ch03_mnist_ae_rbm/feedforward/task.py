"""What zoo has to know of the feed-forward network: losses, predictions, pictures."""

import functools
from typing import Any

import jax
import numpy as np

from zoo.ch03_mnist_ae_rbm import digits
from zoo.ch03_mnist_ae_rbm.feedforward import model
from zoo.common import fit, run
from zoo.common.data import Dataset, own_pictures
from zoo.common.task import Arrays, Prediction, Task, Weights
from zoo.common.trained import Trained

PANELS = {"loss": "loss", "accuracy": "accuracy (%)"}
"""Of the curves, see `figures.training_curves`."""


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The recipe's loss, in training of moved images and with dropout."""
    names = ("objective", "target_on", "target_off")
    loss = functools.partial(model.loss, **{name: getattr(config, name) for name in names})

    def training(params, batch, key):
        # Images are moved as bytes and scaled afterwards: a quarter of the memory to copy.
        augment_key, dropout_key = jax.random.split(key)
        images = model.augment(augment_key, batch["image"], shift=config.shift)
        scaled = {**batch, "image": digits.scale_pixels(images, config.pixels)}
        return loss(params, scaled, dropout_key, dropout=config.dropout)

    def testing(params, batch, key):
        return loss(params, {**batch, "image": digits.scale_pixels(batch["image"], config.pixels)})

    return training, testing


@functools.cache
def predictions(config: model.Config) -> dict[str, Prediction]:
    """The probabilities of the classes."""

    def classify(weights: Weights, inputs: Arrays) -> Arrays:
        x = digits.scale_pixels(inputs["image"], config.pixels)
        return {"probabilities": jax.nn.softmax(model.apply(weights["params"], x))}

    image = {"image": jax.ShapeDtypeStruct((config.size, config.size), np.uint8)}
    about = "the probability of each class for an image, white on black"
    return {"classify": Prediction(about, image, classify)}


def pictures(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """Curves, confusion matrix, the first test digits and the worst mistakes."""
    from zoo.ch03_mnist_ae_rbm.feedforward import figures as own
    from zoo.common import figures

    images, labels = dataset.test["image"], dataset.test["label"]
    classes, caption = dataset.classes, dataset.description
    probabilities = trained.predict(image=images)["probabilities"]

    def answers(chosen: np.ndarray, title: str) -> Any:
        return own.answers(
            images[chosen], labels[chosen], probabilities[chosen], classes, title, caption
        )

    first, worst = np.arange(min(12, len(labels))), worst_first(labels, probabilities)[:12]
    drawings = {
        "confusion": figures.confusion(labels, probabilities.argmax(1), classes, caption),
        "digits": answers(first, "the first test digits: the true class is blue"),
    }
    if len(worst):
        drawings["mistakes"] = answers(
            worst, "the worst mistakes: blue is right, orange is the prediction"
        )
    if metrics := run.read_metrics(trained.folder):
        drawings["curves"] = figures.training_curves(metrics, PANELS, caption)
    return drawings


def worst_first(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Numbers of the images that are read wrongly, those first that the model is surest of."""
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]


TASK = Task(
    name="ch03_mnist_ae_rbm",
    model=model,
    about="a feed-forward network on MNIST",
    load=digits.load,
    random=digits.random,
    optimizer=digits.optimizer,
    losses=losses,
    metrics=("accuracy",),
    predictions=predictions,
    pictures=pictures,
    following=lambda dataset: ("predict 7.png",),
    fill=own_pictures.fill,
    epoch=60_000,
)
