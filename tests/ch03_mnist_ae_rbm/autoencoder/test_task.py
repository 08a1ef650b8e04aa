import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm.autoencoder import RECIPES, Config, task
from zoo.ch03_mnist_ae_rbm.autoencoder.commands import pca_errors
from zoo.ch03_mnist_ae_rbm.autoencoder.task import TASK, denoise, nearest
from zoo.common import fit
from zoo.common.data import mnist


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return mnist.load("sample")


def measured(config, data, test):
    weights = TASK.weights(TASK.train(config, data))
    return fit.make_evaluate(TASK.losses(config, 1)[1], 99)(weights, TASK.prepare(config, test))


def predict(name, config, params, **inputs):
    function = TASK.predictions(config)[name].function
    (found,) = fit.predict(function, {"params": params}, inputs, 500).values()
    return found


def begun(config):
    return TASK.begin(config, TASK.random(config, 100)).params


def test_both_recipes_learn_the_sample_and_modern_does_it_better(digits):
    errors = {}
    for recipe, epochs in (("modern", 6), ("book", 20)):
        # From seed 0 rounding decides whether the book's leaves the plateau of the mean image.
        config = dataclasses.replace(RECIPES[recipe], epochs=epochs, batch_size=10, seed=1)
        errors[recipe] = measured(config, digits.train, digits.test)["mse"]
    images = digits.test["image"] / 255
    ignorance = np.square(images - digits.train["image"].mean(0) / 255).mean()
    assert errors["book"] < 0.85 * ignorance
    assert errors["modern"] < 0.5 * errors["book"]


def test_a_denoiser_learns_to_take_away_what_was_added(digits):
    config = RECIPES["modern"]
    config = dataclasses.replace(config, epochs=6, batch_size=20, noise=0.5)
    state = TASK.train(config, digits.train)
    images = digits.test["image"][:100]
    noisy, back = denoise(config, state.params, images, jax.random.key(1))
    clean = images / 255
    assert np.square(back - clean).mean() < 0.5 * np.square(noisy - clean).mean()


def test_the_books_test_error_is_in_units_of_pixels_from_0_to_1(digits):
    """The book's loss is of pixels times 0.9; `mse` is not, so that recipes can be compared."""
    config = dataclasses.replace(RECIPES["book"], hidden=(8,), code=4)
    params = begun(config)
    test = {"image": digits.test["image"][:50]}
    value, metrics = TASK.losses(config, 1)[1](params, test, None)
    np.testing.assert_allclose(metrics["mse"], value / 0.81, rtol=1e-6)
    back = predict("reconstruct", config, params, image=test["image"])
    assert back.shape == (50, 28, 28)
    clean = test["image"] / 255
    np.testing.assert_allclose(np.square(back - clean).mean(), metrics["mse"], rtol=0.02)


@pytest.mark.parametrize("recipe", RECIPES)
def test_reconstructions_are_decoded_codes_of_any_number_of_images(recipe, digits):
    config = dataclasses.replace(RECIPES[recipe], hidden=(8,), code=3)
    params, images = begun(config), digits.train["image"][:501]
    codes = predict("encode", config, params, image=images)
    assert codes.shape == (501, 3)
    one = predict("encode", config, params, image=images[500:])
    np.testing.assert_allclose(codes[500:], one, rtol=1e-4, atol=1e-5)
    back = predict("reconstruct", config, params, image=images)
    decoded = predict("decode", config, params, code=codes)
    np.testing.assert_allclose(back, decoded, atol=1e-6)


def test_nearest_is_brute_force_without_the_query_itself():
    points = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    expected = np.argsort(distances, axis=1)[:, 1:8]
    np.testing.assert_array_equal(nearest(points, 7), expected)


def test_snapshots_are_kept_at_once_and_a_resumed_run_adds_to_them(digits, tmp_path):
    """Broken off after an epoch, as by a kill, and taken up again: the same as in one go."""
    config = Config(hidden=(16,), code=8, epochs=2, batch_size=50)
    data = TASK.prepare(config, digits.train)

    def watched(folder, state):
        folder.mkdir(exist_ok=True)
        reports = TASK.iterate(config, state, data)
        return task.watch(config, digits, folder, state, reports)

    whole = fit.last(watched(tmp_path / "whole", TASK.begin(config, data)))
    kept = task.read_snapshots(tmp_path / "whole")
    assert {0, 30, 60} <= set(kept)
    assert any(10 <= step < 30 for step in kept)
    assert all(images.shape == (10, 28, 28) for images in kept.values())
    assert not np.array_equal(kept[0], kept[60])

    broken = watched(tmp_path / "broken", TASK.begin(config, data))
    halfway = next(progress for progress in broken if progress.metrics is not None)
    state = jax.tree.map(jnp.copy, halfway.state)
    before = task.read_snapshots(tmp_path / "broken")
    assert {0, 30} <= set(before)
    assert 60 not in before
    resumed = fit.last(watched(tmp_path / "broken", state))
    after = task.read_snapshots(tmp_path / "broken")
    assert set(before) < set(after)
    np.testing.assert_array_equal(after[60], kept[60])
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.realdata
def test_a_short_modern_autoencoder_beats_pca_on_mnist():
    try:
        data = mnist.load("real")
    except ValueError as error:
        pytest.skip(f"MNIST is not here: {error}")
    config = dataclasses.replace(RECIPES["modern"], epochs=3)
    state = TASK.train(config, data.train)
    back = predict("reconstruct", config, state.params, image=data.test["image"])
    error = np.square(back - data.test["image"] / 255).mean()
    plain, clipped = pca_errors(64, data)
    np.testing.assert_allclose([plain, clipped], [0.00905, 0.00775], rtol=0.01)
    assert error < clipped
