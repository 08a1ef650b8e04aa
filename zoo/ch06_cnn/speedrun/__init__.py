"""The network of the speed run; `speedrun.init`, `speedrun.apply`, `speedrun.loss`."""

from zoo.ch06_cnn.speedrun.images import whitening_kernel
from zoo.ch06_cnn.speedrun.model import (
    RECIPES,
    Config,
    Output,
    apply,
    apply_training,
    example,
    init,
    loss,
    loss_training,
)
