"""A file of predictions made again, from nothing but what its record names, and compared."""

import csv
import io
import tempfile
from pathlib import Path
from typing import NamedTuple

from zoo.ch09_pipeline import engine, record, sources, workspace
from zoo.common.run import RunError


class Comparison(NamedTuple):
    """How what came out the second time differs, in words; empty where it does not."""

    model: str  # its weights, byte by byte
    predictions: str
    versions: str  # of Python and packages


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
    workspace.check(folder)
    made = record.read(predictions)
    if made["uncommitted"]:
        raise RunError(
            f"{predictions} was made with uncommitted {made['uncommitted']}: "
            "what it was made of is not known; make it by `run`"
        )
    here, then = sources.describe(), made["program"]
    if here["stages"] != then["stages"]:
        where = f"commit {then['commit']}" if then["commit"] else f"sources {then['stages'][:12]}"
        raise RunError(f"{predictions} was made by another zoo: install {where}, then try again")
    if keep is not None and keep.exists():
        raise RunError(f"{keep} exists already: choose a new folder to keep the clone in")
    with tempfile.TemporaryDirectory() as temporary:
        clone = keep or Path(temporary, "clone")
        _clone(folder.resolve(), clone, made["commit"])
        engine.dvc(clone, "repro", quiet=False)
        again = clone / record.FILES["predictions"]
        old, new = predictions.read_bytes(), again.read_bytes()
        model = record.read(again)["model"]["sha256"]
    versions = here["versions"]
    differ = [
        f"{name} {version} then, {versions.get(name)} now"
        for name, version in then["versions"].items()
        if version != versions.get(name)
    ]
    return Comparison(
        "" if model == made["model"]["sha256"] else "the model",
        "" if new == old else compare(old.decode(), new.decode()),
        ", ".join(differ),
    )


def _clone(folder: Path, clone: Path, commit: str) -> None:
    clone.parent.mkdir(parents=True, exist_ok=True)
    engine.git(folder, "clone", "--quiet", "--no-checkout", str(folder), str(clone.resolve()))
    engine.git(clone, "checkout", "--quiet", commit)
    (clone / "dvc.lock").unlink(missing_ok=True)  # nothing counts as computed already
    (clone / "metrics.json").unlink(missing_ok=True)
    cache = folder / ".dvc" / "cache"
    engine.dvc(clone, "remote", "add", "--local", "--default", "workspace", str(cache))
    engine.dvc(clone, "pull", "data.dvc")


def compare(old: str, new: str) -> str:
    """How two files of predictions differ, in words."""
    rows, others = (list(csv.reader(io.StringIO(text))) for text in (old, new))
    if len(rows) != len(others) or rows[0] != others[0]:
        return f"{len(rows) - 1:,} rows then, {len(others) - 1:,} now"
    pairs = [(a, b) for a, b in zip(rows[1:], others[1:], strict=True) if a != b]
    text = f"{len(pairs):,} of {len(rows) - 1:,} rows"
    try:
        numbers = [(a[2:], b[2:]) for a, b in pairs]
        most = max(abs(float(x) - float(y)) for a, b in numbers for x, y in zip(a, b, strict=True))
    except ValueError:  # not as many numbers, or no numbers
        return text
    return f"{text}, probabilities by up to {most:.3g}"
