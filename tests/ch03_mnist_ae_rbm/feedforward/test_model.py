import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from zoo.ch03_mnist_ae_rbm import digits
from zoo.ch03_mnist_ae_rbm.feedforward import model

BOOK, MODERN = model.RECIPES["book"], model.RECIPES["modern"]
BOOK_LOSS = {"objective": "product", "target_on": 0.9, "target_off": 0.1}


@pytest.fixture(params=["book", "modern"])
def config(request):
    return model.RECIPES[request.param]


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (5, 28, 28), np.uint8))
    return {"image": digits.scale_pixels(images, "book"), "label": jnp.array([3, 0, 9, 3, 7])}


def float64_probabilities(params, x):
    """The network by definition, in NumPy."""
    x = np.asarray(x, np.float64)
    for layer in params[:-1]:
        x = np.maximum(x @ np.asarray(layer["kernel"], np.float64) + layer.get("bias", 0.0), 0)
    logits = x @ np.asarray(params[-1]["kernel"], np.float64) + params[-1].get("bias", 0.0)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def with_biases(params, key):
    """Biases begin at 0, where a forgotten one would not show."""
    keys = jax.random.split(key, len(params))
    return [
        {**layer, "bias": jax.random.normal(k, layer["bias"].shape)} if "bias" in layer else layer
        for layer, k in zip(params, keys, strict=True)
    ]


def test_network_and_losses_are_their_definition_in_float64(config, batch, getkey):
    params = with_biases(model.init(getkey(), config), getkey())
    p = float64_probabilities(params, batch["image"])
    np.testing.assert_allclose(
        jax.nn.softmax(model.apply(params, batch["image"])), p, rtol=2e-4, atol=1e-7
    )
    targets = np.full((5, 10), 0.1)
    targets[np.arange(5), batch["label"]] = 0.9
    value, metrics = model.loss(params, batch, **BOOK_LOSS)
    np.testing.assert_allclose(value, -(p * targets).sum() / 50, rtol=1e-4)
    assert metrics["accuracy"] == np.mean(p.argmax(-1) == np.asarray(batch["label"]))
    value, _ = model.loss(params, batch, target_on=0.9, target_off=0.1)
    np.testing.assert_allclose(value, -(targets * np.log(p)).sum() / 5, rtol=1e-4)


class Twin(nn.Module):
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for width in self.widths[:-1]:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.widths[-1])(x)


