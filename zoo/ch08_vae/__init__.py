"""Chapter 8: variational autoencoders of digits; `from zoo import ch08_vae as vae`.

`vae.conv` is the convolutional one on CIFAR-10, with the same names inside.
"""

import functools

from zoo.ch08_vae import conv
from zoo.ch08_vae.conv import task as _conv
from zoo.ch08_vae.vae import task as _vae
from zoo.ch08_vae.vae.model import (
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
from zoo.common import trained

TASKS = (_vae.TASK, _conv.TASK)
train = TASKS[0].train
pretrained = functools.partial(trained.published, TASKS[0])
