"""Chapter 5 on the command line, continued: a run with its text, and its pictures."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch05_lstm import model, studies, text
from zoo.ch05_lstm.train import Corpus, prepare, start
from zoo.common import cli, run
from zoo.common.data import digest

CHAPTER = "ch05_lstm"
GRADIENT_STEPS, GRADIENT_SEQUENCES, SENTENCE = 100, 32, 60


def load(config: model.Config, data: str, data_dir: Path | None) -> tuple[model.Config, Corpus]:
    """The text of a configuration, laid out; the configuration with its vocabulary's size."""
    return prepare(config, text.load(config.dataset, config.text, data, data_dir))


def restore(
    trained: cli.Trained,
) -> tuple[Path, model.Config, model.Params, text.Vocabulary, dict[str, Any]]:
    """The run that was named, or the newest: folder, configuration, parameters, characters."""
    folder, config, state, content = run.restore(
        CHAPTER, trained, model.Config, lambda config: start(config, config.batch_size)[1]
    )
    vocabulary = text.Vocabulary(tuple(content["data"]["classes"]))
    return folder, config, state.params, vocabulary, content["data"]


def restore_with_text(
    trained: cli.Trained,
) -> tuple[Path, model.Config, model.Params, Corpus]:
    """As `restore`, with the text that the run was trained on."""
    folder, config, params, _, about = restore(trained)
    data = "auto" if config.text else about["source"]
    _, corpus = load(config, data, trained.data_dir)
    run.check_data(folder, about, digest(corpus))
    print(corpus.description)
    return folder, config, params, corpus


def figures(trained: cli.Trained) -> None:
    """Draw a run again: curves, the decoder's weights, embeddings, gates, gradients in time."""
    for path in draw(*restore_with_text(trained)):
        print(path)


def draw(folder: Path, config: model.Config, params: model.Params, corpus: Corpus) -> list[Path]:
    """All pictures of one run, into its folder; gives their paths."""
    from zoo.ch05_lstm import figures
    from zoo.common import figures as common

    caption = f"{corpus.description}. Recipe {config.recipe}, {config.cell}."
    rows, characters = run.read_metrics(folder), corpus.classes
    before = start(config, config.batch_size)[1].params["decoder"]["kernel"]
    table = np.asarray(params["embedding"]["embedding"])
    kinds = slice(text.BLANK + 1, None) if config.feedback == "true" else slice(None)
    points, shares = studies.principal_axes(table[kinds])
    scale = config.chunk if config.reduction == "sum" else 1
    uniform = scale * math.log(config.vocabulary)
    drawings = {
        "weights": figures.weights(before, params["decoder"]["kernel"], characters, caption),
        "embedding": figures.embedding_map(points, shares, characters[kinds], caption),
        "gradients": figures.gradient_norms(gradients_of_cells(config, params, corpus), caption),
    }
    if rows:
        drawings["curves"] = figures.learning_curves(rows, caption, uniform)
    if config.cell in ("lstm", "gru"):
        source = corpus.train if corpus.test is None else corpus.test
        ids = source["input"][min(1, len(source["input"]) - 1)][:SENTENCE]
        found = jax.jit(studies.gate_activations)(params, jnp.asarray(ids))
        sentence = "".join(characters[n] for n in ids)
        drawings["gates"] = figures.gates(found, sentence, caption=caption)
    return [
        common.save(drawing, folder / "figures" / f"{name}.png")
        for name, drawing in drawings.items()
    ]


def gradients_of_cells(
    config: model.Config, params: model.Params, corpus: Corpus
) -> dict[str, np.ndarray]:
    """`studies.gradient_norms` of the trained network, and of each kind of cell before training.

    Those are as large as the trained one, and read the same characters.
    """
    ids = corpus.train["input"].ravel()
    steps = min(GRADIENT_STEPS + 1, len(ids))
    starts = np.linspace(0, len(ids) - steps, GRADIENT_SEQUENCES).astype(int)
    ids = jnp.asarray(ids[starts[:, None] + np.arange(steps)])
    measure = jax.jit(studies.gradient_norms)
    found = {}
    for cell in ("rnn", "gru", "lstm"):
        fresh = dataclasses.replace(config, cell=cell, chrono=0)
        key = jax.random.key(config.seed)
        found[f"{cell}, before training"] = measure(model.init(key, fresh), ids)
    found[f"{config.cell}, trained"] = measure(params, ids)
    return {name: np.asarray(norms) for name, norms in found.items()}
