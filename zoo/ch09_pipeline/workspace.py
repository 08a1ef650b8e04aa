"""A workspace: a git and DVC repository with the data, the parameters, the pipeline, its results.

    data/             under DVC: train/, test/, and new/ with pictures to predict
    params.yaml       what to compute          code.json    the program that computes
    dvc.yaml          the stages               dvc.lock     what they made of what
    prepared/  model/  predictions/            by DVC; their bytes are in its cache
    metrics.json      by git                   runs/        chapter 6's run folders, not kept

Commands that change a workspace hold its lock; each ends in a commit.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from zoo.ch09_pipeline import engine, params, record, stages
from zoo.ch09_pipeline.params import Params
from zoo.common import run as runs
from zoo.common.data import DataError, cifar10, dataset, files, sample
from zoo.common.data.registry import CIFAR10
from zoo.common.run import RunError

HOME = ("dvc.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore")
INPUTS = ("params.yaml", "code.json", "data.dvc", *HOME)
RESULTS = ("dvc.lock", "metrics.json")
_IGNORED = "/data\n/prepared\n/model\n/evaluation\n/predictions\n/runs\n/report.html\n"
_SETTINGS = "[core]\n    analytics = false\n    check_update = false\n    autostage = true\n"
_COMMAND = "python -m zoo.ch09_pipeline"
_PIPELINE = f"""\
# Written by `{_COMMAND} init`. `dvc dag` draws it, `{_COMMAND} run` runs it.
stages:
  prepare:
    cmd: {_COMMAND} prepare
    deps: [data]
    params:
      - code.json: [stages, versions]
    outs: [prepared/train.npz, prepared/test.npz, prepared/new.npz, prepared/manifest.json]
  train:
    cmd: {_COMMAND} train
    deps: [prepared/train.npz]
    params:
      - model
      - classes
      - device
      - code.json: [stages, versions]
    outs: [model/weights.safetensors, model/card.json, model/history.json]
  evaluate:
    cmd: {_COMMAND} evaluate
    deps: [prepared/test.npz, model/weights.safetensors, model/card.json]
    params: [device]
    outs: [evaluation/confusion.json]
    metrics:
      - metrics.json: {{cache: false}}
  predict:
    cmd: {_COMMAND} predict
    deps: [prepared/new.npz, model/weights.safetensors, model/card.json]
    params: [device]
    outs: [predictions/predictions.csv, predictions/provenance.json]
"""


def init(folder: Path, chosen: Params) -> str:
    """Makes a workspace in a new or empty folder; returns the first commit.

    Raises:
        RunError: the folder is not empty, or git or DVC is missing.
    """
    engine.require()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty: choose a new folder for the workspace")
    folder.mkdir(parents=True, exist_ok=True)
    engine.git(folder, "init", "--quiet")
    engine.dvc(folder, "init", "--quiet")
    runs.write(folder / ".dvc/config", _SETTINGS)
    for which in stages.SETS:
        (folder / "data" / which).mkdir(parents=True)
    runs.write(folder / ".gitignore", _IGNORED)
    runs.write(folder / "dvc.yaml", _PIPELINE)
    params.write(folder, chosen)
    _note_program(folder)
    return engine.commit(folder, "A new workspace", *INPUTS)


def _note_program(folder: Path) -> None:
    about = record.program()  # what would make the stages run again, and no more
    runs.write_json(folder / "code.json", {name: about[name] for name in ("stages", "versions")})


def check(folder: Path) -> Params:
    """The parameters of a workspace; a RunError if it is none, or git or DVC is missing."""
    engine.require()
    chosen = params.read(folder)
    if not (folder / ".dvc").is_dir():
        raise RunError(f"{folder} has {params.FILE} but no .dvc: it is no workspace")
    return chosen


@contextlib.contextmanager
def cifar_files(
    data: str, data_dir: Path | None = None
) -> Iterator[tuple[dict[str, list[Path]], tuple[str, ...]]]:
    """The files of CIFAR-10, all but the last to train on, and the names of their classes.

    Args:
        data: auto, real or sample, as everywhere in zoo.
        data_dir: searched first.
    """
    with dataset.opened(CIFAR10, data, data_dir) as found:
        paths = []
        for name in found.names:
            path, compare = found.at(name)
            if compare is not None:
                cifar10.read_batch(path, compare)  # notes in `found` what is not the published file
            paths.append(path)
        classes = cifar10.CLASSES if found.kind == "real" else sample.SHAPES
        if found.unknown:  # other people's pictures have other classes
            classes = tuple("0123456789")
        *train, test = paths
        yield {"train": train, "test": [test]}, classes


def sort(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by where they belong: batches named test... to test, others to train, pictures new."""
    sorted_: dict[str, list[Path]] = {}
    for path in paths:
        name = path.name.lower()
        batch = name.endswith(stages.BATCHES)
        which = "new" if not batch else "test" if name.startswith("test") else "train"
        sorted_.setdefault(which, []).append(path)
    return sorted_


