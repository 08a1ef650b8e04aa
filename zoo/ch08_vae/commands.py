"""Chapter 8 on the command line: train, train-conv, evaluate, bench; `drawing.py` has the rest."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.ch08_vae import conv, drawing, measure, model
from zoo.ch08_vae.train import Config, losses, start
from zoo.ch08_vae.train import train as train_network
from zoo.common import bench as timing
from zoo.common import cli, device, fit, run
from zoo.common.data import DataError, Dataset, cifar10, mnist
from zoo.common.device import Name as DeviceName

CONV = "ch08_vae/conv"
Watch = Callable[[Iterator[fit.Progress]], Iterator[fit.Progress]]


def saved_config(folder: Path) -> Config:
    """The configuration that a run began with, of digits or of CIFAR-10."""
    try:
        return run.read_config(folder, CONV, conv.Config)[0]
    except run.RunError:
        return run.read_config(folder, drawing.CHAPTER, model.Config)[0]


def fit_run(
    config: Any,
    options: cli.Options,
    dataset: Dataset,
    watch: Watch = iter,
    chapter: str = drawing.CHAPTER,
    functions: tuple[Callable[..., Any], ...] = (start, train_network),
) -> tuple[Path, fit.State]:
    """Trains in a run folder, or goes on in one.

    Args:
      config: of the model.
      options: where and on what.
      dataset: has `train` and `test`.
      watch: sees each report of `fit.iterate` on its way to the folder.
      chapter: what the folder says it is a run of.
      functions: `start` and `train` of the chapter.
    """
    mesh = run.devices(options)
    begin, train_from = functions

    def loop(state: fit.State, follow: Callable[..., fit.State]) -> fit.State:
        return train_from(
            config,
            dataset.train,
            dataset.test,
            state=state,
            mesh=mesh,
            follow=lambda reports: follow(watch(reports)),
        )

    state = begin(config, len(dataset.train["image"]))[1]
    steps = fit.steps_per_epoch(dataset.train, config.batch_size, mesh)
    return run.train(chapter, config, options, dataset, state, loop, steps=steps)


def train(config: model.Config, options: cli.Options) -> None:
    """Train a variational autoencoder on MNIST; Ctrl-C saves, --resume DIR goes on.

    Recipe `book` is the book's program with its KL as printed, `modern` the one to begin with,
    `iwae` the network and the protocol of the IWAE paper in less time.
    """
    dataset = mnist.load(options.data, options.data_dir)
    print(dataset.description)
    folder, state = fit_run(config, options, dataset)
    drawn = drawing.draw(folder, config, state.params, dataset)
    print(f"trained in {folder}; pictures: {', '.join(str(path) for path in drawn)}")


def train_conv(config: conv.Config, options: cli.Options) -> None:
    """Train on CIFAR-10, by default with convolutions, and report bits per dimension.

    --recipe dense is a network of dense layers with the same code and likelihood, to compare.
    """
    from zoo.ch08_vae import figures
    from zoo.common import figures as common

    dataset = cifar10.load(data=options.data, data_dir=options.data_dir, split=config.split)
    print(dataset.description)
    folder, state = fit_run(config, options, dataset, chapter=CONV)
    images, caption = dataset.test["image"][:10], dataset.description
    location = conv.apply(state.params, conv.scale_pixels(jax.numpy.asarray(images))).location
    back = np.asarray(jax.numpy.clip(location, 0.0, 1.0))
    drawn = conv.sample(state.params, jax.random.key(config.seed), 100)
    pictures = {
        "curves": figures.bits_curves(run.read_metrics(folder), caption),
        "reconstructions": figures.strips(
            {"input": images / np.float32(255), "output": back}, caption=caption
        ),
        "samples": figures.mosaic(np.asarray(drawn), 10, "drawn from the prior", caption),
    }
    for name, picture in pictures.items():
        print(common.save(picture, folder / "figures" / f"{name}.png"))


def evaluate(
    trained: cli.Trained,
    samples: int = 5_000,
    images: int = 1_000,
    k: int = 50,
    binarise: bool | None = None,
) -> None:
    """Measure a trained model on test images, in nats; write evaluation.json.

    Reconstruction, KL and ELBO are means over all test images. The IWAE bound and the likelihood
    (NLL) are over the first `images`, with their standard error over images.

    Args:
        trained: which model
        samples: importance samples of the NLL
        images: how many test images they are drawn for; 10,000 is the whole of MNIST's
        k: importance samples of the IWAE bound
        binarise: draw pixels black and white first; by default as the model was trained. Only then
            is the NLL one of a probability, to be compared with published ones
    """
    if min(samples, images, k) < 1:
        raise DataError(f"got samples {samples}, images {images}, k {k}: each must be at least 1")
    folder, config, state, content = drawing.restore(trained)
    if binarise is not None:
        config = dataclasses.replace(config, binarise=binarise)
    dataset = drawing.data_of(folder, content, trained.data_dir)
    print(dataset.description)
    test = dataset.test["image"]
    results: dict[str, Any] = measure.bounds(config, state, test)
    active = measure.active_units(config, state.params, test)
    results["active_units"] = int(active.sum())
    few = test[:images]
    for name, count in ((f"iwae_{k}", k), ("log_likelihood", samples)):
        track = functools.partial(_track, f"{name.replace('_', ' ')}, {count:,} samples")
        values = measure.log_likelihoods(config, state.params, few, count, track=track)
        results[name] = float(values.mean())
        results[f"{name}_error"] = float(values.std() / np.sqrt(len(values)))
    results |= {"images": len(few), "samples": samples, "binarised": config.binarise}
    results |= {"observation": config.observation, "description": dataset.description}
    _report(results, k, len(test), len(active))
    run.write_json(folder / "evaluation.json", results)
    print(f"written to {folder / 'evaluation.json'}")


def _report(results: dict[str, Any], k: int, images: int, latents: int) -> None:
    kind = "black and white" if results["binarised"] else "grey, so not comparable with published"
    print(f"nats per image, {images:,} test images, pixels {kind}:")
    print(f"  -log p(x | z)    {results['reconstruction']:8.2f}")
    print(f"  KL               {results['kl']:8.2f}  (as the book prints it "
          f"{results['printed_kl']:.2f})")  # fmt: skip
    print(f"  ELBO             {results['elbo']:8.2f}")
    print(f"the first {results['images']:,} of them, with standard errors:")
    print(f"  IWAE bound k={k:<4}{results[f'iwae_{k}']:8.2f} ± {results[f'iwae_{k}_error']:.2f}")
    print(f"  NLL              {-results['log_likelihood']:8.2f} ± "
          f"{results['log_likelihood_error']:.2f}  ({results['samples']:,} samples)")  # fmt: skip
    print(f"active units: {results['active_units']} of {latents}")
    if results["observation"] == "squared":
        print("squared errors leave out a constant: add 784/2 log(pi) = 448.7 to each -log p")


def _track(label: str, batches: Iterable[int]) -> Iterator[int]:
    from rich.progress import track

    yield from track(batches, label, transient=True)


def bench(config: model.Config, device_name: DeviceName = "auto", seconds: float = 10.0) -> None:
    """Time training of a recipe and drawing 10,000 digits, on random pictures; compilation apart.

    Args:
        config: what to time
        device_name: what computes
        seconds: how long to train
    """
    device.use(device_name)
    images = np.random.default_rng(0).integers(0, 256, (6_000, 28, 28), np.uint8)
    optimizer, state = start(config, len(images))
    reports = fit.iterate(
        losses(config)[0],
        optimizer,
        state,
        {"image": images},
        epochs=10**6,
        batch_size=config.batch_size,
        shuffle=config.shuffle,
    )
    rates, compile_seconds, spent = [], 0.0, 0.0
    for progress in reports:
        compile_seconds += progress.compile_seconds
        spent += progress.seconds
        if spent > min(1.0, 0.5 * seconds):  # the first second warms up
            rates.append(progress.steps * config.batch_size / progress.seconds)
        if spent > seconds:
            break
    low, high = timing.quartiles(rates)
    draw = functools.partial(model.sample, count=10_000)
    drawn = timing.time_call(draw, progress.state.params, jax.random.key(0), runs=10)
    fast, slow = (10_000 / second for second in drawn.quartiles)
    timing.print_table(
        f"recipe {config.recipe}, batches of {config.batch_size}, "
        f"{device.describe(device.current())}, JAX {jax.__version__}",
        ("", "images/s, median", "quartiles", "compilation, s"),
        [
            ("training", f"{np.median(rates):,.0f}", f"{low:,.0f} to {high:,.0f}",
             f"{compile_seconds:.2f}"),
            ("10,000 digits drawn", f"{10_000 / drawn.median:,.0f}",
             f"{slow:,.0f} to {fast:,.0f}", f"{drawn.compile_seconds:.2f}"),
        ],
    )  # fmt: skip
