"""What the chapter does on the command line: train, evaluate, predict, figures, bench.

All but `train` and `bench` take runs of both networks, the book's and the speed run's.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from zoo.ch06_cnn import model
from zoo.ch06_cnn.runs import (
    CHAPTER,
    NETWORKS,
    Config,
    ask,
    load,
    restore_or_published,
    restore_with_data,
)
from zoo.ch06_cnn.train import losses, start
from zoo.common import bench as timing
from zoo.common import cli, device, fit, run
from zoo.common.data import DataError, Dataset, cifar10
from zoo.common.device import Name as DeviceName


def train(config: model.Config, options: cli.Options) -> None:
    """Train the network, by default on CIFAR-10; Ctrl-C saves, --resume DIR goes on.

    Recipe `book` is the book's program, `modern` the same convolutions with what its exercises
    name. The speed run has flags of its own: train --recipe speedrun --help. For MNIST: --dataset
    mnist --no-flip.
    """
    folder, _, _ = train_run(config, options)
    print(f"trained in {folder}")


def train_run(config: Config, options: cli.Options) -> tuple[Path, fit.State, Dataset]:
    """Trains in a run folder, and draws its pictures: the folder, the last state, the data."""
    network = NETWORKS[type(config)]
    mesh = run.devices(options)
    dataset = load(config, options.data, options.data_dir)
    print(dataset.description)
    folder, state = run.train(
        CHAPTER,
        config,
        options,
        dataset,
        network.start(config, len(dataset.train["label"]))[1],
        functools.partial(_train, config, dataset, mesh),
        steps=fit.steps_per_epoch(dataset.train, config.batch_size, mesh),
    )
    drawn = _draw(folder, config, state, dataset)
    print(f"pictures: {', '.join(str(path) for path in drawn)}")
    return folder, state, dataset


def _train(config, dataset, mesh, state, follow) -> fit.State:
    # A new run begins in `train`, which has the images that the speed run's first layer is made of.
    given = None if int(state.step) == 0 else state
    options = {"state": given, "mesh": mesh, "follow": follow}
    return NETWORKS[type(config)].train(config, dataset.train, dataset.test, **options)


def evaluate(trained: cli.Trained) -> None:
    """Measure a trained model on its test images; write testActual.txt and testPred.txt.

    Each file has one class number a line, as the book's program writes them. Where the first 1,000
    images of the official test set are there, their accuracy is given too.
    """
    folder, config, state, dataset = restore_with_data(trained)
    _, testing = NETWORKS[type(config)].losses(config)
    means = fit.make_evaluate(testing, config.batch_size)(state, dataset.test)
    probabilities = ask(config, state, dataset.test["image"])
    labels, guesses = dataset.test["label"], probabilities.argmax(-1)
    for name, numbers in (("testActual.txt", labels), ("testPred.txt", guesses)):
        run.write(folder / name, "".join(f"{number}\n" for number in numbers))
    accuracy = (guesses == labels).mean()
    print(f"test loss {means['loss']:.4f}, accuracy {accuracy:.4f} ({len(labels):,} images)")
    for name, own in zip(dataset.classes, np.arange(len(dataset.classes)), strict=True):
        share = (guesses[labels == own] == own).mean() if (labels == own).any() else float("nan")
        print(f"  {name:<12}{share:.3f}")
    results = {"description": dataset.description, "test_accuracy": float(accuracy)}
    results["test_loss"] = means["loss"]
    if dataset.source == "real" and config.dataset == "cifar10":
        results |= _official(config, state, trained.data_dir)
    run.write_json(folder / "evaluation.json", results)
    print(f"written to {folder}: testActual.txt, testPred.txt, evaluation.json")


def _official(config: Config, state: fit.State, data_dir: Path | None) -> dict[str, float]:
    first = cifar10.first_thousand(data_dir)
    if first is None:
        return {}
    probabilities = ask(config, state, first["image"])
    accuracy = float((probabilities.argmax(-1) == first["label"]).mean())
    print(f"accuracy on the first 1,000 official test images: {accuracy:.4f}")
    return {"first_1000_official_accuracy": accuracy}


def read_image(path: Path) -> np.ndarray:
    """A picture file as the network wants it: the middle square, uint8 [32, 32, 3].

    Raises:
      DataError: there is no such file, or it is no picture that Pillow can read.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(path) as image:
            upright = PIL.ImageOps.exif_transpose(image).convert("RGB")
            small = PIL.ImageOps.fit(upright, (32, 32), PIL.Image.Resampling.LANCZOS)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} can't be read as a picture ({error}): use a PNG, JPEG or another of Pillow's"
        ) from error
    return np.asarray(small)


