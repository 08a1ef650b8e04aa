"""What takes several trained autoencoders: `python -m studies.ch08_vae --help`.

`sweep-latents 2 5 8 20 50` compares models by their number of latents; `chapter-figures` draws what
the chapter of the book shows. Each model is a run of its own in a folder below the study's. A study
that was stopped goes on where it was when it is started again with the same folder.
"""

import dataclasses
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from zoo.ch08_vae import TASKS
from zoo.ch08_vae.vae import latent, likelihood, model
from zoo.ch08_vae.vae.figures import scatter
from zoo.ch08_vae.vae.task import TASK, ten_digits
from zoo.common import bench, cli, figures, fit, run, trained
from zoo.common.data import DataError, Dataset, files, mnist
from zoo.common.task import Task

ROOT = Path("runs") / TASK.name
FRAME = 12  # rows and columns of a frame of the animation


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
    if not sizes or min(*sizes, seeds) < 1:
        raise DataError(f"got sizes {sizes} and {seeds} seeds: say for example 2 5 8 20 --seeds 3")
    folder = options.out or ROOT / f"sweep-{time.strftime('%Y-%m-%d-%H%M%S')}"
    dataset = mnist.load(options.data, options.data_dir)
    print(f"{dataset.description}\nsweep in {folder}; to go on with it: --out {folder}")
    digits, results = ten_digits(dataset.test), []
    rows: dict[str, np.ndarray] = {"input": digits}
    for size in sizes:
        for seed in range(seeds):
            one = dataclasses.replace(config, latents=size, seed=seed)
            own = _trained(TASK, one, options, dataset, folder / f"latents-{size}-seed-{seed}")
            means = likelihood.bounds(own, dataset.test["image"])
            results.append({"latents": size, "seed": seed, **means})
            run.write_json(folder / "sweep.json", results)
            if seed == 0:
                label = f"{size} latents\nELBO {means['elbo']:.1f}"
                rows[label] = own.predict(image=digits)["image"]
    runs = "one run" if seeds == 1 else f"{seeds} runs"
    caption = f"{dataset.description}; {config.epochs} epochs, {runs} of each size"
    pictures = {
        "sweep": latent_sizes(results, caption),
        "digits": figures.strips(rows, "the ten digits through codes of each size", caption),
    }
    for name, picture in pictures.items():
        print(figures.save(picture, folder / f"{name}.png"))
    _print_sizes(results)


@figures.own_style
def latent_sizes(results: Sequence[Mapping[str, float]], caption: str = "") -> Figure:
    """ELBO, reconstruction and KL (nats) by number of latents: means over seeds, bars from
    the least to the greatest.

    There is one result for each size and seed, with `latents`, `elbo`, `reconstruction` and `kl`.
    """
    sizes = sorted({int(r["latents"]) for r in results})
    figure = figures.page(9.0, 3.0, caption=caption)
    for axes, name, label, colour in zip(
        figure.subplots(1, 3),
        ("elbo", "reconstruction", "kl"),
        ("ELBO (nats)", "−log p(x | z) (nats)", "KL (nats)"),
        (figures.BLUE, figures.ORANGE, figures.GREEN),
        strict=True,
    ):
        groups = [[r[name] for r in results if r["latents"] == size] for size in sizes]
        means = np.array([np.mean(g) for g in groups])
        spread = [means - [min(g) for g in groups], [max(g) for g in groups] - means]
        axes.errorbar(
            range(len(sizes)), means, spread, color=colour, marker="o", markersize=4, capsize=3
        )
        figures.plain(axes, "latents", label)
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.grid(axis="y", color=figures.PALE, linewidth=0.5)
        axes.margins(x=0.12, y=0.18)
        beside = {"textcoords": "offset points", "ha": "center", "color": figures.INK}
        for place, (mean, group) in enumerate(zip(means, groups, strict=True)):
            above = (place, max(group))  # on the bar it could not be read
            axes.annotate(f"{mean:.1f}", above, (0, 5), size=figures.SMALL, **beside)
    return figure


