"""Trains the networks of chapter 5; the notebook calls these, the command line too."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from zoo.ch05_lstm import model, text
from zoo.common import fit, solvers
from zoo.common.data.text import Text

EVALUATION_STREAMS = 32


class Corpus(NamedTuple):
    """A text made ready; the first fields are those of a `Dataset`."""

    name: str
    source: str
    split: str
    description: str
    classes: tuple[str, ...]  # the vocabulary
    train: dict[str, np.ndarray]  # rows as `model.loss` takes them
    test: dict[str, np.ndarray] | None  # rows as `model.score` does; None where all is trained on

    @property
    def vocabulary(self) -> text.Vocabulary:
        """The characters by number."""
        return text.Vocabulary(self.classes)


def prepare(config: model.Config, source: Text) -> tuple[model.Config, Corpus]:
    """Lays a text out as the configuration says; its vocabulary's size goes into the latter.

    Raises:
      DataError: the text is too short, or has a mark in it.
    """
    expected = config.feedback == "expected"
    known = "".join(text.lines(source.text)) if expected else source.text
    vocabulary = text.make_vocabulary(known)
    config = dataclasses.replace(config, vocabulary=len(vocabulary.characters))
    name = config.text or source.name
    about = (source.name, source.source)
    if expected:
        rows = text.sentences(source.text, vocabulary, config.chunk)
        count = f"the first {config.chunk} characters of {len(rows['first']):,} lines"
        description = f"{source.description}; {count}"
        return config, Corpus(*about, "all", description, vocabulary.characters, rows, None)
    end = int(text.TRAINED_SHARE * len(source.text))
    ids = vocabulary.encode(source.text)
    rows = text.streams(ids[:end], config.batch_size, config.chunk, name)
    test = text.windows(ids[end - 1 :], EVALUATION_STREAMS)
    split = "first 90 % of the characters train, the others validate"
    description = f"{source.description}; {split}"
    return config, Corpus(*about, split, description, vocabulary.characters, rows, test)


def make_optimizer(config: model.Config, steps: int) -> optax.GradientTransformation:
    """The solver of the configuration for a run of `steps` updates."""
    if config.solver == "rmsprop":
        return solvers.rmsprop(config.learning_rate, l2=config.weight_decay, clip=config.clip)
    rise = max(1, min(steps // 10, 200))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, rise, max(steps, rise + 1), 0.01 * config.learning_rate
    )

    def kernels(params: model.Params) -> model.Params:
        return jax.tree.map(lambda a: a.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay, mask=kernels),
    )


def losses(config: model.Config) -> tuple[fit.Loss, fit.Loss]:
    """The loss in training, and that of the validation text, whose rows are scored whole."""
    training = functools.partial(
        model.loss,
        feedback=config.feedback,
        reduction=config.reduction,
        dropout=config.dropout,
        weight_dropout=config.weight_dropout,
    )

    def testing(params, batch, key, state):
        return model.score(params, batch)

    return training, testing


def start(config: model.Config, rows: int) -> tuple[optax.GradientTransformation, fit.State]:
    """The solver and the state before the first step of a run over `rows` chunks or sentences.

    The recurrent state that is carried from batch to batch is part of the latter (`stats`), so a
    run can stop and go on anywhere.
    """
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))
    params = model.init(init_key, config)
    optimizer = make_optimizer(config, config.epochs * (rows // config.batch_size))
    carried = model.init_state(params, config.batch_size)
    return optimizer, fit.start(params, optimizer, fit_key, carried, metrics=("bits", "accuracy"))


def train(
    config: model.Config,
    data: fit.Batch,
    test: fit.Batch | None = None,
    *,
    state: fit.State | None = None,
    mesh: Mesh | None = None,
    follow: Callable[[Iterator[fit.Progress]], fit.State] = fit.last,
) -> fit.State:
    """Fits a network to rows of `prepare`; returns the last state.

    Args:
      config: one of `model.RECIPES`, or changed by `dataclasses.replace`.
      data: rows for training, `Corpus.train`.
      test: rows for validation, `Corpus.test`, measured at the end of each epoch, if given.
      state: a restored state to go on from.
      mesh: several devices to split each batch over.
      follow: consumes the reports of `fit.iterate`: shows progress, saves, stops.
    """
    optimizer, fresh = start(config, len(data["first"]))
    training, testing = losses(config)
    return follow(
        fit.iterate(
            training,
            optimizer,
            fresh if state is None else state,
            data,
            epochs=config.epochs,
            batch_size=config.batch_size,
            test=test,
            test_loss=testing,
            # Sentences are alone; chunks must come in the text's order for their state to be true.
            shuffle=config.feedback == "expected",
            mesh=mesh,
        )
    )
