import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch06_cnn.cnn import model

BOOK, MODERN = model.RECIPES["book"], model.RECIPES["modern"]


@pytest.fixture(params=["book", "modern"])
def config(request):
    return model.RECIPES[request.param]


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    return {"image": model.scale_pixels(jnp.asarray(images)), "label": jnp.array([3, 0, 9, 3])}


def float64_network(params, x):
    """The book's network by definition, in NumPy: conv, ReLU, pool in the book's own order."""
    for layer in params["conv"]:
        kernel = np.asarray(layer["kernel"], np.float64)
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))
        x = np.maximum(np.einsum("bijcrs,rsco->bijo", windows, kernel), 0)
        b, h, w, c = x.shape
        x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
    x = np.maximum(x.reshape(len(x), -1) @ np.asarray(params["dense"]["kernel"], np.float64), 0)
    return x @ np.asarray(params["output"]["kernel"], np.float64)


def test_book_network_is_its_definition_in_float64(batch, getkey):
    params = model.init(getkey(), BOOK)
    expected = float64_network(params, np.asarray(batch["image"], np.float64))
    logits = model.apply(params, batch["image"]).logits
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


def test_book_loss_is_its_definition_in_float64(batch, getkey):
    params = model.init(getkey(), BOOK)
    logits = float64_network(params, np.asarray(batch["image"], np.float64))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = np.full((4, 10), 0.1)
    targets[np.arange(4), batch["label"]] = 0.9
    value, (metrics, _) = model.loss(params, batch, target_on=0.9, target_off=0.1, reduction="sum")
    np.testing.assert_allclose(value, -(targets * log_p).sum(), rtol=1e-4)
    assert metrics["accuracy"] == (logits.argmax(-1) == np.asarray(batch["label"])).mean()


class Twin(nn.Module):
    """The modern network in Flax; evaluation, or training without dropout."""

    @nn.compact
    def __call__(self, x, training):
        def norm(name):
            return nn.BatchNorm(not training, momentum=0.9, epsilon=1e-5, name=name)

        for n, filters in enumerate(MODERN.filters):
            x = nn.Conv(filters, (5, 5), padding=1, use_bias=False, name=f"conv{n}")(x)
            x = nn.relu(norm(f"norm{n}")(nn.max_pool(x, (2, 2), (2, 2))))
        x = nn.Dense(256, use_bias=False, name="dense")(x.reshape(x.shape[0], -1))
        return nn.Dense(10, name="output")(nn.relu(norm("norm3")(x)))


@pytest.mark.parametrize("training", [True, False])
def test_modern_network_its_statistics_and_gradients_equal_flax(training, batch, getkey):
    params = model.init(getkey(), MODERN)
    key = getkey() if training else None

    def translate(params):
        layers = [*params["conv"], params["dense"]]
        norms = {f"norm{n}": {k: p[k] for k in ("scale", "bias")} for n, p in enumerate(layers)}
        convs = {f"conv{n}": {"kernel": p["kernel"]} for n, p in enumerate(params["conv"])}
        dense = {"dense": {"kernel": params["dense"]["kernel"]}}
        return {**norms, **convs, **dense, "output": params["output"]}

    def flax(params, x):
        stats = {f"norm{n}": s for n, s in enumerate(model.init_stats(params))}
        variables = {"params": translate(params), "batch_stats": stats}
        return Twin().apply(variables, x, training, mutable="batch_stats")

    out, pullback = jax.vjp(lambda p: model.apply(p, batch["image"], key).logits, params)
    expected, flax_pullback, updates = jax.vjp(
        lambda p: flax(p, batch["image"]), params, has_aux=True
    )
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    g = jax.random.normal(getkey(), out.shape)
    for ours, theirs in zip(
        jax.tree.leaves(pullback(g)), jax.tree.leaves(flax_pullback(g)), strict=True
    ):
        scale = float(jnp.abs(theirs).max()) + 1e-6
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=2e-3)
    if training:
        stats = model.apply(params, batch["image"], jax.random.key(1)).stats
        for n, own in enumerate(stats):
            for name in ("mean", "var"):
                theirs = updates["batch_stats"][f"norm{n}"][name]
                np.testing.assert_allclose(own[name], theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_gradients_agree_with_finite_differences(config, getkey):
    small = dataclasses.replace(config, filters=(2, 3, 2), hidden=5)
    params = model.init(getkey(), small)
    x = jax.random.normal(getkey(), (3, 32, 32, 3))
    with jax.enable_x64(True):
        p, x = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), (params, x))
        labels = jnp.array([0, 4, 9])
        check_grads(
            jax.jit(lambda p: model.loss(p, {"image": x, "label": labels}, jax.random.key(0))[0]),
            (p,),
            order=1,
            modes=["rev"],
            eps=1e-6,
        )


