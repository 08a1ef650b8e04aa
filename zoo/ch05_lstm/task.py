"""What zoo has to know of the recurrent networks: text, solver, losses, predictions, pictures."""

import dataclasses
import functools
import math
import shlex
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.ch05_lstm import generate, model, probes, text
from zoo.common import device, fit, keys, run, solvers
from zoo.common.data.text import Text
from zoo.common.task import Arrays, Prediction, Task, Weights, called
from zoo.common.trained import Trained

EVALUATION_STREAMS = 32  # rows that the validation text is read in, side by side
GRADIENT_STEPS, GRADIENT_SEQUENCES, SENTENCE = 100, 32, 60  # what the pictures show


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text laid out for training; it has the fields of a `Dataset`."""

    data: Text
    split: str
    description: str
    classes: tuple[str, ...]
    """The vocabulary."""
    train: dict[str, np.ndarray]
    """Rows as `model.loss` takes them."""
    test: dict[str, np.ndarray] | None
    """Rows as `model.score` takes them; None where all is trained on."""

    name = property(lambda self: self.data.name)
    source = property(lambda self: self.data.source)

    def _asdict(self) -> dict[str, Any]:
        # For `digest`: the fingerprint is that of the text, however it is laid out.
        return self.data._asdict()

    @property
    def vocabulary(self) -> text.Vocabulary:
        """The characters by number."""
        return text.Vocabulary(self.classes)


def load(config: model.Config, data: str = "auto", data_dir: Path | None = None) -> Corpus:
    """The text of a configuration, laid out as it says.

    Raises:
      DataError: the text is missing, too short, or has a mark in it.
    """
    return lay_out(config, text.load(config.dataset, config.text, data, data_dir))


def lay_out(config: model.Config, source: Text) -> Corpus:
    """A text as rows for training and validation.

    Raises:
      DataError: it is too short, or has a mark in it.
    """
    string, name = source.text, config.text or source.name
    if config.feedback == "expected":
        vocabulary = text.make_vocabulary("".join(text.lines(string)), name)
        rows = text.sentences(string, vocabulary, config.chunk)
        count = f"the first {config.chunk} characters of {len(rows['first']):,} lines"
        description = f"{source.description}; {count}"
        return Corpus(source, "all", description, vocabulary.characters, rows, None)
    vocabulary, end = text.make_vocabulary(string, name), int(text.TRAINED_SHARE * len(string))
    ids = vocabulary.encode(string)
    rows = text.streams(ids[:end], config.batch_size, config.chunk, name)
    test = text.windows(ids[end - 1 :], EVALUATION_STREAMS)
    split = "first 90 % of the characters train, the others validate"
    description = f"{source.description}; {split}"
    return Corpus(source, split, description, vocabulary.characters, rows, test)


def fill(config: model.Config, corpus: Corpus) -> model.Config:
    """The configuration with the size of the text's vocabulary, and the text's whole path."""
    path = config.text and text.absolute(config.text)
    return dataclasses.replace(config, vocabulary=len(corpus.classes), text=path)


def random(config: model.Config, count: int) -> fit.Batch:
    """Rows of random characters."""
    ids = np.random.default_rng(0).integers(0, config.vocabulary, (count, config.chunk + 1))
    ids = ids.astype(np.int32)
    return {"input": ids[:, :-1], "target": ids[:, 1:], "first": np.zeros(count, bool)}


def optimizer(config: model.Config, steps: int) -> optax.GradientTransformation:
    """AdamW with warm-up and cosine, or Gorgonia's RMSProp."""
    if config.solver == "rmsprop":
        return solvers.rmsprop(config.learning_rate, l2=config.weight_decay, clip=config.clip)
    rise = max(1, min(steps // 10, 200))  # a tenth of a short run, so that a test run learns, too
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, rise, max(steps, rise + 1), 0.01 * config.learning_rate
    )
    kernels = functools.partial(jax.tree.map, lambda a: a.ndim > 1)  # biases do not decay
    adamw = optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay, mask=kernels)
    return optax.chain(optax.clip_by_global_norm(config.clip), adamw)


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The loss in training, and that of the validation text, whose rows are scored whole."""
    names = ("feedback", "reduction", "dropout", "weight_dropout")
    training = functools.partial(model.loss, **{name: getattr(config, name) for name in names})

    def testing(params, batch, key):
        value, (metrics, _) = model.score(params, batch)
        return value, metrics

    return training, testing


@functools.cache  # the same functions for the same configuration, so that each is compiled once
def predictions(config: model.Config) -> dict[str, Prediction]:
    """Logits of the next character, one at a time with the state, or for a chunk of text."""
    params = jax.eval_shape(lambda: model.init(keys.derive(0, "weights"), config))
    leaves, tree = jax.tree.flatten(jax.eval_shape(lambda: model.init_state(params, 1)))
    ends = np.cumsum([leaf.shape[1] for leaf in leaves])  # callers see the state as one vector

    def following(weights: Weights, inputs: Arrays) -> Arrays:
        before = jax.tree.unflatten(tree, jnp.split(inputs["state"], ends[:-1], axis=1))
        logits, after = model.apply(weights["params"], inputs["character"][:, None], None, before)
        return {"logits": logits[:, 0], "state": jnp.concatenate(jax.tree.leaves(after), axis=1)}

    def chunk(weights: Weights, inputs: Arrays) -> Arrays:
        return {"logits": model.apply(weights["params"], inputs["input"]).logits}

    array = jax.ShapeDtypeStruct
    one = {"character": array((), np.int32), "state": array((int(ends[-1]),), np.float32)}
    many = {"input": array((config.chunk,), np.int32)}
    return {
        "next": Prediction("logits of the next character and the new state", one, following),
        "chunk": Prediction("logits behind each character of a chunk, from no state", many, chunk),
    }


def report(trained: Trained, corpus: Corpus) -> None:
    """Prints what the network writes, and keeps it as sample.txt."""
    config, params = trained.config, trained.params
    if config.feedback == "expected":
        print(f"OUT {generate.expected_text(params, corpus.vocabulary, config.chunk)!r}")
        return
    sample = "".join(generate.stream(params, corpus.vocabulary, "", 300, config.seed))
    run.write(trained.folder / "sample.txt", sample)
    print(f"it writes:\n{sample}")


def pictures(trained: Trained, corpus: Corpus) -> dict[str, Any]:
    """Curves, the decoder's weights, the embedding, gradients in time, gates in a sentence."""
    from zoo.ch05_lstm import figures  # here, as matplotlib takes a second to load
    from zoo.common.figures import training_curves

    config, params, characters = trained.config, trained.params, corpus.classes
    caption = f"{corpus.description}. Recipe {config.recipe}, {config.cell}."
    # Drawn again from the seed: a run does not keep the weights that it began with.
    before = TASK.begin(config, random(config, config.batch_size)).params["decoder"]["kernel"]
    table = np.asarray(params["embedding"]["embedding"])
    # A mark that is never read has an embedding that was never learnt.
    kinds = slice(text.BLANK + 1, None) if config.feedback == "true" else slice(None)
    points, shares = probes.principal_axes(table[kinds])
    norms = _gradients_of_cells(config, params, corpus)
    drawings = {
        "weights": figures.weights(before, params["decoder"]["kernel"], characters, caption),
        "embedding": figures.embedding_map(points, shares, characters[kinds], caption),
        "gradients": figures.gradient_norms(norms, caption),
    }
    if rows := run.read_metrics(trained.folder):
        scale = config.chunk if config.reduction == "sum" else 1
        levels = {"loss": {"uniform guess": scale * math.log(config.vocabulary)}}
        panels = {"loss": "loss (nats)", "accuracy": "next-character accuracy (%)"}
        drawings["curves"] = training_curves(rows, panels, caption, levels)
    if config.cell in ("lstm", "gru"):
        source = corpus.train if corpus.test is None else corpus.test
        ids = source["input"][min(1, len(source["input"]) - 1)][:SENTENCE]
        found = device.jit(probes.gate_activations)(params, ids)
        drawings["gates"] = figures.gates(found, [characters[n] for n in ids], caption)
    return drawings


