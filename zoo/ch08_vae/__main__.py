"""Chapter 8: variational autoencoders draw digits, and say how well in nats.

Begin with `train` (the modern recipe, 10 epochs), then `sample`, `reconstruct`, `interpolate 0 1`
and `evaluate`; they work with the newest run. `train --recipe book` is the book's program, `train
--recipe iwae` the protocol of the literature. Ctrl-C saves; `train --resume runs/ch08_vae/TIME`
goes on. `conv train` is a convolutional one on CIFAR-10.
"""

from zoo.ch08_vae import TASKS
from zoo.ch08_vae.vae.commands import COMMANDS
from zoo.common import cli, commands

if __name__ == "__main__":
    cli.main(__doc__, COMMANDS | {"conv": commands.make(TASKS[1])}, TASKS)
