"""What the command line refuses `train` refuses from Python, in the same words."""

import dataclasses

import pytest

import zoo
from zoo.common.data import DataError

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
]
PLANNER = [
    {"rows": 0},
    {"rows": 1, "columns": 2},
    {"channels": 0},
    {"rounds": 0},
    {"walkers": 0},
    {"walkers": 100, "capacity": 99},
    {"walk_steps": 0},
    {"capacity": 0},
    {"batch_size": 0},
    {"target_every": 0},
    {"epoch_steps": 0},
]
CASES = [("ch07_dqn", case) for case in AGENT] + [("ch07_dqn/planner", case) for case in PLANNER]


@pytest.mark.parametrize(("name", "changes"), CASES, ids=lambda part: str(part))
def test_both_refuse_in_the_same_words_and_leave_nothing(name, changes, command, tmp_path):
    task = TASKS[name]
    config = dataclasses.replace(next(iter(task.recipes.values())), **changes)
    with pytest.raises(DataError) as refused:
        task.train(config, {})
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    out = tmp_path / "run"
    words = [task.second] if task.second else []
    done = command("ch07_dqn", *words, "train", *flags, "--out", out)
    assert done.status == 1
    assert done.err == f"error: {refused.value}\n"
    assert not out.exists()
