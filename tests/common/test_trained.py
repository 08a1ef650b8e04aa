"""The trained models that come with zoo: whole, small, and as good as their cards say."""

import importlib
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import zoo
from zoo.common import pretrained
from zoo.common.data import cifar10, mnist, movielens

ROOT = Path(zoo.__file__).parent
CARDS = sorted(ROOT.glob("ch*/pretrained/*.json"))


def loaded(card):
    """The model of a card, as a user asks for it."""
    package = importlib.import_module(f"zoo.{card.parent.parent.name}.pretrained")
    several = card.stem not in ("model", "planner")
    return package.pretrained(card.stem) if several else package.pretrained()


@pytest.mark.parametrize("card", CARDS, ids=lambda p: f"{p.parent.parent.name}/{p.stem}")
def test_a_model_is_whole_small_and_says_where_it_comes_from(card):
    found = loaded(card)  # checks the hash
    leaves = jax.tree.leaves(found.weights)
    assert all(leaf.dtype == np.float32 and np.isfinite(leaf).all() for leaf in leaves)
    assert sum(leaf.size for leaf in leaves) == found.card["parameters"]
    size = card.with_suffix(".safetensors").stat().st_size
    assert size < (3_000_000 if "ch06" in str(card) else 1_000_000)
    assert found.config.seed == found.card["seed"]
    assert found.card["command"].startswith(f"python -m zoo.{card.parent.parent.name} ")
    assert {"data", "metrics", "machine", "commit", "versions"} <= set(found.card)
    assert not any(path in card.read_text() for path in ("/work/", "/tmp/", "/root/"))


def test_each_chapter_that_trains_a_model_of_its_own_has_one():
    chapters = {card.parent.parent.name for card in CARDS}
    assert chapters == {"ch03_mnist_ae_rbm", "ch05_lstm", "ch06_cnn", "ch07_dqn", "ch08_vae"}


def test_a_damaged_or_absent_model_is_refused(tmp_path):
    card = ROOT / "ch07_dqn" / "pretrained" / "planner.json"
    for path in (card, card.with_suffix(".safetensors")):
        shutil.copy(path, tmp_path)
    weights = tmp_path / "planner.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(pretrained.PretrainedError, match=r"planner.safetensors has the sha256"):
        pretrained.load(tmp_path, "planner", dict, lambda config: config)
    with pytest.raises(pretrained.PretrainedError, match="no published model"):
        pretrained.load(tmp_path, "other", dict, lambda config: config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read"),
        ({"chapter": "ch01_graphs"}, "a run of ch01_graphs, which publishes no models"),
        ({}, "a run of no chapter"),
    ],
)
def test_what_is_no_run_is_not_published(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(pretrained.PretrainedError, match=message):
        pretrained.publish(tmp_path)


def test_a_command_loses_what_means_nothing_elsewhere():
    arguments = ["/a/b/__main__.py", "train", "--out", "/c", "--data-dir=/d", "--epochs", "3"]
    command = pretrained._command("ch08_vae/conv", arguments)
    assert command == "python -m zoo.ch08_vae train --epochs 3"


def test_the_planner_solves_mazes_it_has_not_seen():
    from zoo.ch07_dqn import planner_train
    from zoo.ch07_dqn.pretrained import pretrained

    found = pretrained()
    mazes = planner_train.test_mazes(found.config, 200)
    tried = planner_train.solver(found.config.rounds)(found.weights, mazes)
    solved = planner_train.summary(tried)["solved"]
    assert solved > found.card["metrics"]["test_solved"] - 0.02
    assert solved > 0.97


@pytest.fixture(scope="module")
def real():
    """The folder of the real data sets."""
    if "ZOO_DATA_DIR" not in os.environ:
        pytest.skip("the real data sets are not here: set ZOO_DATA_DIR")
    return Path(os.environ["ZOO_DATA_DIR"])


@pytest.mark.realdata
def test_the_digits_models_are_as_good_as_their_cards_say(real):
    from zoo.ch08_vae.train import losses

    from zoo.ch03_mnist_ae_rbm import train
    from zoo.ch03_mnist_ae_rbm.pretrained import pretrained
    from zoo.ch08_vae.pretrained import pretrained as vae
    from zoo.common import fit

    test = mnist.load("real", real).test
    images, labels = test["image"], test["label"]
    found = pretrained("feedforward")
    guesses = train.predict_probabilities(found.config, found.weights, images).argmax(-1)
    accuracy = (guesses == labels).mean()
    assert abs(accuracy - found.card["metrics"]["test_accuracy"]) < 0.001
    assert accuracy > 0.985
    found = pretrained("autoencoder")
    error = np.square(train.reconstruct(found.config, found.weights, images) - images / 255).mean()
    assert abs(error - found.card["metrics"]["test_mse"]) < 2e-4
    found = vae()
    state = fit.State(found.weights, None, None, None, None, None)
    part = {"image": images}
    measured = fit.make_evaluate(losses(found.config)[1], found.config.batch_size)(state, part)
    assert abs(measured["loss"] - found.card["metrics"]["test_loss"]) < 0.5
    assert measured["loss"] < 110


@pytest.mark.realdata
def test_the_films_model_is_as_good_as_its_card_says(real):
    from zoo.ch03_mnist_ae_rbm import ratings
    from zoo.ch03_mnist_ae_rbm.pretrained import pretrained

    found = pretrained("rbm")
    about = found.card["data"]
    dataset = movielens.load(found.config.dataset, "real", real, about["split"])
    table = ratings.table(dataset)
    error = ratings.rmse(ratings.predict(found.config, found.weights, table.train), table.test)
    assert abs(error - found.card["metrics"]["test_squared_error"] ** 0.5) < 2e-3
    assert error < 0.95


@pytest.mark.realdata
def test_the_writer_is_as_good_as_its_card_says(real):
    from zoo import ch05_lstm as lstm
    from zoo.ch05_lstm import studies

    found = lstm.pretrained()
    whole = lstm.text.load(found.config.dataset, "", "real", real).text
    vocabulary = lstm.text.make_vocabulary(whole)
    assert list(vocabulary.characters) == found.card["data"]["classes"]
    ids = vocabulary.encode(whole[int(lstm.text.TRAINED_SHARE * len(whole)) - 1 :])
    *_, (characters, nats, accuracy) = studies.carried_loss(found.weights, ids)
    expected = found.card["metrics"]["evaluation"]
    assert characters == expected["characters"]
    assert abs(nats - expected["nats"]) < 2e-3
    assert nats < 1.5
    assert abs(accuracy - expected["accuracy"]) < 2e-3


@pytest.mark.realdata
def test_the_pictures_model_is_as_good_as_its_card_says(real):
    from zoo import ch06_cnn as cnn

    found = cnn.pretrained()
    test = cifar10.first_thousand(real)
    if test is None:
        pytest.skip("no official test image is here: neither test_batch.bin nor its first 1,000")
    probabilities = cnn.speedrun_train.predict(
        found.config, found.weights["params"], found.weights["moments"], test["image"]
    )
    accuracy = (probabilities.argmax(-1) == test["label"]).mean()
    expected = found.card["metrics"]["evaluation"]["first_1000_official_accuracy"]
    assert abs(accuracy - expected) < 0.004
    assert accuracy > 0.92
