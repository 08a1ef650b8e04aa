"""Chapter 8 on the command line, continued: what takes several trained models.

Each of them is a run of its own in a folder below the study's. A study that was stopped goes on
where it was when it is started again with the same folder.
"""

import dataclasses
import io
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from zoo.ch08_vae import commands, drawing, measure, model, views
from zoo.common import cli, fit, run
from zoo.common.data import DataError, Dataset, files, mnist

ROOT = Path("runs") / drawing.CHAPTER
FRAME = 12  # rows and columns of a frame of the film


def sweep_latents(
    sizes: Annotated[tuple[int, ...], tyro.conf.Positional],
    config: model.Config,
    options: cli.Options,
    seeds: int = 1,
) -> None:
    """Train one model for each number of latents and compare them: ELBO, reconstruction, KL.

    One after the other: masking units of one large network would let all share a compilation of
    two seconds, and make each pay for the largest decoder. Started again with the same --out, it
    goes on where it was stopped.

    Args:
        sizes: numbers of latents, for example 2 5 8 20 50
        config: of each model, but for the latents
        options: where and on what
        seeds: how many runs of each, with the seeds 0, 1, ...
    """
    from zoo.ch08_vae import figures
    from zoo.common import figures as common

    if not sizes or min(*sizes, seeds) < 1:
        raise DataError(f"got sizes {sizes} and {seeds} seeds: say for example 2 5 8 20 --seeds 3")
    folder = options.out or ROOT / f"sweep-{time.strftime('%Y-%m-%d-%H%M%S')}"
    dataset = mnist.load(options.data, options.data_dir)
    print(f"{dataset.description}\nsweep in {folder}; to go on with it: --out {folder}")
    digits, results = drawing.ten_digits(dataset.test), []
    rows: dict[str, np.ndarray] = {"input": digits}
    for size in sizes:
        for seed in range(seeds):
            one = dataclasses.replace(config, latents=size, seed=seed)
            state = _trained(one, options, dataset, folder / f"latents-{size}-seed-{seed}")
            means = measure.bounds(one, state, dataset.test["image"])
            results.append({"latents": size, "seed": seed, **means})
            run.write_json(folder / "sweep.json", results)
            if seed == 0:
                label = f"{size} latents\nELBO {means['elbo']:.1f}"
                rows[label] = views.reconstruct(one, state.params, digits)
    runs = "one run" if seeds == 1 else f"{seeds} runs"
    caption = f"{dataset.description}; {config.epochs} epochs, {runs} of each size"
    pictures = {
        "sweep": figures.latent_sizes(results, caption),
        "digits": figures.strips(rows, "the ten digits through codes of each size", caption),
    }
    for name, picture in pictures.items():
        print(common.save(picture, folder / f"{name}.png"))
    _print_sizes(results)


def _print_sizes(results: list[dict[str, float]]) -> None:
    from zoo.common import bench

    names = ("elbo", "reconstruction", "kl")
    lines = []
    for size in dict.fromkeys(r["latents"] for r in results):
        runs = [r for r in results if r["latents"] == size]
        values = [np.array([r[name] for r in runs]) for name in names]
        lines.append([str(size), *(f"{v.mean():.2f} ± {v.std():.2f}" for v in values)])
    bench.print_table("means and deviations over the seeds, nats", ("latents", *names), lines)


def _trained(
    config: Any,
    options: cli.Options,
    dataset: Dataset,
    folder: Path,
    watch: commands.Watch = iter,
    **other: Any,
) -> fit.State:
    """The state of the run in `folder`: trained, taken up again, or done already."""
    there = (folder / "config.json").exists()
    options = dataclasses.replace(options, out=folder, resume=folder if there else None)
    return commands.fit_run(config, options, dataset, watch, **other)[1]


def chapter_figures(options: cli.Options, epochs: int = 50) -> None:
    """Draw what the chapter shows: reconstructions after each tenth of training beside the plain
    autoencoder's, and the plane of two latents with its film.

    Trains the book's two recipes and a `modern` model of two latents, in runs/ch08_vae/chapter or
    --out; about six minutes on two cores. Stopped, it goes on when started again.

    Args:
        options: where and on what
        epochs: of each of the three
    """
    folder = options.out or ROOT / "chapter"
    dataset = mnist.load(options.data, options.data_dir)
    print(dataset.description)
    for path in (
        _draw_reconstructions(folder, options, dataset, epochs),
        *_draw_plane(folder, options, dataset, epochs),
    ):
        print(path)


