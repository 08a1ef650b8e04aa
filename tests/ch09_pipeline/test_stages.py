"""What the stages write, and what the checks compare."""

import ast
import csv
import io
import json

import numpy as np
import pytest

from zoo.ch09_pipeline import params, record, report, stages, trace, workspace
from zoo.ch09_pipeline.params import Params


def test_the_table_gives_every_bit_of_a_probability_back():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), 50).astype(np.float32)
    names = ['a,"b"', "c\nd", *map(str, range(48))]
    text = stages.table(names, shares, ("x", "y", "z"))
    heads, *rows = csv.reader(io.StringIO(text))
    assert heads == ["name", "class", "x", "y", "z"]
    assert [row[0] for row in rows] == names
    read = np.array([row[2:] for row in rows]).astype(np.float32)
    np.testing.assert_array_equal(read, shares)
    assert [row[1] for row in rows] == ["xyz"[k] for k in shares.argmax(1)]


def test_the_confusion_matrix_has_true_classes_in_rows(tmp_path, monkeypatch):
    """Two of class 0 are predicted as class 2, none the other way round: in the file, drawn too."""
    classes = tuple("abcdefghij")
    params.write(tmp_path, Params({"recipe": "book"}, classes=classes))
    (tmp_path / "prepared").mkdir()
    labels, predicted = np.array([0, 0, 0, 1, 2], np.uint8), np.array([0, 2, 2, 1, 2])
    np.savez(tmp_path / "prepared/test.npz", image=np.zeros((5, 32, 32, 3), np.uint8), label=labels)
    monkeypatch.setattr(stages, "predictor", lambda *_: lambda images: np.eye(10)[predicted])
    stages.evaluate(tmp_path)
    content = json.loads((tmp_path / "evaluation/confusion.json").read_text())
    assert content["classes"] == list(classes)
    assert (content["counts"][0][2], content["counts"][2][0]) == (2, 0)
    assert np.diag(content["counts"]).tolist() == [1, 1, 1] + [0] * 7
    assert json.loads((tmp_path / "metrics.json").read_text())["test_accuracy"] == 0.6
    axes = report.confusion(tmp_path).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    drawn = {text.get_position(): text.get_text() for text in axes.texts}
    assert (drawn[2, 0], drawn[0, 2]) == ("2", "0")


def test_differences_of_predictions_are_counted():
    old = stages.table(["a", "b"], np.array([[0.25, 0.75], [0.5, 0.5]]), "xy")
    new = stages.table(["a", "b"], np.array([[0.25, 0.75], [0.625, 0.375]]), "xy")
    assert trace.compare(old, new) == "1 of 2 rows, probabilities by up to 0.125"
    assert trace.compare(old, old + "c,x,1,0\n") == "2 rows then, 3 now"


def test_the_seal_covers_everything_but_itself():
    made = {"model": {"sha256": "ab"}, "format": 1}
    seal = record.seal(made)
    assert record.seal(made | {"sha256": seal}) == seal
    assert record.seal(made | {"format": 2}) != seal


def test_sources_are_told_apart_by_name_and_content():
    one = {"a.py": b"1", "b.py": b"2"}
    assert record.digest(one) == record.digest(dict(reversed(one.items())))
    assert record.digest(one) != record.digest({"a.py": b"12", "b.py": b""})
    assert record.digest(one) != record.digest({"a.py": b"1", "c.py": b"2"})
    assert all((record.ROOT / name).is_file() for name in record.STAGES)


UNCALLED = {
    *("ch06_cnn/__init__.py", "ch06_cnn/figures.py", "ch09_pipeline/record.py"),
    *(f"common/{name}.py" for name in ("cli", "figures", "settings", "trained")),
    *(f"common/data/{name}.py" for name in ("__init__", "dataset", "fetch", "mnist")),
    *(f"common/data/{name}.py" for name in ("own_pictures", "registry", "sample")),
}
"""What the stages' sources import but no number of a stage depends on."""


def test_a_source_that_the_stages_compute_with_is_among_those_watched():
    imported = set()
    for name in record.STAGES:
        for node in ast.walk(ast.parse((record.ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("zoo."):
                home = node.module.replace(".", "/").removeprefix("zoo/")
                inside = {f"{home}/{alias.name}" for alias in node.names}
                found = {name for name in inside if (record.ROOT / f"{name}.py").is_file()}
                found |= {home} if found != inside else set()
                packages = {name for name in found if (record.ROOT / name).is_dir()}
                imported |= {f"{name}/__init__.py" for name in packages}
                imported |= {f"{name}.py" for name in found - packages}
    assert imported - UNCALLED <= set(record.STAGES)
    assert not UNCALLED & set(record.STAGES)
    assert imported >= UNCALLED


def test_the_sources_of_a_commit_come_from_the_clone():
    commit = record.program()["commit"]
    if not commit:
        pytest.skip("this zoo is not from a git clone")
    then = record.committed(commit)
    assert b"def iterate(" in then["common/fit.py"]
    assert record.committed("0" * 40) is None
    assert record.committed("") is None


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
    about = {"stages": "ab", "package": record.digest({"a.py": b"1"}), "changed": False}
    monkeypatch.setattr(record, "program", lambda: {"stages": here})
    monkeypatch.setattr(record, "committed", lambda commit: then)
    link = trace._program(about | {"commit": "0" * 40})
    assert fault in link.fault
    assert bool(fault) == bool(link.fault)


def test_files_are_sorted_by_what_they_are(tmp_path):
    names = ("data_batch_1.bin.xz", "test_batch.bin", "TEST.bin.gz", "cat.png", "test.jpg", "x.bin")
    found = workspace.sort([tmp_path / name for name in names])
    assert {which: [p.name for p in paths] for which, paths in found.items()} == {
        "train": ["data_batch_1.bin.xz", "x.bin"],
        "test": ["test_batch.bin", "TEST.bin.gz"],
        "new": ["cat.png", "test.jpg"],
    }
