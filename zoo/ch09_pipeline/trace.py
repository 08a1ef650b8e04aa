"""Why a prediction is as it is: from its record to model, data, parameters and program, checked.

Each link of the chain is checked against what is found now: a workspace's own files where they are
still of that version, else DVC's cache and git's history.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from zoo.ch09_pipeline import history, params, record, sources, workspace


class Link(NamedTuple):
    """One link from a prediction to what made it."""

    name: str
    fault: str  # what is wrong; empty if nothing is
    says: str  # what the link leads to


def workspace_of(predictions: Path) -> Path:
    """The workspace around a file, or the current folder if it lies in none."""
    for folder in predictions.resolve().parents:
        if (folder / params.FILE).is_file() and (folder / ".dvc").is_dir():
            return folder
    return Path()


def check(folder: Path, predictions: Path) -> list[Link]:
    """The chain behind a file of predictions, every link checked.

    Args:
        folder: the workspace that made it.
        predictions: the file, with its record beside it, wherever they are now.

    Raises:
        RunError: the file or its record is missing, or the folder is no workspace.
    """
    workspace.check(folder)
    made = record.read(predictions)
    fault = "" if record.seal(made) == made["sha256"] else "it was changed since it was written"
    return [
        Link("record", fault, f"{predictions.parent / record.NAME}, made by `{made['command']}`"),
        _predictions(predictions, made["predictions"]["sha256"]),
        _model(folder, made),
        _training(made),
        _data(folder, made),
        _params(folder, made),
        _program(made["program"]),
    ]


def _short(digest: str) -> str:
    return digest[:12]


def _fault(path: Path, expected: str) -> str:
    """What is wrong with a file, by its SHA-256 in the record."""
    if not path.is_file():
        return f"{path} is missing"
    found = sources.file_sha256(path)
    told = f"its sha256 is {_short(found)}, the record has {_short(expected)}"
    return "" if found == expected else f"{path} was changed: {told}"


def _predictions(path: Path, expected: str) -> Link:
    return Link("predictions", _fault(path, expected), f"{path}, sha256 {_short(expected)}")


def _model(folder: Path, made: dict[str, Any]) -> Link:
    faults = []
    committed = history.outputs(_read(folder / "dvc.lock"))
    for file in (made["model"], made["card"]):
        name, kept = file["file"], cached(folder, file["md5"])
        current = committed.get(name) == file["md5"] and (folder / name).is_file()
        if fault := _fault(folder / name if current else kept, file["sha256"]):
            advice = f"`dvc checkout --force {name}` brings it back"
            faults.append(f"{fault}; {advice}" if current else f"{name} of that time: {fault}")
    trained = f"trained on {made['trained_on']['images']:,} images"
    model = made["model"]
    says = f"{model['file']}, sha256 {_short(model['sha256'])}, md5 {model['md5'][:8]}, {trained}"
    return Link("model", "; ".join(faults), says)


def cached(folder: Path, md5: str) -> Path:
    """Where DVC's cache keeps what has this MD5."""
    return folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _training(made: dict[str, Any]) -> Link:
    """The model's card names the training data that the data version gives."""
    card, prepared = made["trained_on"]["sha256"], made["prepared"]["train"]["sha256"]
    fault = f"the model was trained on {_short(card)}, the data version gives {_short(prepared)}"
    says = f"prepared/train.npz, sha256 {_short(card)}"
    return Link("training", "" if card == prepared else fault, says)


def _data(folder: Path, made: dict[str, Any]) -> Link:
    about, commit = made["data"], made["data"]["commit"]
    says = f"commit {_short(commit)}, {len(about['files'])} files, md5 {about['md5']}"
    committed, listing = history.show(folder, commit, "data.dvc"), cached(folder, about["md5"])
    if "data.dvc" in made["uncommitted"]:
        fault = "this version of the data was never committed"
    elif not committed:
        fault = f"the workspace's git has no data version {_short(commit)}"
    elif about["md5"] not in committed:
        fault = f"commit {_short(commit)} is of another data version"
    elif not listing.is_file():
        fault = f"DVC's cache has lost the data version {about['md5']}"
    else:
        fault = _data_files(folder, about, listing)
    return Link("data", fault, says)


def _data_files(folder: Path, about: dict[str, Any], listing: Path) -> str:
    """What is wrong with the files of a data version."""
    try:
        kept = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
    except (ValueError, KeyError, TypeError):
        return f"{listing}, the list of the version's files, was changed"
    current = about["md5"] in _read(folder / "data.dvc")
    faults = []
    for name, expected in about["files"].items():
        if name not in kept:
            faults.append(f"the data version has no file {name}")
            continue
        places = [cached(folder, kept[name]), *([folder / "data" / name] if current else [])]
        faults += [fault for path in places if (fault := _fault(path, expected))]
    return "; ".join(faults)


def _params(folder: Path, made: dict[str, Any]) -> Link:
    about, commit = made["params"], made["commit"]
    model = params.parse(about["text"]).model
    says = f"commit {_short(commit)}, {', '.join(f'{k} {v}' for k, v in model.items())}"
    committed = history.show(folder, commit, params.FILE)
    here, then = (hashlib.sha256(text.encode()).hexdigest() for text in (about["text"], committed))
    fault = ""
    if params.FILE in made["uncommitted"]:
        fault = "these parameters were never committed"
    elif here != about["sha256"]:
        fault = "the record's parameters do not have the hash that it gives"
    elif then != about["sha256"]:
        fault = f"commit {_short(commit)} is missing or has other ones"
    return Link("params", fault, says)


def _program(about: dict[str, Any]) -> Link:
    commit, digest = about["commit"], about["stages"]
    of = f"zoo's commit {_short(commit)}" if commit else "zoo, not from a git clone"
    says = f"{of}, sources {_short(digest)}" + (", changed since" if about["changed"] else "")
    if sources.describe()["stages"] == digest:
        return Link("program", "", f"{says}; the zoo that is installed here")
    then = sources.committed(commit)
    if then is None:
        fault = "the zoo that is installed here is another, and no clone here has that commit"
    elif about["package"] != sources.digest(then):
        fault = "neither the zoo that is installed here nor that commit has these sources"
    else:
        return Link("program", "", f"{says}; another one is installed here")
    return Link("program", fault, says)
