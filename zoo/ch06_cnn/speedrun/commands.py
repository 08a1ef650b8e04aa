"""The commands of the speed run: those of the main model, and `train` with a target."""

from zoo.ch06_cnn.cnn.commands import evaluate, make
from zoo.ch06_cnn.speedrun import model
from zoo.ch06_cnn.speedrun.task import TASK
from zoo.common import cli, commands, run
from zoo.common.settings import Share


def train(config: model.Config, options: cli.Options, target: Share | None = None) -> None:
    """Train the network of the speed run; Ctrl-C saves, --resume DIR goes on.

    The test accuracy after each epoch is of one view of each image; at the end predictions average
    over all views, and evaluation.json is written. On two cores of a CPU use --recipe speedrun-cpu.

    Args:
        config: the speed run
        options: data, device, folder
        target: the wanted test accuracy, 0.94 for example; prints whether it was reached
    """
    trained = commands.train(TASK, config, options)
    dataset = trained.dataset(options.data_dir)
    found = evaluate(trained, dataset, options.data_dir)["test_accuracy"]
    seconds = run.read_json(trained.folder / "summary.json")["train_seconds"]
    print(f"{seconds:.1f} s of training")
    if target is not None:
        verdict = "reached" if found >= target else f"missed by {target - found:.2%}"
        print(f"target {target:.2%}: {verdict}")


COMMANDS = make(TASK) | {"train": train}
