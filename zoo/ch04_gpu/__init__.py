"""Chapter 4: CPU against GPU, measured; `from zoo import ch04_gpu as gpu`."""

from zoo.ch04_gpu.machine import backends
from zoo.ch04_gpu.memory import copy_bandwidth, toy
from zoo.ch04_gpu.models import MODELS, Model, Work, batch_size, choose, work
from zoo.ch04_gpu.rates import Rates, inference, training
from zoo.ch04_gpu.roofline import Count, bound, count, peaks

__all__ = [
    "MODELS",
    "Count",
    "Model",
    "Rates",
    "Work",
    "backends",
    "batch_size",
    "bound",
    "choose",
    "copy_bandwidth",
    "count",
    "inference",
    "peaks",
    "toy",
    "training",
    "work",
]
