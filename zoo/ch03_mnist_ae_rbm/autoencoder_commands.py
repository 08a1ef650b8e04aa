"""The autoencoder on the command line: train, evaluate, reconstruct, figures, bench."""

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from zoo.ch03_mnist_ae_rbm import autoencoder, pictures
from zoo.ch03_mnist_ae_rbm import train as networks
from zoo.ch03_mnist_ae_rbm.commands import (
    AUTOENCODER,
    fit_network,
    measure_speed,
    restore,
    restore_with_data,
)
from zoo.common import cli, device, fit, run
from zoo.common.data import Dataset, files, mnist
from zoo.common.device import Name as DeviceName

STAGES = (10, 100, 300)
"""Updates soon after which the reconstructions of ten digits are kept, in the first epoch."""
EPOCHS = (1, 2, 5, 10, 20, 50, 100)
"""Ends of epochs at which they are kept, beside the last."""
SNAPSHOTS = "snapshots.npz"
NEIGHBOURS = 9


def train(config: autoencoder.Config, options: cli.Options) -> None:
    """Train the autoencoder on MNIST; Ctrl-C saves, --resume DIR goes on.

    Recipe `book` is the book's program, `modern` has the same widths and reconstructs better. To
    train it to take noise away: --noise 0.5.
    """
    dataset = mnist.load(options.data, options.data_dir)
    kept = {} if options.resume is None else _read_snapshots(options.resume)
    watch = functools.partial(_watch, kept, config, dataset)
    try:
        folder, state = fit_network(AUTOENCODER, config, options, dataset, watch)
    except run.Stopped:
        _write_snapshots(options.resume or options.out or run.newest(AUTOENCODER), kept)
        raise
    _write_snapshots(folder, kept)
    drawn = _draw(folder, config, state, dataset)
    print(f"trained in {folder}; pictures: {', '.join(map(str, drawn))}")


def _ten_digits(dataset: Dataset) -> np.ndarray:
    """Numbers of ten test images, the first of each class."""
    return np.unique(dataset.test["label"], return_index=True)[1]


def _watch(
    kept: dict[int, np.ndarray],
    config: autoencoder.Config,
    dataset: Dataset,
    reports: Iterator[fit.Progress],
) -> Iterator[fit.Progress]:
    """Passes the reports on; keeps what comes out for ten digits, by the updates made so far."""
    images = dataset.test["image"][_ten_digits(dataset)]
    show = device.jit(functools.partial(networks.output, config))
    if not kept:
        kept[0] = np.asarray(show(networks.start(config, config.batch_size)[1].params, images))
    for progress in reports:
        step = int(progress.state.step)
        within = any(max(kept) < stage <= step for stage in STAGES)
        if within or (progress.metrics and progress.epoch in (*EPOCHS, config.epochs)):
            kept[step] = np.asarray(show(progress.state.params, images))
        yield progress


def _read_snapshots(folder: Path) -> dict[int, np.ndarray]:
    if not (folder / SNAPSHOTS).exists():
        return {}
    with np.load(folder / SNAPSHOTS) as saved:
        return {int(step): saved[step] for step in saved}


def _write_snapshots(folder: Path, kept: dict[int, np.ndarray]) -> None:
    if kept:
        content = io.BytesIO()
        np.savez_compressed(content, **{str(step): images for step, images in kept.items()})
        files.write_bytes(folder / SNAPSHOTS, content.getvalue())


def evaluate(trained: cli.Trained) -> None:
    """Measure a trained autoencoder on its test images, beside PCA with as many components.

    Errors are mean squares over pixels in [0, 1]. The codes are judged by how often the nearest
    test image, by code, shows the same digit.
    """
    folder, config, state, dataset = restore_with_data(AUTOENCODER, trained, autoencoder.Config)
    test = dataset.test
    means = fit.make_evaluate(networks.losses(config)[1], config.batch_size)(state, test)
    pca, clipped = pca_errors(config.code, dataset)
    codes = networks.encode(config, state.params, test["image"])
    rows = test["image"].reshape(len(codes), -1).astype(np.float32) / 255
    everyone = np.arange(len(codes))
    same = {
        name: float(
            (test["label"][networks.nearest(points, everyone, 1)[:, 0]] == test["label"]).mean()
        )
        for name, points in (("code", codes), ("pixels", rows))
    }
    print(f"test loss {means['loss']:.6f}, mean squared error {means['mse']:.6f}")
    if config.noise:
        print(f"(of images that had noise of deviation {config.noise:g} on them)")
    print(f"PCA with {config.code} components: {pca:.6f}; cut to [0, 1]: {clipped:.6f}")
    print(f"the nearest image shows the same digit: by code {same['code']:.4f}, by pixels "
          f"{same['pixels']:.4f}")  # fmt: skip
    results = {"description": dataset.description, "test_loss": means["loss"]}
    results |= {"test_mse": means["mse"], "pca_mse": pca, "pca_clipped_mse": clipped}
    results |= {f"nearest_by_{name}_same_digit": share for name, share in same.items()}
    run.write_json(folder / "evaluation.json", results)
    print(f"written to {folder}: evaluation.json")