def put(
    folder: Path, chosen: dict[str, list[Path]], classes: Sequence[str] | None = None
) -> str | None:
    """Adds or replaces files of data and commits a data version; None if it is the same.

    The files are staged first; then a note of what is to be done decides that it is done. A `put`
    that is killed before has changed nothing, and one that is killed later is ended by the next
    command, before it does anything else.

    Args:
        folder: the workspace.
        chosen: the files for train, test and new.
        classes: the names of the classes, if others than before.

    Raises:
        DataError: a file is neither batch nor picture, or damaged; nothing has changed then.
    """
    check(folder)
    pairs = [(which, path) for which, paths in chosen.items() for path in paths]
    names = [path.name for _, path in pairs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"two files are named {twice.pop()}: put one of them, or rename it")
    for which, path in pairs:
        if path.name.startswith(".") or not path.name.isprintable():
            name = files.printable(repr(path.name))
            raise DataError(f"{name}: found a hidden or unprintable name, expected a plain one")
        if stages.read_file(path)[1] is None and which != "new":
            raise DataError(f"{path} has no labels: pictures go to new, by --to new")
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    with _locked(folder, "put"):
        # On the data's disk, so that a file is moved in at once.
        staged = Path(tempfile.mkdtemp(prefix="put-", dir=folder / ".dvc" / "tmp"))
        try:
            for _, path in pairs:
                shutil.copyfile(path, staged / path.name)
            intent = {
                "files": [[which, path.name] for which, path in pairs],
                "classes": None if classes is None else list(classes),
                "message": f"Data: put {shown}",
            }
            runs.write_json(staged / engine.INTENT, intent)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        return _finish(folder, staged)


@contextlib.contextmanager
def _locked(folder: Path, what: str) -> Iterator[int]:
    """Holds the workspace, and ends a `put` that was killed."""
    with engine.locked(folder, what) as lock:
        for staged in (folder / ".dvc" / "tmp").glob("put-*"):
            _finish(folder, staged)
        yield lock


def _finish(folder: Path, staged: Path) -> str | None:
    """Does what the note beside staged files says, as far as it is not done; commits it."""
    intent = runs.read_json(staged / engine.INTENT)
    for which, name in intent["files"]:
        _move(staged / name, folder / "data" / which)
    commit = _note_data(folder, intent["message"])
    if classes := intent["classes"]:
        chosen = dataclasses.replace(params.read(folder), classes=tuple(classes))
        params.write(folder, chosen)
        engine.commit(folder, f"Classes: {', '.join(classes)}", params.FILE)
    shutil.rmtree(staged)
    return commit


def _move(source: Path, target: Path) -> None:
    """Moves a file in; one that differs only in its compression would count twice, and goes."""
    target.mkdir(parents=True, exist_ok=True)
    if source.exists():  # else it was moved before
        os.replace(source, target / source.name)
    plain = source.name.removesuffix(".gz").removesuffix(".xz")
    for name in {plain, f"{plain}.gz", f"{plain}.xz"} - {source.name}:
        (target / name).unlink(missing_ok=True)


def _note_data(folder: Path, message: str) -> str | None:
    newest = ("log", "-1", "--format=%H", "--", "data.dvc")
    before = engine.git(folder, *newest, check=False)
    engine.dvc(folder, "add", "data")  # not --quiet, which hides reasons, too
    engine.commit(folder, message, "data.dvc")
    after = engine.git(folder, *newest)
    return after if after != before else None


def change(folder: Path, message: str, **fields: Any) -> bool:
    """Changes parameters and commits them; whether there was anything to change."""
    check(folder)
    with _locked(folder, message):
        before = params.read(folder)
        after = dataclasses.replace(before, **fields)
        _ = after.config  # raises what is wrong before it is written
        if after == before:
            return False
        params.write(folder, after)
        engine.commit(folder, message, params.FILE)
    return True


