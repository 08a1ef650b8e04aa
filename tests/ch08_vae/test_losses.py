"""What chapter 8's losses are of raw images: in training by the recipe, in a test in any batch."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch08_vae import conv
from zoo.ch08_vae.conv.task import TASK as CONV
from zoo.ch08_vae.vae import likelihood, model
from zoo.ch08_vae.vae.task import TASK, make_schedule
from zoo.common import fit, keys
from zoo.common.trained import Trained

TINY = {
    name: dataclasses.replace(config, hidden=(6, 5), latents=3, batch_size=4)
    for name, config in model.RECIPES.items()
}
TINY["conv"] = conv.Config(filters=(2, 3, 4), latents=3, batch_size=4)
TINY["dense"] = conv.Config(recipe="dense", hidden=(6, 5), latents=3, batch_size=4)


def task_of(config):
    return CONV if isinstance(config, conv.Config) else TASK


def raw(config, count=11):
    """Raw images, parts of which are black and white."""
    rng = np.random.default_rng(3)
    shape = (32, 32, 3) if isinstance(config, conv.Config) else (28, 28)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    images[:, :9], images[:, 20:] = 0, 255
    return images


def begun(config):
    """Parameters in which no bias is 0, where a forgotten one would not show."""
    leaves, tree = jax.tree.flatten(task_of(config).begin(config, {"image": raw(config)}).params)
    rng = np.random.default_rng(8)
    noisy = [a + 0.1 * rng.normal(size=a.shape).astype(np.float32) for a in leaves]
    return jax.tree.unflatten(tree, noisy)


def dense(layer, x):
    return x @ np.asarray(layer["kernel"], float) + np.asarray(layer.get("bias", 0.0), float)


def scaled(images, pixels):
    x = images.reshape(len(images), -1) / 255
    return np.where(x == 1, 0.999, 0.9 * x + 0.1) if pixels == "book" else x


def log_normal(z, mean, logvar):
    return -0.5 * ((z - mean) ** 2 / np.exp(logvar) + logvar + np.log(2 * np.pi)).sum(-1)


def kl_of(mean, logvar):
    return 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar).sum(-1)


def passed(config, params, x, noise):
    """Mean, log-variance, codes [k, B, Z] and log p(x | z), [k, B], in float64."""
    active = {"relu": lambda a: np.maximum(a, 0), "tanh": np.tanh}[config.activation]
    hidden = x
    for layer in params["encoder"]:
        hidden = active(dense(layer, hidden))
    mean, logvar = dense(params["mean"], hidden), dense(params["logvar"], hidden)
    out = z = mean + np.exp(0.5 * logvar) * noise
    *layers, last = params["decoder"]
    for layer in layers:
        out = active(dense(layer, out))
    p = 1 / (1 + np.exp(-dense(last, out)))
    if config.observation == "squared":
        return mean, logvar, z, -((x - p) ** 2).sum(-1)
    return mean, logvar, z, (x * np.log(p) + (1 - x) * np.log1p(-p)).sum(-1)


def drawn(config, images, key, samples):
    """The pixels that a loss sees under `key`, and the noise of its codes."""
    pixel_key, code_key = jax.random.split(key)
    x = scaled(images, config.pixels)
    if config.binarise:
        grey = jnp.asarray(x, jnp.float32)
        x = np.asarray(jax.random.bernoulli(pixel_key, grey), float)
    shape = (samples, len(images), config.latents)
    return x, np.asarray(jax.random.normal(code_key, shape), float)


CHANGES = [
    {},
    {"beta": 0.3, "samples": 3},
    {"samples": 4, "importance_weighted": True, "activation": "tanh"},
    {"samples": 4, "importance_weighted": True, "binarise": True},
    {"kl_as_printed": True, "beta": 2.0, "pixels": "book"},
    {"reduction": "sum", "observation": "squared"},
    {"bias": False, "binarise": True, "samples": 2},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_training_loss_is_its_formula_of_raw_images_in_float64(change, getkey):
    config = dataclasses.replace(TINY["modern"], **change)
    params, images, key = begun(config), raw(config), getkey()
    x, noise = drawn(config, images, jax.random.clone(key), config.samples)
    mean, logvar, z, log_px = passed(config, params, x, noise)
    penalty = kl_of(mean, 0.5 * logvar if config.kl_as_printed else logvar)
    value = config.beta * penalty - log_px.mean(0)
    if config.importance_weighted:
        weights = log_px + log_normal(z, 0.0, np.zeros(3)) - log_normal(z, mean, logvar)
        value = math.log(config.samples) - np.logaddexp.reduce(weights, axis=0)
    expected = value.sum() if config.reduction == "sum" else value.mean()
    found, metrics = jax.jit(TASK.losses(config, 1)[0])(params, {"image": images}, key)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kl_of(mean, logvar).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["reconstruction"], -log_px.mean(), rtol=1e-5)


@pytest.mark.parametrize("recipe", model.RECIPES)
def test_the_test_loss_is_the_elbo_with_the_true_kl_and_one_code_an_image(recipe):
    """Whatever the recipe weighs, sums and prints; of pixels scaled as in training."""
    config = dataclasses.replace(TINY[recipe], beta=0.3, samples=4, kl_as_printed=True)
    params, images = begun(config), raw(config)
    own = keys.of_content(keys.derive(config.seed, "test"), jnp.asarray(images))
    parts = []
    for n in range(len(images)):
        x, noise = drawn(config, images[n : n + 1], own[n], 1)
        mean, logvar, _, log_px = passed(config, params, x, noise)
        parts.append((-log_px[0, 0], kl_of(mean, logvar)[0]))
    reconstruction, kl = np.mean(parts, axis=0)
    value, metrics = jax.jit(TASK.losses(config, 1)[1])(params, {"image": images}, None)
    np.testing.assert_allclose(value, reconstruction + kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["reconstruction"], reconstruction, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-4)


@pytest.mark.parametrize("pixels", ["unit", "book"])
def test_predictions_are_of_pixels_scaled_as_in_training(pixels):
    config = dataclasses.replace(TINY["modern"], pixels=pixels, activation="tanh")
    params, images = begun(config), raw(config)
    mean, logvar, *_ = passed(config, params, scaled(images, pixels), 0.0)
    hidden = mean
    for layer in params["decoder"][:-1]:
        hidden = np.tanh(dense(layer, hidden))
    out = 1 / (1 + np.exp(-dense(params["decoder"][-1], hidden)))
    shown = ((out - 0.1) / 0.9).clip(0, 1) if pixels == "book" else out
    predictions = TASK.predictions(config)
    codes = predictions["encode"].function({"params": params}, {"image": images})
    np.testing.assert_allclose(codes["mean"], mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(codes["logvar"], logvar, rtol=1e-3, atol=1e-4)
    back = predictions["reconstruct"].function({"params": params}, {"image": images})["image"]
    np.testing.assert_allclose(back, shown.reshape(-1, 28, 28), atol=1e-4)


def test_the_convolutional_ones_test_loss_is_its_definition_in_float64():
    """Of the dense network, with codes that hardly spread, so that no noise is needed."""
    config = TINY["dense"]
    params, images = begun(config), raw(config)
    params["logvar"] = jax.tree.map(jnp.zeros_like, params["logvar"])
    params["logvar"]["bias"] += -40.0
    x = images.reshape(len(images), -1) / 255
    hidden = x - 0.5
    for layer in params["encoder"]:
        hidden = np.maximum(dense(layer, hidden), 0)
    out = mean = dense(params["mean"], hidden)
    *layers, last = params["decoder"]
    for layer in layers:
        out = np.maximum(dense(layer, out), 0)
    location = dense(last, out).reshape(images.shape)
    scale = np.exp(np.asarray(params["log_scale"], float))
    x = x.reshape(images.shape)
    above, below = (1 / (1 + np.exp(-(x + s / 510 - location) / scale)) for s in (1, -1))
    share = np.where(x == 1, 1.0, above) - np.where(x == 0, 0.0, below)
    reconstruction = -np.log(share).sum((1, 2, 3)).mean()
    kl = kl_of(mean, np.full(mean.shape, -40.0)).mean()
    for loss in CONV.losses(config, 1):
        value, metrics = jax.jit(loss)(params, {"image": images}, jax.random.key(0))
        np.testing.assert_allclose(metrics["reconstruction"], reconstruction, rtol=1e-4)
        np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
        np.testing.assert_allclose(value, reconstruction + kl, rtol=1e-4)
        bits = (reconstruction + kl) / np.log(2) / 3072
        np.testing.assert_allclose(metrics["bits_per_dim"], bits, rtol=1e-4)
    reconstruct = CONV.predictions(config)["reconstruct"].function
    back = reconstruct({"params": params}, {"image": images})["image"]
    np.testing.assert_allclose(back, location.clip(0, 1), atol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_a_test_comes_out_the_same_in_batches_of_any_size_and_again(name):
    config = TINY[name]
    weights, data = {"params": begun(config)}, {"image": raw(config)}
    loss = task_of(config).losses(config, 1)[1]
    whole = fit.make_evaluate(loss, 100)(weights, data)
    for size in (1, 7):
        evaluate = fit.make_evaluate(loss, size)
        found = evaluate(weights, data)
        assert found == evaluate(weights, data)
        for one in (found, evaluate(weights, {"image": data["image"][::-1]})):
            np.testing.assert_allclose([*one.values()], [*whole.values()], rtol=1e-5)


# A model that shows its noise: the code is nothing but noise, and moves one pixel or all alike.

PIXEL = 300


def bare(kernel, logvar=0.0):
    """Encodes everything as N(0, exp(logvar)); `kernel` [784] makes log-odds of the code."""
    head = {"kernel": jnp.zeros((784, 1)), "bias": jnp.zeros(1)}
    return {
        "encoder": [],
        "mean": head,
        "logvar": head | {"bias": jnp.full(1, logvar)},
        "decoder": [{"kernel": jnp.asarray(kernel, jnp.float32)[None]}],
    }


def some(count):
    """Images that differ in a few pixels; pixel 300 is black in all."""
    images = np.full((count, 784), 127, np.uint8)
    images[np.arange(count), np.arange(count) % 290] = np.arange(count) % 120
    images[:, PIXEL] = 0
    return images.reshape(count, 28, 28)


def codes_of(loss, images, image_keys):
    """The codes that `loss` draws for images; each is a batch alone."""
    params = bare(np.arange(784) == PIXEL)
    others = (np.delete(images.reshape(-1, 784) / 255, PIXEL, 1) - 0.5) ** 2

    def single(image, key):
        return loss(params, {"image": image[None]}, key)[1]["reconstruction"]

    found = jax.jit(jax.vmap(single))(images, image_keys)
    out = np.sqrt(np.asarray(found, float) - others.sum(1))
    return np.log(out / (1 - out))


def test_each_test_image_has_a_code_of_its_own_that_stays():
    config = model.Config(hidden=(), latents=1, observation="squared")
    training, testing = TASK.losses(config, 1)
    images = some(240)
    codes = codes_of(testing, images, jnp.zeros(240))
    np.testing.assert_allclose([codes.mean(), codes.std()], [0, 1], atol=0.2)
    assert len(np.unique(codes.round(3))) > 200
    again = codes_of(testing, images[::-1], jnp.zeros(240))
    np.testing.assert_allclose(again[::-1], codes, atol=1e-2)
    other = TASK.losses(dataclasses.replace(config, seed=1), 1)[1]
    assert np.abs(codes_of(other, images, jnp.zeros(240)) - codes).max() > 1
    # In training the same image has another code each time.
    same = np.repeat(images[:1], 240, axis=0)
    codes = codes_of(training, same, jax.random.split(jax.random.key(1), 240))
    np.testing.assert_allclose([codes.mean(), codes.std()], [0, 1], atol=0.2)


def test_each_test_image_is_drawn_black_and_white_once():
    """With log-odds of a for all pixels, -log p(x) is 784 softplus(a) - a times the white ones."""
    config = model.Config(hidden=(), latents=1, binarise=True)
    params = bare(np.zeros(784))
    params["decoder"][0]["bias"] = jnp.full(784, 1.0)

    def whites(loss, images, key):
        def single(image, key):
            return loss(params, {"image": image[None]}, key)[1]["reconstruction"]

        value = jax.jit(jax.vmap(single))(images, key)
        return np.rint(784 * np.log1p(np.e) - np.asarray(value, float)).astype(int)

    training, testing = TASK.losses(config, 1)
    images = some(240)
    counts = whites(testing, images, jnp.zeros(240))
    share = images.reshape(240, -1).sum(1) / 255
    z = (counts - share) / np.sqrt(share * (1 - share / 784))
    np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=0.2)
    np.testing.assert_array_equal(whites(testing, images[::-1], jnp.zeros(240))[::-1], counts)
    other = TASK.losses(dataclasses.replace(config, seed=1), 1)[1]
    assert (whites(other, images, jnp.zeros(240)) != counts).any()
    anew = jax.random.split(jax.random.key(1), 240)
    assert len(np.unique(whites(training, np.repeat(images[:1], 240, axis=0), anew))) > 20


# Bounds, active units and the likelihood of a trained model.


def made(config, params):
    return Trained(TASK, config, {"params": params}, {}, None, None)


@pytest.mark.parametrize("binarise", [False, True])
def test_bounds_are_of_the_same_pixels_in_float64(binarise):
    """Also the KL that the book would print: of the pixels that were drawn, not of grey ones."""
    config = dataclasses.replace(TINY["modern"], binarise=binarise, beta=0.5, seed=6)
    params, images = begun(config), raw(config)
    params["mean"]["kernel"] *= 10.0
    own = keys.of_content(keys.derive(6, "test"), jnp.asarray(images))
    rows = []
    for n in range(len(images)):
        x, noise = drawn(config, images[n : n + 1], own[n], 1)
        mean, logvar, _, log_px = passed(config, params, x, noise)
        rows.append((-log_px[0, 0], kl_of(mean, logvar)[0], kl_of(mean, 0.5 * logvar)[0]))
    reconstruction, kl, printed = np.mean(rows, axis=0)
    found = likelihood.bounds(made(config, params), images)
    np.testing.assert_allclose(found["kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(found["printed_kl"], printed, atol=1e-3)
    np.testing.assert_allclose(found["reconstruction"], reconstruction, rtol=1e-5)
    np.testing.assert_allclose(found["elbo"], -reconstruction - kl, rtol=1e-5)
    if binarise:  # the grey ones would tell
        mean, logvar, *_ = passed(config, params, scaled(images, "unit"), 0.0)
        assert abs(kl_of(mean, 0.5 * logvar).mean() - printed) > 0.01


def test_units_are_active_by_the_variance_of_their_means():
    """Of deviations 0.2, 0.09 and 0.02 the first one has a variance above a hundredth."""
    images = np.zeros((50, 784), np.uint8)
    images[::2, :5] = 255
    kernel = np.zeros((784, 3), np.float32)
    kernel[:5] = np.array([0.4, 0.18, 0.04]) / 5  # means of 0 and twice the deviation
    params = bare(np.zeros(784)) | {"mean": {"kernel": jnp.asarray(kernel)}}
    config = model.Config(hidden=(), latents=3)
    mean = images / 255 @ kernel
    np.testing.assert_allclose(mean.std(0), [0.2, 0.09, 0.02], rtol=1e-6)
    found = likelihood.active_units(made(config, params), images.reshape(-1, 28, 28))
    np.testing.assert_array_equal(found, [True, False, False])


@pytest.mark.parametrize("change", [{}, {"observation": "squared", "pixels": "book"}], ids=str)
def test_likelihoods_are_those_of_an_integral_over_the_code(change):
    """A nonlinear decoder of one number: -log of the mean of p(x | z) over the prior's grid."""
    config = model.Config(hidden=(4,), latents=1, activation="tanh", **change)
    rng = np.random.default_rng(2)
    params = model.init(jax.random.key(0), config)
    params["decoder"][0]["kernel"] = jnp.array([[1.5, -1.0, 0.8, 2.0]])
    params["decoder"][1]["kernel"] = jnp.asarray(0.08 * rng.normal(size=(4, 784)), jnp.float32)
    params["mean"]["kernel"] = jnp.zeros((4, 1))
    images = rng.choice(np.array([0, 255], np.uint8), (3, 28, 28))
    z = np.linspace(-8, 8, 3_201)
    x = scaled(images, config.pixels)
    hidden = np.tanh(dense(params["decoder"][0], z[:, None]))
    p = 1 / (1 + np.exp(-dense(params["decoder"][1], hidden)))
    log_px = np.log(p) @ x.T + np.log1p(-p) @ (1 - x).T
    if config.observation == "squared":
        log_px = -((x[None] - p[:, None]) ** 2).sum(-1)
    prior = -0.5 * (z**2 + np.log(2 * np.pi)) + np.log(z[1] - z[0])
    exact = np.logaddexp.reduce(log_px + prior[:, None], axis=0)
    assert np.ptp(log_px[1000:2200], axis=0).min() > 1  # the code matters
    found = likelihood.log_likelihoods(made(config, params), images, 20_000)
    np.testing.assert_allclose(found, exact, atol=0.1)


