import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward, sweep, train
from zoo.common import fit
from zoo.common.data import mnist

SMALL = {"hidden": (16,), "epochs": 2, "batch_size": 30}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return mnist.load("sample")


@pytest.fixture(scope="module")
def few(digits):
    return {name: array[:120] for name, array in digits.train.items()}


def measured(config, data, test):
    state = train.train(config, data)
    return fit.make_evaluate(train.losses(config)[1], 99)(state, test)


@pytest.mark.parametrize(("recipe", "epochs"), [("modern", 6), ("book", 12)])
def test_feedforward_learns_the_sample(recipe, epochs, digits):
    config = dataclasses.replace(feedforward.RECIPES[recipe], epochs=epochs, batch_size=20)
    assert measured(config, digits.train, digits.test)["accuracy"] > 0.82


def test_autoencoders_learn_the_sample_and_modern_does_it_better(digits):
    errors = {}
    for recipe, epochs in (("modern", 6), ("book", 20)):
        config = dataclasses.replace(autoencoder.RECIPES[recipe], epochs=epochs, batch_size=10)
        errors[recipe] = measured(config, digits.train, digits.test)["mse"]
    images = digits.test["image"] / 255
    ignorance = np.square(images - digits.train["image"].mean(0) / 255).mean()
    assert errors["book"] < 0.85 * ignorance
    assert errors["modern"] < 0.5 * errors["book"]


def test_a_denoiser_learns_to_take_away_what_was_added(digits):
    config = autoencoder.RECIPES["modern"]
    config = dataclasses.replace(config, epochs=6, batch_size=20, noise=0.5)
    state = train.train(config, digits.train)
    images = digits.test["image"][:100]
    noisy, back = train.denoise(config, state.params, images, jax.random.key(1))
    clean = images / 255
    assert np.square(back - clean).mean() < 0.5 * np.square(noisy - clean).mean()


def test_a_run_is_its_seeds_function_and_resumes_to_the_same_bits(few):
    config = feedforward.Config(**SMALL)
    whole = train.train(config, few)
    states = []

    def keep_the_first_epoch(reports):
        for progress in reports:
            if progress.metrics is not None and not states:
                states.append(jax.tree.map(jnp.copy, progress.state))
        return progress.state

    again = train.train(config, few, follow=keep_the_first_epoch)
    resumed = train.train(config, few, state=states[0])
    other = train.train(dataclasses.replace(config, seed=1), few)
    for a, b, c, d in zip(
        *map(jax.tree.leaves, (whole.params, again.params, resumed.params, other.params)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
        assert not np.array_equal(a, d)


def test_books_pixels_lie_between_a_tenth_and_999_thousandths():
    pixels = np.zeros((1, 28, 28), np.uint8)
    pixels[0, 0, :4] = [0, 51, 254, 255]
    scaled = train.scale_pixels(jnp.asarray(pixels), "book")
    assert scaled.shape == (1, 784)
    np.testing.assert_allclose(scaled[0, :4], [0.1, 0.28, 0.9 * 254 / 255 + 0.1, 0.999], rtol=1e-6)
    unit = train.scale_pixels(jnp.asarray(pixels), "unit")
    np.testing.assert_allclose(unit[0, :4], [0, 0.2, 254 / 255, 1], rtol=1e-6)


@pytest.mark.parametrize("pixels", ["unit", "book"])
def test_pixels_come_back_as_they_went_in(pixels):
    images = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)
    back = train.unscale_pixels(train.scale_pixels(jnp.asarray(images), pixels), pixels)
    np.testing.assert_allclose(back, images / 255, atol=2e-3)
    outside = train.unscale_pixels(jnp.full((1, 784), 1.5), pixels)
    assert outside.max() == 1.0


def test_the_first_step_of_the_books_solvers():
    """RMSProp: the root of a thousand times the rate; Adam: the rate, on a divided gradient."""
    for config, step, rtol in (
        (feedforward.RECIPES["book"], 0.0316, 1e-3),
        (autoencoder.RECIPES["book"], 0.01, 1e-3),
    ):
        optimizer, params = train.make_optimizer(config, 10), jnp.zeros(1)
        updates, _ = optimizer.update(jnp.array([7.0]), optimizer.init(params), params)
        np.testing.assert_allclose(-updates, step, rtol=rtol)
    tiny, _ = optimizer.update(jnp.array([1e-6]), optimizer.init(params), params)
    np.testing.assert_allclose(-tiny, 0.01 * 1e-8 / (1e-8 + 1e-8), rtol=1e-3)  # epsilon tells


def test_sgd_is_plain_and_adamw_decays_kernels_alone():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    config = feedforward.Config(solver="sgd", learning_rate=0.5)
    optimizer = train.make_optimizer(config, 10)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.5)
    optimizer = train.make_optimizer(feedforward.Config(weight_decay=0.5), 100)
    state, change = optimizer.init(params), []
    for _ in range(100):
        updates, state = optimizer.update(zeros, state, params)
        assert not updates["bias"].any()
        change.append(-float(updates["kernel"][0, 0]))
    rate = feedforward.Config().learning_rate
    np.testing.assert_allclose([change[0], max(change)], [0, 0.5 * rate], rtol=1e-5)
    assert int(np.argmax(change)) == 5  # the rate has risen after a twentieth of the run
    assert change[-1] < 0.01 * max(change)


