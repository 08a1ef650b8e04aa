import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm import RECIPES, Config
from zoo.ch03_mnist_ae_rbm.feedforward.task import TASK, worst_first
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
    weights = TASK.weights(TASK.train(config, data))
    return fit.make_evaluate(TASK.losses(config, 1)[1], 99)(weights, TASK.prepare(config, test))


@pytest.mark.parametrize(("recipe", "epochs"), [("modern", 6), ("book", 12)])
def test_it_learns_the_sample(recipe, epochs, digits):
    config = dataclasses.replace(RECIPES[recipe], epochs=epochs, batch_size=20)
    assert measured(config, digits.train, digits.test)["accuracy"] > 0.82


def test_a_run_is_its_seeds_function_and_resumes_to_the_same_bits(few):
    config = Config(**SMALL)
    whole = TASK.train(config, few)
    states = []

    def keep_the_first_epoch(reports):
        for progress in reports:
            if progress.metrics is not None and not states:
                states.append(jax.tree.map(jnp.copy, progress.state))
        return progress.state

    again = TASK.train(config, few, follow=keep_the_first_epoch)
    resumed = TASK.train(config, few, state=states[0])
    other = TASK.train(dataclasses.replace(config, seed=1), few)
    for a, b, c, d in zip(
        *map(jax.tree.leaves, (whole.params, again.params, resumed.params, other.params)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
        assert not np.array_equal(a, d)


def test_probabilities_of_any_number_of_images(digits):
    config = Config(hidden=(8,))
    weights = TASK.weights(TASK.begin(config, TASK.random(config, 100)))
    classify = TASK.predictions(config)["classify"].function
    images = digits.train["image"][:501]
    shares = fit.predict(classify, weights, {"image": images}, 500)["probabilities"]
    assert shares.shape == (501, 10)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)


def test_worst_first_are_the_mistakes_by_how_sure_they_are():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    np.testing.assert_array_equal(worst_first(np.array([0, 1, 0, 1]), probabilities), [2, 3, 1])
    assert worst_first(np.array([0]), probabilities[:1]).size == 0