def test_book_network_has_the_books_weights(getkey):
    params = model.init(getkey(), BOOK)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 392_032
    shapes = [layer["kernel"].shape for layer in params["conv"]]
    assert shapes == [(5, 5, 3, 32), (5, 5, 32, 64), (5, 5, 64, 128)]
    assert params["dense"]["kernel"].shape == (512, 256)
    assert params["output"]["kernel"].shape == (256, 10)
    deviation = np.sqrt(2 / ((32 + 64) * 25))
    np.testing.assert_allclose(params["conv"][1]["kernel"].std(), deviation, rtol=0.02)


def test_books_cost_of_ignorance_and_its_floor():
    """100 images: 414.5 for uniform guesses; 322.5 is the least that the book's targets allow."""
    labels = jnp.arange(100) % 10
    ignorant = {
        "conv": [{"kernel": jnp.zeros(s)} for s in [(5, 5, 3, 1), (5, 5, 1, 1), (5, 5, 1, 1)]],
        "dense": {"kernel": jnp.zeros((4, 2))},
        "output": {"kernel": jnp.zeros((2, 10))},
    }
    batch = {"image": jnp.zeros((100, 32, 32, 3)), "label": labels}
    value, _ = model.loss(ignorant, batch, target_on=0.9, target_off=0.1, reduction="sum")
    np.testing.assert_allclose(value, 414.47, atol=0.01)
    best = jnp.log(jnp.full(10, 0.1 / 1.8).at[3].set(0.5))
    wise = {**ignorant, "output": {**ignorant["output"], "bias": best}}
    batch = {**batch, "label": jnp.full(100, 3)}
    value, _ = model.loss(wise, batch, target_on=0.9, target_off=0.1, reduction="sum")
    np.testing.assert_allclose(value, 322.5, atol=0.05)


def test_books_pixels_lie_between_a_tenth_and_999_thousandths():
    pixels = jnp.array([0, 51, 254, 255], jnp.uint8)
    expected = [0.1, 0.28, 0.9 * 254 / 255 + 0.1, 0.999]
    images = jnp.broadcast_to(pixels[:, None, None, None], (4, 1, 1, 3))
    scaled = model.scale_pixels(images, "book")
    np.testing.assert_allclose(scaled[..., 0].ravel(), expected, rtol=1e-6)


def test_standard_pixels_have_mean_0_and_deviation_1_where_the_constants_say(getkey):
    mean = np.array([0.4914, 0.4822, 0.4465]) * 255
    images = jnp.asarray(np.broadcast_to(mean.round().astype(np.uint8), (1, 2, 2, 3)))
    assert jnp.abs(model.scale_pixels(images)).max() < 0.01


def test_sliding_dot_product_of_the_chapter():
    """The chapter's filter over a 10x10 map, against the products written out."""
    kernel = np.array([[0.86, 0.37, 0.32], [0.14, 0.22, 0.32], [0.58, 0.57, 0.49]])
    image = np.random.default_rng(6).uniform(size=(10, 10))
    expected = [[(image[i : i + 3, j : j + 3] * kernel).sum() for j in range(8)] for i in range(8)]
    found = model.correlate(jnp.asarray(image), jnp.asarray(kernel))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_max_pooling_of_the_chapter():
    image = jnp.array([[0.51, 0.9, 0.88, 0.2], [0.96, 0.3, 0.4, 0.8], [0.1, 0.0, 0.3, 0.2]])
    np.testing.assert_allclose(model.pool(image), [[0.96, 0.88]])


def test_augmentation_moves_mirrored_copies_and_keeps_the_middle(getkey):
    images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (64, 32, 32, 3), np.uint8))
    moved = model.augment(getkey(), images, shift=2)
    assert moved.dtype == jnp.uint8
    found = set()
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    for n in range(64):
        for top in range(5):
            for left in range(5):
                patch = padded[n, top : top + 32, left : left + 32]
                for mirrored in (False, True):
                    if np.array_equal(moved[n], patch[:, ::-1] if mirrored else patch):
                        found.add((n, mirrored))
    assert len({n for n, _ in found}) == 64
    assert 15 < sum(mirrored for _, mirrored in found) < 49


