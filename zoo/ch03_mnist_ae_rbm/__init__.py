"""Chapter 3: a feed-forward net, an autoencoder and a Boltzmann machine.

`from zoo import ch03_mnist_ae_rbm as mnist`: the feed-forward net's functions are here,
`mnist.autoencoder` and `mnist.rbm` have theirs, under the same names.
"""

import functools

from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward, rbm
from zoo.ch03_mnist_ae_rbm.autoencoder import task as _autoencoder
from zoo.ch03_mnist_ae_rbm.digits import scale_pixels
from zoo.ch03_mnist_ae_rbm.feedforward import task as _feedforward
from zoo.ch03_mnist_ae_rbm.feedforward.model import (
    RECIPES,
    Config,
    apply,
    augment,
    example,
    init,
    loss,
)
from zoo.ch03_mnist_ae_rbm.rbm import task as _rbm
from zoo.common import trained

TASKS = (_feedforward.TASK, _autoencoder.TASK, _rbm.TASK)
train = TASKS[0].train
pretrained = functools.partial(trained.published, TASKS[0])