def _print_sizes(results: list[dict[str, float]]) -> None:
    names = ("elbo", "reconstruction", "kl")
    lines = []
    for size in dict.fromkeys(r["latents"] for r in results):
        runs = [r for r in results if r["latents"] == size]
        values = [np.array([r[name] for r in runs]) for name in names]
        lines.append([str(size), *(f"{v.mean():.2f} ± {v.std():.2f}" for v in values)])
    bench.print_table("means and deviations over the seeds, nats", ("latents", *names), lines)


def _trained(
    task: Task, config: Any, options: cli.Options, dataset: Dataset, folder: Path
) -> trained.Trained:
    """The model of the run in `folder`: trained, taken up again, or finished before."""
    exists = (folder / "config.json").exists()
    options = dataclasses.replace(options, out=folder, resume=folder if exists else None)
    run.train(task, config, options, dataset, run.devices(task, config, options))
    return trained.load(folder, task)


def chapter_figures(options: cli.Options, epochs: int = 50) -> None:
    """Draw what the chapter shows: reconstructions after each tenth of training beside the plain
    autoencoder's, and the plane of two latents with its animation.

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
    from zoo.ch03_mnist_ae_rbm import TASKS as CHAPTER_3

    digits = ten_digits(dataset.test)
    at = {max(1, epochs * part // 5) for part in range(1, 6)}
    (plain_task,) = (task for task in CHAPTER_3 if task.second == "autoencoder")
    recorded = []
    for name, task in (("book", TASK), ("plain", plain_task)):
        config = dataclasses.replace(task.recipes["book"], epochs=epochs)
        back = task.predictions(config)["reconstruct"].function

        def view(params: Any, back: Callable[..., Any] = back) -> np.ndarray:
            return np.asarray(back({"params": params}, {"image": digits})["image"])

        recorder = _recorder(folder / name / "pictures", view, at)
        own = dataclasses.replace(task, watch=recorder)
        _trained(own, config, options, dataset, folder / name)
        recorded.append(_recorded(folder / name / "pictures", at))
    variational, plain = recorded
    rows = {"input": digits}
    rows |= {f"variational\nepoch {epoch}": images for epoch, images in variational.items()}
    rows |= {f"plain\nepoch {epoch}": images for epoch, images in plain.items()}
    title = "reconstructions of test images: the book's two autoencoders"
    figure = figures.strips(rows, title, dataset.description)
    return figures.save(figure, folder / "reconstructions.png")


def _draw_plane(
    folder: Path, options: cli.Options, dataset: Dataset, epochs: int
) -> Iterable[Path]:
    config = dataclasses.replace(model.RECIPES["modern"], latents=2, epochs=epochs)
    pictures = folder / "plane" / "pictures"

    def plane(params: model.Params) -> np.ndarray:
        return latent.manifold(config, params, FRAME)

    task = dataclasses.replace(TASK, watch=_recorder(pictures, plane))
    own = _trained(task, config, options, dataset, folder / "plane")
    caption = dataset.description
    mean = own.predict("encode", image=dataset.test["image"])["mean"]
    whole = figures.mosaic(latent.manifold(config, own.params), 20, "the plane of codes", caption)
    yield figures.save(whole, folder / "manifold.png")
    codes = scatter(mean, dataset.test["label"], caption)
    yield figures.save(codes, folder / "codes.png")
    frames = (
        figures.mosaic(images, FRAME, f"epoch {epoch} of {epochs}", width=3.2)
        for epoch, images in _recorded(pictures).items()
    )
    yield figures.animate(frames, folder / "manifold.gif", seconds=0.12)


def _recorder(
    folder: Path, view: Callable[[Any], np.ndarray], at: set[int] | None = None
) -> Callable[..., Iterator[fit.Progress]]:
    """Keeps `view(params)` at the end of each epoch, or of those named, as FOLDER/EPOCH.npy."""

    def watch(config, dataset, run_folder, state, reports) -> Iterator[fit.Progress]:
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


if __name__ == "__main__":
    named = {"sweep-latents": sweep_latents, "chapter-figures": chapter_figures}
    cli.main(__doc__, named, TASKS)
