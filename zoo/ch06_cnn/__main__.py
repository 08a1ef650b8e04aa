"""Chapter 6: a convolutional network names the pictures of CIFAR-10.

Begin with `train` (the modern recipe, 20 epochs) or `train --recipe book` (the book's program, 10
epochs). Ctrl-C saves; `train --resume runs/ch06_cnn/TIME` goes on. Then `evaluate`, `figures` and
`predict cat.png` work with the newest run.
"""

from zoo.ch06_cnn import commands
from zoo.ch06_cnn.model import RECIPES
from zoo.common import cli

if __name__ == "__main__":
    cli.main(
        __doc__,
        {
            "train": commands.train,
            "evaluate": commands.evaluate,
            "predict": commands.predict,
            "figures": commands.figures,
            "bench": commands.bench,
        },
        recipes=(RECIPES,),
        resumed=commands.saved_config,
    )