def _draw_reconstructions(
    folder: Path, options: cli.Options, dataset: Dataset, epochs: int
) -> Path:
    from zoo.ch08_vae import figures
    from zoo.common import figures as common

    digits = drawing.ten_digits(dataset.test)
    at = {max(1, epochs * part // 5) for part in range(1, 6)}
    config = dataclasses.replace(model.RECIPES["book"], epochs=epochs)

    def back(params: model.Params) -> np.ndarray:
        return views.reconstruct(config, params, digits)

    watch = _recorder(folder / "book" / "pictures", back, at)
    _trained(config, options, dataset, folder / "book", watch)
    own = _recorded(folder / "book" / "pictures", at)
    _train_plain(folder / "plain", options, dataset, epochs, digits, at)
    plain = _recorded(folder / "plain" / "pictures", at)
    rows = {"input": digits}
    rows |= {f"variational\nepoch {epoch}": images for epoch, images in own.items()}
    rows |= {f"plain\nepoch {epoch}": images for epoch, images in plain.items()}
    title = "reconstructions of test images: the book's two autoencoders"
    figure = figures.strips(rows, title, dataset.description)
    return common.save(figure, folder / "reconstructions.png")


def _train_plain(
    folder: Path,
    options: cli.Options,
    dataset: Dataset,
    epochs: int,
    digits: np.ndarray,
    at: set[int],
) -> None:
    """Chapter 3's autoencoder as in the book, with the pictures of it that the figure wants."""
    from zoo.ch03_mnist_ae_rbm import autoencoder
    from zoo.ch03_mnist_ae_rbm.train import reconstruct, start, train

    config = dataclasses.replace(autoencoder.RECIPES["book"], epochs=epochs)

    def back(params: Any) -> np.ndarray:
        return reconstruct(config, params, digits)

    watch = _recorder(folder / "pictures", back, at)
    _trained(
        config, options, dataset, folder, watch,
        chapter="ch03_mnist_ae_rbm/autoencoder", functions=(start, train),
    )  # fmt: skip


def _draw_plane(
    folder: Path, options: cli.Options, dataset: Dataset, epochs: int
) -> Iterable[Path]:
    from zoo.ch08_vae import figures
    from zoo.common import figures as common

    config = dataclasses.replace(model.RECIPES["modern"], latents=2, epochs=epochs)
    frames = folder / "plane" / "pictures"

    def plane(params: model.Params) -> np.ndarray:
        return views.manifold(config, params, FRAME)

    state = _trained(config, options, dataset, folder / "plane", _recorder(frames, plane))
    caption = dataset.description
    mean, _ = views.encode(config, state.params, dataset.test["image"])
    whole = figures.mosaic(views.manifold(config, state.params), 20, "the plane of codes", caption)
    yield common.save(whole, folder / "manifold.png")
    codes = figures.scatter(mean, dataset.test["label"], caption)
    yield common.save(codes, folder / "codes.png")
    film = (
        figures.mosaic(images, FRAME, f"epoch {epoch} of {epochs}", width=3.2)
        for epoch, images in _recorded(frames).items()
    )
    yield common.animate(film, folder / "manifold.gif", seconds=0.12)


def _recorder(
    folder: Path, view: Callable[[Any], np.ndarray], at: set[int] | None = None
) -> commands.Watch:
    """Keeps `view(params)` at the end of each epoch, or of those named, as FOLDER/EPOCH.npy."""

    def watch(reports: Iterator[fit.Progress]) -> Iterator[fit.Progress]:
        for progress in reports:
            if progress.metrics is not None and (at is None or progress.epoch in at):
                content = io.BytesIO()
                np.save(content, np.round(255 * view(progress.state.params)).astype(np.uint8))
                files.write_bytes(folder / f"{progress.epoch:04d}.npy", content.getvalue())
            yield progress

    return watch


def _recorded(folder: Path, at: set[int] | None = None) -> dict[int, np.ndarray]:
    found = {int(path.stem): np.load(path) for path in sorted(folder.glob("*.npy"))}
    return {epoch: images for epoch, images in found.items() if at is None or epoch in at}
