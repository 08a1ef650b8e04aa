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


@pytest.mark.parametrize("how", ["step form", "eight devices"])
def test_other_ways_to_run_give_the_loops_metrics(how, config, data):
    loop = metrics_of(config, data)
    options = {"form": "step"} if how == "step form" else {"mesh": device.mesh(8)}
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
