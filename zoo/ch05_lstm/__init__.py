"""Chapter 5: recurrent networks that write; `from zoo import ch05_lstm as lstm`."""

from zoo.ch05_lstm import cells, text
from zoo.ch05_lstm.model import (
    RECIPES,
    Config,
    Output,
    apply,
    apply_expected,
    decode,
    embed,
    example,
    init,
    init_state,
    loss,
    score,
    step,
)
from zoo.ch05_lstm.pretrained import pretrained
from zoo.ch05_lstm.train import prepare, train

__all__ = [
    "RECIPES",
    "Config",
    "Output",
    "apply",
    "apply_expected",
    "cells",
    "decode",
    "embed",
    "example",
    "init",
    "init_state",
    "loss",
    "prepare",
    "pretrained",
    "score",
    "step",
    "text",
    "train",
]
