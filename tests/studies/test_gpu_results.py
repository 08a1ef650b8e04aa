"""All figures of a GPU: parts that are commands of this file, on a CPU called a card."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from studies import gpu_results as study
from studies.gpu_results import Part, Place
from zoo.common.data import DataError
from zoo.common.run import RunError

ROOT = Path(__file__).parents[2]
COMMAND = """
    import json, pathlib, signal, sys, time
    folder, what = pathlib.Path(sys.argv[-1]), sys.argv[1]
    folder.mkdir(parents=True, exist_ok=True)
    def left(name, content): (folder / name).write_text(json.dumps(content))
    def stop(*_):
        left("config.json", {})
        sys.exit(130)
    signal.signal(signal.SIGTERM, stop)
    print("arguments:", *sys.argv[1:])
    if what == "fails":
        print("error: no data set here", file=sys.stderr)
        sys.exit(1)
    if what == "waits" and "--resume" not in sys.argv:
        left("began", {})
        time.sleep(60)
    if what == "breaks":
        (folder / "summary.json").write_text('{"train_sec')
    elif what != "nothing":
        left("summary.json", {"test_accuracy": 0.5, "train_seconds": 2.0, "epoch": 1})
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A place for a card's results; `python -m command WHAT` there does as COMMAND says."""
    (tmp_path / "command.py").write_text(textwrap.dedent(COMMAND))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setattr(study, "_cards", lambda kind: ("a-card", 1))
    return Place("a-card", 1, "cpu", tmp_path / "out", tmp_path / "runs", tiny=False)


def measure(monkeypatch, place, *whats, **options):
    made = tuple(Part(what, f"command {what}") for what in whats)
    monkeypatch.setattr(study, "parts", lambda cards=1: made)
    study.measure(device="cpu", out=place.out, runs=place.runs, **options)


def test_parts_leave_files_and_are_not_measured_twice(place, monkeypatch, capsys):
    measure(monkeypatch, place, "one", "two")
    record = json.loads((place.out / "a-card" / "one.json").read_text())
    assert record["command"] == ["command", "one"]
    assert record["results"]["summary.json"]["train_seconds"] == 2.0
    assert "accuracy 50.00 %, 2.0 s" in (place.out / "a-card" / "README.md").read_text()
    capsys.readouterr()
    (place.out / "a-card" / "two.json").write_text('{"command": ["comm')  # cut off
    measure(monkeypatch, place, "one", "two")
    printed = capsys.readouterr().out
    assert "[1/2] one: there already" in printed
    assert "[2/2] two: measured" in printed


def test_a_record_of_other_sizes_does_not_count(place, monkeypatch, capsys):
    measure(monkeypatch, place, "one")
    changed = (Part("one", "command one", full="--seeds 20"),)
    monkeypatch.setattr(study, "parts", lambda cards=1: changed)
    study.measure(device="cpu", out=place.out, runs=place.runs)
    assert "[1/1] one: measured" in capsys.readouterr().out
    assert json.loads((place.out / "a-card" / "one.json").read_text())["command"][-1] == "20"


def test_a_failure_costs_the_others_nothing_and_is_named(place, monkeypatch, capsys):
    with pytest.raises(RunError, match="3 of 5 parts are missing: ") as raised:
        measure(monkeypatch, place, "one", "fails", "nothing", "breaks", "two")
    said = str(raised.value)
    assert "fails: ended with status 1" in said
    assert "error: no data set here" in said
    assert "nothing: left no summary.json" in said
    assert "breaks: left a broken file" in said
    kept = {path.stem for path in (place.out / "a-card").glob("*.json")}
    assert kept == {"one", "two"}
    assert "two: measured" in capsys.readouterr().out


