"""What chapter 8 does beside the commands of every model: sample, reconstruct, interpolate."""

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional

from zoo.ch08_vae.vae import latent, likelihood
from zoo.ch08_vae.vae.task import TASK
from zoo.common import cli, commands, images, keys, trained
from zoo.common.data import DataError
from zoo.common.settings import Bounds, Count, Seed, Size
from zoo.common.trained import Trained


def evaluate(
    trained_model: cli.Trained,
    samples: Count = 5_000,
    images: Count = 1_000,
    k: Count = 50,
    binarise: bool | None = None,
) -> None:
    """Measure a trained model on test images, in nats; write evaluation.json.

    Reconstruction, KL and ELBO are means over all test images. The IWAE bound and the likelihood
    (NLL) are over the first `images`, with their standard error over images.

    Args:
        trained_model: which model
        samples: importance samples of the NLL
        images: how many test images they are drawn for; 10,000 is the whole of MNIST's
        k: importance samples of the IWAE bound
        binarise: draw pixels black and white first; by default as the model was trained. Only then
            is the NLL one of a probability, to be compared with published ones
    """
    from rich.progress import track

    model = trained.choose(TASK, trained_model)
    dataset = commands.dataset_of(model, trained_model.data_dir)
    config, test = model.config, dataset.test["image"]
    if binarise is not None:
        config = dataclasses.replace(config, binarise=binarise)
        model = dataclasses.replace(model, config=config)
    results: dict[str, Any] = likelihood.bounds(model, test)
    active = likelihood.active_units(model, test)
    results["active_units"] = int(active.sum())
    few = test[:images]
    for name, count in ((f"iwae_{k}", k), ("log_likelihood", samples)):
        label = f"{name.replace('_', ' ')}, {count:,} samples"
        shown = functools.partial(track, description=label, transient=True)
        values = likelihood.log_likelihoods(model, few, count, shown)
        results[name] = float(values.mean())
        results[f"{name}_error"] = float(values.std() / np.sqrt(len(values)))  # over the images
    results |= {"images": len(few), "samples": samples, "binarised": config.binarise}
    results |= {"observation": config.observation, "description": dataset.description}
    _report(results, k, len(test), len(active), model.config.size**2)
    commands.keep(model, results)


def _report(results: dict[str, Any], k: int, images: int, latents: int, pixels: int) -> None:
    kind = "black and white" if results["binarised"] else "grey, so not comparable with published"
    print(f"nats per image, {images:,} test images, pixels {kind}:")
    print(f"  -log p(x | z)    {results['reconstruction']:8.2f}")
    printed = f"(as the book prints it {results['printed_kl']:.2f})"
    print(f"  KL               {results['kl']:8.2f}  {printed}")
    print(f"  ELBO             {results['elbo']:8.2f}")
    print(f"the first {results['images']:,} of them, with standard errors:")
    print(f"  IWAE bound k={k:<4}{results[f'iwae_{k}']:8.2f} ± {results[f'iwae_{k}_error']:.2f}")
    nll, error = -results["log_likelihood"], results["log_likelihood_error"]
    print(f"  NLL              {nll:8.2f} ± {error:.2f}  ({results['samples']:,} samples)")
    print(f"active units: {results['active_units']} of {latents}")
    if results["observation"] == "squared":
        half = pixels / 2
        print(
            f"squared errors leave out a constant: add {pixels}/2 log(pi) = "
            f"{half * np.log(np.pi):.1f} to each -log p"
        )


def sample(trained_model: cli.TrainedModel, count: Size = 100, seed: Seed = 0) -> None:
    """Draw digits from the prior.

    Args:
        trained_model: which model
        count: how many
        seed: of the codes
    """
    from zoo.common import figures

    model = trained.choose(TASK, trained_model)
    drawn = latent.sample(model.config, model.params, keys.derive(seed, "samples"), count)
    columns, title = max(1, round(np.sqrt(count))), "drawn from the prior"
    commands.save(model, "sample", figures.mosaic(drawn, columns, title, _data(model)))


def _data(model: Trained) -> str:
    return model.about["data"]["description"]


def reconstruct(
    pictures: Positional[tuple[Path, ...]], trained_model: cli.Trained, count: Count = 10
) -> None:
    """Show what comes back from picture files, or from the first test images if none is named.

    Args:
        pictures: picture files, one digit on each, brought to MNIST's form
        trained_model: which model
        count: how many test images
    """
    from zoo.common import figures

    answers = images.Answers(pictures)
    model = trained.choose(TASK, trained_model, own=bool(pictures))
    read = answers.read(images.grey_reader(model.config))
    chosen = [picture.content[0] for picture in read]
    if not chosen:
        chosen = list(commands.dataset_of(model, trained_model.data_dir).test["image"][:count])
    given = np.stack(chosen)
    rows = {"input": given, "output": model.predict(image=given)["image"]}
    commands.save(model, "reconstruct", figures.strips(rows, caption=_data(model)))
    answers.end()


def interpolate(
    a: Positional[str],
    b: Positional[str],
    trained_model: cli.Trained,
    steps: Annotated[int, Bounds(2, ceiling=1000)] = 10,
) -> None:
    """Walk in a straight line from the code of one digit to that of another.

    Args:
        a: number of a test image, from 0, or a picture file
        b: the same
        trained_model: which model
        steps: how many pictures, the ends included
    """
    from zoo.common import figures

    own = not (a.isdecimal() and b.isdecimal())
    model = trained.choose(TASK, trained_model, own)
    pair = np.stack([_digit(name, model, trained_model.data_dir) for name in (a, b)])
    between = latent.interpolate(model.config, model.params, pair, steps)
    row = np.concatenate([pair[:1] / 255, between, pair[1:] / 255])  # all in [0, 1]
    title = "at the ends the two images, between them the decoder's"
    ends = zip((a, b), images.names([Path(a), Path(b)]), strict=True)
    start, end = (f"image {name}" if name.isdecimal() else plain for name, plain in ends)
    rows = {f"{start}\nto {end}": row}
    commands.save(model, "interpolate", figures.strips(rows, title, _data(model)))


def _digit(name: str, model: Trained, data_dir: Path | None) -> np.ndarray:
    if not name.isdecimal():
        return images.grey_reader(model.config)(Path(name))[0]
    test = model.dataset(data_dir).test["image"]
    if int(name) >= len(test):
        raise DataError(f"there is no test image {name}: use 0 to {len(test) - 1}")
    return test[int(name)]


COMMANDS = commands.make(TASK) | {"evaluate": evaluate, "sample": sample}
COMMANDS |= {"reconstruct": reconstruct, "interpolate": interpolate}
