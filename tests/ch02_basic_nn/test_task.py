"""The first network as a task: its loop, its checkpoint, its prediction."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import ch02_basic_nn as nn
from zoo.ch02_basic_nn import program, task
from zoo.common import checkpoint, fit, run, trained
from zoo.common.data import digest

CONFIG = dataclasses.replace(nn.RECIPES["numpy"], steps=100)


def test_training_is_the_program_s_in_float32():
    rows = task.load(CONFIG).train
    state = nn.train(CONFIG, rows)
    params, history = program.run_program(CONFIG, rows)
    assert state.step == 100
    np.testing.assert_array_equal(
        state.params["output"]["kernel"], params["output"]["kernel"].astype(np.float32)
    )
    (report,) = nn.TASK.iterate(CONFIG, nn.TASK.start(CONFIG, rows), rows)
    assert report.metrics["train_loss"] == history["loss"][-1]
    assert report.metrics["train_accuracy"] == history["accuracy"][-1]


def test_a_finished_run_is_refused():
    rows = task.load(CONFIG).train
    state = nn.train(CONFIG, rows)
    with pytest.raises(fit.FinishedError, match="is at step 100"):
        nn.train(CONFIG, rows, state=state)


def test_the_losses_are_the_recipe_s():
    rows = task.load(CONFIG).train
    params = program.start(CONFIG)
    for loss in nn.TASK.losses(CONFIG, 1):
        value, _ = loss(params, rows)
        assert value == nn.loss(params, rows, cost="half-sum-square")[0]


@pytest.mark.parametrize("config", [CONFIG, nn.Config(hidden=4, steps=10)])
def test_a_checkpoint_comes_back_as_a_model_that_predicts(config, tmp_path):
    dataset = task.load(config)
    about = {"name": "toy", "source": "real", "description": "toy", "sha256": digest(dataset)}
    folder = run.create("ch02_basic_nn", config, about, tmp_path / "run")
    state = nn.train(config, dataset.train)
    checkpoint.save(folder, state, {})
    model = trained.load(folder)
    assert model.config == config
    x = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    found = model.predict(input=x)["probability"]
    expected = jax.nn.sigmoid(nn.apply(state.params, jnp.asarray(x)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"input is float32 of shape \(1, 2\)"):
        model.predict(input=np.zeros((1, 2), np.float32))
