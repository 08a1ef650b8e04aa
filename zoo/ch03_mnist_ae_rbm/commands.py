"""What the feed-forward net and the autoencoder share on the command line."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward, rbm, train
from zoo.common import bench as timing
from zoo.common import cli, device, fit, run
from zoo.common.data import Dataset, digest, mnist
from zoo.common.device import Name as DeviceName

FEEDFORWARD, AUTOENCODER = "ch03_mnist_ae_rbm/feedforward", "ch03_mnist_ae_rbm/autoencoder"
SECONDS_TO_WARM_UP = 1.0


def saved_config(folder: Path) -> Any:
    """The configuration that a run of any of the chapter's models began with."""
    types = {
        FEEDFORWARD: feedforward.Config,
        AUTOENCODER: autoencoder.Config,
        "ch03_mnist_ae_rbm/rbm": rbm.Config,
    }
    try:
        chapter = json.loads((folder / "config.json").read_text(encoding="utf-8"))["chapter"]
    except (OSError, ValueError, KeyError, TypeError):
        chapter = FEEDFORWARD  # `read_config` says what is wrong
    if chapter not in types:
        raise run.RunError(f"{folder} is a run of {chapter}, expected one of {', '.join(types)}")
    return run.read_config(folder, chapter, types[chapter])[0]


def fit_network(
    chapter: str,
    config: train.Config,
    options: cli.Options,
    dataset: Dataset,
    watch: Callable[[Iterator[fit.Progress]], Iterator[fit.Progress]] = iter,
) -> tuple[Path, fit.State]:
    """Trains either network in a run folder; the reports of training pass through `watch`."""
    mesh = run.devices(options)
    print(dataset.description)

    def loop(state, follow):
        return train.train(
            config,
            dataset.train,
            dataset.test,
            state=state,
            mesh=mesh,
            follow=lambda reports: follow(watch(reports)),
        )

    state = train.start(config, len(dataset.train["label"]))[1]
    steps = fit.steps_per_epoch(dataset.train, config.batch_size, mesh)
    return run.train(chapter, config, options, dataset, state, loop, steps=steps)


def restore(
    chapter: str, trained: cli.Trained, config_type: type
) -> tuple[Path, Any, fit.State, dict[str, Any]]:
    """The run that was named, or the newest: folder, configuration, state, config.json."""
    return run.restore(
        chapter, trained, config_type, lambda config: train.start(config, config.batch_size)[1]
    )


def restore_with_data(
    chapter: str, trained: cli.Trained, config_type: type
) -> tuple[Path, Any, fit.State, Dataset]:
    """As `restore`, with the data set that the run was trained on."""
    folder, config, state, content = restore(chapter, trained, config_type)
    dataset = mnist.load(content["data"]["source"], trained.data_dir)
    run.check_data(folder, content["data"], digest(dataset))
    print(dataset.description)
    return folder, config, state, dataset


def measure_speed(
    config: train.Config,
    function: Callable[[Any, jax.Array], jax.Array],
    device_name: DeviceName,
    seconds: float,
) -> None:
    """Prints a table: training, and `function(params, images)` on a batch of uint8 images."""
    device.use(device_name)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max(10_000, config.batch_size), 28, 28), np.uint8)
    data = {"image": images, "label": rng.integers(0, 10, len(images)).astype(np.uint8)}
    config = dataclasses.replace(config, epochs=10**5)  # beyond any that it is given time for
    rates, compile_seconds, spent = [], 0.0, 0.0

    def follow(reports):
        nonlocal compile_seconds, spent
        for progress in reports:
            compile_seconds += progress.compile_seconds
            spent += progress.seconds
            if spent > SECONDS_TO_WARM_UP:
                rates.append(progress.steps * config.batch_size / progress.seconds)
            if spent > seconds and rates:
                return progress.state

    state = train.train(config, data, follow=follow)
    low, high = timing.quartiles(rates)
    batch = jax.numpy.asarray(images[: config.batch_size])
    inference = timing.time_call(function, state.params, batch, runs=50, warmup=5)
    fast, slow = (config.batch_size / second for second in inference.quartiles)
    timing.print_table(
        f"recipe {config.recipe}, batches of {config.batch_size}, "
        f"{device.describe(device.current())}, JAX {jax.__version__}",
        ("", "images/s, median", "quartiles", "compilation, s"),
        [
            ("training", f"{np.median(rates):,.0f}", f"{low:,.0f} to {high:,.0f}",
             f"{compile_seconds:.2f}"),
            ("inference", f"{config.batch_size / inference.median:,.0f}",
             f"{slow:,.0f} to {fast:,.0f}", f"{inference.compile_seconds:.2f}"),
        ],
    )  # fmt: skip
