"""What the chapter does on the command line."""

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zoo.ch09_pipeline import engine, history, params, record, stages, trace, workspace
from zoo.ch09_pipeline import predict as predicting
from zoo.ch09_pipeline import reproduce as reproducing
from zoo.ch09_pipeline.params import Params
from zoo.common.data import DataError, cifar10, sample
from zoo.common.run import RunError

Recipe = Literal["book", "nodropout", "modern"]
PREDICTIONS = Path("predictions", "predictions.csv")
_NEXT = "python -m zoo.ch09_pipeline"


def init(
    folder: tyro.conf.Positional[Path], recipe: Recipe = "book", epochs: int = 1, seed: int = 0
) -> None:
    """Make a workspace: a git and DVC repository with data/, params.yaml and dvc.yaml.

    Args:
        folder: new or empty
        recipe: the model; `swap` changes it
        epochs: passes over the training images; the book's pipeline makes one
        seed: of the weights, the order of the images, augmentation and dropout
    """
    chosen = Params({"recipe": recipe, "epochs": epochs, "seed": seed})
    workspace.init(folder, chosen)
    print(f"workspace {folder}: recipe {recipe}, {epochs} epoch(s), no data yet")
    print(f"next: cd {folder}; {_NEXT} put FILES  (or put --data real); {_NEXT} run")


def put(
    files: tyro.conf.Positional[tuple[Path, ...]] = (),
    to: Literal["auto", "train", "test", "new"] = "auto",
    data: Literal["none", "auto", "real", "sample"] = "none",
    data_dir: Path | None = None,
    workspace_dir: Annotated[Path, tyro.conf.arg(name="workspace")] = Path(),
) -> None:
    """Add files to the data or replace them, as one new version.

    Batches in CIFAR-10's binary format (.bin, .bin.gz, .bin.xz) are for training, or for testing
    if their name begins with test; picture files are to be predicted. All are checked first.

    Args:
        files: what to put
        to: where to
        data: instead of files, CIFAR-10 as it is found or downloaded, or the built-in sample
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        workspace_dir: the workspace
    """
    if bool(files) == (data != "none"):
        raise DataError("name either files to put, or --data real, sample or auto")
    if data == "none":
        chosen = workspace.sort(files) if to == "auto" else {to: list(files)}
        commit = workspace.put(workspace_dir, chosen)
    else:
        workspace.check(workspace_dir)
        with workspace.cifar_files(data, data_dir) as (chosen, is_sample):
            commit = workspace.put(workspace_dir, chosen)
        classes = sample.SHAPES if is_sample else cifar10.CLASSES
        workspace.change(workspace_dir, f"Classes: {', '.join(classes)}", classes=classes)
    if commit is None:
        print("the data are as they were: no new version")
        return
    newest = history.data_versions(workspace_dir)[-1]
    print(f"data version {commit[:12]}: {newest.files} files, {newest.size:,} bytes")


def _workspace_run(folder: Path) -> None:
    metrics = workspace.run(folder)
    print(f"test accuracy {metrics['test_accuracy']:.4f}; predictions in {folder / PREDICTIONS}")


def run(workspace_dir: Annotated[Path, tyro.conf.arg(name="workspace")] = Path()) -> None:
    """Run what has changed since the last run (`dvc repro`), and commit data, inputs, results.

    Killed or stopped, it goes on from the last finished stage, and training from its last epoch.

    Args:
        workspace_dir: the workspace
    """
    _workspace_run(workspace_dir)


def swap(
    recipe: tyro.conf.Positional[Recipe],
    epochs: int | None = None,
    workspace_dir: Annotated[Path, tyro.conf.arg(name="workspace")] = Path(),
) -> None:
    """Change the model and run: book, the book's without dropout, or modern.

    Args:
        recipe: the model; its other settings in params.yaml stay
        epochs: passes over the training images; as before if not given
        workspace_dir: the workspace
    """
    before = workspace.check(workspace_dir)
    model = before.model | {"recipe": recipe} | ({} if epochs is None else {"epochs": epochs})
    if not workspace.change(workspace_dir, f"Model: {recipe}", model=model):
        print(f"the model is {recipe} already")
    _workspace_run(workspace_dir)


def parallel(
    shards: tyro.conf.Positional[int],
    workspace_dir: Annotated[Path, tyro.conf.arg(name="workspace")] = Path(),
) -> None:
    """Set how many processes predict side by side, and run; nothing is trained again.

    Args:
        shards: their number, 1 or more; the predictions' bytes do not depend on it
        workspace_dir: the workspace
    """
    if shards < 1:
        raise RunError(f"got {shards} shards, expected 1 or more")
    if not workspace.change(workspace_dir, f"Predict in {shards} shards", shards=shards):
        print(f"there are {shards} shards already")
    _workspace_run(workspace_dir)


def models(workspace_dir: Annotated[Path, tyro.conf.arg(name="workspace")] = Path()) -> None:
    """List the versions of the model: metrics, data version, and the commit to go back to.

    Args:
        workspace_dir: the workspace
    """
    workspace.check(workspace_dir)
    line = "{:<9} {:<17} {:<10} {:>6} {:>9} {:>13}  {:<9} {}".format
    print(line("run", "date", "recipe", "epochs", "accuracy", "cross-entropy", "weights", "data"))
    for v in history.models(workspace_dir):
        date, metrics = v.date[:16].replace("T", " "), v.metrics
        accuracy, entropy = (metrics[f"test_{m}"] for m in ("accuracy", "cross_entropy"))
        shares = f"{accuracy:.4f}", f"{entropy:.4f}"
        print(line(v.run[:8], date, v.recipe, v.epochs, *shares, v.weights[:8], v.data[:8]))
    print("an old one comes back by: git checkout RUN && dvc checkout")


