import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch08_vae.vae import latent, likelihood, model
from zoo.ch08_vae.vae.task import TASK, binarise, losses, make_schedule
from zoo.common import keys
from zoo.common.data import mnist
from zoo.common.trained import Trained

TINY = dataclasses.replace(model.RECIPES["modern"], hidden=(32,), latents=2, batch_size=7)


@pytest.fixture(scope="module")
def digits():
    return mnist.load("sample")


@pytest.fixture(scope="module")
def learnt(digits):
    """A few digits learnt by heart, 30 images in batches of 7, and the loss after each epoch."""
    rows = []

    def follow(reports):
        for report in reports:
            if report.metrics:
                rows.append(report.metrics)
        return report.state

    data = {"image": digits.train["image"][:30]}
    config = dataclasses.replace(TINY, epochs=150, learning_rate=5e-3)
    state = TASK.train(config, data, data, follow=follow)
    return Trained(TASK, config, TASK.weights(state), {}, None, state), rows


def test_it_learns_a_few_digits_with_a_batch_of_seven(learnt):
    _, rows = learnt
    assert rows[0]["test_loss"] > 300
    assert rows[-1]["test_loss"] < 190
    assert rows[-1]["test_kl"] > 2
    whole = rows[-1]["test_reconstruction"] + rows[-1]["test_kl"]
    np.testing.assert_allclose(rows[-1]["test_loss"], whole, rtol=1e-4)


def test_measures_agree_with_one_another(learnt, digits):
    trained, rows = learnt
    images = digits.train["image"][:30]
    found = likelihood.bounds(trained, images)
    np.testing.assert_allclose(found["elbo"], -rows[-1]["test_loss"], rtol=0.03)
    np.testing.assert_allclose(found["elbo"], -found["reconstruction"] - found["kl"], rtol=1e-4)
    assert found["printed_kl"] < found["kl"]
    assert likelihood.active_units(trained, images).all()
    few = likelihood.log_likelihoods(trained, images, 10)
    many = likelihood.log_likelihoods(trained, images, 1_000)
    assert few.shape == many.shape == (30,)
    assert few.mean() < many.mean() + 0.1
    # One code an image makes the ELBO a draw: here are 500 of it, [500, 30].
    x = model.scale_pixels(jnp.asarray(images))
    elbo = jax.jit(jax.vmap(lambda key: model.elbo(trained.params, x, key)))
    draws = np.asarray(elbo(jax.random.split(jax.random.key(3), 500)))
    assert draws.mean() < few.mean()
    error = np.sqrt(draws.var(0).mean() / 30)
    assert abs(found["elbo"] - draws.mean()) < 4 * error
    again = likelihood.log_likelihoods(trained, images, 10)
    np.testing.assert_array_equal(few, again)


def test_a_unit_that_is_always_the_same_is_not_active(learnt, digits):
    trained, _ = learnt
    dead = jax.tree.map(lambda a: a, trained.params)
    dead["mean"] = {"kernel": dead["mean"]["kernel"].at[:, 1].set(0.0), "bias": jnp.ones(2)}
    changed = dataclasses.replace(trained, weights={"params": dead})
    active = likelihood.active_units(changed, digits.train["image"][:30])
    np.testing.assert_array_equal(active, [True, False])


def test_likelihoods_of_more_images_than_a_batch_come_in_their_order(learnt, digits, monkeypatch):
    trained, _ = learnt
    images = digits.test["image"][:11]
    monkeypatch.setattr(likelihood, "BATCH", 4)
    found = likelihood.log_likelihoods(trained, images, 2_000)
    order = np.argsort(-found)
    last = likelihood.log_likelihoods(trained, images[order], 2_000)
    assert (abs(last - found[order]) < 2.0).all()
    assert found.std() > 4.0


