"""What the command line refuses a `Config` refuses from Python, in the same words."""

import dataclasses

import pytest

import zoo
from zoo.common.data import DataError
from zoo.common.settings import SettingError

TASKS = {task.name: task for task in zoo.tasks() if task.chapter == "ch07_dqn"}
AGENT = [
    {"mazes": 0},
    {"agents": 0},
    {"rows": 0},
    {"rows": 1, "columns": 1},
    {"capacity": 0},
    {"batch_size": 0},
    {"limit": 0},
    {"n_step": 0},
    {"n_step": 9, "capacity": 8},
    {"n_step": 2, "replay": "first"},
    {"target_every": 0},
    {"target_every": 300},
    {"epoch_steps": 50},
    {"epoch_steps": 0},
    {"epochs": 2**20, "epoch_steps": 2**20},
    {"epsilon": 0.1, "epsilon_min": 0.2},
    {"epsilon": -1.0},
    {"discount": 1.5},
    {"maze_seed": 2**31 - 1, "mazes": 2},
    {"rows": 2**11, "columns": 2**11},
]
PLANNER = [
    {"rows": 0},
    {"rows": 1, "columns": 1},
    {"channels": 0},
    {"rounds": 0},
    {"walkers": 0},
    {"walkers": 100, "capacity": 99},
    {"walk_steps": 0},
    {"capacity": 0},
    {"batch_size": 0},
    {"target_every": 0},
    {"epoch_steps": 0},
    {"epochs": 2**20, "epoch_steps": 2**20},
    {"epsilon": 0.05},
]
CASES = [("ch07_dqn", case) for case in AGENT] + [("ch07_dqn/planner", case) for case in PLANNER]


@pytest.mark.parametrize(("name", "changes"), CASES, ids=lambda part: str(part))
def test_both_refuse_in_the_same_words_and_leave_nothing(name, changes, command, tmp_path):
    task = TASKS[name]
    with pytest.raises(SettingError) as refused:
        dataclasses.replace(next(iter(task.recipes.values())), **changes)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    out = tmp_path / "run"
    words = [task.second] if task.second else []
    done = command("ch07_dqn", *words, "train", *flags, "--out", out)
    assert done.status == 1
    assert done.err == f"error: {refused.value}\n"
    assert not out.exists()


def test_mazes_too_small_to_hold_some_out_leave_no_run(command, tmp_path):
    config = dataclasses.replace(TASKS["ch07_dqn/planner"].recipes["modern"], rows=1, columns=2)
    with pytest.raises(DataError) as refused:
        TASKS["ch07_dqn/planner"].train(config, {})
    out = tmp_path / "run"
    done = command("ch07_dqn", "planner", "train", "--rows=1", "--columns=2", "--out", out)
    assert (done.status, done.err) == (1, f"error: {refused.value}\n")
    assert not out.exists()
