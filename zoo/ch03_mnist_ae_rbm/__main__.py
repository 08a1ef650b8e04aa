"""Chapter 3: a feed-forward net and an autoencoder on MNIST; a Boltzmann machine for movies.

Begin with `train` (the feed-forward net, the modern recipe), `autoencoder train` or `rbm train`;
`--recipe book` is the book's program. Ctrl-C saves; `--resume DIR` goes on. The other commands
work with the newest run: `evaluate`, `predict 7.png`, `autoencoder reconstruct`, `rbm recommend
--user 42`.
"""

from zoo.ch03_mnist_ae_rbm import TASKS
from zoo.ch03_mnist_ae_rbm.autoencoder import commands as autoencoder
from zoo.ch03_mnist_ae_rbm.feedforward import commands as feedforward
from zoo.ch03_mnist_ae_rbm.rbm import commands as rbm
from zoo.common import cli

if __name__ == "__main__":
    others = {"autoencoder": autoencoder.COMMANDS, "rbm": rbm.COMMANDS}
    cli.main(__doc__, {**feedforward.COMMANDS, **others}, TASKS)
