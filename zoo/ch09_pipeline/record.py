"""The provenance record beside a file of predictions: what exactly made it.

A record names, each with its hash, the predictions, the model, the data version and each of its
files, the parameters and the program. Hashes are SHA-256; where DVC has to find something, its MD5
is given too. `trace` checks records, this module writes and reads them.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from zoo.ch09_pipeline import engine, params, sources
from zoo.common import bench
from zoo.common.run import RunError

NAME = "provenance.json"
FORMAT = 1
INPUTS = ("params.yaml", "data.dvc", "code.json", "dvc.yaml")
FILES = {
    "predictions": "predictions/predictions.csv",
    "model": "model/weights.safetensors",
    "card": "model/card.json",
}

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NO_COMMIT = re.compile(f"|{_COMMIT.pattern}")
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_ARRAYS = {"images": int, "sha256": _SHA256}
_SHAPE = {
    "format": FORMAT,
    **{name: {"file": path, "sha256": _SHA256, "md5": _MD5} for name, path in FILES.items()},
    "trained_on": {"images": int, "sha256": _SHA256},
    "prepared": {"train": {"sha256": _SHA256}},
    "data": {"commit": _COMMIT, "md5": _MD5, "files": dict},
    "params": {"sha256": _SHA256, "text": str},
    "program": {"stages": _SHA256, "package": _SHA256, "commit": _NO_COMMIT, "versions": dict},
    "commit": _COMMIT,
    "uncommitted": str,
    "command": str,
    "sha256": _SHA256,
}
"""What a record has to be before it is used: its words go into paths and commands of git."""


def seal(record: dict[str, Any]) -> str:
    """The SHA-256 over all of a record but its own `sha256`."""
    content = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file(folder: Path, name: str) -> dict[str, str]:
    content = (folder / name).read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()  # DVC's cache goes by it
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "md5": md5}


def make(folder: Path, command: str) -> dict[str, Any]:
    """The record of the predictions that were just made in a workspace.

    Args:
        folder: the workspace.
        command: what made them.
    """
    manifest = json.loads((folder / "prepared/manifest.json").read_text(encoding="utf-8"))
    card = json.loads((folder / FILES["card"]).read_text(encoding="utf-8"))
    text = (folder / params.FILE).read_text(encoding="utf-8")
    uncommitted = engine.git(folder, "status", "--porcelain", "--", *INPUTS).splitlines()
    system = bench.system()
    made = {
        "format": FORMAT,
        **{name: _file(folder, path) for name, path in FILES.items()},
        "trained_on": card["train"],
        "prepared": {name: manifest[name] for name in ("train", "test", "new")},
        "data": {
            "commit": engine.git(folder, "log", "-1", "--format=%H", "--", "data.dvc"),
            "md5": yaml.safe_load((folder / "data.dvc").read_text())["outs"][0]["md5"],
            "files": manifest["files"],
        },
        "params": {"sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text},
        "program": sources.describe(),
        "commit": engine.git(folder, "rev-parse", "HEAD"),
        "uncommitted": ", ".join(line[3:] for line in uncommitted),
        "command": command,
        "machine": {name: system[name] for name in ("processor", "threads")},
    }
    return made | {"sha256": seal(made)}


def read(predictions: Path) -> dict[str, Any]:
    """The record beside a file of predictions.

    Raises:
        RunError: it is missing, or is no record of this format.
    """
    path = predictions.parent / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        fault = _fault(record, _SHAPE)
    except FileNotFoundError as error:
        raise RunError(f"{predictions} has no record beside it, expected {path}") from error
    except ValueError as error:
        raise RunError(f"{path} can't be read as a record: {error}") from error
    if fault:
        raise RunError(f"{path} can't be read as a record: {fault}")
    return record


def _fault(found: Any, expected: Any, name: str = "") -> str:
    """The first thing that is not as `_SHAPE` has it, in words; empty if all is."""
    if isinstance(expected, dict) and isinstance(found, dict):
        faults = (_fault(found.get(key), kind, f"{name} {key}") for key, kind in expected.items())
        return next(filter(None, faults), "")
    if isinstance(expected, dict):
        fits, what = False, ", ".join(expected)
    elif isinstance(expected, re.Pattern):
        fits, what = isinstance(found, str) and expected.fullmatch(found), expected.pattern
    elif isinstance(expected, type):
        fits, what = type(found) is expected, expected.__name__
    else:
        fits, what = found == expected, expected
    return "" if fits else f"its{name} is {found!r}, expected {what}"
