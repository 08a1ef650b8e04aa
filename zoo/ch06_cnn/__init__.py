"""Chapter 6: a convolutional network on CIFAR-10; `from zoo import ch06_cnn as cnn`.

`cnn.speedrun` is the network of the speed run, with the same names inside; `cnn.pretrained()` is a
trained one.
"""

from zoo.ch06_cnn import speedrun, speedrun_train
from zoo.ch06_cnn.model import (
    RECIPES,
    Config,
    Output,
    apply,
    augment,
    correlate,
    example,
    init,
    init_stats,
    loss,
    pool,
    scale_pixels,
)
from zoo.ch06_cnn.pretrained import pretrained
from zoo.ch06_cnn.train import predict_probabilities, train

__all__ = [
    "RECIPES",
    "Config",
    "Output",
    "apply",
    "augment",
    "correlate",
    "example",
    "init",
    "init_stats",
    "loss",
    "pool",
    "predict_probabilities",
    "pretrained",
    "scale_pixels",
    "speedrun",
    "speedrun_train",
    "train",
]
