"""The command line, as a user has it."""

import json

import pytest

from zoo.ch02_basic_nn import commands
from zoo.common import run


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A run of the NumPy program, and what it printed."""
    done = zoo("ch02_basic_nn", "train", "--program", "numpy", "--out", place / "run")
    assert done.returncode == 0, done.stderr
    return place / "run", done.stdout


def test_train_prints_the_books_numbers_and_leaves_a_whole_run_folder(trained):
    folder, printed = trained
    assert "[0.00966449, 0.00786506, 0.99358898, 0.99211957]" in printed
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["recipe"] == "numpy"
    assert config["data"]["name"] == "toy"
    rows = run.read_metrics(folder)
    assert [row["step"] for row in rows[:4]] == [1, 2, 5, 10]
    assert rows[-1]["step"] == 10_000
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["output"][0] == pytest.approx(0.00966449, abs=5e-9)
    assert (folder / "figures" / "training.png").stat().st_size > 10_000


def test_a_run_is_measured_and_drawn_again(trained, command):
    folder, _ = trained
    (folder / "figures" / "training.png").unlink()
    measured = command("ch02_basic_nn", "evaluate", "--run", folder)
    assert "test accuracy 100.00 %" in measured.out, measured.err
    assert json.loads((folder / "evaluation.json").read_text())["test_accuracy"] == 1
    drawn = command("ch02_basic_nn", "figures", "--run", folder)
    assert drawn.status == 0, drawn.err
    assert (folder / "figures" / "training.png").exists()


def test_help_names_every_command_and_program(command):
    done = command("ch02_basic_nn", "--help")
    for name in ("train", "compare", "evaluate", "bench", "export"):
        assert name in done.out
    help_text = command("ch02_basic_nn", "train", "--help").out
    for flag in ("--recipe", "--program"):
        assert f"{flag} {{modern,text,repo,numpy}}" in help_text


def test_what_a_user_can_mend_is_said_in_one_line(command):
    done = command("ch02_basic_nn", "train", "--steps", 0)
    assert done.status == 1
    assert done.err == "error: got steps 0, expected at least 1\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "ch02_basic_nn"


def test_compare_sets_the_four_programs_side_by_side(here, capsys):
    commands.compare()
    printed = capsys.readouterr().out
    for number in ("0.00966449", "0.01376888", "0.71569515"):
        assert number in printed
    assert (here / "compare" / "programs.png").exists()


def test_the_texts_program_is_said_not_to_learn(here, capsys):
    commands.train(commands.model.RECIPES["text"])
    assert "50% of the rows are right: this cost can't teach it" in capsys.readouterr().out


def test_bench_times_every_recipe(capsys):
    commands.bench(runs=1)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("modern", "text", "repo", "numpy"))
