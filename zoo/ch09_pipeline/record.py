"""The provenance record beside a file of predictions: what exactly made it.

A record names, each with its hash, the predictions, the model, the data version and each of its
files, the parameters and the program. Hashes are SHA-256; where DVC has to find something, its MD5
stands beside it. `trace` reads records, this module writes them.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from zoo.ch09_pipeline import engine, params, sources
from zoo.common import bench, run
from zoo.common.run import RunError

NAME = "provenance.json"
FORMAT = 1
INPUTS = ("params.yaml", "data.dvc", "code.json", "dvc.yaml")
FILES = {
    "predictions": "predictions/predictions.csv",
    "model": "model/weights.safetensors",
    "card": "model/card.json",
}
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def file_md5(path: Path) -> str:
    """The MD5 of a file's content, by which DVC's cache knows it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def seal(record: dict[str, Any]) -> str:
    """The SHA-256 over all of a record but its own `sha256`."""
    content = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file(folder: Path, name: str) -> dict[str, str]:
    path = folder / name
    return {"file": name, "sha256": sources.file_sha256(path), "md5": file_md5(path)}


def make(folder: Path, command: Sequence[str]) -> dict[str, Any]:
    """The record of the predictions that were just made in a workspace.

    Args:
        folder: the workspace.
        command: what made them.
    """
    manifest = json.loads((folder / "prepared/manifest.json").read_text(encoding="utf-8"))
    card = json.loads((folder / "model/card.json").read_text(encoding="utf-8"))
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
        "uncommitted": [line[3:] for line in uncommitted],
        "command": shlex.join(command),
        "machine": {name: system[name] for name in ("processor", "threads")},
    }
    return made | {"sha256": seal(made)}


def write(path: Path, record: dict[str, Any]) -> None:
    """Writes a record, whole."""
    run.write_json(path, record)


def read(predictions: Path) -> dict[str, Any]:
    """The record beside a file of predictions.

    Raises:
        RunError: there is none, or it is none of this format.
    """
    path = predictions.parent / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        wrong = _wrong(record)
    except FileNotFoundError as error:
        raise RunError(f"{predictions} has no record beside it, expected {path}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} can't be read as a record: {error!r}") from error
    if wrong:
        raise RunError(f"{path} can't be read as a record: {wrong}")
    return record


def _wrong(record: dict[str, Any]) -> str:
    """What a record has that none has; what it says goes into paths and commands of git."""
    if record["format"] != FORMAT:
        return f"its format is {record['format']!r}, expected {FORMAT}"
    data, program = record["data"], record["program"]
    commits = [record["commit"], data["commit"], *filter(None, [program["commit"]])]
    md5s = [data["md5"], *(record[name]["md5"] for name in FILES)]
    for values, pattern in ((commits, _COMMIT), (md5s, _MD5)):
        for value in values:
            if not pattern.fullmatch(value):
                return f"found {value!r}, expected {pattern.pattern}"
    for name, path in FILES.items():
        if record[name]["file"] != path:
            return f"its {name} are in {record[name]['file']!r}, expected {path}"
    used = [record[name]["sha256"] for name in ("predictions", "model", "card", "params")]
    used += [record["trained_on"]["sha256"], record["prepared"]["train"]["sha256"]]
    used += [
        record["sha256"],
        program["stages"],
        program["package"],
        *data["files"],
        *data["files"].values(),
    ]
    used += [record["command"], record["params"]["text"], *record["uncommitted"]]
    used += [text for pair in program["versions"].items() for text in pair]
    if not all(isinstance(value, str) for value in used):
        return "something else stands where there should be text"
    counts = [record["trained_on"]["images"]]
    counts += [record["prepared"][name]["images"] for name in ("train", "test", "new")]
    if not all(type(value) is int for value in counts) or "changed" not in program:
        return "it lacks how many pictures there are, or whether zoo's sources were changed"
    return ""
