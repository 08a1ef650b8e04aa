"""Chapter 5: recurrent networks that write; `from zoo import ch05_lstm as lstm`."""

import functools

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
from zoo.ch05_lstm.task import TASK, fill, lay_out
from zoo.common import trained

TASKS = (TASK,)
train = TASK.train
pretrained = functools.partial(trained.published, TASK)
