import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.ch06_cnn.cnn import model
from zoo.ch06_cnn.cnn.task import TASK, triangle
from zoo.common import device, fit


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 64).astype(np.uint8)
    images = rng.integers(0, 100, (64, 32, 32, 3), np.uint8)
    images += (15 * labels)[:, None, None, None].astype(np.uint8)
    return {"image": images, "label": labels}


@pytest.fixture
def config():
    return dataclasses.replace(
        model.RECIPES["modern"], filters=(4, 4, 4), hidden=8, epochs=2, batch_size=16
    )


def metrics_of(config, data, form="loop", mesh=None):
    training, testing = TASK.losses(config, 4)
    options = {"epochs": config.epochs, "batch_size": config.batch_size}
    reports = fit.iterate(
        training,
        TASK.optimizer(config, TASK.updates(config, 4)),
        TASK.start(config, data),
        data,
        test=data,
        test_loss=testing,
        form=form,
        mesh=mesh,
        **options,
    )
    return [report.metrics for report in reports if report.metrics]


@pytest.mark.parametrize("how", ["step form", "two devices"])
def test_other_ways_to_run_give_the_loops_metrics(how, config, data):
    quiet = {"shift": 0, "flip": False, "dropout_dense": 0.0}  # shards draw numbers of their own
    config = dataclasses.replace(config, **quiet)
    loop = metrics_of(config, data)
    options = {"form": "step"} if how == "step form" else {"mesh": device.mesh(2)}
    other = metrics_of(config, data, **options)
    for a, b in zip(loop, other, strict=True):
        for name, value in a.items():
            np.testing.assert_allclose(b[name], value, rtol=2e-3, atol=2e-3)


def test_it_learns_a_few_images_by_heart(config, data):
    few = {name: array[:32] for name, array in data.items()}
    eager = dataclasses.replace(
        config, epochs=40, shift=0, flip=False, dropout_dense=0.0, filters=(8, 8, 16), hidden=32
    )
    state = TASK.train(eager, few)
    classify = TASK.predictions(eager)["classify"].function
    probabilities = classify(TASK.weights(state), few)["probabilities"]
    assert (probabilities.argmax(-1) == few["label"]).mean() > 0.9
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)


