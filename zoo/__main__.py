"""A model zoo in JAX: its chapters, the data sets, and the trained models that come with it."""

from pathlib import Path

from tyro.conf import Positional

from zoo.common import cli, trained
from zoo.common.data import commands

CHAPTERS = {
    "ch01_graphs": "see the graph of any JAX function",
    "ch02_basic_nn": "the first network, activations, solvers",
    "ch03_mnist_ae_rbm": "MNIST by feed-forward net, autoencoder, RBM recommender",
    "ch04_gpu": "CPU against GPU, measured",
    "ch05_lstm": "recurrent networks that write",
    "ch06_cnn": "a convolutional network on CIFAR-10",
    "ch07_dqn": "a DQN that solves mazes",
    "ch08_vae": "variational autoencoders",
    "ch09_pipeline": "data versions and provenance",
    "ch10_deploy": "serving and scaling",
}


def chapters() -> None:
    """List the chapters and how to start each."""
    for name, what in CHAPTERS.items():
        print(f"python -m zoo.{name} --help    {what}")


def fetch(names: Positional[tuple[str, ...]], data_dir: Path | None = None) -> None:
    """Download data sets into the cache, each file checked against its checksum.

    Args:
        names: The data sets, by the names that `list` shows.
        data_dir: The folder to look in first; what is found there is not downloaded.
    """
    commands.fetch_data(names, data_dir)


def verify(names: Positional[tuple[str, ...]] = (), data_dir: Path | None = None) -> None:
    """Check every file that is here against its size and checksum; status 1 if one differs.

    Args:
        names: The data sets, by the names that `list` shows; none means all.
        data_dir: The folder to look in first, before $ZOO_DATA_DIR and the cache.
    """
    commands.verify_data(names, data_dir)


def publish(run: Positional[Path]) -> None:
    """Make the model of a run folder the one that comes with zoo.

    Args:
        run: The run's folder.
    """
    print(trained.publish(run))


if __name__ == "__main__":
    data = {"list": commands.list_data, "fetch": fetch, "verify": verify}
    cli.main(__doc__, {"chapters": chapters, "data": data, "publish": publish})
