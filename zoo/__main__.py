"""A model zoo in JAX: its chapters, the data sets, and the trained models that come with it."""

import inspect
import sys
from pathlib import Path

from tyro.conf import Positional

import zoo
from zoo import doctor

if sys.argv[1:2] == ["doctor"]:
    doctor.check_import()  # a JAX that can't be imported would end the imports below

from zoo.common import cli, runs, trained
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
        print(f"{f'python -m zoo.{name} --help':<40}  {what}")


def publish(run: Positional[Path]) -> None:
    """Make the model of a run folder the one that comes with zoo.

    Args:
        run: The run's folder.
    """
    print(trained.publish(run))


DATA: dict[str, cli.Command] = {
    "list": commands.list_data,
    "fetch": commands.fetch_data,
    "verify": commands.verify_data,
}
RUNS: dict[str, cli.Command] = {"list": runs.table, "compare": runs.compare}
COMMANDS: cli.Commands = {
    "chapters": chapters,
    "data": DATA,
    "doctor": doctor.doctor,
    "publish": publish,
    "runs": RUNS,
}


def overview() -> None:
    """Print the chapters and the commands."""
    print(f"{__doc__}\n")
    chapters()
    print()
    named = {f"data {name}": command for name, command in DATA.items()}
    named |= {"runs": runs.table, "runs compare": runs.compare}
    for name, command in {**COMMANDS, **named}.items():
        if callable(command):
            about = (inspect.getdoc(command) or "").partition("\n")[0]
            print(f"{f'python -m zoo {name}':<40}  {about}")
    print("\n--help after a command describes its options; --version prints zoo's version.")


if __name__ == "__main__":
    if not sys.argv[1:]:
        overview()
    elif sys.argv[1:] == ["--version"]:
        print(f"zoo {zoo.__version__}")
    else:
        if sys.argv[1] == "runs" and not {*sys.argv[2:3]} & {*RUNS, "-h", "--help"}:
            sys.argv.insert(2, "list")
        cli.main(__doc__, COMMANDS)
