"""What the three tasks measure in a test: of raw data, by definition, whatever the batch."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm import Config, autoencoder, rbm
from zoo.ch03_mnist_ae_rbm.autoencoder.task import TASK as AUTOENCODER
from zoo.ch03_mnist_ae_rbm.feedforward.task import TASK as FEEDFORWARD
from zoo.ch03_mnist_ae_rbm.rbm.task import TASK as RBM
from zoo.ch03_mnist_ae_rbm.rbm.task import predict
from zoo.common import fit

CLASSIFIER = Config(
    hidden=(7, 6), dropout=0.5, shift=2, target_on=0.8, target_off=0.05, batch_size=5
)
CODER = autoencoder.Config(hidden=(7,), code=3, batch_size=5)


def raw(count=13):
    """Raw images, most of them with black and white in them, and labels."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (count, 28, 28), np.uint8)
    images[:, :9], images[:, 20:] = 0, 255
    return {"image": images, "label": rng.integers(0, 10, count).astype(np.uint8)}


def scaled(images, pixels):
    """The definition of both ways, in float64."""
    x = images.reshape(len(images), -1) / 255
    return np.where(x == 1, 0.999, 0.9 * x + 0.1) if pixels == "book" else x


def begun(task, config, data):
    """Parameters in which no bias is 0, where a forgotten one would not show."""
    leaves, tree = jax.tree.flatten(task.begin(config, data).params)
    rng = np.random.default_rng(8)
    noisy = [a + 0.1 * rng.normal(size=a.shape).astype(np.float32) for a in leaves]
    return jax.tree.unflatten(tree, noisy)


def dense(layer, x):
    return x @ np.asarray(layer["kernel"], float) + np.asarray(layer.get("bias", 0.0), float)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("objective", ["cross-entropy", "product"])
@pytest.mark.parametrize("pixels", ["unit", "book"])
def test_a_classifiers_test_is_of_whole_still_images_scaled_as_in_training(objective, pixels):
    config = dataclasses.replace(CLASSIFIER, objective=objective, pixels=pixels)
    data = raw()
    params = begun(FEEDFORWARD, config, data)
    x = scaled(data["image"], pixels)
    for layer in params[:-1]:
        x = np.maximum(dense(layer, x), 0)
    shares = np.exp(dense(params[-1], x))
    shares /= shares.sum(1, keepdims=True)
    targets = np.full(shares.shape, 0.05)
    targets[np.arange(13), data["label"]] = 0.8
    product, entropy = -(targets * shares).mean(), -(targets * np.log(shares)).sum(1).mean()
    value, metrics = jax.jit(FEEDFORWARD.losses(config, 1)[1])(params, data, None)
    np.testing.assert_allclose(value, entropy if objective != "product" else product, rtol=1e-5)
    accuracy = (shares.argmax(1) == data["label"]).mean()
    np.testing.assert_allclose(metrics["accuracy"], accuracy, rtol=1e-6)
    classify = FEEDFORWARD.predictions(config)["classify"].function
    found = classify({"params": params}, {"image": data["image"]})["probabilities"]
    np.testing.assert_allclose(found, shares, rtol=1e-4)


@pytest.mark.parametrize("objective", ["mse", "bce"])
@pytest.mark.parametrize("pixels", ["unit", "book"])
def test_an_autoencoders_test_is_of_pixels_scaled_as_in_training(objective, pixels):
    how = {"activation": "relu", "code_activation": "sigmoid"}
    config = dataclasses.replace(CODER, objective=objective, pixels=pixels, **how)
    data = AUTOENCODER.prepare(config, raw())
    params = begun(AUTOENCODER, config, data)
    (a, b), (c, d) = params["encoder"], params["decoder"]
    x = scaled(data["image"], pixels)
    code = sigmoid(dense(b, np.maximum(dense(a, x), 0)))
    out = sigmoid(dense(d, np.maximum(dense(c, code), 0)))
    mse, bce = ((x - out) ** 2).mean(), -(x * np.log(out) + (1 - x) * np.log(1 - out)).mean()
    for loss in AUTOENCODER.losses(config, 1):  # without noise training is the same
        value, metrics = jax.jit(loss)(params, data, jax.random.key(0))
        np.testing.assert_allclose(value, mse if objective == "mse" else bce, rtol=1e-5)
        unit = 0.81 if pixels == "book" else 1.0
        np.testing.assert_allclose(metrics["mse"], mse / unit, rtol=1e-5)
    predictions, weights = AUTOENCODER.predictions(config), {"params": params}
    found = predictions["encode"].function(weights, data)["code"]
    np.testing.assert_allclose(found, code, rtol=1e-4)
    shown = ((out - 0.1) / 0.9).clip(0, 1) if pixels == "book" else out
    found = predictions["reconstruct"].function(weights, data)["image"]
    np.testing.assert_allclose(found, shown.reshape(-1, 28, 28), atol=1e-5)