# Solvers and schedules.


def first_step(config, gradient, steps=100):
    optimizer, params = TASK.optimizer(config, steps), jnp.zeros(1)
    updates, _ = optimizer.update(jnp.array([gradient]), optimizer.init(params), params)
    return -float(updates[0])


def test_the_solver_is_the_one_that_the_configuration_names():
    plain = model.Config(schedule="constant", learning_rate=0.5)
    np.testing.assert_allclose(first_step(plain, 7.0), 0.5, rtol=1e-5)
    coarse = dataclasses.replace(plain, adam_epsilon=0.1)
    np.testing.assert_allclose(first_step(coarse, 0.1), 0.5 * 0.1 / (0.1 + 0.1), rtol=1e-5)
    cosine = dataclasses.replace(plain, schedule="cosine")
    np.testing.assert_allclose(first_step(cosine, 7.0), 0.05, rtol=1e-5)
    old = dataclasses.replace(plain, solver="gorgonia", batch_size=10)
    np.testing.assert_allclose(first_step(old, 1e-7), 0.5 * 1e-8 / (1e-8 + 1e-8), rtol=1e-3)
    doubled = dataclasses.replace(old, adam_doubled=True)
    np.testing.assert_allclose(first_step(doubled, 7.0), 0.5 + 0.5 * 0.7, rtol=1e-5)


