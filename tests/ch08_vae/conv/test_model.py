import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch08_vae.conv import model as conv

TINY = dataclasses.replace(conv.RECIPES["modern"], filters=(2, 3, 4), hidden=(6, 5), latents=3)
CONFIGS = {"modern": TINY, "dense": dataclasses.replace(TINY, recipe="dense")}


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


def test_probabilities_of_the_256_levels_sum_to_one():
    levels = jnp.arange(256)[:, None] / 255.0
    location = jnp.array([-0.4, 0.0, 0.31, 0.998, 1.7])
    for scale in (0.003, 0.05, 2.0):
        log_p = conv.log_discretised_logistic(levels, location, jnp.log(scale))
        np.testing.assert_allclose(jnp.exp(log_p).sum(0), 1.0, rtol=1e-4)


def test_a_bins_probability_is_the_difference_of_the_distribution_in_float64():
    x, location, scale = np.array([0, 3, 100, 254, 255]) / 255, 0.37, 0.2
    edges = [1 / (1 + np.exp(-(x + s / 510 - location) / scale)) for s in (1, -1)]
    above, below = np.where(x == 1, 1, edges[0]), np.where(x == 0, 0, edges[1])
    found = conv.log_discretised_logistic(jnp.asarray(x, jnp.float32), location, jnp.log(scale))
    np.testing.assert_allclose(found, np.log(above - below), rtol=1e-4)


def test_far_off_pixels_have_finite_probabilities_and_gradients():
    def far(location):
        return conv.log_discretised_logistic(jnp.array([0.0, 0.5, 1.0]), location, -6.0).sum()

    for location in (-50.0, 0.5, 50.0):
        value, slope = jax.value_and_grad(far)(location)
        assert np.isfinite([value, slope]).all()


def test_loss_is_bits_per_dimension_times_their_number(getkey):
    config = CONFIGS["dense"]
    params, batch = conv.init(getkey(), config), conv.example(config, 3)
    value, metrics = jax.jit(conv.loss)(params, batch)
    np.testing.assert_allclose(metrics["bits_per_dim"] * 3072 * np.log(2), value, rtol=1e-5)
    np.testing.assert_allclose(metrics["reconstruction"] + metrics["kl"], value, rtol=1e-5)
    location, mean, logvar = jax.jit(conv.apply)(params, batch["image"])
    log_p = conv.log_discretised_logistic(batch["image"], location, params["log_scale"])
    kl = 0.5 * (jnp.exp(logvar) + mean**2 - 1 - logvar).sum(-1)
    np.testing.assert_allclose(value, (kl - log_p.sum((1, 2, 3))).mean(), rtol=1e-5)


class Twin(nn.Module):
    """The convolutional encoder in Flax."""

    @nn.compact
    def __call__(self, x):
        for n, filters in enumerate(TINY.filters):
            x = nn.relu(nn.Conv(filters, (3, 3), 2, padding=1, name=f"conv{n}")(x))
        x = x.reshape(len(x), -1)
        return nn.Dense(TINY.latents, name="mean")(x), nn.Dense(TINY.latents, name="logvar")(x)


def test_encoder_equals_flax(getkey):
    params = conv.init(getkey(), TINY)
    x = conv.example(TINY, 2)["image"]
    layers = {f"conv{n}": layer for n, layer in enumerate(params["encoder"])}
    layers |= {name: params[name] for name in ("mean", "logvar")}
    expected = Twin().apply({"params": layers}, x - 0.5)
    for a, b in zip(conv.encode(params, x), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_channels_become_the_four_pixels_of_a_cell():
    x = jnp.arange(2 * 2 * 3 * 8).reshape(2, 2, 3, 8)
    y = conv.channels_to_pixels(x)
    assert y.shape == (2, 4, 6, 2)
    for row in range(4):
        for column in range(6):
            part = 2 * (2 * (row % 2) + column % 2)
            expected = x[:, row // 2, column // 2, part : part + 2]
            np.testing.assert_array_equal(y[:, row, column], expected)


def test_gradients_agree_with_finite_differences(getkey):
    params, key = conv.init(getkey(), TINY), getkey()
    batch = conv.example(TINY, 2)
    params["decoder"] = [  # soft, so that no ReLU turns within the difference
        {**layer, "bias": layer["bias"] + 0.5} for layer in params["decoder"]
    ]
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), params)
        x = {"image": jnp.asarray(np.asarray(batch["image"]), jnp.float64)}
        check_grads(
            jax.jit(lambda p: conv.loss(p, x, jax.random.clone(key))[0]),
            (wide,), order=1, modes=["rev"], eps=1e-6, rtol=1e-3,
        )  # fmt: skip


def test_samples_are_pictures_and_wrong_shapes_are_named(config, getkey):
    params = conv.init(getkey(), config)
    images = conv.sample(params, getkey(), 4)
    assert images.shape == (4, 32, 32, 3)
    assert images.min() >= 0
    assert images.max() <= 1
    with pytest.raises(ValueError, match=r"\(2, 28, 28\), expected \(batch, 32, 32, 3\)"):
        conv.encode(params, jnp.zeros((2, 28, 28)))
    with pytest.raises(ValueError, match=r"got filters \(\d+, \d+\), expected 3 of them"):
        conv.init(getkey(), dataclasses.replace(TINY, filters=(2, 3)))