# Ratings: 13 users and 40 movies.


def rated(config):
    rng = np.random.default_rng(5)
    rating = rng.integers(1, 6, (13, 40)) * (rng.random((13, 40)) < 0.4)
    data = {"rating": rating.astype(np.uint8)}
    if config.units == "binary":
        held, negative = rng.integers(0, 40, 13), rng.integers(0, 40, (13, 20))
        return data | {"held": held.astype(np.int32), "negative": negative.astype(np.int32)}
    target = rng.integers(1, 6, (13, 40)) * (rng.random((13, 40)) < 0.1) * (rating == 0)
    target[2:9] = 0  # a batch of seven has nothing to be tested on
    target[9, :30] = 4  # and one user has much of it
    return data | {"target": target.astype(np.uint8)}


MACHINE = rbm.Config(visible=40, hidden=5, scale=0.5, batch_size=5)
RANKER = dataclasses.replace(MACHINE, units="binary", liked=4)


def expected_of(params, config, rating):
    """What a machine expects of every pair, by its definition, in float64."""
    p = {name: np.asarray(a, float) for name, a in params.items()}
    if config.units == "binary":
        hidden = sigmoid(p["hidden_bias"] + (rating >= config.liked) @ p["kernel"][0])
        return sigmoid(hidden @ p["kernel"][0].T + p["visible_bias"][0])
    visible = (rating[:, None] == np.arange(1, 6)[:, None]).astype(float)
    inputs = p["hidden_bias"] + np.einsum("bkv,kvh->bh", visible, p["kernel"])
    hidden = sigmoid(inputs + (rating > 0) @ p["rated_kernel"])
    shares = np.exp(np.einsum("bh,kvh->bkv", hidden, p["kernel"]) + p["visible_bias"])
    return np.einsum("bkv,k->bv", shares / shares.sum(1, keepdims=True), np.arange(1, 6))


def measured(config, test):
    """The parameters after an epoch of training, and what was measured then."""
    rows = []

    def follow(reports):
        for report in reports:
            rows.extend([report.metrics] if report.metrics else [])
        return report.state

    config = dataclasses.replace(config, epochs=1, steps=(1,), batch_size=5)
    state = RBM.train(config, {"rating": test["rating"]}, test, follow=follow)
    return state.params, rows[-1]


def test_a_machines_test_is_the_error_of_all_held_out_ratings():
    test = rated(MACHINE)
    params, row = measured(MACHINE, test)
    expected = expected_of(params, MACHINE, test["rating"])
    np.testing.assert_allclose(predict(MACHINE, params, test["rating"]), expected, rtol=1e-4)
    error = expected.clip(1, 5) - test["target"]
    found = (error[test["target"] > 0] ** 2).mean()
    np.testing.assert_allclose(row["test_squared_error"], found, rtol=1e-4)
    np.testing.assert_allclose(row["test_loss"], found, rtol=1e-4)


