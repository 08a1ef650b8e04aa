"""The autoencoder: `autoencoder.init`, `.apply`, `.encode`, `.decode`, `.loss`."""

from zoo.ch03_mnist_ae_rbm.autoencoder.model import (
    RECIPES,
    Config,
    Output,
    apply,
    corrupt,
    decode,
    encode,
    example,
    init,
    loss,
)
