import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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


@pytest.fixture(scope="module")
def by_heart(config, data):
    """A short training on a few images: configuration, images, states on the way, metrics."""
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

    TASK.train(eager, few, follow=watch)
    return eager, few, states, rows


def test_it_learns_a_few_images_by_heart(by_heart):
    config, few, states, _ = by_heart
    classify = TASK.predictions(config)["classify"].function
    found = classify(TASK.weights(states[-1]), few)["probabilities"]
    assert (found.argmax(-1) == few["label"]).mean() > 0.9
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    assert int(states[-1].stats["step"]) == int(states[-1].step) == 30


def test_training_goes_on_from_a_state_to_the_same_bits(by_heart):
    config, few, states, _ = by_heart
    middle = next(state for state in states if int(state.step) > 15)
    again = TASK.train(config, few, state=middle)
    for a, b in zip(jax.tree.leaves(states[-1].stats), jax.tree.leaves(again.stats), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("solver", ["muon", "nesterov"])
def test_every_option_can_be_traced(config, data, solver):
    other = dataclasses.replace(
        config, solver=solver, scales=True, whiten=False, identity=False, flip="random",
        precision="bfloat16", patch=3,
    )  # fmt: skip
    state = TASK.start(other, data)
    optimizer = TASK.optimizer(other, 8)
    step = fit.make_step(task.losses(other, 4)[0], optimizer)
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
