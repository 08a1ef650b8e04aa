"""The tables and figures of chapter 4's README.md, from files of measurements."""

from pathlib import Path

import pytest

from studies import ch04_report as study
from zoo import ch04_gpu
from zoo.ch04_gpu import tables
from zoo.common.run import RunError

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "ch04_gpu"


def test_report_writes_tables_and_pictures_between_the_marks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- bench -->\nold\n<!-- end -->\nbetween\n<!-- nothing -->\n"
                      "<!-- end -->\nafter\n")  # fmt: skip
    options = {"readme": readme, "docs": tmp_path / "docs", "results": tmp_path / "results"}
    study.report(**options, keep_from=RESULTS)
    text = readme.read_text()
    assert "old" not in text
    assert "| feedforward-book | cpu |" in text
    assert "docs/bench_cpu.png" in text
    assert (tmp_path / "docs" / "bench_cpu.png").stat().st_size > 10_000
    assert text.startswith("before\n<!-- bench -->\n")
    assert "MEASURE" in text[text.index("<!-- nothing") :]
    assert text.endswith("after\n")
    study.report(**options)  # again, from what was kept
    assert readme.read_text() == text


def test_report_refuses_what_is_no_measurement(tmp_path):
    with pytest.raises(RunError, match="no measurement in"):
        study.load(tmp_path)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(RunError, match=r"x\.json can't be read as a measurement"):
        study.load(tmp_path)


def test_every_measurement_has_its_place_in_the_readme():
    text = (Path(ch04_gpu.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert {name for _, name, _ in study.SECTION.findall(text)} == set(tables.TABLES)