def test_the_books_update_is_the_gradient_of_the_mean(digits):
    """The sum's gradient over the batch, by Adam's formula: whatever the batch size."""
    config = dataclasses.replace(model.RECIPES["book"], hidden=(5,), latents=2, batch_size=6)
    data = {"image": digits.train["image"][:6]}
    config = dataclasses.replace(config, epochs=1)
    before = TASK.start(config, data)
    key = keys.derive(before.key, "step", 0)
    batch = {"image": jnp.asarray(data["image"])}
    grads = jax.jit(jax.grad(lambda p: losses(config, 1)[0](p, batch, key)[0]))(before.params)
    after = TASK.train(config, data)
    for w, g, new in zip(*map(jax.tree.leaves, (before.params, grads, after.params)), strict=True):
        g = np.asarray(g, np.float64) / 6
        expected = w - 0.01 * g / (abs(g) + 1e-8)  # the first step of Adam
        np.testing.assert_allclose(new, expected, atol=1e-5)


def test_binarised_pixels_are_drawn_by_their_grey_level_anew_each_time(getkey):
    config = model.RECIPES["iwae"]
    images = jnp.full((100, 28, 28), 51, jnp.uint8)
    one, other = binarise(config, images, getkey()), binarise(config, images, getkey())
    assert set(np.unique(one)) == {0.0, 1.0}
    np.testing.assert_allclose(one.mean(), 0.2, atol=0.01)
    assert not np.array_equal(one, other)
    black = binarise(config, jnp.zeros((1, 28, 28), jnp.uint8), getkey())
    white = binarise(config, jnp.full((1, 28, 28), 255, jnp.uint8), getkey())
    assert black.max() == 0
    assert white.min() == 1


def test_the_iwae_schedule_is_the_papers():
    schedule = make_schedule("iwae", 1e-3, 3280)
    start_of_stage = 0
    for stage in range(8):
        for step in (start_of_stage, start_of_stage + 3**stage - 1):
            np.testing.assert_allclose(schedule(step), 1e-3 * 10 ** (-stage / 7), rtol=1e-5)
        start_of_stage += 3**stage
    assert start_of_stage == 3280


def test_a_plane_of_codes_lies_at_the_normal_quantiles(learnt):
    trained, _ = learnt
    config, params = trained.config, trained.params
    quantiles = [-0.967422, 0.0, 0.967422]  # of 1/6, 1/2 and 5/6
    pictures = latent.manifold(config, params, 3)
    codes = jnp.array([[right, up] for up in quantiles[::-1] for right in quantiles])
    np.testing.assert_allclose(pictures, latent.decode(config, params, codes), atol=1e-5)
    with pytest.raises(ValueError, match="20 latents, expected 2: train --latents 2"):
        latent.manifold(model.RECIPES["modern"], {}, 3)


def test_walks_begin_and_end_at_the_reconstructions(learnt, digits):
    trained, _ = learnt
    config, params = trained.config, trained.params
    pair = digits.test["image"][:2]
    ends = trained.predict(image=pair)["image"]
    walk = latent.interpolate(config, params, pair, 5)
    np.testing.assert_allclose(walk[[0, -1]], ends, atol=1e-5)
    turns = latent.traverse(config, params, pair[0], np.array([1, 0]))
    mean = latent.encode(config, params, pair[:1])[0][0]
    for unit, row in zip((1, 0), turns[:, ::4], strict=True):
        codes = jnp.stack([mean.at[unit].set(v) for v in (-2.5, 0.0, 2.5)])
        np.testing.assert_allclose(row, latent.decode(config, params, codes), atol=1e-5)


def test_the_books_scaling_is_undone_in_pictures():
    shares = np.array([0.1, 0.55, 0.999], np.float32)
    bias = jnp.resize(jnp.log(shares / (1 - shares)), 784)
    params = {"decoder": [{"kernel": jnp.zeros((1, 784)), "bias": bias}]}
    grey = latent.decode(model.RECIPES["book"], params, jnp.zeros((1, 1)))[0].ravel()
    np.testing.assert_allclose(grey[:3], [0.0, 0.5, 0.999], atol=2e-3)