def _gradients_of_cells(config: model.Config, params: model.Params, corpus: Corpus):
    """`probes.gradient_norms` of the trained network, and of each kind of cell before training.

    Those are as large as the trained one, and read the same characters.
    """
    ids = corpus.train["input"].ravel()
    steps = min(GRADIENT_STEPS + 1, len(ids))
    # From all over the text: one place alone would show its own words.
    starts = np.linspace(0, len(ids) - steps, GRADIENT_SEQUENCES).astype(int)
    ids = ids[starts[:, None] + np.arange(steps)]
    networks = {}
    for cell in ("rnn", "gru", "lstm"):
        fresh = dataclasses.replace(config, cell=cell, chrono=0)
        network = model.init(keys.derive(config.seed, "weights"), fresh)
        networks[f"{cell}, before training"] = network
    networks[f"{config.cell}, trained"] = params
    measure = device.jit(probes.gradient_norms)
    return {name: np.asarray(measure(network, ids)) for name, network in networks.items()}


def _writing(config: model.Config, weights: Weights) -> dict[str, tuple]:
    count = 4 * generate.PIECE
    before, last = model.init_state(weights["params"], 1), jnp.array([3])  # any character

    def write(params, key):
        return generate.write(params, before, last, key, 0, count)[0]

    return {"writing": (write, (weights["params"], keys.derive(0, "text")), count)}


def _opening(corpus: Corpus) -> str:
    """A prompt in the text's characters: Shakespeare's, or the first words of another one."""
    if set("ROMEO:") <= set(corpus.classes):
        return "ROMEO:"
    return next(filter(str.strip, corpus.data.text.splitlines()), " ")[:12]


TASK = Task(
    name="ch05_lstm",
    model=model,
    about="a recurrent network that writes",
    load=load,
    fill=fill,
    random=random,
    optimizer=optimizer,
    losses=losses,
    metrics=("bits", "accuracy"),
    result=called("test bits per character", "test_bits"),
    # With the state in a checkpoint a run can stop and go on anywhere in the text.
    carry=lambda config, params: model.init_state(params, config.batch_size),
    # Sentences are alone; chunks must come in the text's order for their state to be true.
    shuffle=lambda config: config.feedback == "expected",
    predictions=predictions,
    report=report,
    pictures=pictures,
    following=lambda corpus: (f"generate --prompt {shlex.quote(_opening(corpus))}",),
    timings=_writing,
    examples_per_shard=lambda config: 16,
    unit="characters",
    items=lambda config: config.chunk,
    epoch=15_680,
)
