import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.ch06_cnn.cnn.model import scale_pixels
from zoo.ch06_cnn.speedrun import model, task
from zoo.ch06_cnn.speedrun.task import TASK
from zoo.common import fit
from zoo.common.data import DataError, Dataset


def test_muon_turns_filters_as_far_as_the_rate_says_and_leaves_the_first_layer(config, params):
    optimizer = task.optimizer(dataclasses.replace(config, rise=0.0), 100)
    state = optimizer.init(params)
    grads = jax.tree.map(lambda a: jax.random.normal(jax.random.key(1), a.shape), params)
    for _ in range(2):  # the first step rises
        updates, state = jax.jit(optimizer.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(updates["whiten"]["kernel"], 0)
    for layer, update in zip(params["conv"], updates["conv"], strict=True):
        width = layer["kernel"].shape[-1]
        np.testing.assert_allclose(jnp.sum(layer["kernel"] ** 2), width, rtol=1e-4)
        turned = float(jnp.sqrt(jnp.sum(update["kernel"] ** 2) / width))
        assert 0.4 * config.learning_rate < turned < 1.3 * config.learning_rate
        assert (update["bias"] != 0).all()


def test_muon_is_orthogonal_in_the_first_step():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 8, 8))
    optimizer = optax.contrib.scale_by_muon(
        ns_steps=3, beta=0.6, weight_dimension_numbers=task.as_matrices
    )
    tree = {"kernel": kernel}
    update, _ = jax.jit(optimizer.update)(tree, optimizer.init(tree), tree)
    values = np.linalg.svd(np.asarray(update["kernel"]).reshape(-1, kernel.shape[-1]))[1]
    assert 0.4 < values.min() <= values.max() < 1.4


def by_hand(config, steps, params, gradients, frozen):
    """Parameters after each step of Nesterov's momentum, in float64; `conv` on spheres."""
    peaks = {"conv": config.learning_rate, "bias": config.bias_rate, "head": config.head_rate}
    w = {name: np.asarray(a, np.float64) for name, a in params.items()}
    velocity, top = {name: np.zeros_like(a) for name, a in w.items()}, round(config.rise * steps)
    for n, grads in enumerate(gradients):
        share = 0.2 + 0.8 * n / top if n < top else 1 - (n - top) / (steps - top)
        for name, g in grads.items():
            velocity[name] = 0.85 * velocity[name] + g
            moved = w[name] - share * peaks[name[:4]] * (g + 0.85 * velocity[name])
            if name.startswith("conv"):
                moved *= np.sqrt(w[name].shape[-1] / (moved**2).sum())
            w[name] = w[name] if name in frozen else moved
        yield dict(w)


@pytest.mark.parametrize(
    ("solver", "whiten"), [("nesterov", False), ("nesterov", True), ("muon", True)]
)
def test_each_group_of_parameters_has_its_own_rate(config, solver, whiten):
    rates = {"learning_rate": 0.3, "bias_rate": 2.0, "head_rate": 0.7}
    config = dataclasses.replace(config, solver=solver, whiten=whiten, rise=0.2, **rates)
    rng, steps = np.random.default_rng(2), 20

    def tree(conv0, bias0, conv1, bias1, bias2, head):
        whiten, layer = {"kernel": conv0, "bias": bias0}, {"kernel": conv1, "bias": bias1}
        return {"whiten": whiten, "conv": [{**layer, "scale": bias2}], "output": {"kernel": head}}

    names = ("conv0", "bias0", "conv1", "bias1", "bias2", "head")
    shapes = ((2, 2, 3, 4), (4,), (3, 3, 4, 5), (5,), (5,), (5, 10))
    draws = [
        {name: rng.normal(size=shape) for name, shape in zip(names, shapes, strict=True)}
        for _ in range(steps + 1)
    ]
    params, *gradients = draws
    given = jax.tree.map(jnp.float32, tree(**params))
    optimizer = TASK.optimizer(config, steps)
    state, update = optimizer.init(given), jax.jit(optimizer.update)
    frozen = {"conv0"} if whiten else set()
    for n, expected in enumerate(by_hand(config, steps, params, gradients, frozen)):
        updates, state = update(jax.tree.map(jnp.float32, tree(**gradients[n])), state, given)
        given = optax.apply_updates(given, updates)
        first, (layer,) = given["whiten"], given["conv"]
        kernels = [first["kernel"], layer["kernel"], given["output"]["kernel"]]
        found = [kernels[0], first["bias"], kernels[1], layer["bias"], layer["scale"], kernels[2]]
        for name, array in zip(names, found, strict=True):
            if solver == "muon" and name == "conv1":
                np.testing.assert_allclose(jnp.sum(array**2), 5, rtol=1e-4)
            else:
                np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-4)


