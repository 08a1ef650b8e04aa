"""What a killed `put` leaves: all of the old data, or all of the new."""

import os
import sys

import pytest

from zoo.ch09_pipeline import engine, params, workspace
from zoo.ch09_pipeline.params import Params

WRITES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
OLD, NEW = (
    {"train/a.bin": b"old", "test/test.bin.gz": b"old"},
    {
        "train/a.bin": b"new",
        "test/test.bin": b"new",  # takes the place of the packed one
        "new/b.bin": b"new",
    },
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A workspace without git and DVC, and the files that are put into it."""
    folder, source = tmp_path / "ws", tmp_path / "files"
    (folder / ".dvc/tmp").mkdir(parents=True)
    source.mkdir()
    params.write(folder, Params({"recipe": "book"}, classes=("old", "names")))
    for name, content in OLD.items():
        (folder / "data" / name).parent.mkdir(parents=True)
        (folder / "data" / name).write_bytes(content)
    for name, content in NEW.items():
        (source / name.split("/")[1]).write_bytes(content)
    monkeypatch.setattr(engine, "require", lambda: None)
    monkeypatch.setattr(engine, "commit", lambda *_: "")
    monkeypatch.setattr(workspace, "_note_data", lambda *_: "commit")
    monkeypatch.setattr(workspace.stages, "read_file", lambda path: (None, [0]))
    return folder, source


def content(folder):
    found = (path for path in (folder / "data").rglob("*") if path.is_file())
    return {str(path.relative_to(folder / "data")): path.read_bytes() for path in found}


def put(folder, source):
    chosen = {}
    for name in NEW:
        which, file = name.split("/")
        chosen.setdefault(which, []).append(source / file)
    return workspace.put(folder, chosen, ("new", "names"))


def killed_at(number, folder, source):
    """Whether a process that puts was killed before its `number`th operation that writes."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    count = 0

    def watch(event, arguments):
        nonlocal count
        writes = event in WRITES
        if event == "open":
            writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and str(folder) in str(arguments[0]):
            if count == number:
                os._exit(9)
            count += 1

    sys.addaudithook(watch)
    try:
        put(folder, source)
    finally:
        os._exit(0)


def test_killed_at_any_write_a_put_is_done_or_not_done(place):
    folder, source = place
    number, outcomes = 0, []
    while killed_at(number, folder, source):
        with workspace._locked(folder, "run"):  # as every command begins
            found, classes = content(folder), params.read(folder).classes
            assert (found, classes) in ((OLD, ("old", "names")), (NEW, ("new", "names"))), number
            assert not list((folder / ".dvc/tmp").glob("put-*"))
        outcomes.append(found == NEW)
        for name in found:
            (folder / "data" / name).unlink()
        for name, old in OLD.items():
            (folder / "data" / name).write_bytes(old)
        params.write(folder, Params({"recipe": "book"}, classes=("old", "names")))
        number += 1
    assert content(folder) == NEW
    assert outcomes == sorted(outcomes)  # first nothing has happened, from some write on all has
    assert outcomes.count(False) > 5
    assert outcomes.count(True) > 5


def test_a_put_that_fails_before_it_is_decided_leaves_nothing(place, monkeypatch):
    folder, source = place
    monkeypatch.setattr(workspace.runs, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        put(folder, source)
    assert content(folder) == OLD
    assert not list((folder / ".dvc/tmp").glob("put-*"))
