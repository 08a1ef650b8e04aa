"""Chapter 8: variational autoencoders of digits; `from zoo import ch08_vae as vae`.

`vae.conv` is the convolutional one on CIFAR-10, with the same names inside.
"""

from zoo.ch08_vae import conv
from zoo.ch08_vae.model import (
    RECIPES,
    Config,
    Output,
    apply,
    bernoulli,
    decode,
    elbo,
    encode,
    example,
    init,
    iwae_bound,
    kl_to_standard_normal,
    log_likelihood,
    log_weights,
    loss,
    reparameterise,
    sample,
    scale_pixels,
    squared,
)
from zoo.ch08_vae.pretrained import pretrained
from zoo.ch08_vae.train import train

__all__ = [
    "RECIPES",
    "Config",
    "Output",
    "apply",
    "bernoulli",
    "conv",
    "decode",
    "elbo",
    "encode",
    "example",
    "init",
    "iwae_bound",
    "kl_to_standard_normal",
    "log_likelihood",
    "log_weights",
    "loss",
    "pretrained",
    "reparameterise",
    "sample",
    "scale_pixels",
    "squared",
    "train",
]
