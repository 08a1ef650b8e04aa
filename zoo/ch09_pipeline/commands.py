"""The chapter's commands; the stages that dvc.yaml calls are in stages.py."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zoo.ch09_pipeline import record, stages, trace, workspace
from zoo.ch09_pipeline.params import Params
from zoo.ch09_pipeline.stages import Folder
from zoo.common import cli
from zoo.common.data import DataError
from zoo.common.run import RunError
from zoo.common.settings import Count, Seed

Recipe = Literal["book", "nodropout", "modern"]
Maker = Annotated[Path | None, tyro.conf.arg(name="workspace")]
PREDICTIONS = Path(record.FILES["predictions"])
_COMMAND = "python -m zoo.ch09_pipeline"


def init(
    folder: tyro.conf.Positional[Path],
    recipe: Recipe = "modern",
    epochs: Count = 3,
    seed: Seed = 0,
) -> None:
    """Make a workspace: a git and DVC repository with data/, params.yaml and dvc.yaml.

    Args:
        folder: new or empty
        recipe: the model; `swap` changes it
        epochs: passes over the training images; the book's pipeline makes one
        seed: of the weights, the order of the images, augmentation and dropout
    """
    workspace.init(folder, Params({"recipe": recipe, "epochs": epochs, "seed": seed}))
    print(f"workspace {folder}: recipe {recipe}, {epochs} epoch(s), no data yet")
    steps = f"{_COMMAND} put FILES  (or put --data real); {_COMMAND} run"
    print(f"next: cd {shlex.quote(str(folder))}; {steps}")


def put(
    files: tyro.conf.Positional[tuple[Path, ...]] = (),
    to: Literal["auto", "train", "test", "new"] = "auto",
    data: Literal["none", "auto", "real", "sample"] = "none",
    data_dir: Path | None = None,
    folder: Folder = Path(),
) -> None:
    """Add files to the data or replace them, as one new version.

    Batches in CIFAR-10's binary format (.bin, .bin.gz, .bin.xz) are for training, or for testing
    if their name begins with test; picture files are to be predicted. All are checked first.

    Args:
        files: what to put
        to: where to
        data: instead of files, CIFAR-10 as it is found or downloaded, or the built-in sample
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        folder: the workspace
    """
    if bool(files) == (data != "none"):
        raise DataError("name either files to put, or --data real, sample or auto")
    if data == "none":
        commit = workspace.put(folder, workspace.sort(files) if to == "auto" else {to: list(files)})
    else:
        workspace.check(folder)
        with workspace.cifar_files(data, data_dir) as (chosen, classes):
            commit = workspace.put(folder, chosen, classes)
    if commit is None:
        print("the data are unchanged: no new version")
        return
    newest = workspace.data_versions(folder)[-1]
    print(f"data version {commit[:12]}: {newest.files} files, {newest.size:,} bytes")


def run(folder: Folder = Path()) -> None:
    """Run what has changed since the last run (`dvc repro`), and commit data, inputs, results.

    A run that was stopped or killed resumes after its last finished stage, training after its last
    epoch.
    """
    metrics = workspace.run(folder)
    print(f"test accuracy {metrics['test_accuracy']:.4f}; predictions in {folder / PREDICTIONS}")


def swap(
    recipe: tyro.conf.Positional[Recipe], epochs: Count | None = None, folder: Folder = Path()
) -> None:
    """Change the model and run: book, the book's without dropout, or modern.

    Args:
        recipe: the model; its other settings in params.yaml stay
        epochs: passes over the training images; as before if not given
        folder: the workspace
    """
    model = workspace.check(folder).model | {"recipe": recipe}
    if epochs is not None:
        model["epochs"] = epochs
    if not workspace.change(folder, f"Model: {recipe}", model=model):
        print(f"the model is {recipe} already")
    run(folder)


def models(folder: Folder = Path()) -> None:
    """List the versions of the model: metrics, data version, and the commit to go back to."""
    workspace.check(folder)
    line = "{:<9} {:<17} {:<10} {:>6} {:>9} {:>13}  {:<9} {}".format
    print(line(*workspace.HEADS))
    for version in workspace.models(folder):
        print(line(*version.row()))
    print("an old one comes back by: git checkout RUN && dvc checkout")


def why(predictions: tyro.conf.Positional[Path] = PREDICTIONS, folder: Maker = None) -> None:
    """Show what made predictions: model, data, parameters, program; status 1 if a check fails.

    Args:
        predictions: the file, with its record provenance.json beside it
        folder: the workspace that made it; the one around the file if not given
    """
    chain = trace.check(folder or trace.workspace_of(predictions), predictions)
    for link in chain:
        print(f"{'BROKEN' if link.fault else 'ok':<7}{link.name:<12}{link.says}")
    if faults := [f"{link.name}: {link.fault}" for link in chain if link.fault]:
        raise RunError("; ".join(faults))


def reproduce(
    predictions: tyro.conf.Positional[Path] = PREDICTIONS,
    keep: Path | None = None,
    folder: Maker = None,
) -> None:
    """Make predictions again in a clean folder and compare them bit by bit; status 1 if not equal.

    Args:
        predictions: the file, with its record provenance.json beside it
        keep: a new folder to leave the clean one in; removed if not given
        folder: the workspace that made it; the one around the file if not given
    """
    found = trace.reproduce(folder or trace.workspace_of(predictions), predictions, keep)
    print(f"model: {'OTHER bits' if found.model else 'the same bits'}")
    print(f"predictions: {'OTHER bits' if found.predictions else 'the same bits'}")
    if found.versions:
        print(f"not the same versions: {found.versions}")
    if difference := found.predictions or found.model:
        raise RunError(f"{predictions} did not come out the same: {difference}")


def report(out: Path | None = None, folder: Folder = Path()) -> None:
    """Write one HTML page: what made the predictions, checks, metrics, figures, versions.

    Args:
        out: the page; report.html in the workspace if not given
        folder: the workspace
    """
    from zoo.ch09_pipeline import report as page

    workspace.check(folder)
    print(page.write(folder, out or folder / "report.html"))


COMMANDS: cli.Commands = {
    "init": init,
    "put": put,
    "run": run,
    "models": models,
    "swap": swap,
    "why": why,
    "reproduce": reproduce,
    "report": report,
    "prepare": stages.prepare,
    "train": stages.train,
    "evaluate": stages.evaluate,
    "predict": stages.predict,
}