def test_a_part_that_takes_too_long_is_stopped_and_goes_on_the_next_time(
    place, monkeypatch, capsys
):
    with pytest.raises(RunError, match="waits: stopped after 2 s"):
        measure(monkeypatch, place, "waits", limit=2.0)
    folder = place.runs / "a-card" / "waits"
    assert (folder / "config.json").exists()
    measure(monkeypatch, place, "waits")
    assert f"command waits --resume {folder}" in capsys.readouterr().out
    log = (place.runs / "a-card" / "logs" / "waits.txt").read_text()
    assert f"arguments: waits --resume {folder}" in log


def test_one_that_will_not_end_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "GRACE", 0.2)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    deaf += "; print('slept')"
    with (tmp_path / "log").open("w") as log:
        assert study._run([sys.executable, "-c", deaf], dict(os.environ), log, 1.0) is None
    assert "slept" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_its_part_and_can_be_started_again(place, number, tmp_path):
    start = f"""
        import signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from studies import gpu_results as study
        from zoo.common import cli
        made = tuple(study.Part(what, f"command {{what}}") for what in ("one", "waits"))
        study.parts = lambda cards=1: made
        study._cards = lambda kind: ("a-card", 1)
        for number in (signal.SIGINT, signal.SIGTERM):  # the first may be ignored by inheritance
            signal.signal(number, signal.default_int_handler)
        sys.argv = ["x", "--device", "cpu", "--out", "out", "--runs", "runs"]
        cli.main("x", study.measure)
    """
    command = [sys.executable, "-c", textwrap.dedent(start)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    waiting, deadline = place.runs / "a-card" / "waits", time.monotonic() + 60
    while not (waiting / "began").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert (waiting / "config.json").exists()  # the command was asked to save, and did
    assert "one: measured" in out
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stderr
    assert "one: there already" in again.stdout
    assert "waits: measured" in again.stdout


def test_a_dry_run_prints_every_command_and_where_it_writes(capsys, tmp_path):
    study.measure(dry_run=True, device="cpu", out=tmp_path / "out", runs=tmp_path / "runs")
    printed = capsys.readouterr().out
    for part in study.parts():
        assert f"{part.name} (missing): {tmp_path}/out/cpu/{part.name}.json" in printed
    assert "--seeds 20" in printed
    assert "{" not in printed  # no place is left open
    assert not list(tmp_path.iterdir())


def test_every_readme_that_lacks_figures_of_a_gpu_has_parts():
    names = [part.name for part in study.parts()]
    assert len(set(names)) == len(names)
    assert {name[:4] for name in names} == {"ch04", "ch05", "ch06", "ch07", "ch08"}
    assert names[0] == "ch04-bench"  # the chapter's question
    assert {f"ch06-speedrun-{split}" for split in ("official", "all", "holdout")} < set(names[:6])


def test_several_cards_are_compared_with_one():
    assert "ch04-scale" not in [part.name for part in study.parts(1)]
    (part,) = (part for part in study.parts(3) if part.name == "ch04-scale")
    assert "--devices 2 " in part.command


def test_an_unknown_part_and_an_absent_device_are_said(tmp_path):
    with pytest.raises(DataError, match="got the part 'x', expected one of ch04-bench, "):
        study.measure(("x",), device="cpu", out=tmp_path, runs=tmp_path)
    with pytest.raises(RunError, match="no device to measure on: no tpu here"):
        study.measure(device="tpu", out=tmp_path, runs=tmp_path)


def test_figures_are_those_that_readmes_have():
    summary = {"epoch": 3, "test_accuracy": 0.91, "loss": 1.0, "train_seconds": 61.25}
    assert study.figure(summary) == "test accuracy 91.00 %, 61.2 s"
    seeds = [{"test_accuracy": a, "seconds": s} for a, s in ((0.94, 3.0), (0.95, 4.0))]
    assert (
        study.figure({"rows": {"speedrun": seeds}}) == "speedrun: 94.50 ± 0.71 %, 3.50 s, 2 seeds"
    )
    rates = {"training": {"rates": {"zoo": [1000.0, 3000.0, 2000.0]}}}
    assert study.figure(rates) == "training 2,000/s"
    assert study.figure({"name": "bench", "rows": [], "system": {}}) == ""
