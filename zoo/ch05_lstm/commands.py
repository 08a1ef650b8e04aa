"""Chapter 5 on the command line: train, evaluate, generate, copy-task, bench."""

import math
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from zoo.ch05_lstm import copy_task as copying
from zoo.ch05_lstm import drawing, model, studies, text
from zoo.ch05_lstm import generate as writing
from zoo.ch05_lstm.drawing import CHAPTER, load, restore, restore_with_text
from zoo.ch05_lstm.train import Corpus, losses, start
from zoo.ch05_lstm.train import train as train_network
from zoo.common import bench as timing
from zoo.common import cli, device, fit, run
from zoo.common.data import DataError
from zoo.common.device import Name as DeviceName


def saved_config(folder: Path) -> model.Config:
    """The configuration that a run began with."""
    return run.read_config(folder, CHAPTER, model.Config)[0]


def train(config: model.Config, options: cli.Options) -> None:
    """Train a network to write; Ctrl-C saves, --resume DIR goes on, within an epoch too.

    Recipe `modern` is the one to begin with, a few minutes on two cores; `best` takes longer and
    writes better; `book` is the book's program. --text FILE trains on a text of your own.
    """
    mesh = run.devices(options)
    config, corpus = load(config, options.data, options.data_dir)
    print(corpus.description)

    def loop(state: fit.State, follow) -> fit.State:
        return train_network(
            config, corpus.train, corpus.test, state=state, mesh=mesh, follow=follow
        )

    state = start(config, len(corpus.train["first"]))[1]
    steps = fit.steps_per_epoch(corpus.train, config.batch_size, mesh)
    folder, state = run.train(CHAPTER, config, options, corpus, state, loop, steps=steps)
    if config.feedback == "expected":
        print(f"OUT {writing.expected_text(state.params, corpus.vocabulary, config.chunk)!r}")
    else:
        pieces = writing.stream(state.params, corpus.vocabulary, "", 300, config.seed)
        sample = "".join(pieces)
        run.write(folder / "sample.txt", sample)
        print(f"it writes:\n{sample}")
    drawn = drawing.draw(folder, config, state.params, corpus)
    print(f"trained in {folder}; pictures: {', '.join(map(str, drawn))}")


def evaluate(trained: cli.Trained) -> None:
    """Score the whole validation text, with the state carried and with it reset; nats and bits.

    Writes evaluation.json. A run of recipe `book` has no validation text: its own sentences are
    scored.
    """
    folder, config, params, corpus = restore_with_text(trained)
    results: dict[str, Any] = {"description": corpus.description}
    if config.feedback == "expected":
        count = len(corpus.train["first"])
        state = start(config, count)[1]._replace(params=params)
        means = fit.make_evaluate(losses(config)[0], count)(state, corpus.train)
        lowest = studies.place_entropy(corpus.train["target"])
        results |= means | {"lowest": lowest}
        uniform = config.chunk * math.log(config.vocabulary)
        print(f"sum of {config.chunk} log losses, nats per sentence: {means['loss']:.2f}")
        print(f"  ignorance             {uniform:.2f}")
        print(f"  lowest possible       {lowest:.2f}  (characters by their place alone)")
    else:
        ids = corpus.vocabulary.encode(_validation(config, corpus, trained))
        carried, accuracy = _carried(params, ids)
        reset = studies.reset_loss(params, ids, config.chunk)
        results |= {"characters": len(ids) - 1, "nats": carried, "bits": carried / math.log(2)}
        results |= {"accuracy": accuracy, "reset_nats": reset, "chunk": config.chunk}
        print(f"{len(ids) - 1:,} characters, nats (bits) per character:")
        print(f"  state carried         {carried:.4f} ({carried / math.log(2):.4f})")
        print(f"  reset after {config.chunk:4d}      {reset:.4f} ({reset / math.log(2):.4f})")
        print(f"  foretold              {100 * accuracy:.2f} %")
    run.write_json(folder / "evaluation.json", results)
    print(f"written to {folder / 'evaluation.json'}")


def _validation(config: model.Config, corpus: Corpus, trained: cli.Trained) -> str:
    """The validation text and the character before it."""
    whole = text.load(config.dataset, config.text, _source(config, corpus), trained.data_dir).text
    return whole[int(text.TRAINED_SHARE * len(whole)) - 1 :]


def _source(config: model.Config, corpus: Corpus) -> str:
    return "auto" if config.text else corpus.source


def _carried(params: model.Params, ids: np.ndarray) -> tuple[float, float]:
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("reading the validation text", total=len(ids) - 1)
        for score in studies.carried_loss(params, ids):
            bar.update(task, completed=score[0])
    return score[1:]


