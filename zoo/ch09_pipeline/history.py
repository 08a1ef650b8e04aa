"""What a workspace's history holds: versions of the data, and of the model with its metrics."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from zoo.ch09_pipeline import engine, params
from zoo.common.run import RunError

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
        raise RunError(f"no model in {folder} yet: `python -m zoo.ch09_pipeline run` trains one")
    return found


def data_versions(folder: Path) -> list[DataVersion]:
    """The versions of the data, oldest first."""
    found = []
    for commit, date, message in _log(folder, "data.dvc"):
        (out,) = yaml.safe_load(show(folder, commit, "data.dvc"))["outs"]
        found.append(DataVersion(commit, date, message, out.get("nfiles", 0), out.get("size", 0)))
    return found
