"""Chapter 2: the first network, activation functions, gradient descent and solvers.

Begin with `train` (the modern recipe) or `train --program text|repo|numpy`, the book's three; they
need no data and take a moment. `compare` sets all four side by side. The chapter's other subjects
are `python -m studies.ch02_basic_nn activations`, `descent` and `solvers`.
"""

from zoo.ch02_basic_nn import TASKS
from zoo.ch02_basic_nn.commands import COMMANDS
from zoo.common import cli

if __name__ == "__main__":
    cli.main(__doc__, COMMANDS, TASKS)
