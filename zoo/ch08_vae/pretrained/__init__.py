"""The trained autoencoder of chapter 8."""

from pathlib import Path
from typing import Any

import jax

from zoo.ch08_vae import model
from zoo.common.pretrained import Pretrained, load


def pretrained() -> Pretrained:
    """A VAE of MNIST, recipe `modern` with narrower layers; its weights are `params`."""
    return load(
        Path(__file__).parent,
        "model",
        model.Config,
        lambda config: model.init(jax.random.key(0), config),
    )


def take(run: Path) -> tuple[str, Any, Any]:
    """What is to be published of a run: name, configuration, weights."""
    from zoo.ch08_vae.drawing import restore
    from zoo.common.cli import Trained

    _, config, state, _ = restore(Trained(run=run))
    return "model", config, state.params