def test_the_books_test_error_is_in_units_of_pixels_from_0_to_1(digits):
    """The book's loss is of pixels times 0.9; `mse` is not, so that recipes can be compared."""
    config = dataclasses.replace(autoencoder.RECIPES["book"], hidden=(8,), code=4)
    params = train.start(config, 100)[1].params
    test = {"image": digits.test["image"][:50]}
    value, metrics = train.losses(config)[1](params, test, None)
    np.testing.assert_allclose(metrics["mse"], value / 0.81, rtol=1e-6)
    back = train.reconstruct(config, params, test["image"])
    assert back.shape == (50, 28, 28)
    clean = test["image"] / 255
    np.testing.assert_allclose(np.square(back - clean).mean(), metrics["mse"], rtol=0.02)


def test_probabilities_and_codes_of_any_number_of_images(digits):
    config = feedforward.Config(hidden=(8,))
    params = train.start(config, 100)[1].params
    shares = train.predict_probabilities(config, params, digits.train["image"][:501])
    assert shares.shape == (501, 10)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    config = autoencoder.Config(hidden=(8,), code=3)
    params = train.start(config, 100)[1].params
    codes = train.encode(config, params, digits.train["image"][:501])
    assert codes.shape == (501, 3)
    one = train.encode(config, params, digits.train["image"][500:501])
    np.testing.assert_allclose(codes[500:], one, rtol=1e-4, atol=1e-5)


def test_nearest_is_brute_force_without_the_query_itself():
    points = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)
    queries = np.array([3, 599, 0])
    distances = np.linalg.norm(points[queries][:, None] - points, axis=-1)
    expected = np.argsort(distances, axis=1)[:, 1:8]
    np.testing.assert_array_equal(train.nearest(points, queries, 7), expected)
    everyone = train.nearest(points, np.arange(600), 1)[:, 0]
    np.testing.assert_array_equal(everyone[queries], expected[:, 0])


def test_each_lane_of_a_sweep_is_the_run_that_train_makes(few, digits):
    test = {name: array[:40] for name, array in digits.test.items()}
    base = feedforward.Config(**SMALL)
    configs = [
        dataclasses.replace(base, learning_rate=rate, weight_decay=decay, seed=seed)
        for rate, decay, seed in ((1e-3, 0.0, 0), (1e-2, 0.3, 5))
    ]
    *_, last = sweep.sweep(configs, few, test)
    assert last.number == 2
    for lane, config in enumerate(configs):
        rows = []

        def follow(reports, rows=rows):
            rows += [progress for progress in reports if progress.metrics is not None]
            return rows[-1].state

        state = train.train(config, few, test, follow=follow)
        for ours, swept in zip(
            jax.tree.leaves(state.params), jax.tree.leaves(last.states.params), strict=True
        ):
            np.testing.assert_allclose(swept[lane], ours, rtol=1e-3, atol=1e-5)
        for name, value in rows[-1].metrics.items():
            np.testing.assert_allclose(last.metrics[name][lane], value, rtol=1e-3)


def test_a_sweep_refuses_what_is_not_of_one_shape(few):
    a = feedforward.Config(**SMALL)
    with pytest.raises(ValueError, match="at least one"):
        next(sweep.sweep([], few))
    with pytest.raises(ValueError, match=r"differs from the first in \['hidden'\]"):
        next(sweep.sweep([a, dataclasses.replace(a, hidden=(9,))], few))
    with pytest.raises(ValueError, match="another network"):
        next(sweep.sweep([a, autoencoder.Config()], few))


@pytest.mark.realdata
def test_a_short_modern_autoencoder_beats_pca_on_mnist():
    try:
        data = mnist.load("real")
    except ValueError as error:
        pytest.skip(f"MNIST is not here: {error}")
    from zoo.ch03_mnist_ae_rbm.autoencoder_commands import pca_errors

    config = dataclasses.replace(autoencoder.RECIPES["modern"], epochs=3)
    state = train.train(config, data.train)
    error = np.square(
        train.reconstruct(config, state.params, data.test["image"]) - data.test["image"] / 255
    ).mean()
    plain, clipped = pca_errors(64, data)
    np.testing.assert_allclose([plain, clipped], [0.00905, 0.00775], rtol=0.01)
    assert error < clipped
