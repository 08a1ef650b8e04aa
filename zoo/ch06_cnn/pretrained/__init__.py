"""The trained network of chapter 6."""

from pathlib import Path
from typing import Any

import jax

from zoo.ch06_cnn import speedrun
from zoo.common.pretrained import Pretrained, PretrainedError, load


def pretrained() -> Pretrained:
    """A network of the speed run, its weights as `{"params": ..., "moments": ...}`.

    `speedrun.apply(params, speedrun.scale_pixels(images), None, moments).logits` asks it, as does
    `speedrun_train.predict` with several views of each image.
    """

    def like(config: speedrun.Config) -> dict[str, Any]:
        params = speedrun.init(jax.random.key(0), config)
        return {"params": params, "moments": speedrun.init_moments(params)}

    return load(Path(__file__).parent, "model", speedrun.Config, like)


def take(run: Path) -> tuple[str, Any, Any]:
    """What is to be published of a run: name, configuration, weights."""
    from zoo.ch06_cnn.runs import restore
    from zoo.common.cli import Trained

    _, config, state, _ = restore(Trained(run=run))
    if not isinstance(config, speedrun.Config):
        raise PretrainedError(
            f"{run} is of recipe {config.recipe}, expected a speed run: train --recipe speedrun-cpu"
        )
    return "model", config, {"params": state.stats["average"], "moments": state.stats["moments"]}
