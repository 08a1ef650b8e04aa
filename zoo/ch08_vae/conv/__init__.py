"""Variational autoencoders of CIFAR-10; `conv.init`, `conv.apply`, `conv.loss`, `conv.sample`."""

from zoo.ch08_vae.conv.model import (
    RECIPES,
    Config,
    Output,
    apply,
    decode,
    encode,
    example,
    init,
    loss,
    sample,
    scale_pixels,
)
