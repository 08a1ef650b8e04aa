"""Chapter 6: a convolutional network names the pictures of CIFAR-10.

Begin with `train` (the modern recipe, 20 epochs), or `train --recipe book` (the book's program, 10
epochs); then `evaluate`, `figures` and `predict cat.png` work with the newest run. Ctrl-C saves;
`train --resume runs/ch06_cnn/TIME` goes on.

Another network learns more in the same time: `speedrun train --recipe speedrun-cpu` (on a CPU;
without --recipe for a GPU), then `speedrun predict cat.png` and so on. On two cores it reaches
91.2 % in 9.5 minutes, `train` 85.7 % in 9.9.
"""

from zoo.ch06_cnn import TASKS
from zoo.ch06_cnn.cnn.commands import COMMANDS
from zoo.ch06_cnn.speedrun.commands import COMMANDS as SPEEDRUN
from zoo.common import cli

if __name__ == "__main__":
    cli.main(__doc__, COMMANDS | {"speedrun": SPEEDRUN}, TASKS)
