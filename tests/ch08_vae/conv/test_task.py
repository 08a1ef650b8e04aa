import dataclasses

import numpy as np

from zoo.ch08_vae.conv import model
from zoo.ch08_vae.conv.task import TASK


def test_the_convolutional_autoencoder_learns():
    images = np.zeros((8, 32, 32, 3), np.uint8)
    images[::2, :, :16] = 200
    images[1::2, 8:24] = [10, 90, 250]
    config = dataclasses.replace(
        model.RECIPES["modern"], filters=(4, 4, 8), latents=4, batch_size=8, epochs=100
    )
    rows = []

    def follow(reports):
        for report in reports:
            if report.metrics:
                rows.append(report.metrics)
        return report.state

    TASK.train(config, {"image": images}, follow=follow)
    assert rows[0]["train_bits_per_dim"] > 5.5
    assert rows[-1]["train_bits_per_dim"] < rows[0]["train_bits_per_dim"] - 1
