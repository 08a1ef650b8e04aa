"""The trained models of chapter 3: `feedforward`, `autoencoder` and `rbm`."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import jax
import numpy as np

from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward, rbm
from zoo.common.pretrained import Pretrained, load

Name = Literal["feedforward", "autoencoder", "rbm"]
_MODULES: dict[str, ModuleType] = {
    "feedforward": feedforward,
    "autoencoder": autoencoder,
    "rbm": rbm,
}


def pretrained(name: Name = "feedforward") -> Pretrained:
    """A trained model of the chapter; its weights are `params` of the module of that name.

    Raises:
      ValueError: there is no such model.
    """
    if name not in _MODULES:
        raise ValueError(f"got the model {name!r}, expected one of {', '.join(_MODULES)}")
    module = _MODULES[name]
    return load(
        Path(__file__).parent,
        name,
        module.Config,
        lambda config: module.init(jax.random.key(0), config),
    )


def take(run: Path) -> tuple[str, Any, Any]:
    """What is to be published of a run: name, configuration, weights."""
    from zoo.ch03_mnist_ae_rbm import rbm_train, train
    from zoo.common.cli import Trained
    from zoo.common.run import restore

    def like(config: Any) -> Any:
        if name == "rbm":
            return rbm_train.start(config, np.zeros((config.batch_size, config.visible), np.uint8))[
                1
            ]
        return train.start(config, config.batch_size)[1]

    chapter = json.loads((run / "config.json").read_text(encoding="utf-8"))["chapter"]
    name = chapter.partition("/")[2]
    _, config, state, _ = restore(chapter, Trained(run=run), _MODULES[name].Config, like)
    return name, config, state.params
