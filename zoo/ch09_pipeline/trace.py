"""Why a prediction is as it is: from its record to model, data, parameters and program.

`check` compares each link of the chain with what is found now: a workspace's own files where they
are still of that version, else DVC's cache and git's history. `reproduce` makes it all again.
"""

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from zoo.ch09_pipeline import engine, params, record, workspace
from zoo.common.run import RunError


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
    _reach(folder, made)
    cache = engine.cache(folder)
    path, expected = predictions.with_name(record.NAME), made["predictions"]["sha256"]
    fault = "" if record.seal(made) == made["sha256"] else "it was changed since it was written"
    trained, given = made["trained_on"]["sha256"], made["prepared"]["train"]["sha256"]
    other = f"the model was trained on {trained:.12}, the data version gives {given:.12}"
    other = "" if trained == given else other
    return [
        Link("record", fault, f"{path}, made by `{made['command']}`"),
        Link("predictions", _fault(predictions, expected), f"{predictions}, sha256 {expected:.12}"),
        _model(folder, made, cache),
        Link("training", other, f"prepared/train.npz, sha256 {trained:.12}"),
        _data(folder, made, cache),
        _params(folder, made),
        _program(made["program"]),
    ]


def _fault(path: Path, expected: str) -> str:
    """What is wrong with a file, by its SHA-256 in the record."""
    if not path.is_file():
        return f"{path} is missing"
    if (found := record.file_sha256(path)) == expected:
        return ""
    return f"{path} was changed: its sha256 is {found:.12}, the record has {expected:.12}"


def cached(cache: Path, md5: str) -> Path:
    """Where DVC's cache, `engine.cache`, keeps what has this MD5."""
    return cache / md5[:2] / md5[2:]


def _reach(folder: Path, made: dict[str, Any]) -> None:
    """Raises git's own reason where its history can't be looked at: nothing is broken then."""
    engine.git(folder, "rev-parse", "--git-dir")  # fails where another user owns the folder
    if engine.git(folder, "rev-parse", "--is-shallow-repository") != "true":
        return
    for commit in (made["commit"], made["data"]["commit"]):
        if not engine.git(folder, "rev-parse", "--verify", f"{commit}^{{commit}}", check=False):
            raise RunError(
                f"{folder} is a shallow clone without commit {commit:.12}: `git fetch --unshallow` "
                "brings it"
            )


def _model(folder: Path, made: dict[str, Any], cache: Path) -> Link:
    faults, committed = [], workspace.outputs(_read(folder / "dvc.lock"))
    for file in (made["model"], made["card"]):
        name, kept = file["file"], cached(cache, file["md5"])
        # Where a later run has put its own model, the cache has the one of that time.
        current = committed.get(name) == file["md5"] and (folder / name).is_file()
        if fault := _fault(folder / name if current else kept, file["sha256"]):
            advice = f"`dvc checkout --force {name}` brings it back"
            faults.append(f"{fault}; {advice}" if current else f"{name} of that time: {fault}")
    model, count = made["model"], made["trained_on"]["images"]
    hashes = f"sha256 {model['sha256']:.12}, md5 {model['md5']:.8}"
    says = f"{model['file']}, {hashes}, trained on {count:,} images"
    return Link("model", "; ".join(faults), says)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _data(folder: Path, made: dict[str, Any], cache: Path) -> Link:
    about, commit = made["data"], made["data"]["commit"]
    committed, listing = workspace.show(folder, commit, "data.dvc"), cached(cache, about["md5"])
    if "data.dvc" in made["uncommitted"]:
        fault = "this version of the data was never committed"
    elif not committed:
        fault = f"the workspace's git has no data version {commit:.12}"
    elif about["md5"] not in committed:
        fault = f"commit {commit:.12} is of another data version"
    elif not listing.is_file():
        fault = f"DVC's cache has lost the data version {about['md5']}"
    else:
        fault = _data_files(folder, about, listing, cache)
    says = f"commit {commit:.12}, {len(about['files'])} files, md5 {about['md5']}"
    return Link("data", fault, says)


