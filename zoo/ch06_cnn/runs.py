"""Runs of chapter 6 and their data: of the book's network and of the speed run's."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo.ch06_cnn import model, speedrun, speedrun_train
from zoo.ch06_cnn.train import losses, predict_probabilities, start
from zoo.ch06_cnn.train import train as train_network
from zoo.common import cli, device, fit, run
from zoo.common.data import DataError, Dataset, cifar10, digest, mnist

CHAPTER = "ch06_cnn"
Config = model.Config | speedrun.Config


class Network(NamedTuple):
    """What the commands need of a network; the functions are those of its training module."""

    start: Callable[..., tuple[Any, fit.State]]
    losses: Callable[[Any], tuple[fit.Loss, fit.Loss]]
    train: Callable[..., fit.State]
    probabilities: Callable[..., np.ndarray]
    filters: Callable[[Any], jax.Array]  # of the first layer


NETWORKS = {
    model.Config: Network(
        start,
        losses,
        train_network,
        predict_probabilities,
        lambda params: params["conv"][0]["kernel"],
    ),
    speedrun.Config: Network(
        speedrun_train.start,
        speedrun_train.losses,
        speedrun_train.train,
        speedrun_train.predict_probabilities,
        lambda params: params["whiten"]["kernel"],
    ),
}


def load(config: Config, data: str = "auto", data_dir: Path | None = None) -> Dataset:
    """The data set of a configuration; digits of MNIST become 32x32 pixels of three colours."""
    if config.dataset == "cifar10" and config.split == "all":
        return _load_all(data, data_dir)
    if config.dataset == "cifar10":
        return cifar10.load(data=data, data_dir=data_dir, split=config.split)
    if config.split in ("holdout", "all"):
        raise DataError(f"MNIST has no split {config.split} here: use --split auto or official")
    digits = mnist.load(data=data, data_dir=data_dir)

    def enlarge(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        padded = np.pad(batch["image"], ((0, 0), (2, 2), (2, 2)))
        return {**batch, "image": np.repeat(padded[..., None], 3, axis=-1)}

    return digits._replace(train=enlarge(digits.train), test=enlarge(digits.test))


def _load_all(data: str, data_dir: Path | None) -> Dataset:
    """All five training files, and the first 1,000 official test images to test on."""
    held = cifar10.load(data=data, data_dir=data_dir, split="holdout")
    test = cifar10.first_thousand(data_dir)
    if held.source != "real" or test is None:
        raise DataError(
            "split all needs the files of CIFAR-10 and test_batch.first1000.bin or "
            "test_batch.bin: name their folder by --data-dir, or use --split holdout"
        )
    train = {k: np.concatenate([a, held.test[k]]) for k, a in held.train.items()}
    description = (
        "CIFAR-10: train on data_batch_1..5 (50,000), test on the first 1,000 official test images"
    )
    return held._replace(split="all", description=description, train=train, test=test)


def recipe_of(arguments: Sequence[str]) -> str:
    """The recipe that a command line names, by --recipe or by the run of --resume; or nothing."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", default="")
    parser.add_argument("--resume", type=Path)
    asked, _ = parser.parse_known_args(arguments)
    return asked.recipe if asked.resume is None else _recipe_of_run(asked.resume)


def _recipe_of_run(folder: Path) -> str:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return content["config"]["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # `read_config` says what is wrong


def _config_type(folder: Path) -> type:
    return speedrun.Config if _recipe_of_run(folder) in speedrun.SPEEDRUNS else model.Config


def saved_config(folder: Path) -> Config:
    """The configuration that a run began with."""
    return run.read_config(folder, CHAPTER, _config_type(folder))[0]


def restore(trained: cli.Trained) -> tuple[Path, Config, fit.State, dict[str, Any]]:
    """The run that was named, or the newest: folder, configuration, state, config.json."""
    folder = trained.run or run.newest(CHAPTER)
    kind = _config_type(folder)
    return run.restore(
        CHAPTER,
        dataclasses.replace(trained, run=folder),
        kind,
        lambda config: NETWORKS[kind].start(config, config.batch_size)[1],
    )


def restore_or_published(trained: cli.Trained) -> tuple[Path, Config, fit.State, list[str]]:
    """A run's folder, configuration, state and classes; without any run, the published network's.

    That is taken where no run is named and none is there; its folder is for pictures alone.
    """
    try:
        folder = trained.run or run.newest(CHAPTER)
    except run.RunError:
        from zoo.ch06_cnn.pretrained import pretrained

        device.use(trained.device)
        found = pretrained()
        print(f"no run is here: asking the network that comes with zoo ({found.card['command']})")
        average, moments = found.weights["params"], found.weights["moments"]
        state = fit.State(average, None, {"average": average, "moments": moments}, None, None, {})
        folder = Path("runs", CHAPTER, "published")
        return folder, found.config, state, found.card["data"]["classes"]
    folder, config, state, content = restore(dataclasses.replace(trained, run=folder))
    return folder, config, state, content["data"]["classes"]


def ask(config: Config, state: fit.State, images: np.ndarray) -> np.ndarray:
    """The probability of each class, float32 [N, classes], for uint8 images [N, 32, 32, 3]."""
    network = NETWORKS[type(config)]
    return network.probabilities(config, state.params, state.stats, images)


def restore_with_data(trained: cli.Trained) -> tuple[Path, Config, fit.State, Dataset]:
    """As `restore`, with the data set that the run was trained on."""
    folder, config, state, content = restore(trained)
    about = content["data"]
    wanted = dataclasses.replace(config, split=about["split"]) if config.split == "auto" else config
    if about["source"] == "sample":
        wanted = config
    dataset = load(wanted, about["source"], trained.data_dir)
    run.check_data(folder, about, digest(dataset))
    print(dataset.description)
    return folder, config, state, dataset
