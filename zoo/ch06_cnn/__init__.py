"""Chapter 6: a convolutional network on CIFAR-10; `from zoo import ch06_cnn as cnn`.

`cnn.speedrun` is the network of the speed run, which learns more in the same time. `cnn.TASKS` are
both; `zoo.published("ch06_cnn/speedrun")` is a trained one.
"""

import functools

from zoo.ch06_cnn import speedrun
from zoo.ch06_cnn.cnn import task as _cnn
from zoo.ch06_cnn.cnn.model import (
    RECIPES,
    Config,
    Output,
    apply,
    augment,
    correlate,
    example,
    init,
    init_stats,
    loss,
    pool,
    scale_pixels,
)
from zoo.ch06_cnn.speedrun import task as _speedrun
from zoo.common import trained

TASKS = (_cnn.TASK, _speedrun.TASK)
train = TASKS[0].train
pretrained = functools.partial(trained.published, TASKS[0])