def test_books_solver_is_gorgonias_arithmetic():
    optimizer = TASK.optimizer(model.RECIPES["book"], 10)
    w, average = np.array([1.0, -2.0]), np.zeros(2)
    params = jnp.asarray(w, jnp.float32)
    state = optimizer.init(params)
    for gradient in ([3.0, 0.5], [-1.0, 0.2], [0.1, 0.0]):
        g = np.array(gradient)
        average = 0.999 * average + 0.001 * g**2
        w = w - 0.001 * g / np.sqrt(average + 1e-8)
        updates, state = optimizer.update(jnp.asarray(g, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, w, rtol=1e-5)


def test_books_first_step_is_the_root_of_a_thousand_times_the_rate():
    optimizer = TASK.optimizer(model.RECIPES["book"], 10)
    params = jnp.zeros(1)
    updates, _ = optimizer.update(jnp.array([7.0]), optimizer.init(params), params)
    np.testing.assert_allclose(-updates, 0.0316, rtol=1e-3)


def test_rates_rise_to_their_peak_and_fall_to_0():
    rates = np.array([triangle(0.6, 3.0, 20, 100)(n) for n in range(101)])
    assert rates.argmax() == 20
    np.testing.assert_allclose(rates[[0, 10, 20, 60, 100]], [0.6, 1.8, 3.0, 1.5, 0.0], atol=1e-6)
    only_falls = np.array([triangle(0.2, 1.0, 0, 10)(n) for n in range(1, 11)])
    assert (np.diff(only_falls) < 0).all()


def test_modern_schedule_rises_and_falls_to_0():
    config = dataclasses.replace(model.RECIPES["modern"], weight_decay=0.0)
    optimizer = TASK.optimizer(config, 100)
    params = {"kernel": jnp.zeros((1, 1))}
    state, sizes = optimizer.init(params), []
    for _ in range(101):
        updates, state = optimizer.update({"kernel": jnp.ones((1, 1))}, state, params)
        sizes.append(-float(updates["kernel"][0, 0]))
    assert 10 < np.argmax(sizes) < 35
    assert sizes[-1] < 0.02 * max(sizes)


def test_weight_decay_touches_kernels_alone():
    optimizer = TASK.optimizer(model.RECIPES["modern"], 10)
    params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    assert (updates["kernel"] < 0).all()
    assert (updates["scale"] == 0).all()


def test_modern_solver_is_nesterovs_momentum_with_decay_of_kernels_in_float64():
    config = dataclasses.replace(model.RECIPES["modern"], learning_rate=0.5, weight_decay=0.03)
    rng, steps = np.random.default_rng(1), 20
    w = {"kernel": rng.normal(size=(2, 3)), "scale": rng.normal(size=3), "bias": np.ones(3)}
    velocity = {name: np.zeros_like(a) for name, a in w.items()}
    optimizer = TASK.optimizer(config, steps)
    params = jax.tree.map(jnp.float32, w)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for n in range(steps):
        rate = 0.5 * (0.1 + 0.9 * n / 4 if n < 4 else 1 - (n - 4) / 16)
        gradient = {name: rng.normal(size=a.shape) for name, a in w.items()}
        updates, state = update(jax.tree.map(jnp.float32, gradient), state, params)
        params = optax.apply_updates(params, updates)
        for name, g in gradient.items():
            g = g + 0.03 * w[name] if name == "kernel" else g
            velocity[name] = 0.9 * velocity[name] + g
            w[name] = w[name] - rate * (g + 0.9 * velocity[name])
            np.testing.assert_allclose(params[name], w[name], rtol=1e-4, atol=1e-5)


@pytest.fixture
def reaching(monkeypatch):
    """What the losses of a configuration hand to `model.loss`: (config, training, data, key)."""

    def find(config, training, data, key):
        seen = {}

        def loss(params, batch, key, stats, **options):
            seen.update(options, keyed=key is not None)
            return 0.0, ({"image": batch["image"]}, stats)

        monkeypatch.setattr(model, "loss", loss)
        function = TASK.losses(config, 4)[0 if training else 1]
        images = jax.jit(lambda key: function({}, data, key, [])[1][0]["image"])(key)
        return images, seen

    return find


def test_training_shows_each_image_moved_and_mirrored_on_its_own(
    reaching, coordinates, places, assert_even, getkey
):
    shown, _ = reaching(model.RECIPES["modern"], True, coordinates, getkey())
    found = places(shown, 4)
    assert_even(found, 4, turned=True)
    again, _ = reaching(model.RECIPES["modern"], True, coordinates, getkey())
    assert (places(again, 4) != found).any(axis=1).mean() > 0.9
    plain = dataclasses.replace(model.RECIPES["modern"], shift=2, flip=False)
    found = places(reaching(plain, True, coordinates, getkey())[0], 2)
    assert_even(found, 2, turned=False)
    assert not found[:, 2].any()


def test_tests_and_the_books_training_show_images_as_they_are(
    reaching, coordinates, places, getkey
):
    few = {name: array[:8] for name, array in coordinates.items()}
    assert not places(reaching(model.RECIPES["modern"], False, few, getkey())[0], 0).any()
    scaled = model.scale_pixels(few["image"], "book")
    for training in (True, False):
        shown, _ = reaching(model.RECIPES["book"], training, few, getkey())
        np.testing.assert_allclose(shown, scaled, rtol=1e-6)


def test_the_losses_are_of_the_configuration(reaching, coordinates, getkey):
    few = {name: array[:2] for name, array in coordinates.items()}
    changes = {"dropout": 0.1, "dropout_dense": 0.6, "target_on": 0.8, "target_off": 0.05}
    config = dataclasses.replace(model.RECIPES["modern"], reduction="sum", **changes)
    _, seen = reaching(config, True, few, getkey())
    assert seen.pop("keyed")
    assert seen == {**changes, "reduction": "sum", "dropout_bug": False}
    _, seen = reaching(config, False, few, getkey())
    assert not seen["keyed"]
    assert seen["reduction"] == "mean"
    assert (seen["target_on"], seen["target_off"]) == (0.8, 0.05)


@pytest.mark.parametrize("recipe", ["book", "modern"])
def test_the_test_loss_is_the_mean_over_all_images_whatever_the_batch_size(recipe, data, getkey):
    small = dataclasses.replace(model.RECIPES[recipe], filters=(2, 2, 2), hidden=4)
    params = jax.jit(model.init, static_argnums=1)(getkey(), small)
    stats = jax.tree.map(lambda a: a + 0.5, model.init_stats(params))
    few = {name: array[:20] for name, array in data.items()}
    x = model.scale_pixels(jnp.asarray(few["image"]), small.pixels)
    z = np.asarray(jax.jit(model.apply)(params, x, stats=stats).logits, np.float64)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    targets = np.full((20, 10), small.target_off)
    targets[np.arange(20), few["label"]] = small.target_on
    testing = TASK.losses(small, 1)[1]
    for size in (1, 7, 20):
        found = fit.make_evaluate(testing, size)({"params": params, "stats": stats}, few)
        np.testing.assert_allclose(found["loss"], -(targets * log_p).sum(1).mean(), rtol=1e-5)
        right = (z.argmax(1) == few["label"]).mean()
        np.testing.assert_allclose(found["accuracy"], right, rtol=1e-6)


def test_dropout_bug_is_refused_beside_batch_norm():
    """Tests would then use the moments of their own batches."""
    with pytest.raises(ValueError, match="dropout_bug with batch_norm"):
        dataclasses.replace(model.RECIPES["modern"], dropout_bug=True)


def test_dropout_bug_drops_in_tests_too(data):
    config = dataclasses.replace(model.RECIPES["book"], dropout_bug=True)
    params = model.init(jax.random.key(0), config)
    batch = {name: jnp.asarray(array[:8]) for name, array in data.items()}
    values = {}
    for bug in (False, True):
        testing = TASK.losses(dataclasses.replace(config, dropout_bug=bug), 1)[1]
        values[bug], _ = testing(params, batch, None, [])
    exact, _ = TASK.losses(dataclasses.replace(config, dropout_bug=False), 1)[1](
        params, batch, None, []
    )
    assert values[False] == exact
    assert values[True] != exact
