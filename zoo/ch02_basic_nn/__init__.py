"""Chapter 2: the first network; `from zoo import ch02_basic_nn as nn`.

Beside it are the modules `activations`, `descent` and `solvers`.
"""

from zoo.ch02_basic_nn import activations, descent, solvers
from zoo.ch02_basic_nn.model import RECIPES, Config, apply, example, init, loss
from zoo.ch02_basic_nn.program import run_program
from zoo.ch02_basic_nn.task import TASK

TASKS = (TASK,)
train = TASK.train
