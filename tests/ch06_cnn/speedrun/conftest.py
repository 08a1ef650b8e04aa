import dataclasses

import jax
import numpy as np
import pytest

from zoo.ch06_cnn.speedrun import model
from zoo.ch06_cnn.speedrun.task import TASK


@pytest.fixture(scope="module")
def config():
    return dataclasses.replace(
        model.RECIPES["speedrun-cpu"], width=4, batch_size=16, epochs=2, rise=0.2
    )


@pytest.fixture(scope="module")
def data():
    """Blurred noise with a tint that tells the class, so that patches are correlated."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 64).astype(np.uint8)
    small = rng.integers(0, 80, (64, 8, 8, 3))
    images = small.repeat(4, 1).repeat(4, 2) + rng.integers(0, 30, (64, 32, 32, 3))
    images += (14 * labels)[:, None, None, None].astype(int)
    return {"image": images.astype(np.uint8), "label": labels}


@pytest.fixture(scope="module")
def params(config, data):
    """Those before training, the first layer whitening `data`."""
    return jax.jit(lambda data: TASK.init(jax.random.key(3), config, data))(data)