def test_shifts_are_those_of_numpys_mirrored_edges(getkey):
    images = np.random.default_rng(2).integers(0, 256, (64, 32, 32, 3), np.uint8)
    moved = np.asarray(model.move(getkey(), jnp.asarray(images), 2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    found = set()
    for n in range(len(images)):
        places = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(moved[n], padded[n, i : i + 32, j : j + 32])
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 15


def test_no_augmentation_leaves_the_images(getkey):
    images = jnp.ones((2, 32, 32, 3), jnp.uint8)
    assert model.augment(getkey(), images, shift=0, flip=False) is images


def test_dropout_bug_multiplies_what_it_keeps_by_the_rate(batch, getkey):
    params, key = model.init(getkey(), BOOK), getkey()
    kept = {"dropout": 0.0, "dropout_dense": 0.55}
    right = model.apply(params, batch["image"], key, **kept).logits
    wrong = model.apply(params, batch["image"], jax.random.clone(key), **kept, dropout_bug=True)
    np.testing.assert_allclose(wrong.logits, right * 0.45 * 0.55, rtol=1e-4, atol=1e-6)


def test_evaluation_is_exact_and_dropout_follows_the_key(batch, getkey):
    params, key = model.init(getkey(), BOOK), getkey()
    rates = {"dropout": 0.2, "dropout_dense": 0.55}
    plain = model.apply(params, batch["image"], **rates).logits
    np.testing.assert_array_equal(plain, model.apply(params, batch["image"]).logits)
    one = model.apply(params, batch["image"], key, **rates).logits
    again = model.apply(params, batch["image"], jax.random.clone(key), **rates).logits
    other = model.apply(params, batch["image"], getkey(), **rates).logits
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, plain)


def test_huge_logits_give_a_finite_loss(batch, getkey):
    params = jax.tree.map(lambda a: 1e4 * a, model.init(getkey(), BOOK))
    value, grads = jax.value_and_grad(lambda p: model.loss(p, batch)[0])(params)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_dropout_of_all_maps_or_units_leaves_the_bias_of_the_output(batch, getkey):
    small = dataclasses.replace(MODERN, filters=(2, 2, 2), hidden=4)
    params = jax.tree.map(lambda a: a + 0.1, model.init(getkey(), small))
    for rates in ({"dropout": 1.0}, {"dropout_dense": 1.0}):
        logits = model.apply(params, batch["image"], getkey(), **rates).logits
        if "dropout" in rates:  # then the dense layer sees equal rows of zeros
            np.testing.assert_allclose(logits, np.broadcast_to(logits[0], logits.shape), rtol=1e-6)
        else:
            np.testing.assert_allclose(logits, np.full(logits.shape, 0.1), rtol=1e-6)
    still = model.apply(params, batch["image"], dropout=1.0, dropout_dense=1.0).logits
    np.testing.assert_array_equal(still, model.apply(params, batch["image"]).logits)


def test_the_loss_names_labels_and_images_of_a_wrong_shape(batch, getkey):
    params = model.init(getkey(), dataclasses.replace(BOOK, filters=(2, 2, 2), hidden=4))
    for label, found in ((batch["label"][:, None], r"\(4, 1\)"), (batch["label"][:1], r"\(1,\)")):
        with pytest.raises(ValueError, match=rf"labels have shape {found}, expected \(4,\)"):
            model.loss(params, batch | {"label": label})
    with pytest.raises(ValueError, match=r"\(4, 32, 32\), expected \(batch, rows, columns, 3\)"):
        model.loss(params, batch | {"image": batch["image"][..., 0]})


def test_an_unknown_keyword_is_refused(batch):
    with pytest.raises(ValueError, match="got the reduction 'SUM', expected one of mean, sum"):
        model.loss({}, batch, reduction="SUM")
    with pytest.raises(ValueError, match="got the pixels 'Book', expected one of standard, book"):
        model.scale_pixels(jnp.zeros((1, 32, 32, 3), jnp.uint8), "Book")
    for name in ("dataset", "split", "pixels", "reduction", "solver"):
        with pytest.raises(ValueError, match=f"got the {name} 'other', expected one of"):
            dataclasses.replace(MODERN, **{name: "other"})


def test_a_wrong_shape_is_named(config, getkey):
    with pytest.raises(ValueError, match=r"\(2, 3, 32, 32\), expected \(batch, rows, columns, 3\)"):
        model.apply(model.init(getkey(), config), jnp.zeros((2, 3, 32, 32)))
