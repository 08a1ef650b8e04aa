"""The trained models that come with zoo: whole, small, and as good as their cards say."""

import dataclasses
import json
import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import zoo
from zoo.common import commands, trained
from zoo.common.data import cifar10, mnist
from zoo.common.run import RunError

ROOT = Path(zoo.__file__).parent
CARDS = sorted(ROOT.glob("ch*/pretrained/*.json"))


def name_of(card):
    chapter = card.parent.parent.name
    return chapter if card.stem == "model" else f"{chapter}/{card.stem}"


@pytest.mark.parametrize("card", CARDS, ids=name_of)
def test_a_model_is_whole_small_and_says_where_it_comes_from(card):
    found = zoo.published(name_of(card))  # checks the hash
    leaves = jax.tree.leaves(found.weights)
    assert all(leaf.dtype == np.float32 and np.isfinite(leaf).all() for leaf in leaves)
    assert sum(leaf.size for leaf in leaves) == found.about["parameters"]
    assert card.with_suffix(".safetensors").stat().st_size < trained.LIMIT
    assert found.config.seed == found.about["seed"]
    assert found.about["command"].startswith(found.task.command.rpartition(" ")[0])
    assert {"data", "metrics", "machine", "commit", "versions"} <= set(found.about)
    assert not re.search(r"(?<![\w./:])/\w", card.read_text()), "an absolute path of one machine"


def test_the_published_models():
    assert {name_of(card) for card in CARDS} >= {
        "ch03_mnist_ae_rbm",
        "ch03_mnist_ae_rbm/autoencoder",
        "ch03_mnist_ae_rbm/rbm",
        "ch05_lstm",
        "ch06_cnn/speedrun",
        "ch07_dqn/planner",
        "ch08_vae",
    }
    assert {path.stem for path in ROOT.glob("ch*/pretrained/*")} == {card.stem for card in CARDS}


@pytest.mark.parametrize("card", CARDS, ids=name_of)
def test_every_prediction_of_a_published_model_works(card):
    model = zoo.published(name_of(card))
    rng = np.random.default_rng(0)
    for name, prediction in model.predictions.items():
        inputs = {
            key: rng.integers(1, 3, (3, *spec.shape)).astype(spec.dtype)  # 0: a cell without exit
            for key, spec in prediction.inputs.items()
        }
        for output in model.predict(name, **inputs).values():
            assert len(output) == 3
            assert np.isfinite(output).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no run folder"),
        ({"chapter": "ch01_graphs", "config": {}, "data": {}}, "zoo has no model 'ch01_graphs'"),
        ({}, "can't be read as a run's configuration"),
        (
            {"chapter": "ch06_cnn", "config": {}, "data": []},
            "can't be read as a run's configuration",
        ),
    ],
)
def test_what_is_no_run_is_not_published(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=message):
        trained.publish(tmp_path)


def test_a_command_loses_what_means_nothing_elsewhere():
    task = trained.find("ch08_vae/conv")
    arguments = ["/a/b/__main__.py", "conv", "train", "--out", "/c", "--data-dir=/d"]
    command = trained._command(task, [*arguments, "--epochs", "3"])
    assert command == "python -m zoo.ch08_vae conv train --epochs 3"


@pytest.fixture(scope="module")
def real():
    """The folder of the real data sets."""
    if "ZOO_DATA_DIR" not in os.environ:
        pytest.skip("the real data sets are not here: set ZOO_DATA_DIR")
    return Path(os.environ["ZOO_DATA_DIR"])


@pytest.mark.realdata
def test_the_digits_models_are_as_good_as_their_cards_say(real):
    test = mnist.load("real", real).test
    images, labels = test["image"], test["label"]
    reader = zoo.published("ch03_mnist_ae_rbm")
    accuracy = (reader.predict(image=images)["probabilities"].argmax(-1) == labels).mean()
    assert abs(accuracy - reader.about["metrics"]["test_accuracy"]) < 0.001
    assert accuracy > 0.985
    autoencoder = zoo.published("ch03_mnist_ae_rbm/autoencoder")
    error = np.square(autoencoder.predict(image=images)["image"] - images / 255).mean()
    assert abs(error - autoencoder.about["metrics"]["test_mse"]) < 2e-4


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "metric", "tolerance", "bound"),
    [
        ("ch08_vae", "loss", 0.5, 110.0),
        ("ch03_mnist_ae_rbm/rbm", "squared_error", 4e-3, 0.95**2),
        ("ch05_lstm", "loss", 4e-3, 1.5),
    ],
)
def test_a_test_loss_is_the_cards(real, name, metric, tolerance, bound):
    model = zoo.published(name)
    measured = commands.measure(model, model.dataset(real))[metric]
    assert abs(measured - model.about["metrics"][f"test_{metric}"]) < tolerance
    assert measured < bound


@pytest.mark.realdata
def test_the_speed_run_is_as_good_as_its_card_says(real):
    model = zoo.published("ch06_cnn/speedrun")
    test = cifar10.first_thousand(real)
    if test is None:
        pytest.skip("no official test image is here: neither test_batch.bin nor its first 1,000")
    probabilities = model.predict(image=test["image"])["probabilities"]
    accuracy = (probabilities.argmax(-1) == test["label"]).mean()
    expected = model.about["metrics"]["evaluation"]["first_1000_official_accuracy"]
    assert abs(accuracy - expected) < 0.004
    assert accuracy > 0.92


def outcomes(name):
    """What a published model makes of some inputs, and the data that it names."""
    model = zoo.published(name)
    rng, found = np.random.default_rng(0), []
    for key, prediction in model.predictions.items():
        inputs = {
            n: rng.integers(0, 2, (3, *spec.shape)).astype(spec.dtype)
            for n, spec in prediction.inputs.items()
        }
        found.append(model.predict(key, **inputs))
    if model.about["data"]["source"] == "generated":
        found.append(model.dataset().train)
    return [(leaf.dtype, leaf.tobytes()) for leaf in jax.tree.leaves(found)]


@pytest.mark.parametrize("card", CARDS, ids=name_of)
def test_a_notebook_with_64_bits_gets_the_same_from_a_published_model(card):
    expected = outcomes(name_of(card))
    with jax.enable_x64(True):
        assert outcomes(name_of(card)) == expected
        assert jax.config.jax_enable_x64
    assert expected


def test_of_a_text_of_one_s_own_other_machines_get_the_name_alone():
    config = dataclasses.replace(zoo.published("ch05_lstm").config, text="/somewhere/private.txt")
    assert trained.portable(config)["text"] == "private.txt"
    assert trained.portable(config) | {"text": config.text} == dataclasses.asdict(config)
    typed = ["zoo", "train", "--text", "/somewhere/private.txt", "--epochs", "1"]
    assert trained._command(trained.find("ch05_lstm"), typed).endswith("train --epochs 1")
