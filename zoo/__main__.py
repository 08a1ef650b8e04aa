"""A model zoo in JAX: its chapters, the data sets, and the trained models that come with it."""

import inspect
import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

import zoo
from zoo import doctor

if sys.argv[1:2] == ["doctor"]:
    doctor.check_import()  # a JAX that can't be imported would end the imports below

from zoo.common import cli, runs, trained
from zoo.common.data import commands
from zoo.common.settings import Bounds

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


def visit(
    out: Path | None = None, port: Annotated[int, Bounds(0, 65535)] = 0, browser: bool = True
) -> None:
    """Open a page on which the published models run in your browser, or write it as files.

    Args:
        out: folder to write the page to, for any host of static files; it must be new or empty
        port: of the server on 127.0.0.1; 0 for any free one
        browser: open it in the browser; else its address is printed alone
    """
    from zoo.visit import serve  # here, since it imports most of the chapters

    serve.visit(out, port, browser)


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
    "visit": visit,
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
