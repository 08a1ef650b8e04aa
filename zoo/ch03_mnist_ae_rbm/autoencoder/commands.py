"""What the autoencoder does beside the commands of every model: reconstruct; compare with PCA."""

from pathlib import Path

import numpy as np
import tyro

from zoo.ch03_mnist_ae_rbm import digits
from zoo.ch03_mnist_ae_rbm.autoencoder.task import TASK, nearest
from zoo.common import cli, commands, images, trained
from zoo.common.data import Dataset
from zoo.common.settings import Count


def evaluate(trained_model: cli.Trained) -> None:
    """Measure a trained autoencoder on its test images, beside PCA with as many components.

    Errors are mean squares over pixels in [0, 1]. The codes are judged by how often the nearest
    test image, by code, is of the same class.
    """
    model = trained.choose(TASK, trained_model)
    dataset, config = commands.dataset_of(model, trained_model.data_dir), model.config
    test, labels = dataset.test["image"], dataset.test["label"]
    means = commands.measure(model, dataset)
    pca, clipped = pca_errors(config.code, dataset)
    points = {"code": model.predict("encode", image=test)["code"], "pixels": _rows(test)}
    same = {
        name: float((labels[nearest(rows, 1)[:, 0]] == labels).mean())
        for name, rows in points.items()
    }
    print(f"test loss {means['loss']:.6f}, mean squared error {means['mse']:.6f}")
    if config.noise:
        print(f"(of images that had noise of deviation {config.noise:g} on them)")
    print(f"PCA with {config.code} components: {pca:.6f}; cut to [0, 1]: {clipped:.6f}")
    shares = ", ".join(f"by {name} {share:.4f}" for name, share in same.items())
    print(f"the nearest image is of the same class: {shares}")
    results = {"description": dataset.description, "test_loss": means["loss"]}
    results |= {"test_mse": means["mse"], "pca_mse": pca, "pca_clipped_mse": clipped}
    results |= {f"nearest_by_{name}_same_digit": share for name, share in same.items()}
    commands.keep(model, results)


def pca_errors(components: int, dataset: Dataset) -> tuple[float, float]:
    """Test error of PCA fitted to the training images, as it is and cut to [0, 1]."""
    from sklearn.decomposition import PCA

    train, test = _rows(dataset.train["image"]), _rows(dataset.test["image"])
    components = min(components, *train.shape)  # there are no more
    pca = PCA(components, svd_solver="covariance_eigh").fit(train)
    back = pca.inverse_transform(pca.transform(test))

    def error(x: np.ndarray) -> float:
        return float(np.square(x - test).mean(dtype=np.float64))

    return error(back), error(back.clip(0, 1))


def _rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def reconstruct(
    pictures: tyro.conf.Positional[tuple[Path, ...]], trained_model: cli.Trained, count: Count = 20
) -> None:
    """Put digits through the autoencoder; write what goes in and what comes out as pictures.

    Args:
        pictures: picture files, one digit on each, as `predict` takes them; else test images
        trained_model: which model
        count: how many test images, where no files are named
    """
    from zoo.common import figures

    answers = images.Answers(pictures)
    model = trained.choose(TASK, trained_model, own=bool(pictures))
    read = answers.read(images.grey_reader(model.config))
    chosen, names = [picture.content[0] for picture in read], [picture.name for picture in read]
    caption = f"model of {model.folder}"
    if not pictures:
        dataset, size = commands.dataset_of(model, trained_model.data_dir), model.config.batch_size
        chosen, caption = list(dataset.test["image"][:count]), dataset.description
        names = [f"{n // size} - {n % size}" for n in range(len(chosen))]
    given = np.stack(chosen)
    back = model.predict(image=given)["image"]
    for name, error in zip(names, np.square(given / 255 - back).mean((1, 2)), strict=True):
        print(f"{name}: mean squared error {error:.6f}")
    both = zip(names, given, back, strict=True)
    pairs = (pair for name, a, b in both for pair in ((f"{name} input", a), (f"{name} output", b)))
    written = digits.write(model.folder / "images", pairs, answers.one, replace=not pictures)
    print(f"written: {written} pictures in {model.folder / 'images'}")
    drawn = figures.strips({"input": given[:10], "output": back[:10]}, caption=caption)
    commands.save(model, "reconstruct", drawn)
    answers.end()


COMMANDS = commands.make(TASK) | {"evaluate": evaluate, "reconstruct": reconstruct}
