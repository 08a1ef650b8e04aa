"""Chapter 2: the first network; `from zoo import ch02_basic_nn as nn`.

Beside it stand the modules `activations`, `descent` and `solvers`.
"""

from zoo.ch02_basic_nn import activations, descent, solvers
from zoo.ch02_basic_nn.model import RECIPES, Config, apply, example, init, loss
from zoo.ch02_basic_nn.train import train

__all__ = [
    "RECIPES",
    "Config",
    "activations",
    "apply",
    "descent",
    "example",
    "init",
    "loss",
    "solvers",
    "train",
]
