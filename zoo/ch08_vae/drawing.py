"""Chapter 8 on the command line, continued: what a trained model draws."""

from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from zoo.ch08_vae import model, views
from zoo.ch08_vae.train import start
from zoo.common import cli, fit, run
from zoo.common.data import DataError, Dataset, digest, mnist

CHAPTER = "ch08_vae"
PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))


def restore(trained: cli.Trained) -> tuple[Path, model.Config, fit.State, dict[str, Any]]:
    """The run that the options name: folder, configuration, state, config.json."""
    return run.restore(
        CHAPTER, trained, model.Config, lambda config: start(config, config.batch_size)[1]
    )


def data_of(folder: Path, content: dict[str, Any], data_dir: Path | None) -> Dataset:
    """The data set that a run was trained on."""
    about = content["data"]
    dataset = mnist.load(about["source"], data_dir)
    run.check_data(folder, about, digest(dataset))
    return dataset


def sample(trained: cli.Trained, count: int = 100, seed: int = 0) -> None:
    """Draw digits from the prior.

    Args:
        trained: which model
        count: how many
        seed: of the codes
    """
    from zoo.ch08_vae import figures
    from zoo.common import figures as common

    if count < 1:
        raise DataError(f"got {count} digits to draw, expected at least 1: use --count 100")
    folder, config, state, content = restore(trained)
    images = views.sample(config, state.params, jax.random.key(seed), count)
    columns = max(1, round(np.sqrt(count)))
    figure = figures.mosaic(images, columns, "drawn from the prior", content["data"]["description"])
    print(f"drawn to {common.save(figure, folder / 'figures' / 'sample.png')}")


def reconstruct(
    images: Annotated[tuple[Path, ...], tyro.conf.Positional], trained: cli.Trained, count: int = 10
) -> None:
    """Show what comes back from picture files, or from the first test images if none is named.

    Args:
        images: picture files of single digits; the middle square of each is shrunk to 28x28
        trained: which model
        count: how many test images
    """
    from zoo.ch08_vae import figures
    from zoo.common import figures as common

    if not images and count < 1:
        raise DataError(f"got {count} test images, expected at least 1: use --count 10")
    given = np.stack([read_digit(path) for path in images]) if images else None
    folder, config, state, content = restore(trained)
    if given is None:
        given = data_of(folder, content, trained.data_dir).test["image"][:count]
    rows = {"input": given, "output": views.reconstruct(config, state.params, given)}
    figure = figures.strips(rows, caption=content["data"]["description"])
    print(f"drawn to {common.save(figure, folder / 'figures' / 'reconstruct.png')}")


def interpolate(
    a: Annotated[str, tyro.conf.Positional],
    b: Annotated[str, tyro.conf.Positional],
    trained: cli.Trained,
    steps: int = 10,
) -> None:
    """Walk in a straight line from the code of one digit to that of another.

    Args:
        a: number of a test image, from 0, or a picture file
        b: the same
        trained: which model
        steps: how many pictures, the ends included
    """
    from zoo.ch08_vae import figures
    from zoo.common import figures as common

    if steps < 2:
        raise DataError(f"got {steps} steps, expected at least 2, the ends included")
    folder, config, state, content = restore(trained)
    test = np.empty((0, 28, 28))
    if a.isdigit() or b.isdigit():
        test = data_of(folder, content, trained.data_dir).test["image"]
    pair = np.stack([_test_image_or_file(name, test) for name in (a, b)])
    between = views.interpolate(config, state.params, pair, steps)
    row = np.concatenate([pair[:1] / 255, between, pair[1:] / 255])
    title = "at the ends the two images, between them the decoder's"
    name = f"{Path(a).stem} to {Path(b).stem}"
    figure = figures.strips({name: row}, title, content["data"]["description"])
    print(f"drawn to {common.save(figure, folder / 'figures' / 'interpolate.png')}")


def _test_image_or_file(name: str, test: np.ndarray) -> np.ndarray:
    if not name.isdigit():
        return read_digit(Path(name))
    if int(name) >= len(test):
        raise DataError(f"there is no test image {name}: use 0 to {len(test) - 1}")
    return test[int(name)]


def read_digit(path: Path) -> np.ndarray:
    """A picture file as the model wants it, uint8 [28, 28], bright ink on black.

    Raises:
      DataError: there is no such file, or it is no picture that Pillow can read.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(path) as image:
            grey = PIL.ImageOps.exif_transpose(image).convert("L")
            small = PIL.ImageOps.fit(grey, (28, 28), PIL.Image.Resampling.LANCZOS)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; name a picture or a test image's number") from error
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} can't be read as a picture ({error}): use a PNG, JPEG or another of Pillow's"
        ) from error
    pixels = np.asarray(small)
    return 255 - pixels if np.median(pixels) > 127 else pixels  # dark ink on paper


def figures(trained: cli.Trained) -> None:
    """Draw a run again: curves, reconstructions, samples, interpolations, traversals.

    A model of two latents also gets its manifold and the map of the test images' codes.
    """
    folder, config, state, content = restore(trained)
    dataset = data_of(folder, content, trained.data_dir)
    for path in draw(folder, config, state.params, dataset):
        print(path)


def ten_digits(test: dict[str, np.ndarray]) -> np.ndarray:
    """The first test image of each digit, uint8 [10, 28, 28]."""
    return np.stack([test["image"][np.argmax(test["label"] == digit)] for digit in range(10)])


def draw(folder: Path, config: model.Config, params: model.Params, dataset: Dataset) -> list[Path]:
    """All pictures of one run, into its folder; gives their paths."""
    from zoo.ch08_vae import figures
    from zoo.common import figures as common

    test, caption = dataset.test, dataset.description
    digits = ten_digits(test)
    mean = np.asarray(views.encode(config, params, test["image"])[0])
    busiest = np.argsort(-mean.var(axis=0))[:10]
    turns = views.traverse(config, params, digits[3], busiest)
    named = {f"unit {unit}": row for unit, row in zip(busiest, turns, strict=True)}
    back = {"input": digits, "output": views.reconstruct(config, params, digits)}
    walks = {f"{i} to {j}": views.interpolate(config, params, digits[[i, j]]) for i, j in PAIRS}
    drawn = views.sample(config, params, jax.random.key(config.seed), 100)
    drawings = {
        "curves": figures.learning_curves(run.read_metrics(folder), caption),
        "reconstructions": figures.strips(back, caption=caption),
        "samples": figures.mosaic(drawn, 10, "drawn from the prior", caption),
        "interpolations": figures.strips(walks, caption=caption),
        "traversals": figures.strips(
            named, "a 3, one unit of its code at a time from -2.5 to 2.5", caption
        ),
    }
    if config.latents == 2:
        plane = views.manifold(config, params)
        drawings["manifold"] = figures.mosaic(plane, 20, "the plane of codes", caption)
        drawings["codes"] = figures.scatter(mean, test["label"], caption)
    return [
        common.save(drawing, folder / "figures" / f"{name}.png")
        for name, drawing in drawings.items()
    ]
