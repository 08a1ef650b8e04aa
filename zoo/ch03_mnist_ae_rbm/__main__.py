"""Chapter 3: MNIST by a feed-forward net and an autoencoder; films from a Boltzmann machine.

Begin with `train feedforward`, `train autoencoder` or `train rbm` (the modern recipe), or add
`--recipe book` for the book's program. Ctrl-C saves; `--resume DIR` goes on. The other commands
work with the newest run: `evaluate MODEL` and `figures MODEL`; `predict 7.png` reads a digit,
`reconstruct` puts digits through the autoencoder, `recommend --user 42` names films. `sweep`
trains many feed-forward nets at once.
"""

from zoo.ch03_mnist_ae_rbm import (
    autoencoder,
    autoencoder_commands,
    commands,
    feedforward,
    feedforward_commands,
    rbm,
    rbm_commands,
)
from zoo.common import cli

MODELS = {
    "feedforward": feedforward_commands,
    "autoencoder": autoencoder_commands,
    "rbm": rbm_commands,
}

if __name__ == "__main__":
    cli.main(
        __doc__,
        {
            "train": {name: module.train for name, module in MODELS.items()},
            "evaluate": {name: module.evaluate for name, module in MODELS.items()},
            "predict": feedforward_commands.predict,
            "reconstruct": autoencoder_commands.reconstruct,
            "recommend": rbm_commands.recommend,
            "sweep": feedforward_commands.sweep,
            "figures": {name: module.figures for name, module in MODELS.items()},
            "bench": {name: module.bench for name, module in MODELS.items()},
        },
        recipes=(feedforward.RECIPES, autoencoder.RECIPES, rbm.RECIPES),
        resumed=commands.saved_config,
    )