def why(
    predictions: tyro.conf.Positional[Path] = PREDICTIONS,
    workspace_dir: Annotated[Path | None, tyro.conf.arg(name="workspace")] = None,
) -> None:
    """Say what made predictions: model, data, parameters, program; check each; status 1 if broken.

    Args:
        predictions: the file, with its record provenance.json beside it
        workspace_dir: the workspace that made it; the one around the file if not given
    """
    folder = workspace_dir or trace.workspace_of(predictions)
    chain = trace.check(folder, predictions)
    for link in chain:
        print(f"{'BROKEN' if link.fault else 'ok':<7}{link.name:<12}{link.says}")
    if broken := [link for link in chain if link.fault]:
        raise RunError("; ".join(f"{link.name}: {link.fault}" for link in broken))


def reproduce(
    predictions: tyro.conf.Positional[Path] = PREDICTIONS,
    keep: Path | None = None,
    workspace_dir: Annotated[Path | None, tyro.conf.arg(name="workspace")] = None,
) -> None:
    """Make predictions again in a clean folder and compare them bit by bit; status 1 if not equal.

    Args:
        predictions: the file, with its record provenance.json beside it
        keep: a new folder to leave the clean one in; removed if not given
        workspace_dir: the workspace that made it; the one around the file if not given
    """
    engine.require()
    folder = workspace_dir or trace.workspace_of(predictions)
    params.read(folder)
    found = reproducing.reproduce(folder, predictions, keep)
    print(f"model: {'the same bits' if found.model else 'OTHER bits'}")
    print(f"predictions: {'the same bits' if found.predictions else 'OTHER bits'}")
    if found.versions:
        print(f"not the same versions: {found.versions}")
    if not (found.model and found.predictions):
        raise RunError(
            f"{predictions} did not come out the same: {found.difference or 'the model'}"
        )


def report(
    out: Path | None = None,
    workspace_dir: Annotated[Path, tyro.conf.arg(name="workspace")] = Path(),
) -> None:
    """Write one HTML page: lineage, checks, metrics, figures, versions of models and data.

    Args:
        out: the page; report.html in the workspace if not given
        workspace_dir: the workspace
    """
    from zoo.ch09_pipeline import report as page

    workspace.check(workspace_dir)
    print(page.write(workspace_dir, out or workspace_dir / "report.html"))


# The stages, as dvc.yaml calls them: each works in the workspace that is the current folder.


def prepare() -> None:
    """Stage: read and check data/, write prepared/."""
    stages.prepare(Path("data"), Path("prepared"))


def train() -> None:
    """Stage: train on prepared/train.npz, write model/; goes on where it was broken off."""
    stages.train(Path("prepared"), Path("model"), params.read(Path()), Path("runs"))


def evaluate() -> None:
    """Stage: measure the model on prepared/test.npz, write metrics.json."""
    predicting.evaluate(
        Path("prepared"), Path("model"), Path("metrics.json"),
        Path("evaluation/confusion.json"), params.read(Path()),
    )  # fmt: skip


def _shard_command() -> list[str]:
    return [sys.executable, "-m", "zoo.ch09_pipeline", "predict-shard"]


def predict() -> None:
    """Stage: predict the pictures of prepared/new.npz, write predictions/ with its record."""
    out = PREDICTIONS.parent
    predicting.predict(
        Path("prepared"), Path("model"), out, params.read(Path()), _shard_command()
    )  # fmt: skip
    record.write(out / record.NAME, record.make(Path(), [*_NEXT.split(), "predict"]))


def predict_shard(shard: tyro.conf.Positional[int], out: tyro.conf.Positional[Path]) -> None:
    """Compute one shard of the predictions, as `predict` has it done.

    Args:
        shard: its number, from 0
        out: the .npy file to write
    """
    predicting.predict_shard(Path("prepared"), Path("model"), params.read(Path()), shard, out)


def job(
    data: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    params_file: Annotated[Path | None, tyro.conf.arg(name="params")] = None,
) -> None:
    """Run all stages once without DVC: what the Pachyderm pipeline's container does.

    Args:
        data: a folder with train/, test/ and, maybe, new/
        out: folder for model/, evaluation/, predictions/ and metrics.json
        params_file: a workspace's params.yaml; without one, the book's recipe, one epoch
    """
    chosen = Params({"recipe": "book", "epochs": 1})
    if params_file is not None:
        chosen = params.parse(params_file.read_text(encoding="utf-8"), str(params_file))
    chosen = dataclasses.replace(chosen, shards=1)  # one process: the container is the whole job
    trained, confusion = out / "model", out / "evaluation/confusion.json"
    with tempfile.TemporaryDirectory() as temporary:
        prepared = Path(temporary, "prepared")
        stages.prepare(data, prepared)
        stages.train(prepared, trained, chosen, Path(temporary, "runs"))
        predicting.evaluate(prepared, trained, out / "metrics.json", confusion, chosen)
        predicting.predict(prepared, trained, out / "predictions", chosen, _shard_command())


COMMANDS = {
    "init": init,
    "put": put,
    "run": run,
    "models": models,
    "swap": swap,
    "parallel": parallel,
    "why": why,
    "reproduce": reproduce,
    "report": report,
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "predict-shard": predict_shard,
    "job": job,
}
