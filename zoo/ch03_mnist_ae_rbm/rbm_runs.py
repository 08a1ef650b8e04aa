"""Runs of the Boltzmann machine and the ratings that they are made on (chapter 3)."""

import dataclasses
from pathlib import Path

import numpy as np

from zoo.ch03_mnist_ae_rbm import ranking, ratings, rbm, rbm_train
from zoo.common import cli, fit, run
from zoo.common.data import DataError, digest, movielens

CHAPTER = "ch03_mnist_ae_rbm/rbm"


def load(
    config: rbm.Config, data: str = "auto", data_dir: Path | None = None
) -> tuple[movielens.MovieLens, ratings.Table]:
    """The data set of a configuration, and its ratings as matrices.

    Raises:
      DataError: the set has no such split, or no rating values where the machine needs them.
    """
    splits = (*movielens.FOLDS, "all") if config.dataset == "ml-100k" else ("leave-one-out", "all")
    if config.split not in ("auto", *splits):
        raise DataError(f"{config.dataset} has no split {config.split}: use {', '.join(splits)}")
    dataset = movielens.load(config.dataset, data, data_dir, config.split)
    if config.units == "softmax" and "rating" not in dataset.train:
        raise DataError(
            f"{dataset.description}: softmax units need the values; use --units binary or "
            "--dataset ml-100k"
        )
    return dataset, ratings.table(dataset)


def batches(
    config: rbm.Config, dataset: movielens.MovieLens, table: ratings.Table
) -> tuple[fit.Batch, fit.Batch | None]:
    """What the machine is trained on, and what it is tested on after each epoch, if anything."""
    data = {"rating": ratings.examples(config, table.train)}
    if config.units == "softmax" and dataset.test:
        return data, data | {"target": ratings.examples(config, table.test)}
    if "negative" in dataset.test and config.example == "user":
        return data, data | ranking.candidates(dataset, table)._asdict()
    return data, None


def restore(
    trained: cli.Trained,
) -> tuple[Path, rbm.Config, fit.State, movielens.MovieLens, ratings.Table]:
    """The run that was named, or the newest: folder, configuration, state and its ratings."""

    def like(config: rbm.Config) -> fit.State:
        empty = np.zeros((config.batch_size, config.visible), np.uint8)
        return rbm_train.start(config, empty)[1]

    folder, config, state, content = run.restore(CHAPTER, trained, rbm.Config, like)
    about = content["data"]
    dataset, table = load(
        dataclasses.replace(config, split=about["split"]), about["source"], trained.data_dir
    )
    run.check_data(folder, about, digest(dataset))
    print(dataset.description)
    return folder, config, state, dataset, table
