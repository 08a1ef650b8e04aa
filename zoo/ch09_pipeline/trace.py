"""Why a prediction is as it is: from its record to model, data, parameters and program, checked.

Each link of the chain is checked against what is there now: a workspace's own files where they are
still of that version, else DVC's cache and git's history.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from zoo.ch09_pipeline import engine, history, params, record, sources


class Link(NamedTuple):
    """One link from a prediction to what made it."""

    name: str
    """`record`, `predictions`, `model`, `training`, `data`, `params` or `program`"""
    fault: str
    """what is wrong; empty if nothing is"""
    says: str
    """what the link leads to"""


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"


def links(folder: Path, predictions: Path) -> list[Link]:
    """The chain behind a file of predictions, every link checked.

    Args:
        folder: the workspace that made it.
        predictions: the file, with its record beside it, wherever they are now.

    Raises:
        RunError: there is no such file or no record, or the folder is no workspace.
    """
    made = record.read(predictions)
    whole = record.seal(made) == made["sha256"]
    fault = "" if whole else f"{record.NAME} was changed since it was written"
    return [
        Link("record", fault, f"{predictions.parent / record.NAME}, made by `{made['command']}`"),
        _predictions(predictions, made),
        _model(folder, made),
        _training(made),
        _data(folder, made),
        _params(folder, made),
        _program(made),
    ]


def _predictions(path: Path, made: dict[str, Any]) -> Link:
    expected, found = made["predictions"]["sha256"], sources.file_sha256(path)
    fault = "" if found == expected else (
        f"{path} was changed: its sha256 is {_short(found)}, the record says {_short(expected)}"
    )  # fmt: skip
    return Link("predictions", fault, f"{path}, sha256 {_short(expected)}")


def _model(folder: Path, made: dict[str, Any]) -> Link:
    faults = [_output(folder, made[name]) for name in ("model", "card")]
    trained = f"trained on {made['trained_on']['images']:,} images"
    model = made["model"]
    says = f"{model['file']}, sha256 {_short(model['sha256'])}, md5 {model['md5'][:8]}, {trained}"
    return Link("model", "; ".join(filter(None, faults)), says)


def _cached(folder: Path, md5: str) -> Path:
    """Where DVC's cache keeps what has this MD5."""
    return folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _output(folder: Path, file: dict[str, str]) -> str:
    """What is wrong with an output of a stage, now or, if others came since, in the cache."""
    path = folder / file["file"]
    committed = history.lock(_read(folder / "dvc.lock")).get(file["file"])
    current = committed == file["md5"]
    if current and path.is_file():
        if (found := sources.file_sha256(path)) != file["sha256"]:
            return (
                f"{path} was changed: its sha256 is {_short(found)}, the record says "
                f"{_short(file['sha256'])}; `dvc checkout --force {file['file']}` brings it back"
            )
        return ""
    path = _cached(folder, file["md5"])
    if not path.is_file():
        return f"{file['file']} of that time is neither in the workspace nor in DVC's cache"
    if sources.file_sha256(path) != file["sha256"]:
        return f"{path}, the kept copy of {file['file']}, was changed"
    return ""


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _training(made: dict[str, Any]) -> Link:
    """The model's card names the training data that the data version gives."""
    card, prepared = made["trained_on"]["sha256"], made["prepared"]["train"]["sha256"]
    fault = "" if card == prepared else (
        f"the model was trained on {_short(card)}, the data version gives {_short(prepared)}"
    )  # fmt: skip
    return Link("training", fault, f"prepared/train.npz, sha256 {_short(card)}")


def _data(folder: Path, made: dict[str, Any]) -> Link:
    about, commit = made["data"], made["data"]["commit"]
    says = f"commit {_short(commit)}, {len(about['files'])} files, md5 {about['md5']}"
    if "data.dvc" in made["uncommitted"]:
        return Link("data", "this version of the data was never committed", says)
    then = history.show(folder, commit, "data.dvc")
    if not then:
        return Link("data", f"the workspace's git has no data version {_short(commit)}", says)
    if about["md5"] not in then:
        return Link("data", f"commit {_short(commit)} is of another data version", says)
    listing = _cached(folder, about["md5"])
    if not listing.is_file():
        return Link("data", f"DVC's cache has lost the data version {about['md5']}", says)
    try:
        kept = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
    except (ValueError, KeyError, TypeError):
        return Link("data", f"{listing}, the list of the version's files, was changed", says)
    current = about["md5"] in _read(folder / "data.dvc")
    faults = [
        _data_file(folder, name, expected, kept.get(name), current)
        for name, expected in about["files"].items()
    ]
    return Link("data", "; ".join(filter(None, faults)), says)


def _data_file(folder: Path, name: str, expected: str, md5: str | None, current: bool) -> str:
    """What is wrong with one file of a data version: in the cache, or in data/ if it is current."""
    if md5 is None:
        return f"the data version has no file {name}"
    places = [_cached(folder, md5), *([folder / "data" / name] if current else [])]
    for path in places:
        if not path.is_file():
            return f"{path} is missing"
        if sources.file_sha256(path) != expected:
            return f"{path} was changed since"
    return ""


def _params(folder: Path, made: dict[str, Any]) -> Link:
    about, commit = made["params"], made["commit"]
    recipe = params.parse(about["text"]).model
    says = f"commit {_short(commit)}, {', '.join(f'{k} {v}' for k, v in recipe.items())}"
    if params.FILE in made["uncommitted"]:
        return Link("params", "these parameters were never committed", says)
    then = hashlib.sha256(history.show(folder, commit, params.FILE).encode()).hexdigest()
    here = hashlib.sha256(about["text"].encode()).hexdigest()
    if here != about["sha256"]:
        return Link("params", "the record's parameters do not have the hash that it says", says)
    if then != about["sha256"]:
        return Link("params", f"commit {_short(commit)} is not there or has other ones", says)
    return Link("params", "", says)


def _program(made: dict[str, Any]) -> Link:
    about = made["program"]
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


def workspace_of(predictions: Path) -> Path:
    """The workspace around a file, or the folder that commands run in if there is none around."""
    for folder in predictions.resolve().parents:
        if (folder / params.FILE).is_file() and (folder / ".dvc").is_dir():
            return folder
    return Path()


def check(folder: Path, predictions: Path) -> list[Link]:
    """As `links`, after a look whether git and DVC and the workspace are there."""
    engine.require()
    params.read(folder)
    return links(folder, predictions)
