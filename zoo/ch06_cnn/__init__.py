"""Chapter 6: a convolutional network on CIFAR-10; `from zoo import ch06_cnn as cnn`."""

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
    "scale_pixels",
    "train",
]
