"""What both networks of chapter 6 do beside the commands of every model: evaluate and predict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from zoo.ch06_cnn.cnn.task import TASK
from zoo.common import cli, commands, images, run, trained
from zoo.common.data import DataError, Dataset, cifar10, files
from zoo.common.settings import Count
from zoo.common.task import Task
from zoo.common.trained import Trained


def make(task: Task) -> dict[str, cli.Command]:
    """The commands of every model, `evaluate` with the book's files, and `predict`."""

    def evaluate_command(trained_model: cli.Trained) -> None:
        """Measure a trained model on its test images; write testActual.txt and testPred.txt.

        Each file has one class number a line, as the book's program writes them. Where the first
        1,000 images of the official test set are found, their accuracy is given too.
        """
        model = trained.choose(task, trained_model)
        dataset = commands.dataset_of(model, trained_model.data_dir)
        evaluate(model, dataset, trained_model.data_dir)

    def predict_command(
        pictures: tyro.conf.Positional[tuple[Path, ...]],
        trained_model: cli.TrainedModel,
        top: Count = 5,
    ) -> None:
        """Print what is in picture files: the likeliest classes with probabilities.

        Args:
            pictures: picture files; the middle square of each is shrunk to the model's size
            trained_model: which model
            top: how many classes to list
        """
        if not pictures:
            raise DataError(f"name at least one picture: {task.command} predict cat.png")
        model, answers = trained.choose(task, trained_model, own=True), images.Answers(pictures)
        read = answers.read(lambda path: images.read_square(path, model.config.size))
        predict(model, read, answers, top)

    return commands.make(task) | {"evaluate": evaluate_command, "predict": predict_command}


def evaluate(model: Trained, dataset: Dataset, data_dir: Path | None) -> dict[str, Any]:
    """Prints and writes loss and accuracy of the test images, in all and by class."""
    means = commands.measure(model, dataset)
    labels, classes = dataset.test["label"], dataset.classes
    guesses = classify(model, dataset.test["image"]).argmax(-1)
    for name, numbers in (("testActual.txt", labels), ("testPred.txt", guesses)):
        run.write(model.folder / name, "".join(f"{number}\n" for number in numbers))
    accuracy = (guesses == labels).mean()
    print(f"test loss {means['loss']:.4f}, accuracy {accuracy:.4f} ({len(labels):,} images)")
    for own, name in enumerate(classes):
        share = (guesses[labels == own] == own).mean() if (labels == own).any() else float("nan")
        print(f"  {name:<12}{share:.3f}")
    results = {"description": dataset.description, "test_accuracy": float(accuracy)}
    results["test_loss"] = means["loss"]
    real = dataset.source == "real" and dataset.name == "CIFAR-10"
    if real and (first := cifar10.first_thousand(data_dir)) is not None:
        accuracy = float((classify(model, first["image"]).argmax(-1) == first["label"]).mean())
        print(f"accuracy on the first 1,000 official test images: {accuracy:.4f}")
        results["first_1000_official_accuracy"] = accuracy
    commands.keep(model, results)
    return results


def classify(model: Trained, pictures: np.ndarray) -> np.ndarray:
    """The probability of each class, float32 [N, K], for uint8 images [N, H, W, 3]."""
    return model.predict(image=pictures)["probabilities"]


def predict(model: Trained, read: Sequence[images.Read], answers: images.Answers, top: int) -> None:
    """Prints and draws the likeliest classes of pictures, uint8 [H, W, 3] each."""
    from zoo.ch06_cnn import figures

    probabilities = classify(model, np.stack([picture.content for picture in read]))
    for picture, p in zip(read, probabilities, strict=True):
        print(files.printable(picture.path))
        for best in np.argsort(-p)[:top]:
            print(f"  {model.classes[best]:<12}{p[best]:.4f}")
        caption = f"{picture.name}, model of {model.folder}"
        drawn = figures.prediction(picture.content, p, model.classes, caption)
        with answers.one():
            commands.save(model, f"predict-{picture.name}", drawn)
    answers.end()


COMMANDS = make(TASK)
