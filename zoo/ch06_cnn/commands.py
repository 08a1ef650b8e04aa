"""What the chapter does on the command line: train, evaluate, predict, figures, bench.

All but `train` and `bench` take runs of both networks, the book's and the speed run's.
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro

from zoo.ch06_cnn import model, speedrun, speedrun_train
from zoo.ch06_cnn.train import losses, predict_probabilities, start
from zoo.ch06_cnn.train import train as train_network
from zoo.common import bench as timing
from zoo.common import cli, device, fit, run
from zoo.common.data import DataError, Dataset, cifar10, digest, mnist
from zoo.common.device import Name as DeviceName

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


def _probabilities(config: Config, state: fit.State, images: np.ndarray) -> np.ndarray:
    ask = NETWORKS[type(config)].probabilities
    return ask(config, state.params, state.stats, images)


def _restore_with_data(trained: cli.Trained) -> tuple[Path, Config, fit.State, Dataset]:
    folder, config, state, content = restore(trained)
    about = content["data"]
    wanted = dataclasses.replace(config, split=about["split"]) if config.split == "auto" else config
    if about["source"] == "sample":
        wanted = config
    dataset = load(wanted, about["source"], trained.data_dir)
    run.check_data(folder, about, digest(dataset))
    print(dataset.description)
    return folder, config, state, dataset


def evaluate(trained: cli.Trained) -> None:
    """Measure a trained model on its test images; write testActual.txt and testPred.txt.

    Each file has one class number a line, as the book's program writes them. Where the first 1,000
    images of the official test set are there, their accuracy is given too.
    """
    folder, config, state, dataset = _restore_with_data(trained)
    _, testing = NETWORKS[type(config)].losses(config)
    means = fit.make_evaluate(testing, config.batch_size)(state, dataset.test)
    probabilities = _probabilities(config, state, dataset.test["image"])
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
    probabilities = _probabilities(config, state, first["image"])
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
    folder, config, state, content = restore(trained)
    classes = content["data"]["classes"]
    probabilities = _probabilities(config, state, pictures)
    for path, picture, p in zip(images, pictures, probabilities, strict=True):
        print(path)
        for best in np.argsort(-p)[:top]:
            print(f"  {classes[best]:<12}{p[best]:.4f}")
        drawn = figures.prediction(picture, p, classes, f"{path.name}, model of {folder}")
        print(f"  drawn to {common.save(drawn, folder / 'figures' / f'predict-{path.stem}.png')}")


def figures(trained: cli.Trained) -> None:
    """Draw a run again: curves, confusion matrix, the ten cats, filters, sample predictions."""
    folder, config, state, dataset = _restore_with_data(trained)
    for path in _draw(folder, config, state, dataset):
        print(path)


def _draw(folder: Path, config: Config, state: fit.State, dataset: Dataset) -> list[Path]:
    from zoo.ch06_cnn import figures
    from zoo.common import figures as common

    test, classes, caption = dataset.test, dataset.classes, dataset.description
    probabilities = _probabilities(config, state, test["image"])
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
