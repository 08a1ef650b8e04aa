"""What the feed-forward network does beside the commands of every model: read digits."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from zoo.ch03_mnist_ae_rbm import digits
from zoo.ch03_mnist_ae_rbm.feedforward.task import TASK, worst_first
from zoo.common import cli, commands, images, run, trained
from zoo.common.data import DataError, files
from zoo.common.settings import Bounds, Count

SHOWN = 40
"""`predict` draws at most so many digits."""


def evaluate(
    trained_model: cli.Trained,
    images: Annotated[int, Bounds(0)] = 200,
    which: Literal["mistakes", "all"] = "mistakes",
) -> None:
    """Measure a trained net on its test images; write probabilities.csv and digits as pictures.

    As the book's program does, each image's probabilities are written with six decimals, and
    pictures are named BATCH - NUMBER - LABEL - GUESS.

    Args:
        trained_model: which model
        images: the most pictures to write; 0 for none
        which: pictures of the mistakes alone, the surest first, or of all images in their order
    """
    model = trained.choose(TASK, trained_model)
    dataset = commands.dataset_of(model, trained_model.data_dir)
    test, labels, size = dataset.test["image"], dataset.test["label"], model.config.batch_size
    test_loss = commands.measure(model, dataset)["loss"]
    probabilities = model.predict(image=test)["probabilities"]
    guesses, mistakes = probabilities.argmax(-1), worst_first(labels, probabilities)
    accuracy = float((guesses == labels).mean())

    lines = ["batch,number,label,guess," + ",".join(f"p{k}" for k in dataset.classes)]
    for n, row in enumerate(probabilities):
        shares = ",".join(f"{p:.6f}" for p in row)
        lines.append(f"{n // size},{n % size},{labels[n]},{guesses[n]},{shares}")
    run.write(model.folder / "probabilities.csv", "\n".join(lines) + "\n")
    chosen = (mistakes if which == "mistakes" else np.arange(len(labels)))[:images]
    names = [f"{n // size} - {n % size} - {labels[n]} - {guesses[n]}" for n in chosen]
    named = zip(names, test[chosen], strict=True)
    written = digits.write(model.folder / "images", named, replace=True)

    counts = f"{len(mistakes):,} mistakes in {len(labels):,} images"
    print(f"test loss {test_loss:.4f}, accuracy {accuracy:.4f} ({counts})")
    print("the worst mistakes:")
    for n in mistakes[:10]:
        p, label, guess = probabilities[n], labels[n], guesses[n]
        right, wrong = dataset.classes[label], dataset.classes[guess]
        print(
            f"  image {n}: a {right} read as {wrong} with {p[guess]:.4f}; {right} got "
            f"{p[label]:.4f}"
        )
    print(f"written to {model.folder}: probabilities.csv, {written} pictures in images/")
    results = {"description": dataset.description, "test_accuracy": accuracy}
    commands.keep(model, results | {"test_loss": test_loss, "mistakes": len(mistakes)})


def predict(
    pictures: tyro.conf.Positional[tuple[Path, ...]],
    trained_model: cli.TrainedModel,
    top: Count = 3,
) -> None:
    """Read the digit in each picture file; any size, dark on bright or bright on dark.

    Args:
        pictures: picture files, one digit on each; the ink is cut out and centred as in MNIST
        trained_model: which model
        top: how many classes to list
    """
    from zoo.ch03_mnist_ae_rbm.feedforward import figures

    if not pictures:
        raise DataError(f"name at least one picture: {TASK.command} predict 7.png")
    model, answers = trained.choose(TASK, trained_model, own=True), images.Answers(pictures)
    read = answers.read(images.grey_reader(model.config))
    given, notes = zip(*(picture.content for picture in read), strict=True)
    probabilities = model.predict(image=np.stack(given))["probabilities"]
    for picture, note, p in zip(read, notes, probabilities, strict=True):
        print(f"{files.printable(picture.path)} ({note})")
        for best in np.argsort(-p)[:top]:
            print(f"  {model.classes[best]}  {p[best]:.6f}")
    drawn = figures.answers(
        np.stack(given)[:SHOWN],
        probabilities.argmax(1)[:SHOWN],
        probabilities[:SHOWN],
        model.classes,
        "what the net is shown and what it predicts",
        f"model of {model.folder}",
    )
    commands.save(model, "predict", drawn)
    answers.end()


COMMANDS = commands.make(TASK) | {"evaluate": evaluate, "predict": predict}
