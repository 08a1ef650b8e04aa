"""What exactly made predictions: the program, and the provenance record beside the file.

A record names, each with its hash, the predictions, the model, the data version and each of its
files, the parameters and the program. Hashes are SHA-256; where DVC has to find something, its MD5
is given too. This module writes and reads records, `trace` checks them.
"""

import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import zoo
from zoo.ch09_pipeline import engine, params
from zoo.common import bench, run
from zoo.common.run import RunError

ROOT = Path(zoo.__file__).parent
PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax", "safetensors", "pillow")
STAGES = (
    *(f"common/{name}.py" for name in ("checkpoint", "device", "fit", "images", "keys", "ops")),
    *(f"common/{name}.py" for name in ("run", "scope", "data/cifar10", "data/files", "solvers")),
    "common/task.py",
    *(f"ch06_cnn/cnn/{name}.py" for name in ("model", "task")),
    *(f"ch09_pipeline/{name}.py" for name in ("params", "stages")),
)
"""The sources that affect what the stages compute; when one changes, the stages run again."""
NAME = "provenance.json"
FILES = {
    "predictions": "predictions/predictions.csv",
    "model": "model/weights.safetensors",
    "card": "model/card.json",
}

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NO_COMMIT = re.compile(f"|{_COMMIT.pattern}")
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_SHAPE = {
    "format": 1,
    **{name: {"file": path, "sha256": _SHA256, "md5": _MD5} for name, path in FILES.items()},
    "trained_on": {"images": int, "sha256": _SHA256},
    "prepared": {"train": {"sha256": _SHA256}},
    "data": {"commit": _COMMIT, "md5": _MD5, "files": {str: _SHA256}},
    "params": {"sha256": _SHA256, "text": str},
    "program": {
        "stages": _SHA256,
        "package": _SHA256,
        "commit": _NO_COMMIT,
        "changed": bool,
        "versions": {str: str},
    },
    "commit": _COMMIT,
    "uncommitted": str,
    "command": str,
    "sha256": _SHA256,
}
"""What a record has to be before it is used: its words go into paths and commands of git."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    """The SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest(sources: Mapping[str, bytes]) -> str:
    """The SHA-256 over names and contents, in the order of the names."""
    state = hashlib.sha256()
    for name in sorted(sources):
        # With its length, content can't pass for the name of the next one.
        state.update(f"{name}\0{len(sources[name])}\0".encode() + sources[name])
    return state.hexdigest()


def committed(commit: str) -> dict[str, bytes] | None:
    """Zoo's Python sources as they were at a commit, or None where no clone has it."""
    packed = _git("archive", "--format=tar", commit, "zoo") if commit else None
    if packed is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = [m for m in tar if m.isfile() and m.name.endswith(".py")]
        opened = ((m.name.removeprefix("zoo/"), tar.extractfile(m)) for m in members)
        return {name: file.read() for name, file in opened if file is not None}


def _git(*arguments: str) -> bytes | None:
    """What git prints in zoo's own clone; None where it fails or is missing."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(ROOT.parent), *arguments]
    try:
        done = subprocess.run(command, env=env, capture_output=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def program() -> dict[str, Any]:
    """The program that runs now, as the records have it.

    `stages` and `package` are digests of the sources that the stages run and of all of zoo's;
    `commit` is zoo's git commit, empty outside a clone; `changed` tells whether the sources
    differ from those of the commit; `versions` are of Python and of the packages in use.
    """
    paths = ROOT.rglob("*.py")
    sources = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}
    tracked = _git("ls-files", "--error-unmatch", "zoo/__init__.py") is not None
    commit = (_git("rev-parse", "HEAD") or b"").decode().strip() if tracked else ""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "stages": digest({name: sources[name] for name in STAGES}),
        "package": digest(sources),
        "commit": commit,
        "changed": bool(commit and _git("status", "--porcelain", "--", "zoo/*.py")),
        "versions": {"python": platform.python_version(), **versions},
    }


def seal(record: dict[str, Any]) -> str:
    """The SHA-256 over all of a record but its own `sha256`."""
    content = {name: value for name, value in record.items() if name != "sha256"}
    return text_sha256(json.dumps(content, sort_keys=True))


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
    manifest = run.read_json(folder / "prepared/manifest.json")
    text = (folder / params.FILE).read_text(encoding="utf-8")
    inputs = ("params.yaml", "data.dvc", "code.json", "dvc.yaml")
    # Each line is two letters of state, a space and a name.
    uncommitted = engine.git(folder, "status", "--porcelain", "--", *inputs).splitlines()
    system = bench.system()
    made = {
        "format": 1,
        **{name: _file(folder, path) for name, path in FILES.items()},
        "trained_on": run.read_json(folder / FILES["card"])["train"],
        "prepared": {name: manifest[name] for name in ("train", "test", "new")},
        "data": {
            "commit": engine.git(folder, "log", "-1", "--format=%H", "--", "data.dvc"),
            "md5": yaml.safe_load((folder / "data.dvc").read_text())["outs"][0]["md5"],
            "files": manifest["files"],
        },
        "params": {"sha256": text_sha256(text), "text": text},
        "program": program(),
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
    path = predictions.with_name(NAME)
    if not path.is_file():
        raise RunError(f"{predictions} has no record beside it, expected {path}")
    record = run.read_json(path)
    if fault := _fault(record, _SHAPE):
        raise RunError(f"{path} can't be read as a record: {fault}")
    return record


def _fault(found: Any, expected: Any, name: str = "") -> str:
    """The first thing that is not as `_SHAPE` has it, in words; empty if all is."""
    if isinstance(expected, dict) and isinstance(found, dict):
        kinds = dict.fromkeys(found, expected[str]) if str in expected else expected
        faults = (_fault(found.get(key), kind, f"{name} {key}") for key, kind in kinds.items())
        return next(filter(None, faults), "")
    if isinstance(expected, dict):
        fits, what = False, ", ".join(map(str, expected))
    elif isinstance(expected, re.Pattern):
        fits, what = isinstance(found, str) and bool(expected.fullmatch(found)), expected.pattern
    elif isinstance(expected, type):
        fits, what = type(found) is expected, expected.__name__
    else:
        fits, what = found == expected, expected
    return "" if fits else f"its{name} is {found!r}, expected {what}"
