"""Chapter 2: the first network, activation functions, gradient descent and solvers.

Begin with `train` (the modern recipe) or `train --program text|repo|numpy`, the book's three; they
need no data and take a moment. `compare` sets all four side by side. `activations`, `descent` and
`solvers` print the chapter's numbers, put right where they are misprinted, and draw its figures.
"""

from zoo.ch02_basic_nn import TASKS
from zoo.ch02_basic_nn.commands import COMMANDS
from zoo.common import cli

if __name__ == "__main__":
    cli.main(__doc__, COMMANDS, TASKS)
