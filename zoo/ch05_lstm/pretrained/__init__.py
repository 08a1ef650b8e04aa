"""The trained writer of chapter 5."""

from pathlib import Path
from typing import Any

import jax

from zoo.ch05_lstm import model
from zoo.common.pretrained import Pretrained, load


def pretrained() -> Pretrained:
    """A network that writes like Shakespeare; its weights are `params`.

    The characters that its numbers stand for are `card["data"]["classes"]`, in this order.
    """
    return load(
        Path(__file__).parent,
        "model",
        model.Config,
        lambda config: model.init(jax.random.key(0), config),
    )


def take(run: Path) -> tuple[str, Any, Any]:
    """What is to be published of a run: name, configuration, weights."""
    from zoo.ch05_lstm.drawing import restore
    from zoo.common.cli import Trained

    _, config, params, _, _ = restore(Trained(run=run))
    return "model", config, params