def run(folder: Path) -> dict[str, Any]:
    """Commits what has changed, runs the stages that depend on it, commits the results.

    Returns:
        metrics.json.

    Raises:
        RunError: another command works here, or a stage failed.
    """
    check(folder)
    found = [stages.listed(folder, which) for which in stages.SETS]  # all: each may refuse
    if not any(found):
        raise RunError(f"{folder / 'data'} has no files yet: `{_COMMAND} put FILES`")
    with _locked(folder, "run") as lock:
        # Before the stages: the record of the predictions names these commits.
        _note_program(folder)
        _note_data(folder, "Data: changed in place")
        engine.commit(folder, "Parameters, program", *INPUTS)
        engine.dvc(folder, "repro", quiet=False, lock=lock)
        metrics = runs.read_json(folder / "metrics.json")
        recipe = params.read(folder).model["recipe"]
        message = f"Run: {recipe}, test accuracy {metrics['test_accuracy']:.4f}"
        engine.commit(folder, message, *RESULTS)
    return metrics


HEADS = ("run", "date", "recipe", "epochs", "accuracy", "cross-entropy", "weights", "data")


class Version(NamedTuple):
    """A model as one run made it."""

    run: str  # commit of the run
    date: str  # of that commit, ISO 8601
    recipe: str  # one of `params.VARIANTS`
    epochs: int
    metrics: dict[str, Any]  # metrics.json of the run
    weights: str  # MD5 of the weights, by which DVC's cache knows them
    data: str  # commit of the data version

    def row(self) -> tuple[str, ...]:
        """The texts of a table's row, under `HEADS`."""
        accuracy, entropy = (self.metrics[f"test_{m}"] for m in ("accuracy", "cross_entropy"))
        first = self.run[:8], minute(self.date), self.recipe, str(self.epochs)
        return *first, f"{accuracy:.4f}", f"{entropy:.4f}", self.weights[:8], self.data[:8]


class DataVersion(NamedTuple):
    """A version of the data."""

    commit: str
    date: str
    message: str
    files: int
    size: int  # bytes


def minute(date: str) -> str:
    """An ISO 8601 date to the minute, with a space before the hour."""
    return date[:16].replace("T", " ")


def show(folder: Path, commit: str, name: str) -> str:
    """A file as it was at a commit, exactly; empty where it did not exist."""
    text = engine.git(folder, "show", f"{commit}:{name}", check=False)
    return f"{text}\n" if text else ""


def outputs(lock: str) -> dict[str, str]:
    """The MD5 of each output in the text of a dvc.lock."""
    found = (yaml.safe_load(lock) or {}).get("stages", {})
    return {out["path"]: out["md5"] for stage in found.values() for out in stage.get("outs", ())}


def _log(folder: Path, name: str) -> list[list[str]]:
    listed = engine.git(folder, "log", "--reverse", "--format=%H%x09%cI%x09%s", "--", name)
    return [line.split("\t", 2) for line in listed.splitlines()]


def models(folder: Path) -> list[Version]:
    """The models that runs have made, oldest first; one that came back is listed again.

    Raises:
        RunError: nothing was run yet.
    """
    found: list[Version] = []
    for commit, date, _ in _log(folder, "dvc.lock"):
        weights = outputs(show(folder, commit, "dvc.lock")).get("model/weights.safetensors")
        metrics = show(folder, commit, "metrics.json")
        if weights is None or not metrics:
            continue
        chosen = params.parse(show(folder, commit, params.FILE))
        data = engine.git(folder, "log", "-1", "--format=%H", commit, "--", "data.dvc")
        recipe, epochs = chosen.model["recipe"], chosen.config.epochs
        one = Version(commit, date, recipe, epochs, json.loads(metrics), weights, data)
        if not found or (one.weights, one.metrics) != (found[-1].weights, found[-1].metrics):
            found.append(one)
    if not found:
        raise RunError(f"no model in {folder} yet: `{_COMMAND} run` trains one")
    return found


def data_versions(folder: Path) -> list[DataVersion]:
    """The versions of the data, oldest first."""
    found = []
    for commit, date, message in _log(folder, "data.dvc"):
        if not (text := show(folder, commit, "data.dvc")):
            continue  # a commit that removed it
        (out,) = yaml.safe_load(text)["outs"]
        found.append(DataVersion(commit, date, message, out.get("nfiles", 0), out.get("size", 0)))
    return found