def test_modern_network_equals_flax_in_value_and_gradient(batch, getkey):
    params = with_biases(model.init(getkey(), MODERN), getkey())
    twin = Twin((*MODERN.hidden, 10))

    def theirs(params):
        named = {f"Dense_{n}": layer for n, layer in enumerate(params)}
        logits = twin.apply({"params": named}, batch["image"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    value, grads = jax.value_and_grad(lambda p: model.loss(p, batch)[0])(params)
    expected, expected_grads = jax.value_and_grad(theirs)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for ours, flax in zip(*map(jax.tree.leaves, (grads, expected_grads)), strict=True):
        np.testing.assert_allclose(ours, flax, atol=1e-5)


@pytest.mark.parametrize("hyper", [BOOK_LOSS, {"dropout": 0.5}], ids=["book", "dropout"])
def test_gradients_agree_with_finite_differences(hyper, batch, getkey):
    params = model.init(getkey(), dataclasses.replace(MODERN, hidden=(6, 5)))
    params = with_biases(params, getkey())  # else a unit whose inputs are all dropped is at a kink
    with jax.enable_x64(True):
        params, x = jax.tree.map(
            lambda a: jnp.asarray(np.asarray(a), jnp.float64), (params, batch["image"])
        )
        batch = {"image": x, "label": batch["label"]}
        check_grads(
            jax.jit(lambda p: model.loss(p, batch, jax.random.key(0), **hyper)[0]),
            (params,), order=1, modes=["rev"], eps=1e-6,
        )  # fmt: skip


def test_book_network_has_the_books_weights(getkey):
    params = model.init(getkey(), BOOK)
    assert [layer.keys() for layer in params] == [{"kernel"}] * 3
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 266_200
    for layer, (before, after) in zip(params, itertools.pairwise((784, 300, 100, 10)), strict=True):
        deviation = np.sqrt(2 / (before + after))
        np.testing.assert_allclose(layer["kernel"].std(), deviation, rtol=0.05)
        # GlorotN is normal: about 5 % lie beyond two deviations, none of a uniform one would.
        assert (jnp.abs(layer["kernel"]) > 1.9 * deviation).mean() > 0.02


def test_books_loss_has_its_floor_and_its_value_for_ignorance():
    batch = {"image": jnp.ones((4, 784)), "label": jnp.full(4, 3)}
    ignorant = [{"kernel": jnp.zeros((784, 10))}]
    np.testing.assert_allclose(model.loss(ignorant, batch, **BOOK_LOSS)[0], -0.018, rtol=1e-5)
    certain = [{"kernel": jnp.zeros((784, 10)), "bias": 100.0 * jax.nn.one_hot(3, 10)}]
    np.testing.assert_allclose(model.loss(certain, batch, **BOOK_LOSS)[0], -0.09, rtol=1e-5)


def test_cross_entropy_of_huge_logits_is_finite():
    batch = {"image": jnp.ones((2, 784)), "label": jnp.array([0, 1])}
    params = [{"kernel": jnp.zeros((784, 10)), "bias": 1e4 * jax.nn.one_hot(0, 10)}]
    value, grads = jax.value_and_grad(lambda p: model.loss(p, batch)[0])(params)
    np.testing.assert_allclose(value, 5e3, rtol=1e-5)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_widths_and_depth_are_free(getkey):
    for hidden in ((), (7,), (9, 8, 7, 6)):
        params = model.init(getkey(), dataclasses.replace(MODERN, hidden=hidden, classes=4))
        assert model.apply(params, jnp.zeros((2, 784))).shape == (2, 4)
        assert len(params) == len(hidden) + 1


def test_dropout_follows_the_key_and_is_off_without_one(batch, getkey):
    params, key = model.init(getkey(), MODERN), getkey()
    plain = model.apply(params, batch["image"])
    np.testing.assert_array_equal(plain, model.apply(params, batch["image"], dropout=0.5))
    one = model.apply(params, batch["image"], key, dropout=0.5)
    again = model.apply(params, batch["image"], jax.random.clone(key), dropout=0.5)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, model.apply(params, batch["image"], getkey(), dropout=0.5))


def test_augmentation_gives_moved_copies_in_every_direction(getkey):
    images = np.zeros((300, 28, 28), np.uint8)
    images[:, 10, 20] = np.arange(1, 301) % 255 + 1
    moved = np.asarray(model.augment(getkey(), jnp.asarray(images), shift=2))
    assert moved.dtype == np.uint8
    number, row, column = np.nonzero(moved)
    np.testing.assert_array_equal(number, np.arange(300))
    np.testing.assert_array_equal(moved[number, row, column], images[:, 10, 20])
    moves = {(r - 10, c - 20) for r, c in zip(row, column, strict=True)}
    assert moves == set(itertools.product(range(-2, 3), repeat=2))


def test_augmentation_lets_paper_in_and_a_shift_of_0_leaves_the_images(getkey):
    images = jnp.full((50, 28, 28), 9, jnp.uint8)
    moved = np.asarray(model.augment(getkey(), images, shift=3))
    sums = moved.astype(int).sum((1, 2)) // 9
    sides = {(28 - a) * (28 - b) for a in range(4) for b in range(4)}
    assert set(sums) <= sides
    assert len(set(sums)) > 3
    assert model.augment(getkey(), images, shift=0) is images


def test_each_hidden_layer_drops_units_of_its_own(getkey):
    """Of units that are all 1, kept twice at a rate of a half, a quarter comes out as 4."""
    size = 200
    params = [
        {"kernel": jnp.zeros((784, size)), "bias": jnp.ones(size)},
        {"kernel": jnp.eye(size)},
        {"kernel": jnp.eye(size)},
    ]
    found = np.asarray(model.apply(params, jnp.ones((50, 784)), getkey(), dropout=0.5))
    assert set(np.unique(found)) == {0.0, 4.0}
    np.testing.assert_allclose((found > 0).mean(), 0.25, atol=0.02)
    assert len(np.unique(found, axis=0)) == 50  # each image by itself


def test_augmentation_moves_equally_often_everywhere_in_both_axes(getkey):
    images = jnp.zeros((2_500, 6, 7), jnp.uint8).at[:, 2, 3].set(1)
    moved = np.asarray(model.augment(getkey(), images, shift=2))
    counts = moved.sum(0, dtype=int)
    assert counts[:5, 1:6].sum() == counts.sum() == 2_500
    assert np.abs(counts[:5, 1:6] - 100).max() < 45  # 4.5 deviations


@pytest.mark.parametrize("shape", [(2, 28, 28), (784,), (2, 783)])
def test_a_wrong_shape_is_named(shape, getkey):
    params = model.init(getkey(), MODERN)
    with pytest.raises(ValueError, match=r"images have shape .*expected \(batch, 784\)"):
        model.apply(params, jnp.zeros(shape))
