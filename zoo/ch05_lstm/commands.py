"""What chapter 5 does beside the commands of every model: evaluate, generate."""

import dataclasses
import functools
import itertools
import math
from typing import Any

import numpy as np

from zoo.ch05_lstm import generate as writing
from zoo.ch05_lstm import probes, text
from zoo.ch05_lstm.task import TASK
from zoo.common import cli, commands, fit, trained
from zoo.common.settings import Count, NotNegative, Seed
from zoo.common.trained import Trained


def evaluate(which: cli.Trained) -> None:
    """Score the whole validation text, with the state carried and with it reset; nats and bits.

    Writes evaluation.json. A run of recipe `book` has no validation text: its own sentences are
    scored.
    """
    model = trained.choose(TASK, which)
    corpus = commands.dataset_of(model, which.data_dir)
    if corpus.test is None:
        scores = _score_sentences(model, corpus.train)
    else:
        scores = _score_text(model, corpus.test)
    commands.keep(model, {"description": corpus.description, **scores})


def _score_sentences(model: Trained, sentences: dict[str, np.ndarray]) -> dict[str, float]:
    config, count = model.config, len(sentences["first"])
    # All sentences in one batch, and a state that has a row for each of them.
    state = TASK.carry(dataclasses.replace(config, batch_size=count), model.params)
    loss = TASK.losses(config, 1)[0]
    means = fit.make_evaluate(loss, count)({"params": model.params, "stats": state}, sentences)
    lowest = probes.place_entropy(sentences["target"])
    print(f"sum of {config.chunk} log losses, nats per sentence: {means['loss']:.2f}")
    print(f"  uniform guess         {config.chunk * math.log(config.vocabulary):.2f}")
    print(f"  lowest possible       {lowest:.2f}  (characters by their place alone)")
    return means | {"lowest": lowest}


def _score_text(model: Trained, rows: dict[str, np.ndarray]) -> dict[str, float]:
    from rich.progress import track  # here, so that --help comes at once

    config, params = model.config, model.params
    # The rows count each character once, in the text's order; in front, the one before them all.
    counted = rows["weight"] > 0
    ids = np.append(rows["input"][counted][:1], rows["target"][counted])
    shown = functools.partial(track, description="reading the validation text", transient=True)
    carried, accuracy = probes.carried_loss(params, ids, shown)
    reset = probes.reset_loss(params, ids, config.chunk)
    print(f"{len(ids) - 1:,} characters, nats (bits) per character:")
    print(f"  state carried         {carried:.4f} ({carried / math.log(2):.4f})")
    print(f"  reset after {config.chunk:4d}      {reset:.4f} ({reset / math.log(2):.4f})")
    print(f"  next-character accuracy {100 * accuracy:.2f} %")
    found = {"characters": len(ids) - 1, "nats": carried, "bits": carried / math.log(2)}
    return found | {"accuracy": accuracy, "reset_nats": reset, "chunk": config.chunk}


def generate(
    which: cli.TrainedModel,
    prompt: str = "",
    length: Count = 500,
    temperature: NotNegative = 0.8,
    top_k: writing.TopK = 0,
    top_p: writing.TopP = 1.0,
    seed: Seed = 0,
    next_word: str | None = None,
    words: Count = 10,
) -> None:
    """Write text behind a prompt, as it comes; or list the likeliest next words.

    Args:
        which: which model
        prompt: what the text goes on from
        length: characters to write
        temperature: 0 takes the likeliest character each time; below 1 keeps to what is likely,
            above 1 dares more
        top_k: draw among the so many likeliest characters; 0 among all
        top_p: draw among the likeliest that together have this probability (nucleus)
        seed: the same one writes the same text
        next_word: list the likeliest words behind this text instead; end it with a space, or it
            is taken as the beginning of a word
        words: how many words to list
    """
    model = trained.choose(TASK, which)
    config, params = model.config, model.params
    vocabulary = text.Vocabulary(model.classes)
    if config.feedback == "expected":
        print(
            f"OUT {writing.expected_text(params, vocabulary, config.chunk)!r}\n"
            "this network (recipe book) is fed with its own expectation, never with a character: "
            "it has this one output and takes no prompt; train recipe modern"
        )
        return
    if next_word is not None:
        found = writing.next_words(params, vocabulary, next_word)
        for word, probability in found[:words]:
            print(f"{probability:8.4f}  {word}")
        total = sum(p for _, p in found)
        print(f"{total:8.4f}  all {len(found):,} words that were found")
        return
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    written = writing.stream(params, vocabulary, prompt, length, seed, **options)
    for piece in itertools.chain([prompt], written, ["\n"]):
        print(piece, end="", flush=True)


COMMANDS = commands.make(TASK) | {"evaluate": evaluate, "generate": generate}
