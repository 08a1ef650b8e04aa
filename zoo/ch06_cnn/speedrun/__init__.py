"""The network of the speed run; `speedrun.init`, `speedrun.apply`, `speedrun.loss`."""

from zoo.ch06_cnn.cnn.model import scale_pixels
from zoo.ch06_cnn.speedrun.images import alternating_flips, views, whitening_kernel
from zoo.ch06_cnn.speedrun.model import (
    RECIPES,
    Config,
    Output,
    apply,
    apply_training,
    example,
    init,
    init_moments,
    init_stats,
    loss,
    loss_training,
    on_spheres,
    partial_identity,
    running_average,
)

__all__ = [
    "RECIPES",
    "Config",
    "Output",
    "alternating_flips",
    "apply",
    "apply_training",
    "example",
    "init",
    "init_moments",
    "init_stats",
    "loss",
    "loss_training",
    "on_spheres",
    "partial_identity",
    "running_average",
    "scale_pixels",
    "views",
    "whitening_kernel",
]