def generate(
    trained: cli.Trained,
    prompt: str = "",
    length: int = 500,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    next_word: str | None = None,
    words: int = 10,
) -> None:
    """Write text behind a prompt, as it comes; or list the likeliest next words.

    Args:
        trained: which model
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
    if length < 1 or words < 1 or temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
        raise DataError(
            f"got length {length}, words {words}, temperature {temperature}, top-k {top_k}, top-p "
            f"{top_p}; expected a length and words of at least 1, a temperature and top-k of at "
            "least 0, top-p above 0 and up to 1"
        )
    if next_word == "":
        raise DataError("got no text for --next-word, expected for example --next-word 'to be '")
    _, config, params, vocabulary, _ = restore(trained)
    if config.feedback == "expected":
        print(f"OUT {writing.expected_text(params, vocabulary, config.chunk)!r}")
        print("this network (recipe book) is fed with its own expectation, never with a character:"
              " it has this one output and takes no prompt; train recipe modern")  # fmt: skip
        return
    if next_word is not None:
        found = writing.next_words(params, vocabulary, next_word)
        for word, probability in found[:words]:
            print(f"{probability:8.4f}  {word}")
        total = sum(p for _, p in found)
        print(f"{total:8.4f}  all {len(found):,} words that were found")
        return
    print(prompt, end="", flush=True)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    for piece in writing.stream(params, vocabulary, prompt, length, seed, **options):
        print(piece, end="", flush=True)
    print()


def copy_task(
    delay: Annotated[int, tyro.conf.Positional] = 100,
    seeds: int = 3,
    updates: int = 4_000,
    hidden: int = 64,
    device_name: DeviceName = "auto",
    out: Path = Path("runs/ch05_lstm/copy-task"),
) -> None:
    """Test chrono initialisation: recall ten symbols after a delay, several seeds in one run.

    Args:
        delay: steps over which they must be remembered
        seeds: how many networks of each kind
        updates: of each network
        hidden: units of each
        device_name: what computes
        out: folder for curves and figures
    """
    from zoo.ch05_lstm import figures
    from zoo.common import figures as common

    if min(delay, seeds, hidden) < 1 or updates < 50:
        raise DataError(
            f"got delay {delay}, seeds {seeds}, hidden {hidden}, updates {updates}; expected at "
            "least 1 of each, and 50 updates"
        )
    device.use(device_name)
    reports = []
    for report in copying.train(delay, seeds=seeds, updates=updates, hidden=hidden):
        reports.append(report)
        if len(reports) % 5 == 0 or report.updates >= updates:
            chrono, plain = (f"{row.mean():.3f}" for row in report.nats)
            print(f"update {report.updates:,}: nats per symbol {chrono} with chrono, {plain} "
                  f"without (remembers nothing: {copying.IGNORANCE:.3f})", flush=True)  # fmt: skip
    nats = np.stack([report.nats for report in reports])
    name = f"delay-{delay}"
    numbers = [report.updates for report in reports]
    content = {"delay": delay, "hidden": hidden, "updates": numbers, "nats": nats.tolist()}
    content |= {"accuracy": [report.accuracy.tolist() for report in reports]}
    content |= {"device": device.describe(device.current())}
    run.write_json(out / f"{name}.json", content)
    caption = f"LSTM of {hidden} units, batches of 32, Adam, {seeds} seeds of each."
    drawn = figures.copy_curves(numbers, nats, delay, copying.IGNORANCE, caption)
    print(f"written: {out / f'{name}.json'}, {common.save(drawn, out / f'{name}.png')}")


def bench(config: model.Config, device_name: DeviceName = "auto", seconds: float = 10.0) -> None:
    """Time training and generation of a recipe on random characters; compilation apart.

    Args:
        config: what to time
        device_name: what computes
        seconds: how long to train
    """
    device.use(device_name)
    ids = np.random.default_rng(0).integers(3, config.vocabulary, 200_000)
    rows = text.streams(ids, config.batch_size, config.chunk)
    optimizer, state = start(config, len(rows["first"]))
    loss = losses(config)[0]
    sizes = {"epochs": 10**6, "batch_size": config.batch_size}
    rates, compile_seconds, spent = [], 0.0, 0.0
    for progress in fit.iterate(loss, optimizer, state, rows, **sizes):
        compile_seconds += progress.compile_seconds
        spent += progress.seconds
        if spent > min(1.0, 0.5 * seconds):  # the first second warms up
            rates.append(progress.steps * config.batch_size * config.chunk / progress.seconds)
        if spent > seconds:
            break
    low, high = timing.quartiles(rates)
    count = 4 * writing.PIECE
    params = progress.state.params
    before, last = model.init_state(params, 1), jnp.array([3])

    def write(params, key):
        return writing.write(params, before, last, key, 0, count)[0]

    writer = timing.time_call(write, params, jax.random.key(0), runs=20)
    fast, slow = (count / second for second in writer.quartiles)
    timing.print_table(
        f"recipe {config.recipe}, {config.batch_size} x {config.chunk} characters, "
        f"{device.describe(device.current())}, JAX {jax.__version__}",
        ("", "characters/s, median", "quartiles", "compilation, s"),
        [
            ("training", f"{np.median(rates):,.0f}", f"{low:,.0f} to {high:,.0f}",
             f"{compile_seconds:.2f}"),
            ("writing", f"{count / writer.median:,.0f}", f"{slow:,.0f} to {fast:,.0f}",
             f"{writer.compile_seconds:.2f}"),
        ],
    )  # fmt: skip