@pytest.mark.parametrize(("steps", "rise"), [(4, 1), (1_000, 100), (60_000, 500)])
def test_cosine_rises_from_a_tenth_to_the_rate_and_falls_to_nothing(steps, rise):
    schedule = make_schedule("cosine", 2e-3, steps)
    middle = (steps + rise) // 2
    share = 0.5 * (1 + np.cos(np.pi * (middle - rise) / (steps - rise)))
    expected = [2e-4, 2e-3, share * 2e-3, 0.0]
    found = [schedule(count) for count in (0, rise, middle, steps)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(schedule(rise / 2), 1.1e-3, rtol=1e-4)


def test_the_iwae_stages_stretch_to_the_length_of_a_run():
    schedule = make_schedule("iwae", 1e-3, 2 * 3280)
    ends = 2 * np.cumsum(3 ** np.arange(8))
    for stage, end in enumerate(ends):
        rate = 1e-3 * 10 ** (-stage / 7)
        np.testing.assert_allclose(schedule(end - 1), rate, rtol=1e-5)
    constant = make_schedule("constant", 1e-3, 10)
    assert constant(0) == constant(10) == 1e-3


def test_the_convolutional_ones_rate_is_the_cosine_of_its_own():
    optimizer, params = CONV.optimizer(conv.Config(learning_rate=0.5), 30), jnp.zeros(1)
    state, moved = optimizer.init(params), []
    for _ in range(31):  # of an even gradient Adam moves by the rate
        updates, state = optimizer.update(jnp.ones(1), state, params)
        moved.append(-float(updates[0]))
    expected = [float(make_schedule("cosine", 0.5, 30)(count)) for count in range(31)]
    np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose([moved[0], max(moved)], [0.05, 0.5], rtol=1e-4)


# What does not fit.


@pytest.mark.parametrize("shape", [(3, 1, 784), (3, 28, 28), (784,), (3, 783), (3, 1)])
def test_a_loss_names_images_that_do_not_fit(shape):
    params = begun(TINY["modern"])
    with pytest.raises(ValueError, match=r"images have shape .*, expected \(batch, 784\)"):
        jax.eval_shape(model.loss, params, {"image": jnp.zeros(shape)})


@pytest.mark.parametrize("name", ["conv", "dense"])
@pytest.mark.parametrize("shape", [(2, 3072), (32, 32, 3), (2, 1, 32, 32, 3), (2, 32, 32, 1)])
def test_the_loss_of_colours_names_images_that_do_not_fit(name, shape):
    params = begun(TINY[name])
    with pytest.raises(ValueError, match=r"images have shape .* expected \(batch, 32, 32, 3\)"):
        jax.eval_shape(conv.loss, params, {"image": jnp.zeros(shape)})


def test_unknown_choices_are_refused():
    params, batch = begun(TINY["modern"]), model.example(TINY["modern"])
    with pytest.raises(ValueError, match="reduction 'SUM', expected one of mean, sum"):
        jax.eval_shape(lambda: model.loss(params, batch, reduction="SUM"))
    with pytest.raises(ValueError, match="pixels 'Book', expected one of unit, book"):
        model.scale_pixels(jnp.zeros((1, 28, 28), jnp.uint8), "Book")
    for name in ("Cosine", "linear", "IWAE"):
        with pytest.raises(ValueError, match=f"schedule '{name}', expected one of cosine, con"):
            make_schedule(name, 1e-3, 100)
    for change in ({"reduction": "SUM"}, {"pixels": "Book"}, {"solver": "Adam"}):
        with pytest.raises(ValueError, match="expected one of"):
            dataclasses.replace(TINY["modern"], **change)