def test_a_rankers_test_is_of_what_is_liked_as_in_training():
    test = rated(RANKER)
    params, row = measured(RANKER, test)
    scores = expected_of(params, RANKER, test["rating"])
    np.testing.assert_allclose(predict(RANKER, params, test["rating"]), scores, rtol=1e-4)
    hits = []
    for own, held, negative in zip(scores, test["held"], test["negative"], strict=True):
        before = [movie for movie in negative if movie != held and own[movie] >= own[held]]
        hits.append(len(before) < 10)
    assert 0 < np.mean(hits) < 1
    np.testing.assert_allclose(row["test_hit_rate"], np.mean(hits), rtol=1e-6)
    own = scores[np.arange(13), test["held"]]
    np.testing.assert_allclose(row["test_loss"], -np.log(own).mean(), rtol=1e-5)


def images(task):
    return lambda config: task.prepare(config, raw())


CASES = {
    "classifier": (FEEDFORWARD, CLASSIFIER, images(FEEDFORWARD)),
    "autoencoder": (AUTOENCODER, CODER, images(AUTOENCODER)),
    "book's": (AUTOENCODER, dataclasses.replace(CODER, pixels="book"), images(AUTOENCODER)),
    "denoiser": (AUTOENCODER, dataclasses.replace(CODER, noise=0.4), images(AUTOENCODER)),
    "ratings": (RBM, MACHINE, rated),
    "ranking": (RBM, RANKER, lambda config: RBM.prepare(config, rated(config))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_test_comes_out_the_same_in_batches_of_any_size_and_again(case):
    task, config, make = case
    data = make(config)
    weights = {"params": begun(task, config, data)}
    loss = task.losses(config, 1)[1]
    whole = fit.make_evaluate(loss, 100)(weights, data)
    assert np.isfinite(list(whole.values())).all()
    back = {name: array[::-1] for name, array in data.items()}
    for size in (1, 7):
        evaluate = fit.make_evaluate(loss, size)
        found = evaluate(weights, data)
        assert found == evaluate(weights, data)
        for one in (found, evaluate(weights, back)):
            assert one.keys() == whole.keys()
            np.testing.assert_allclose([*one.values()], [*whole.values()], rtol=1e-5)


def test_a_batch_without_a_target_weighs_nothing_and_is_no_nan(getkey):
    test, params = rated(MACHINE), rbm.init(getkey(), MACHINE)
    none = {name: array[2:9] for name, array in test.items()}
    value, metrics = RBM.losses(MACHINE, 1)[1](params, none)
    assert metrics["weight"] == 0
    assert np.isfinite(value)
    grads = jax.grad(lambda p: RBM.losses(MACHINE, 1)[1](p, none)[0])(params)
    assert all(not np.asarray(g).any() for g in jax.tree.leaves(grads))


# Noise: a network that shows what was added to one pixel.

PIXEL = 300


def noise_of(config, loss, images, keys=None):
    """What `loss` adds to pixel 300 of each image, where it is black; each is a batch alone."""
    keys = jnp.zeros(len(images)) if keys is None else keys
    one = jnp.zeros((784, 1)).at[PIXEL].set(1.0)  # the code is this pixel, and comes out there
    params = {"encoder": [{"kernel": one}], "decoder": [{"kernel": one.T}]}
    x = scaled(images, config.pixels)
    others = (np.delete(x, PIXEL, 1) - 0.5) ** 2

    def single(image, key):
        return loss(params, {"image": image[None]}, key)[0]

    value = jax.jit(jax.vmap(single))(images, keys)
    out = np.sqrt(784 * np.asarray(value, float) - others.sum(1))
    return np.log(out / (1 - out)), params


def black_there(count):
    """Images that are black but for a few pixels of each, so that the sum is small."""
    images = np.full((count, 784), 127, np.uint8)
    images[np.arange(count), np.arange(count) % 290] = np.arange(count) % 120
    images[:, PIXEL] = 0
    return images.reshape(count, 28, 28)


def test_each_test_image_has_noise_of_its_own_that_stays():
    config = autoencoder.Config(hidden=(), code=1, noise=0.5)
    loss, given = AUTOENCODER.losses(config, 1)[1], black_there(240)
    noise, params = noise_of(config, loss, given)
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.5], atol=0.1)
    assert len(np.unique(noise.round(3))) > 200
    again, _ = noise_of(config, loss, given[::-1])
    np.testing.assert_allclose(again[::-1], noise, atol=1e-3)
    # Within a batch an image has the noise that it has alone.
    alone = [float(loss(params, {"image": given[n : n + 1]}, None)[0]) for n in range(3)]
    for few in itertools.permutations(range(3), 2):
        value, _ = loss(params, {"image": given[list(few)]}, None)
        np.testing.assert_allclose(value, np.mean([alone[n] for n in few]), rtol=1e-6)
    other = dataclasses.replace(config, seed=1)
    changed, _ = noise_of(other, AUTOENCODER.losses(other, 1)[1], given)
    assert np.abs(changed - noise).max() > 0.5