def pca_errors(components: int, dataset: Dataset) -> tuple[float, float]:
    """Test error of PCA fitted to the training images, as it is and cut to [0, 1]."""
    from sklearn.decomposition import PCA

    train, test = (
        part["image"].reshape(len(part["image"]), -1).astype(np.float32) / 255
        for part in (dataset.train, dataset.test)
    )
    pca = PCA(components, svd_solver="covariance_eigh").fit(train)
    back = pca.inverse_transform(pca.transform(test))
    errors = (np.square(x - test).mean(dtype=np.float64) for x in (back, back.clip(0, 1)))
    return tuple(map(float, errors))


def reconstruct(
    images: Annotated[tuple[Path, ...], tyro.conf.Positional],
    trained: cli.Trained,
    count: int = 20,
) -> None:
    """Put digits through the autoencoder; write what goes in and what comes out as pictures.

    Args:
        images: picture files, one digit on each, as `predict` takes them; else test images
        trained: which model
        count: how many test images, where no files are named
    """
    from zoo.ch03_mnist_ae_rbm import figures
    from zoo.common import figures as common

    if images:
        folder, config, state, _ = restore(AUTOENCODER, trained, autoencoder.Config)
        digits = np.stack([pictures.read_digit(path)[0] for path in images])
        names, caption = [path.stem for path in images], f"model of {folder}"
    else:
        folder, config, state, data = restore_with_data(AUTOENCODER, trained, autoencoder.Config)
        digits = data.test["image"][: max(count, 1)]
        names = [f"{n // config.batch_size} - {n % config.batch_size}" for n in range(len(digits))]
        caption = data.description
    back = networks.reconstruct(config, state.params, digits)
    for name, error in zip(names, np.square(digits / 255 - back).mean((1, 2)), strict=True):
        print(f"{name}: mean squared error {error:.6f}")
    both = zip(names, digits, back, strict=True)
    written = pictures.write_digits(
        folder / "images",
        (pair for name, a, b in both for pair in ((f"{name} input", a), (f"{name} output", b))),
    )
    drawn = figures.strips({"input": digits[:10], "output": back[:10]}, caption=caption)
    path = common.save(drawn, folder / "figures" / "reconstruct.png")
    print(f"written: {written} pictures in {folder / 'images'}, {path}")


def figures(trained: cli.Trained) -> None:
    """Draw a run again: curves, digits through the epochs, pairs, neighbours, denoising."""
    folder, config, state, dataset = restore_with_data(AUTOENCODER, trained, autoencoder.Config)
    for path in _draw(folder, config, state, dataset):
        print(path)


def _draw(
    folder: Path, config: autoencoder.Config, state: fit.State, dataset: Dataset
) -> list[Path]:
    from zoo.ch03_mnist_ae_rbm import figures
    from zoo.common import figures as common

    test, caption = dataset.test, dataset.description
    ten, steps = _ten_digits(dataset), fit.steps_per_epoch(dataset.train, config.batch_size)
    images, first = test["image"][ten], test["image"][:12]
    pairs = {"input": first, "output": networks.reconstruct(config, state.params, first)}
    drawings: dict[str, Any] = {
        "curves": figures.autoencoder_curves(run.read_metrics(folder), caption),
        "pairs": figures.strips(pairs, "what goes in and what comes out", caption),
        "neighbours": _neighbours(config, state, dataset, ten),
    }
    if kept := _read_snapshots(folder):
        rows = {"input": images} | {_moment(step, steps): kept[step] for step in sorted(kept)}
        drawings["epochs"] = figures.strips(rows, "what comes out while it learns", caption)
    if config.noise:
        key = jax.random.key(config.seed)
        noisy, back = networks.denoise(config, state.params, first, key)
        rows = {"clean": first, "input": noisy, "output": back}
        title = f"noise of deviation {config.noise:g} taken away"
        drawings["denoising"] = figures.strips(rows, title, caption)
    return [
        common.save(drawing, folder / "figures" / f"{name}.png")
        for name, drawing in drawings.items()
    ]


def _moment(step: int, steps: int) -> str:
    if step == 0:
        return "before"
    return f"update {step}" if step % steps else f"epoch {step // steps}"


def _neighbours(
    config: autoencoder.Config, state: fit.State, dataset: Dataset, queries: np.ndarray
) -> Any:
    from zoo.ch03_mnist_ae_rbm import figures

    test = dataset.test
    codes = networks.encode(config, state.params, test["image"])
    near = networks.nearest(codes, queries, min(NEIGHBOURS, len(codes) - 1))
    shown = np.concatenate([queries[:, None], near], axis=1)
    names = [f"a {dataset.classes[label]}" for label in test["label"][queries]]
    wrong = test["label"][shown] != test["label"][queries][:, None]
    return figures.strips(
        {name: test["image"][row] for name, row in zip(names, shown, strict=True)},
        "a test digit and those with the nearest codes (orange: another digit)",
        dataset.description,
        dict(zip(names, wrong, strict=True)),
    )


def bench(
    config: autoencoder.Config, device_name: DeviceName = "auto", seconds: float = 10.0
) -> None:
    """Time training and inference of the autoencoder on random images; compilation apart.

    Args:
        config: what to time
        device_name: what computes
        seconds: how long to train
    """
    measure_speed(config, functools.partial(networks.output, config), device_name, seconds)
