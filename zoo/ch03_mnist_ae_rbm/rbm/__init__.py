"""The restricted Boltzmann machine: `rbm.init`, `rbm.loss`, `rbm.gibbs`, `rbm.apply`."""

from zoo.ch03_mnist_ae_rbm.rbm.model import (
    RECIPES,
    Config,
    apply,
    encode,
    example,
    free_energy,
    gibbs,
    hidden_given_visible,
    init,
    loss,
    visible_given_hidden,
)