def test_training_draws_noise_anew_at_each_step():
    config = autoencoder.Config(hidden=(), code=1, noise=0.5)
    same = np.repeat(black_there(1), 240, axis=0)
    keys = jax.random.split(jax.random.key(2), 240)
    noise, _ = noise_of(config, AUTOENCODER.losses(config, 1)[0], same, keys)
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.5], atol=0.1)
    assert len(np.unique(noise.round(3))) > 200


# What training does that a test does not.


@pytest.mark.parametrize("pixels", ["unit", "book"])
def test_training_moves_images_by_up_to_the_shift_and_a_test_does_not(pixels, getkey):
    """The losses of one image under many keys are those of its nine moved copies."""
    config = Config(hidden=(5,), shift=1, pixels=pixels, batch_size=1)
    data = {name: array[:1] for name, array in raw().items()}
    params = begun(FEEDFORWARD, config, data)
    training, testing = FEEDFORWARD.losses(config, 1)
    keys = jax.random.split(jax.random.key(4), 100)
    found = jax.jit(jax.vmap(lambda key: training(params, data, key)[0]))(keys)
    wide = np.pad(data["image"], ((0, 0), (1, 1), (1, 1)))
    moved = [wide[:, r : r + 28, c : c + 28] for r in range(3) for c in range(3)]
    testing = jax.jit(testing)
    expected = [testing(params, data | {"image": image}, None)[0] for image in moved]
    distance = np.abs(np.asarray(found)[:, None] - np.asarray(expected))
    assert distance.min(1).max() < 1e-5
    assert set(distance.argmin(1)) == set(range(9))
    still = FEEDFORWARD.losses(dataclasses.replace(config, shift=0), 1)[0]
    np.testing.assert_allclose(still(params, data, getkey())[0], expected[4], rtol=1e-6)


def test_training_drops_hidden_units_and_a_test_does_not():
    """If all are dropped, only the last biases are left."""
    config = Config(hidden=(5,), shift=0, dropout=1.0, batch_size=5)
    data = raw()
    params = begun(FEEDFORWARD, config, data)
    training, testing = FEEDFORWARD.losses(config, 1)
    bias = np.asarray(params[-1]["bias"], float)
    ignorant = (np.log(np.exp(bias).sum()) - bias)[data["label"]].mean()
    value, _ = training(params, data, jax.random.key(0))
    np.testing.assert_allclose(value, ignorant, rtol=1e-5)
    assert abs(testing(params, data, None)[0] - ignorant) > 1e-2


# What does not fit.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": (3, 1)}, r"labels have shape \(3, 1\), expected \(3,\)"),
        ({"label": (3, 10)}, r"labels have shape \(3, 10\), expected \(3,\)"),
        ({"label": (2,)}, r"labels have shape \(2,\), expected \(3,\)"),
        ({"label": (1,)}, r"labels have shape \(1,\), expected \(3,\)"),
        ({"label": ()}, r"labels have shape \(\), expected \(3,\)"),
        ({"image": (3, 1, 784)}, r"images have shape \(3, 1, 784\), expected \(batch, 784\)"),
        ({"image": (3, 28, 28)}, r"images have shape \(3, 28, 28\), expected \(batch, 784\)"),
        ({"image": (3, 783)}, r"images have shape \(3, 783\), expected \(batch, 784\)"),
    ],
)
def test_a_classifiers_loss_names_shapes_that_do_not_fit(change, message, getkey):
    shapes = {"image": (3, 784), "label": (3,)} | change
    batch = {"image": jnp.zeros(shapes["image"]), "label": jnp.zeros(shapes["label"], int)}
    params = FEEDFORWARD.model.init(getkey(), CLASSIFIER)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(FEEDFORWARD.model.loss, params, batch)


