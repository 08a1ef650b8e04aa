"""What prediction writes, and how processes side by side fail."""

import csv
import io
import sys
import time

import numpy as np
import pytest

from zoo.ch09_pipeline import predict, record, reproduce, sources, trace, workspace
from zoo.common.run import RunError


def test_the_table_gives_every_bit_of_a_probability_back():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), 50).astype(np.float32)
    names = ['a,"b"', "c\nd", *map(str, range(48))]
    text = predict.table(names, shares, ("x", "y", "z")).decode()
    heads, *rows = csv.reader(io.StringIO(text))
    assert heads == ["name", "class", "x", "y", "z"]
    assert [row[0] for row in rows] == names
    read = np.array([row[2:] for row in rows]).astype(np.float32)
    np.testing.assert_array_equal(read, shares)
    assert [row[1] for row in rows] == ["xyz"[k] for k in shares.argmax(1)]


def test_a_shard_that_fails_is_named_and_ends_the_others():
    began = time.monotonic()
    slow, bad = (
        [sys.executable, "-c", text]
        for text in ("import time; time.sleep(60)", "raise SystemExit(3)")
    )
    with pytest.raises(RunError, match="shard 1 of 2 ended with 3"):
        predict._side_by_side([slow, bad])
    assert time.monotonic() - began < 20


def test_differences_of_predictions_are_counted():
    old = predict.table(["a", "b"], np.array([[0.25, 0.75], [0.5, 0.5]]), "xy").decode()
    new = predict.table(["a", "b"], np.array([[0.25, 0.75], [0.625, 0.375]]), "xy").decode()
    assert reproduce.compare(old, new) == "1 of 2 rows, probabilities by up to 0.125"
    assert reproduce.compare(old, old + "c,x,1,0\n") == "2 rows then, 3 now"


def test_the_seal_covers_everything_but_itself():
    made = {"model": {"sha256": "ab"}, "format": 1}
    seal = record.seal(made)
    assert record.seal(made | {"sha256": seal}) == seal
    assert record.seal(made | {"format": 2}) != seal


def test_sources_are_told_apart_by_name_and_content():
    one = {"a.py": b"1", "b.py": b"2"}
    assert sources.digest(one) == sources.digest(dict(reversed(one.items())))
    assert sources.digest(one) != sources.digest({"a.py": b"12", "b.py": b""})
    assert sources.digest(one) != sources.digest({"a.py": b"1", "c.py": b"2"})
    here = sources.stage_sources(sources.installed())
    assert {"common/fit.py", "ch06_cnn/model.py", "ch09_pipeline/stages.py"} <= set(here)
    assert not any(name.startswith("ch08") for name in here)
    assert set(sources.STAGES) == set(here)


def test_the_sources_of_a_commit_come_from_the_clone():
    commit = sources.describe()["commit"]
    if commit is None:
        pytest.skip("this zoo is not from a git clone")
    then = sources.committed(commit)
    assert b"def iterate(" in then["common/fit.py"]
    assert sources.committed("0" * 40) is None
    assert sources.committed(None) is None


@pytest.mark.parametrize(
    ("here", "then", "fault"),
    [
        ("ab", None, ""),
        ("cd", {"a.py": b"1"}, ""),
        ("cd", {"a.py": b"2"}, "neither the zoo that is installed here nor that commit"),
        ("cd", None, "no clone here has that commit"),
    ],
)
def test_a_program_is_the_one_installed_or_one_in_the_clones_history(
    monkeypatch, here, then, fault
):
    about = {"stages": "ab", "package": sources.digest({"a.py": b"1"}), "changed": False}
    monkeypatch.setattr(sources, "describe", lambda: {"stages": here})
    monkeypatch.setattr(sources, "committed", lambda commit: then)
    link = trace._program({"program": about | {"commit": "0" * 40}})
    assert fault in link.fault
    assert bool(fault) == bool(link.fault)


def test_the_pachyderm_pipeline_is_the_books_with_a_list_of_arguments():
    spec = workspace.pachyderm()
    assert spec["pipeline"] == {"name": "cifarcnn"}
    assert spec["transform"]["image"] == "cifarcnn:latest"
    assert all(isinstance(word, str) and " " not in word for word in spec["transform"]["cmd"])
    assert spec["enable_stats"] is True
    assert spec["parallelism_spec"] == {"constant": "1"}
    assert spec["input"] == {"pfs": {"repo": "data", "glob": "/"}}


def test_files_are_sorted_by_what_they_are(tmp_path):
    names = ("data_batch_1.bin.xz", "test_batch.bin", "TEST.bin.gz", "cat.png", "test.jpg", "x.bin")
    found = workspace.sort([tmp_path / name for name in names])
    assert {which: [p.name for p in paths] for which, paths in found.items()} == {
        "train": ["data_batch_1.bin.xz", "x.bin"],
        "test": ["test_batch.bin", "TEST.bin.gz"],
        "new": ["cat.png", "test.jpg"],
    }
