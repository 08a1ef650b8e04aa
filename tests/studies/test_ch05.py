import json

import numpy as np

from studies import ch05_copy_task as copy_task


def test_the_copy_task_asks_for_the_first_ten_symbols(getkey):
    batch = copy_task.draw(getkey(), 5, delay=7)
    inputs, target = (np.asarray(batch[name]) for name in ("input", "target"))
    assert inputs.shape == target.shape == (5, 27)
    np.testing.assert_array_equal(target[:, -10:], inputs[:, :10])
    assert inputs[:, :10].min() >= 2
    assert not target[:, :-10].any()
    np.testing.assert_array_equal(np.flatnonzero(inputs[0, 10:]), [6])  # the sign, 7 steps later
    assert (inputs[:, 16] == copy_task.GO).all()


def test_lanes_of_the_copy_task_learn_apart():
    options = {"seeds": 2, "hidden": 8, "batch": 8, "learning_rate": 0.01}
    reports = list(copy_task.train(2, updates=60, every=30, **options))
    assert [report.updates for report in reports] == [30, 60]
    assert reports[0].nats.shape == reports[0].accuracy.shape == (2, 2)
    assert len(np.unique(reports[1].nats)) == 4
    assert reports[1].nats.mean() < reports[0].nats.mean() - 0.03
    assert abs(reports[1].nats.mean() - copy_task.IGNORANCE) < 0.3


def test_the_copy_task_leaves_curves(command, place):
    line = ("--delay", 3, "--seeds", 1, "--updates", 100, "--hidden", 4, "--out", place / "copy")
    done = command("ch05_copy_task", *line, package="studies")
    assert done.status == 0, done.err
    assert "update 100: nats per symbol " in done.out
    assert "(no memory: 2.079)" in done.out
    content = json.loads((place / "copy" / "delay-3.json").read_text())
    assert np.shape(content["nats"]) == (2, 2, 1)
    assert (place / "copy" / "delay-3.png").stat().st_size > 5_000
    wrong = command("ch05_copy_task", "--delay", 0, package="studies")
    assert "expected at least 1 of each" in wrong.err
