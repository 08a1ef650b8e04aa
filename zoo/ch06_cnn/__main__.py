"""Chapter 6: a convolutional network names the pictures of CIFAR-10.

Begin with `train` (the modern recipe, 20 epochs), `train --recipe book` (the book's program, 10
epochs) or `train --recipe speedrun-cpu` (as good as can be in ten minutes; `speedrun` for a GPU).
Ctrl-C saves; `train --resume runs/ch06_cnn/TIME` goes on. Then `evaluate`, `figures` and
`predict cat.png` work with the newest run. `speedrun` and `ablation` repeat the speed run over
seeds.
"""

import sys

from zoo.ch06_cnn import commands, runs, speedrun_commands
from zoo.ch06_cnn.model import RECIPES
from zoo.ch06_cnn.speedrun import SPEEDRUNS
from zoo.common import cli

if __name__ == "__main__":
    fast = runs.recipe_of(sys.argv[1:]) in SPEEDRUNS
    cli.main(
        __doc__,
        {
            "train": speedrun_commands.train if fast else commands.train,
            "evaluate": commands.evaluate,
            "predict": commands.predict,
            "figures": commands.figures,
            "speedrun": speedrun_commands.repeat,
            "ablation": speedrun_commands.ablation,
            "bench": commands.bench,
        },
        recipes=(RECIPES, SPEEDRUNS),
        resumed=runs.saved_config,
    )
