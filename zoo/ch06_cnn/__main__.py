"""Chapter 6: a convolutional network names the pictures of CIFAR-10.

Begin with `train` (the modern recipe, 20 epochs), or `train --recipe book` (the book's program, 10
epochs); then `evaluate`, `figures` and `predict cat.png` work with the newest run. Ctrl-C saves;
`train --resume runs/ch06_cnn/TIME` goes on.

Another network learns more in the same time: `speedrun train --recipe speedrun-cpu` (on a CPU;
without --recipe for a GPU), then `speedrun predict cat.png` and so on. On two cores it reaches
91.2 % in 9.5 minutes, `train` 85.7 % in 9.9.
"""

import sys
from collections.abc import Sequence

from zoo.ch06_cnn import TASKS, speedrun
from zoo.ch06_cnn.cnn.commands import COMMANDS
from zoo.ch06_cnn.speedrun.commands import COMMANDS as SPEEDRUN
from zoo.common import cli


def refuse_moved(arguments: Sequence[str]) -> None:
    """Ends `train --recipe speedrun-cpu`, as it was once, with the command that took its place."""
    line = " ".join(arguments).replace("=", " ") + " "
    for recipe in speedrun.RECIPES:
        if line.startswith("train ") and f"--recipe {recipe} " in line:
            command = f"{TASKS[1].command} train --recipe {recipe}"
            sys.exit(f"error: recipe {recipe} is of another network: use `{command}`")


if __name__ == "__main__":
    refuse_moved(sys.argv[1:])
    cli.main(__doc__, COMMANDS | {"speedrun": SPEEDRUN}, TASKS)
