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
from typing import Any

from zoo.ch09_pipeline import engine, params, sources, stages
from zoo.ch09_pipeline.params import Params
from zoo.common import run as runs
from zoo.common.data import DataError, fetch, sample
from zoo.common.data.registry import CIFAR10
from zoo.common.run import RunError

HOME = ("dvc.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore")
INPUTS = ("params.yaml", "code.json", "data.dvc", *HOME)
RESULTS = ("dvc.lock", "metrics.json")
_IGNORED = "/data\n/prepared\n/model\n/evaluation\n/predictions\n/runs\n/report.html\n"
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
    for name, value in {"analytics": "false", "check_update": "false", "autostage": "true"}.items():
        engine.dvc(folder, "config", f"core.{name}", value)
    for which in stages.SETS:
        (folder / "data" / which).mkdir(parents=True)
    runs.write(folder / ".gitignore", _IGNORED)
    runs.write(folder / "dvc.yaml", _PIPELINE)
    params.write(folder, chosen)
    _note_program(folder)
    return engine.commit(folder, "A new workspace", *INPUTS)


def _note_program(folder: Path) -> None:
    about = sources.describe()  # what would make the stages run again, and no more
    text = json.dumps({name: about[name] for name in ("stages", "versions")}, indent=2) + "\n"
    path = folder / "code.json"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        runs.write(path, text)


def check(folder: Path) -> Params:
    """The parameters of a workspace; a RunError if it is none, or git or DVC is missing."""
    engine.require()
    chosen = params.read(folder)
    if not (folder / ".dvc").is_dir():
        raise RunError(f"{folder} has {params.FILE} but no .dvc: it is no workspace")
    return chosen


@contextlib.contextmanager
def cifar_files(data: str, data_dir: Path | None = None) -> Iterator[tuple[dict, bool]]:
    """The files of CIFAR-10, all but the last to train on, and whether they are the sample's.

    Args:
        data: auto, real or sample, as everywhere in zoo.
        data_dir: searched first.
    """
    found = fetch.resolve(CIFAR10, data, data_dir, *CIFAR10.usable)
    names = found.names or CIFAR10.usable[0]
    with contextlib.ExitStack() as stack:
        source = found.source or stack.enter_context(sample.folder("cifar10"))
        paths = [fetch.path(CIFAR10, source, name) for name in names]
        yield {"train": paths[:-1], "test": paths[-1:]}, found.source is None


def sort(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by where they belong: batches named test... to test, others to train, pictures new."""
    sorted_: dict[str, list[Path]] = {}
    for path in paths:
        name = path.name.lower()
        batch = name.endswith(stages.BATCHES)
        which = "new" if not batch else "test" if name.startswith("test") else "train"
        sorted_.setdefault(which, []).append(path)
    return sorted_


def put(folder: Path, chosen: dict[str, list[Path]]) -> str | None:
    """Adds or replaces files of data and commits a data version; None if it is the same.

    Args:
        folder: the workspace.
        chosen: the files for train, test and new.

    Raises:
        DataError: a file is neither batch nor picture, or damaged; nothing has changed then.
    """
    check(folder)
    names = [path.name for paths in chosen.values() for path in paths]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"two files are named {twice.pop()}: put one of them, or rename it")
    for path in (path for paths in chosen.values() for path in paths):
        if stages.read_file(path)[1] is None and path not in chosen.get("new", ()):
            raise DataError(f"{path} has no labels: pictures go to new, by --to new")
    # On the data's disk, so that a file that was copied whole is moved in at once.
    scratch = folder / ".dvc" / "tmp"
    with (
        engine.locked(folder, "put"),
        tempfile.TemporaryDirectory(prefix="put-", dir=scratch) as beside,
    ):
        moves = []
        for which, paths in chosen.items():
            for path in paths:
                (Path(beside) / which).mkdir(exist_ok=True)
                copy = shutil.copyfile(path, Path(beside) / which / path.name)
                moves.append((copy, folder / "data" / which))
        for copy, target in moves:
            _move(copy, target)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return _note_data(folder, f"Data: put {shown}")


def _move(source: Path, target: Path) -> None:
    """Moves a file in; one that differs only in its compression would count twice, and goes."""
    target.mkdir(parents=True, exist_ok=True)
    os.replace(source, target / source.name)
    plain = source.name.removesuffix(".gz").removesuffix(".xz")
    for name in {plain, f"{plain}.gz", f"{plain}.xz"} - {source.name}:
        (target / name).unlink(missing_ok=True)


def _note_data(folder: Path, message: str) -> str | None:
    newest = ("log", "-1", "--format=%H", "--", "data.dvc")
    before = engine.git(folder, *newest, check=False)
    engine.dvc(folder, "add", "--quiet", "data")
    engine.commit(folder, message, "data.dvc")
    after = engine.git(folder, *newest)
    return after if after != before else None


def change(folder: Path, message: str, **fields: Any) -> bool:
    """Changes parameters and commits them; whether there was anything to change."""
    check(folder)
    with engine.locked(folder, message):
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
    if not any(stages.listed(folder, which) for which in stages.SETS):
        raise RunError(f"{folder / 'data'} has no files yet: `{_COMMAND} put FILES`")
    with engine.locked(folder, "run") as lock:
        _note_program(folder)
        _note_data(folder, "Data: changed in place")
        engine.commit(folder, "Parameters, program", *INPUTS)
        engine.dvc(folder, "repro", quiet=False, lock=lock)
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        recipe = params.read(folder).model["recipe"]
        message = f"Run: {recipe}, test accuracy {metrics['test_accuracy']:.4f}"
        engine.commit(folder, message, *RESULTS)
    return metrics