@pytest.mark.parametrize("shape", [(3, 1, 784), (3, 28, 28), (784,), (3, 783)])
def test_an_autoencoders_loss_names_images_that_do_not_fit(shape, getkey):
    params = autoencoder.init(getkey(), CODER)
    with pytest.raises(ValueError, match=r"images have shape .*, expected \(batch, 784\)"):
        jax.eval_shape(autoencoder.loss, params, {"image": jnp.zeros(shape)})


WHOLE = {"rating": (3, 40), "target": (3, 40)}
HELD = {"rating": (3, 40), "held": (3,), "negative": (3, 9)}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"rating": (3, 40, 1)}, r"ratings have shape \(3, 40, 1\), expected \(batch, 40\)"),
        ({"rating": (3, 1)}, r"ratings have shape \(3, 1\), expected \(batch, 40\)"),
        ({"rating": (40,)}, r"ratings have shape \(40,\), expected \(batch, 40\)"),
        (WHOLE | {"rating": (3, 1)}, r"ratings have shape \(3, 1\), expected \(batch, 40\)"),
        (WHOLE | {"target": (3, 1)}, r"targets have shape \(3, 1\), expected \(3, 40\)"),
        (WHOLE | {"target": (1, 40)}, r"targets have shape \(1, 40\), expected \(3, 40\)"),
        (WHOLE | {"target": (40,)}, r"targets have shape \(40,\), expected \(3, 40\)"),
        (WHOLE | {"target": (3, 40, 1)}, r"targets have shape \(3, 40, 1\)"),
        (HELD | {"held": (3, 1)}, r"held have shape \(3, 1\), expected \(3,\)"),
        (HELD | {"held": (1,)}, r"held have shape \(1,\), expected \(3,\)"),
        (HELD | {"negative": (3,)}, r"negatives have shape \(3,\), expected \(3, negatives\)"),
        (HELD | {"negative": (1, 9)}, r"negatives have shape \(1, 9\), expected \(3, negatives\)"),
    ],
)
def test_a_machines_losses_name_shapes_that_do_not_fit(shapes, message, getkey):
    batch = {name: jnp.ones(shape, int) for name, shape in shapes.items()}
    params = rbm.init(getkey(), MACHINE)
    training, testing = RBM.losses(MACHINE, 1)
    for loss in (training, testing) if set(shapes) == {"rating"} else (testing,):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(loss, params, batch)


def test_energies_name_marks_that_do_not_fit(getkey):
    params = rbm.init(getkey(), MACHINE)
    for shape in ((40,), (1, 40), (3, 1), (3, 40, 1)):
        with pytest.raises(ValueError, match=r"rated units have shape .*, expected \(3, 40\)"):
            rbm.free_energy(params, jnp.zeros((3, 5, 40)), jnp.ones(shape))


@pytest.mark.parametrize(
    ("task", "config", "choice", "message"),
    [
        (FEEDFORWARD, CLASSIFIER, {"objective": "MSE"}, "one of cross-entropy, product"),
        (FEEDFORWARD, CLASSIFIER, {"objective": "Product"}, "one of cross-entropy, product"),
        (AUTOENCODER, CODER, {"objective": "MSE"}, "'MSE', expected one of mse, bce"),
        (AUTOENCODER, CODER, {"activation": "ELU"}, "one of elu, relu, sigmoid"),
        (AUTOENCODER, CODER, {"activation": "linear"}, "one of elu, relu, sigmoid"),
        (AUTOENCODER, CODER, {"code_activation": "relu"}, "one of linear, sigmoid"),
    ],
)
def test_a_loss_refuses_unknown_choices(task, config, choice, message, getkey):
    params = task.model.init(getkey(), config)
    batch = jax.eval_shape(lambda: task.model.example(config))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda p, b: task.model.loss(p, b, **choice), params, batch)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **choice)
