"""Chapter 2: the first network, activation functions, gradient descent and solvers.

Begin with `train` (the modern recipe) or `train --program text|repo|numpy`, the book's three; they
need no data and take a moment. `compare` sets all four side by side. `activations`, `descent` and
`solvers` print the chapter's numbers, put right where they are misprinted, and draw its figures.
"""

import sys

from zoo.ch02_basic_nn import commands, demonstrations
from zoo.ch02_basic_nn.model import RECIPES
from zoo.common import cli

if __name__ == "__main__":
    # The chapter's recipes are programs, so --program is another name for --recipe.
    sys.argv = [a.replace("--program", "--recipe") if a.startswith("--program") else a
                for a in sys.argv]  # fmt: skip
    cli.main(
        __doc__,
        {
            "train": commands.train,
            "compare": commands.compare,
            "activations": demonstrations.activations,
            "descent": demonstrations.descent,
            "solvers": demonstrations.solvers,
            "bench": commands.bench,
        },
        recipes=(RECIPES,),
    )
