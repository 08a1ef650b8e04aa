"""A file of predictions made again, from nothing but what its record names, and compared."""

import csv
import io
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from zoo.ch09_pipeline import engine, record, sources
from zoo.common.run import RunError


class Comparison(NamedTuple):
    """What came out the second time."""

    model: bool
    """whether the weights have the same bytes"""
    predictions: bool
    """whether the predictions have the same bytes"""
    difference: str
    """of the predictions, in words; empty if there is none"""
    versions: str
    """of Python and packages, where they are others than then; empty if they are the same"""


def reproduce(folder: Path, predictions: Path, keep: Path | None = None) -> Comparison:
    """Clones the workspace at the record's commit, takes the data from DVC's cache, runs it all.

    Nothing that an earlier run computed is used. On the CPU that it was made on, the bytes are the
    same; another processor may round otherwise.

    Args:
        folder: the workspace.
        predictions: the file, with its record beside it.
        keep: where to leave the clone; removed at the end if not given.

    Raises:
        RunError: it cannot be made again here: says what is missing.
    """
    made = record.read(predictions)
    if made["uncommitted"]:
        raise RunError(
            f"{predictions} was made with uncommitted {', '.join(made['uncommitted'])}: "
            "what it was made of is not known; make it by `run`"
        )
    here, then = sources.describe(), made["program"]
    if here["stages"] != then["stages"]:
        where = f"commit {then['commit']}" if then["commit"] else f"sources {then['stages'][:12]}"
        raise RunError(f"{predictions} was made by another zoo: install {where}, then try again")
    if keep is not None and keep.exists():
        raise RunError(f"{keep} is there already: choose a new folder to keep the clone in")
    with tempfile.TemporaryDirectory() as temporary:
        place = keep or Path(temporary, "clone")
        _clone(folder.resolve(), place, made["commit"])
        engine.dvc(place, "repro", quiet=False)
        again = record.read(place / made["predictions"]["file"])
        new = (place / made["predictions"]["file"]).read_bytes()
    old = predictions.read_bytes()
    return Comparison(
        again["model"]["sha256"] == made["model"]["sha256"],
        new == old,
        "" if new == old else compare(old.decode(), new.decode()),
        _differing(then["versions"], here["versions"]),
    )


def _clone(folder: Path, place: Path, commit: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    engine.git(folder, "clone", "--quiet", "--no-checkout", str(folder), str(place.resolve()))
    engine.git(place, "checkout", "--quiet", commit)
    (place / "dvc.lock").unlink(missing_ok=True)  # what was computed before counts for nothing
    (place / "metrics.json").unlink(missing_ok=True)
    cache = folder / ".dvc" / "cache"
    engine.dvc(place, "remote", "add", "--local", "--default", "workspace", str(cache))
    engine.dvc(place, "pull", "data.dvc")


def compare(old: str, new: str) -> str:
    """How two files of predictions differ, in words."""
    rows, others = (list(csv.reader(io.StringIO(text))) for text in (old, new))
    if len(rows) != len(others) or rows[0] != others[0]:
        return f"{len(rows) - 1:,} rows then, {len(others) - 1:,} now"
    pairs = [(a, b) for a, b in zip(rows[1:], others[1:], strict=True) if a != b]
    try:
        most = max(abs(float(x) - float(y)) for a, b in pairs
                   for x, y in zip(a[2:], b[2:], strict=True))  # fmt: skip
    except ValueError:
        return f"{len(pairs):,} of {len(rows) - 1:,} rows"
    return f"{len(pairs):,} of {len(rows) - 1:,} rows, probabilities by up to {most:.3g}"


def _differing(then: dict[str, Any], here: dict[str, Any]) -> str:
    names = [name for name in then if then[name] != here.get(name)]
    return ", ".join(f"{name} {then[name]} then, {here.get(name)} now" for name in names)
