"""The restricted Boltzmann machine: `rbm.init`, `rbm.loss`, `rbm.gibbs`, `rbm.predict_ratings`."""

from zoo.ch03_mnist_ae_rbm.rbm.model import (
    RECIPES,
    Config,
    encode,
    example,
    free_energy,
    gibbs,
    hidden_given_visible,
    init,
    loss,
    predict_ratings,
    recommend,
    visible_given_hidden,
)

__all__ = [
    "RECIPES",
    "Config",
    "encode",
    "example",
    "free_energy",
    "gibbs",
    "hidden_given_visible",
    "init",
    "loss",
    "predict_ratings",
    "recommend",
    "visible_given_hidden",
]