@pytest.fixture
def shown_in_training(monkeypatch):
    """The images that `model.loss_training` gets: (config, steps, data, key, step)."""

    def find(config, steps, data, key, step):
        def loss(params, batch, moments, **options):
            seen.update(options)
            return 0.0, ({"image": batch["image"]}, moments)

        seen = {}
        monkeypatch.setattr(model, "loss_training", loss)
        training = TASK.losses(config, steps)[0]
        given = jax.tree.map(jnp.asarray, TASK.prepare(config, data))
        call = jax.jit(lambda key, step: training({}, given, key, [], step)[1])
        metrics, _, after = call(key, jnp.int32(step))
        assert after == step + 1
        assert seen["label_smoothing"] == config.label_smoothing
        return metrics["image"]

    return find


def test_images_are_mirrored_in_every_second_epoch_by_their_side(
    config, shown_in_training, coordinates, places, getkey
):
    few = {name: array[:64] for name, array in coordinates.items()}
    plain, side = dataclasses.replace(config, shift=0), TASK.prepare(config, few)["side"]
    for step in (0, 2, 3, 5, 6):
        turned = places(shown_in_training(plain, 3, few, getkey(), step), 0)[:, 2]
        np.testing.assert_array_equal(turned, (side + step // 3) % 2)


def test_images_are_moved_each_on_its_own(
    config, shown_in_training, coordinates, places, assert_even, getkey
):
    side = TASK.prepare(config, coordinates)["side"]
    found = places(shown_in_training(config, 4, coordinates, getkey(), 4), 2)
    assert_even(found, 2, turned=True)
    np.testing.assert_array_equal(found[:, 2], 1 - side)
    random = dataclasses.replace(config, flip="random", shift=1)
    found = places(shown_in_training(random, 4, coordinates, getkey(), 4), 1)
    assert_even(found, 1, turned=True)
    assert 0.4 < (found[:, 2] == side).mean() < 0.6
    still = dataclasses.replace(config, flip="none", shift=1)
    assert not places(shown_in_training(still, 4, coordinates, getkey(), 4), 1)[:, 2].any()


def test_flips_alternate_from_epoch_to_epoch_of_a_run(config, coordinates, monkeypatch):
    """A loss that measures how many images are mirrored otherwise than their side says."""

    def loss(params, batch, moments, **options):
        image = batch["image"]
        turned = image[:, 15, 15, 1] > image[:, 15, 16, 1]
        value = sum(0.0 * a.sum() for a in jax.tree.leaves(params))
        return value, ({"accuracy": (turned != (batch["side"] == 1)).mean()}, moments)

    monkeypatch.setattr(model, "loss_training", loss)
    few = {name: array[:48] for name, array in coordinates.items()}
    small = dataclasses.replace(
        config, width=1, epochs=4, shift=0, whiten=False, solver="nesterov", batch_size=16
    )
    found = []

    def follow(reports):
        for report in reports:
            if report.metrics:
                found.append(report.metrics["train_accuracy"])
        return report.state

    state = TASK.train(small, few, follow=follow)
    assert found == [0, 1, 0, 1]
    assert state.carry == state.step == 12


def test_tests_show_one_view_as_it_is_and_predictions_average_over_all(
    config, data, monkeypatch, getkey
):
    """A linear model in place of the network, the views and their weights by hand, in float64."""
    calls = []

    def apply(params, x, moments=None, **options):
        calls.append((x.shape, options))
        return x.reshape(len(x), -1) @ params["kernel"]

    monkeypatch.setattr(model, "apply", apply)
    kernel = 0.02 * np.random.default_rng(4).normal(size=(32 * 32 * 3, 10))
    weights = {"params": {"kernel": jnp.float32(kernel)}, "stats": []}
    few = {name: array[:5] for name, array in data.items()}

    def logits(images):
        x = (images / 255 - [0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616]
        return x.reshape(len(x), -1) @ kernel

    plain = few["image"]
    padded = np.pad(plain, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    moved = [padded[:, :32, :32], padded[:, 2:, 2:]]
    whole = 0.25 * (logits(plain) + logits(plain[:, :, ::-1]))
    whole += 0.125 * sum(logits(view) + logits(view[:, :, ::-1]) for view in moved)
    flips = 0.5 * (logits(plain) + logits(plain[:, :, ::-1]))
    for which, z in (("flips and shifts", whole), ("flips", flips), ("plain", logits(plain))):
        given = dataclasses.replace(config, views=which)
        found = TASK.predictions(given)["classify"].function(weights, few)["probabilities"]
        expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    z = logits(plain)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    targets = np.full((5, 10), 0.03)
    targets[np.arange(5), few["label"]] = 0.73
    smooth = dataclasses.replace(config, label_smoothing=0.3)
    testing = TASK.losses(smooth, 1)[1]
    for size in (1, 3, 5):
        found = fit.make_evaluate(testing, size)(weights, TASK.prepare(smooth, few))
        np.testing.assert_allclose(found["loss"], -(targets * log_p).sum(1).mean(), rtol=1e-4)
        np.testing.assert_allclose(found["accuracy"], (z.argmax(1) == few["label"]).mean())


def test_the_loss_in_training_is_on_smoothed_targets(config, data, getkey):
    config = dataclasses.replace(config, width=1, label_smoothing=0.3, shift=0, flip="none")
    params = jax.jit(lambda key: model.init(key, config))(getkey())
    few = {name: jnp.asarray(array[:8]) for name, array in data.items()}
    forward = jax.jit(lambda x: model.apply_training(params, x, activation="gelu").logits)
    z = np.asarray(forward(scale_pixels(few["image"])), np.float64)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    targets = np.full((8, 10), 0.03)
    targets[np.arange(8), few["label"]] = 0.73
    training = jax.jit(TASK.losses(config, 1)[0])
    moments = model.init_moments(params)
    given = TASK.prepare(config, few)
    value, (_, updated, _) = training(params, given, getkey(), moments, jnp.int32(0))
    np.testing.assert_allclose(value, -(targets * log_p).sum(axis=1).mean(), rtol=1e-4)
    assert not any((a["mean"] == 0).all() for a in updated)


def test_the_first_layer_whitens_the_images_that_it_is_trained_on(config, data, getkey):
    scaled = np.asarray(scale_pixels(jnp.asarray(data["image"])), np.float64)
    taps = [scaled[:, i : i + 31, j : j + 31] for i in (0, 1) for j in (0, 1)]
    rows = np.concatenate(taps, axis=-1).reshape(-1, 12)
    values = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    for whiten in (True, False):
        given = dataclasses.replace(config, whiten=whiten)
        init = jax.jit(lambda key, data, given=given: TASK.init(key, given, data)["whiten"])
        filters = np.asarray(init(getkey(), data)["kernel"], np.float64).reshape(12, 24)
        variance = ((rows @ filters[:, :12]) ** 2).mean(axis=0)
        assert np.allclose(variance, values / (values + 5e-4), atol=1e-2) == whiten


@pytest.fixture(scope="module")
def by_heart(config, data):
    """A short training on a few images: configuration, images, each step's state, metrics."""
    few = {name: array[:32] for name, array in data.items()}
    eager = dataclasses.replace(
        config, epochs=15, shift=0, flip="none", views="plain", average=0.5, bias_rate=1.0
    )
    states, rows = [], []

    def watch(reports):
        for report in reports:
            states.append(jax.tree.map(jnp.copy, report.state))
            if report.metrics:
                rows.append(report.metrics)
        return report.state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "iterate", functools.partial(fit.iterate, form="step"))
        TASK.train(eager, few, few, follow=watch)
    return eager, few, states, rows


def test_it_learns_a_few_images_by_heart(by_heart):
    config, few, states, _ = by_heart
    classify = TASK.predictions(config)["classify"].function
    found = classify(TASK.weights(states[-1]), few)["probabilities"]
    assert (found.argmax(-1) == few["label"]).mean() > 0.9
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    assert int(states[-1].carry) == int(states[-1].step) == 30


def test_the_average_follows_the_parameters_after_each_update(by_heart):
    _, _, states, _ = by_heart
    assert [int(state.step) for state in states] == [*range(1, 31)]
    average = None
    for n, state in enumerate(states):
        params = [np.asarray(a, np.float64) for a in jax.tree.leaves(state.params)]
        share = max(0.5, 20 / (20 + n))
        average = average or params
        average = [a + share * (w - a) for a, w in zip(average, params, strict=True)]
        for a, found in zip(average, jax.tree.leaves(state.average), strict=True):
            np.testing.assert_allclose(found, a, rtol=1e-4, atol=1e-5)


def test_the_averaged_weights_are_those_that_are_tested_and_used(by_heart):
    _, few, states, rows = by_heart
    last, labels = states[-1], few["label"]
    weights = TASK.weights(last)
    assert weights["params"] is last.average
    assert weights["stats"] is last.stats
    x, apply = scale_pixels(jnp.asarray(few["image"])), jax.jit(model.apply)

    def loss(params, stats):
        z = np.asarray(apply(params, x, stats), np.float64)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        targets = np.full((32, 10), 0.02)
        targets[np.arange(32), labels] = 0.82
        return -(targets * log_p).sum(axis=1).mean()

    apart = []
    for row, state in zip(rows, states[1::2], strict=True):  # two steps make an epoch
        averaged = loss(state.average, state.stats)
        np.testing.assert_allclose(row["test_loss"], averaged, rtol=1e-4)
        apart.append(abs(averaged - loss(state.params, state.stats)))
    assert max(apart) > 0.01


def test_no_average_is_the_parameters_themselves(config, getkey):
    params, old = {"kernel": jax.random.normal(getkey(), (3,))}, {"kernel": jnp.ones(3)}
    for decay, share in ((0.0, 1.0), (0.9, 0.1)):
        average = TASK.average(dataclasses.replace(config, average=decay))
        found = average(old, params, jnp.int32(1_000))["kernel"]
        np.testing.assert_allclose(found, 1 + share * (params["kernel"] - 1), rtol=1e-5)


def test_training_goes_on_from_a_state_to_the_same_bits(by_heart, monkeypatch):
    config, few, states, _ = by_heart
    monkeypatch.setattr(fit, "iterate", functools.partial(fit.iterate, form="step"))
    again = TASK.train(config, few, state=states[15])
    for a, b in zip(*map(jax.tree.leaves, (states[-1], again)), strict=True):
        assert jnp.array_equal(a, b)


@pytest.mark.parametrize("solver", ["muon", "nesterov"])
def test_every_option_can_be_traced(config, data, solver):
    other = dataclasses.replace(
        config, solver=solver, scales=True, whiten=False, identity=False, flip="random",
        precision="bfloat16", patch=3,
    )  # fmt: skip
    state = TASK.start(other, data)
    optimizer = TASK.optimizer(other, 8)
    step = fit.make_step(task.losses(other, 4)[0], optimizer, TASK.average(other))
    batch = jax.tree.map(lambda a: jnp.asarray(a[:16]), task.prepare(config, data))
    new, metrics = jax.eval_shape(step, state, batch)
    assert metrics["loss"].dtype == jnp.float32
    assert jax.tree.map(lambda a: (a.shape, a.dtype), new) == jax.tree.map(
        lambda a: (a.shape, a.dtype), jax.eval_shape(lambda: state)
    )


def test_precision_follows_the_device_or_the_configuration(config):
    assert task.options(config)["dtype"] == jnp.float32
    narrow = dataclasses.replace(config, precision="bfloat16")
    assert task.options(narrow)["dtype"] == jnp.bfloat16
    assert TASK.predictions(config) is TASK.predictions(config)
    assert TASK.predictions(config) is not TASK.predictions(narrow)


def test_split_all_trains_on_all_five_files_and_names_what_it_needs(monkeypatch):
    rng = np.random.default_rng(0)

    def part(count):
        images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return {"image": images, "label": rng.integers(0, 10, count).astype(np.uint8)}

    held = Dataset("CIFAR-10", "real", "holdout", "", part(8), part(2), ("a",) * 10)
    monkeypatch.setattr(task.cifar10, "load", lambda **_: held)
    monkeypatch.setattr(task.cifar10, "first_thousand", lambda _: part(3))
    config = model.Config(split="all")
    found = TASK.load(config, "auto", None)
    assert len(found.train["label"]) == 10
    assert len(found.test["label"]) == 3
    np.testing.assert_array_equal(found.train["image"][8:], held.test["image"])
    monkeypatch.setattr(task.cifar10, "first_thousand", lambda _: None)
    with pytest.raises(DataError, match=r"test_batch.first1000.bin"):
        TASK.load(config, "auto", None)