def predict(
    images: Annotated[tuple[Path, ...], tyro.conf.Positional], trained: cli.Trained, top: int = 5
) -> None:
    """Say what is in pictures, any image files: the likeliest classes with probabilities.

    Where nothing was trained yet, the network that comes with zoo is asked.

    Args:
        images: picture files; the middle square of each is shrunk to 32x32
        trained: which model
        top: how many classes to list
    """
    from zoo.ch06_cnn import figures
    from zoo.common import figures as common

    if not images:
        raise DataError("name at least one picture: python -m zoo.ch06_cnn predict cat.png")
    pictures = np.stack([read_image(path) for path in images])
    folder, config, state, classes = restore_or_published(trained)
    probabilities = ask(config, state, pictures)
    for path, picture, p in zip(images, pictures, probabilities, strict=True):
        print(path)
        for best in np.argsort(-p)[:top]:
            print(f"  {classes[best]:<12}{p[best]:.4f}")
        drawn = figures.prediction(picture, p, classes, f"{path.name}, model of {folder}")
        print(f"  drawn to {common.save(drawn, folder / 'figures' / f'predict-{path.stem}.png')}")


def figures(trained: cli.Trained) -> None:
    """Draw a run again: curves, confusion matrix, the ten cats, filters, sample predictions."""
    folder, config, state, dataset = restore_with_data(trained)
    for path in _draw(folder, config, state, dataset):
        print(path)


def _draw(folder: Path, config: Config, state: fit.State, dataset: Dataset) -> list[Path]:
    from zoo.ch06_cnn import figures
    from zoo.common import figures as common

    test, classes, caption = dataset.test, dataset.classes, dataset.description
    probabilities = ask(config, state, test["image"])
    tenth = classes.index("cat") if "cat" in classes else 3
    ten = np.flatnonzero(test["label"] == tenth)[:10]
    drawings: Mapping[str, Any] = {
        "curves": figures.learning_curves(run.read_metrics(folder), caption),
        "confusion": figures.confusion(test["label"], probabilities.argmax(-1), classes, caption),
        "cats": figures.cats(test["image"][ten], probabilities[ten], classes, caption, label=tenth),
        "filters": figures.filters(NETWORKS[type(config)].filters(state.params), caption),
        "predictions": figures.predictions(
            test["image"][:12], test["label"][:12], probabilities[:12], classes, caption
        ),
    }
    return [
        common.save(drawing, folder / "figures" / f"{name}.png")
        for name, drawing in drawings.items()
    ]


def bench(config: model.Config, device_name: DeviceName = "auto", seconds: float = 10.0) -> None:
    """Time training and inference of a recipe on random pictures; compilation apart.

    Args:
        config: what to time
        device_name: what computes
        seconds: how long to train
    """
    device.use(device_name)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2_000, 32, 32, 3), np.uint8)
    data = {"image": images, "label": rng.integers(0, 10, 2_000).astype(np.uint8)}
    optimizer, state = start(config, len(images))
    reports = fit.iterate(
        losses(config)[0],
        optimizer,
        state,
        data,
        epochs=10**6,
        batch_size=config.batch_size,
        shuffle=config.shuffle,
    )
    rates, compile_seconds, spent = [], 0.0, 0.0
    for progress in reports:
        compile_seconds += progress.compile_seconds
        spent += progress.seconds
        if spent > 1.0:  # the first second warms up
            rates.append(progress.steps * config.batch_size / progress.seconds)
        if spent > seconds:
            break
    low, high = timing.quartiles(rates)

    def logits(images: jax.Array) -> jax.Array:
        return model.apply(
            progress.state.params, model.scale_pixels(images, config.pixels), None,
            progress.state.stats,
        ).logits  # fmt: skip

    batch = jax.numpy.asarray(images[: config.batch_size])
    inference = timing.time_call(logits, batch, runs=50, warmup=5)
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
