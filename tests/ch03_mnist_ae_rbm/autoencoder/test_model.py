import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch03_mnist_ae_rbm import digits
from zoo.ch03_mnist_ae_rbm.autoencoder import model

BOOK, MODERN = model.RECIPES["book"], model.RECIPES["modern"]
BOOK_HOW = {"activation": "sigmoid", "code_activation": "sigmoid"}


@pytest.fixture
def x():
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    return digits.scale_pixels(jnp.asarray(images), "book")


def with_biases(params, key):
    """Biases begin at 0, where a forgotten one would not show."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    leaves = [
        leaf if leaf.ndim > 1 else jax.random.normal(k, leaf.shape)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, leaves)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_book_network_and_loss_are_their_definition_in_float64(x, getkey):
    params = model.init(getkey(), BOOK)
    out = np.asarray(x, np.float64)
    for layer in (*params["encoder"], *params["decoder"]):
        out = sigmoid(out @ np.asarray(layer["kernel"], np.float64))
    found = model.apply(params, x, **BOOK_HOW)
    np.testing.assert_allclose(jax.nn.sigmoid(found.logits), out, rtol=1e-4)
    assert found.code.shape == (5, 64)
    value, metrics = model.loss(params, {"image": x}, **BOOK_HOW)
    np.testing.assert_allclose(value, ((out - np.asarray(x)) ** 2).sum() / (5 * 784), rtol=1e-4)
    assert metrics["mse"] == value


def test_modern_network_and_loss_are_their_definition_in_float64(x, getkey):
    params = with_biases(model.init(getkey(), MODERN), getkey())
    (a, b), (c, d) = (
        [{k: np.asarray(v, np.float64) for k, v in layer.items()} for layer in params[half]]
        for half in ("encoder", "decoder")
    )
    hidden = np.asarray(x, np.float64) @ a["kernel"] + a["bias"]
    code = np.where(hidden > 0, hidden, np.expm1(hidden)) @ b["kernel"] + b["bias"]
    hidden = code @ c["kernel"] + c["bias"]
    out = sigmoid(np.where(hidden > 0, hidden, np.expm1(hidden)) @ d["kernel"] + d["bias"])
    np.testing.assert_allclose(model.encode(params, x), code, rtol=1e-3, atol=1e-4)
    value, metrics = model.loss(params, {"image": x})
    np.testing.assert_allclose(value, ((out - np.asarray(x)) ** 2).mean(), rtol=1e-4)
    value, metrics = model.loss(params, {"image": x}, objective="bce")
    image = np.asarray(x, np.float64)
    bce = -(image * np.log(out) + (1 - image) * np.log1p(-out)).mean()
    np.testing.assert_allclose(value, bce, rtol=1e-4)
    np.testing.assert_allclose(metrics["mse"], ((out - image) ** 2).mean(), rtol=1e-4)


class Twin(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (128, 64):
            x = nn.Dense(width)(nn.elu(x) if width == 64 else x)
        for width in (128, 784):
            x = nn.Dense(width)(nn.elu(x) if width == 784 else x)
        return x


def test_modern_network_equals_flax_in_value_and_gradient(x, getkey):
    params = with_biases(model.init(getkey(), MODERN), getkey())

    def theirs(params):
        layers = (*params["encoder"], *params["decoder"])
        named = {f"Dense_{n}": layer for n, layer in enumerate(layers)}
        return ((x - nn.sigmoid(Twin().apply({"params": named}, x))) ** 2).mean()

    value, grads = jax.value_and_grad(lambda p: model.loss(p, {"image": x})[0])(params)
    expected, expected_grads = jax.value_and_grad(theirs)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for ours, flax in zip(*map(jax.tree.leaves, (grads, expected_grads)), strict=True):
        np.testing.assert_allclose(ours, flax, atol=1e-6)


@pytest.mark.parametrize(
    "how", [BOOK_HOW, {"noise": 0.3}, {"objective": "bce"}], ids=["book", "noise", "bce"]
)
def test_gradients_agree_with_finite_differences(how, x, getkey):
    params = model.init(getkey(), dataclasses.replace(MODERN, hidden=(6,), code=3))
    with jax.enable_x64(True):
        params, x = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), (params, x))
        check_grads(
            jax.jit(lambda p: model.loss(p, {"image": x}, jax.random.key(0), **how)[0]),
            (params,), order=1, modes=["rev"], eps=1e-6,
        )  # fmt: skip


def test_book_network_has_the_books_weights(getkey):
    params = model.init(getkey(), BOOK)
    layers = (*params["encoder"], *params["decoder"])
    assert [layer["kernel"].shape for layer in layers] == [
        (784, 128), (128, 64), (64, 128), (128, 784),
    ]  # fmt: skip
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 217_088
    for layer in layers:
        bound = np.sqrt(6 / sum(layer["kernel"].shape))  # GlorotU
        assert 0.99 * bound < jnp.abs(layer["kernel"]).max() <= bound
        np.testing.assert_allclose(layer["kernel"].std(), bound / np.sqrt(3), rtol=0.03)


def test_widths_are_mirrored(getkey):
    config = dataclasses.replace(MODERN, hidden=(20, 10), code=5)
    params = model.init(getkey(), config)
    shapes = [layer["kernel"].shape for layer in (*params["encoder"], *params["decoder"])]
    assert shapes == [(784, 20), (20, 10), (10, 5), (5, 10), (10, 20), (20, 784)]
    assert model.apply(params, jnp.zeros((2, 784))).code.shape == (2, 5)


def test_reconstruction_lies_in_0_to_1_and_is_apply_in_two_halves(x, getkey):
    params = model.init(getkey(), MODERN)
    out = model.apply(params, x)
    np.testing.assert_array_equal(out.logits, model.decode(params, model.encode(params, x)))
    pixels = jax.nn.sigmoid(out.logits)
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_noise_follows_the_key_has_its_deviation_and_is_off_without_one(x, getkey):
    params, key = model.init(getkey(), MODERN), getkey()
    plain = model.apply(params, x).logits
    np.testing.assert_array_equal(plain, model.apply(params, x, noise=0.5).logits)
    noisy = model.apply(params, x, key, noise=0.5).logits
    again = model.apply(params, x, jax.random.clone(key), noise=0.5).logits
    np.testing.assert_array_equal(noisy, again)
    assert not np.array_equal(noisy, plain)
    added = model.corrupt(getkey(), jnp.zeros((100, 784)), 0.5)
    np.testing.assert_allclose([added.mean(), added.std()], [0, 0.5], atol=0.01)


def test_a_denoiser_is_measured_against_the_clean_image(x, getkey):
    params, key = model.init(getkey(), MODERN), getkey()
    value, _ = model.loss(params, {"image": x}, key, noise=0.5)
    noisy = model.corrupt(jax.random.clone(key), x, 0.5)
    out = jax.nn.sigmoid(model.apply(params, noisy).logits)
    np.testing.assert_allclose(value, ((out - x) ** 2).mean(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 28, 28), (784,), (2, 783)])
def test_a_wrong_shape_is_named(shape, getkey):
    params = model.init(getkey(), MODERN)
    with pytest.raises(ValueError, match=r"images have shape .*expected \(batch, 784\)"):
        model.apply(params, jnp.zeros(shape))
