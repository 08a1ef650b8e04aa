"""Chapter 3: a feed-forward net, an autoencoder and a Boltzmann machine.

`from zoo.ch03_mnist_ae_rbm import feedforward`, `autoencoder` or `rbm`: each has `Config`,
`RECIPES`, `init` and its own functions. `train` binds the first two to MNIST.
"""

from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward, rbm, sweep, train
from zoo.ch03_mnist_ae_rbm.pretrained import pretrained
from zoo.ch03_mnist_ae_rbm.train import scale_pixels

__all__ = [
    "autoencoder",
    "feedforward",
    "pretrained",
    "rbm",
    "scale_pixels",
    "sweep",
    "train",
]