def _data_files(folder: Path, about: dict[str, Any], listing: Path, cache: Path) -> str:
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
        places = [cached(cache, kept[name]), *([folder / "data" / name] if current else [])]
        faults += [fault for path in places if (fault := _fault(path, expected))]
    return "; ".join(faults)


def _params(folder: Path, made: dict[str, Any]) -> Link:
    about, commit = made["params"], made["commit"]
    fault = ""
    if params.FILE in made["uncommitted"]:
        fault = "these parameters were never committed"
    elif record.text_sha256(about["text"]) != about["sha256"]:
        fault = "the record's parameters do not have the hash that it gives"
    elif workspace.show(folder, commit, params.FILE) != about["text"]:
        fault = f"commit {commit:.12} is missing or has other ones"
    model = params.parse(about["text"]).model
    says = f"commit {commit:.12}, {', '.join(f'{k} {v}' for k, v in model.items())}"
    return Link("params", fault, says)


def _program(about: dict[str, Any]) -> Link:
    commit, stages = about["commit"], about["stages"]
    of = f"zoo's commit {commit:.12}" if commit else "zoo, not from a git clone"
    says = f"{of}, sources {stages:.12}" + (", changed since" if about["changed"] else "")
    if record.program()["stages"] == stages:
        return Link("program", "", f"{says}; the zoo that is installed here")
    fault, then = "", record.committed(commit)
    if then is None:
        fault = "the zoo that is installed here is another, and no clone here has that commit"
    elif about["package"] != record.digest(then):
        fault = "neither the zoo that is installed here nor that commit has these sources"
    return Link("program", fault, f"{says}; another one is installed here")


class Comparison(NamedTuple):
    """How what came out the second time differs, in words; empty where it does not."""

    model: str
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
    here, then = record.program(), made["program"]
    if here["stages"] != then["stages"]:
        where = f"commit {then['commit']}" if then["commit"] else f"sources {then['stages']:.12}"
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
    pairs = [(name, old, here["versions"].get(name)) for name, old in then["versions"].items()]
    return Comparison(
        "" if model == made["model"]["sha256"] else "the model",
        "" if new == old else compare(old.decode(), new.decode()),
        ", ".join(f"{name} {old} then, {new} now" for name, old, new in pairs if old != new),
    )


def _clone(folder: Path, clone: Path, commit: str) -> None:
    clone.parent.mkdir(parents=True, exist_ok=True)
    engine.git(folder, "clone", "--quiet", "--no-checkout", str(folder), str(clone.resolve()))
    engine.git(clone, "checkout", "--quiet", commit)
    (clone / "dvc.lock").unlink(missing_ok=True)  # nothing counts as computed already
    (clone / "metrics.json").unlink(missing_ok=True)
    cache = engine.cache(folder).parents[1]
    engine.dvc(clone, "remote", "add", "--local", "--default", "workspace", str(cache))
    engine.dvc(clone, "pull", "data.dvc")


def compare(old: str, new: str) -> str:
    """How two files of predictions differ, in words."""
    rows, others = (list(csv.reader(io.StringIO(text))) for text in (old, new))
    if len(rows) != len(others) or rows[0] != others[0]:
        return f"{len(rows) - 1:,} rows then, {len(others) - 1:,} now"
    pairs = [(a[2:], b[2:]) for a, b in zip(rows[1:], others[1:], strict=True) if a != b]
    text = f"{len(pairs):,} of {len(rows) - 1:,} rows"
    try:
        most = max(abs(float(x) - float(y)) for a, b in pairs for x, y in zip(a, b, strict=True))
    except ValueError:  # not as many numbers, or no numbers
        return text
    return f"{text}, probabilities by up to {most:.3g}"
