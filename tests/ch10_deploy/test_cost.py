import json

import pytest

from zoo.ch10_deploy import cost


def test_a_million_predictions_cost_what_the_hours_for_them_cost():
    # 1,000,000 at 500 a second are 2,000 s, five ninths of an hour, at 0.36 an hour: 0.20.
    machine = cost.parse("small=0.36@500")
    assert machine == ("small", 0.36, 500.0)
    assert cost.per_million(machine) == pytest.approx(0.20)
    assert cost.per_million(machine, busy=0.25) == pytest.approx(0.80)


def test_demand_is_met_by_whole_machines_in_the_time_they_work():
    machine = cost.parse("small=0.36@500")
    assert cost.needed(machine, 1000) == 2
    assert cost.needed(machine, 1000.1) == 3
    assert cost.needed(machine, 1000, busy=0.5) == 4


def test_a_rate_is_read_from_a_measurement(tmp_path):
    path = tmp_path / "load.json"
    path.write_text(json.dumps({"clients": 32, "predictions_per_second": 812.5}))
    assert cost.parse(f"here=0.10@{path}").rate == 812.5


def test_the_table_begins_with_the_cheapest(capsys):
    cost.run(["big=2@1000", "small=0.1@500"], busy=0.5, currency="EUR", demand=2000)
    lines = capsys.readouterr().out.splitlines()
    assert "50% of the time" in lines[0]
    assert "EUR" in " ".join(lines[:5])
    first, second = (n for n, line in enumerate(lines) for name in ("small", "big") if name in line)
    assert "small" in lines[first]
    assert first < second
    assert [cell.strip() for cell in lines[first].strip("│ ").split("│")] == [
        "small", "0.1", "500", "0.1111", "8", "0.8"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("machines", "options", "said"),
    [
        ([], {}, "name at least one machine"),
        (["small"], {}, "expected NAME=PRICE@RATE"),
        (["small=1"], {}, "expected NAME=PRICE@RATE"),
        (["small=free@500"], {}, "the price in .* is 'free'"),
        (["small=1@0"], {}, "the rate in .* is '0', expected a number over 0"),
        (["small=1@nan"], {}, "expected a number over 0"),
        (["small=1@none.json"], {}, "none.json can't be read"),
        (["small=1@5"], {"busy": 1.5}, "got --busy 1.5"),
        (["small=1@5"], {"demand": -1}, "got --demand -1"),
    ],
)
def test_what_makes_no_sense_is_refused(machines, options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cost.CostError, match=said):
        cost.run(machines, **options)


def test_a_file_without_a_rate_is_refused(tmp_path):
    (tmp_path / "other.json").write_text('{"commit": "abc"}')
    with pytest.raises(cost.CostError, match="has none of predictions_per_second"):
        cost.parse(f"here=1@{tmp_path / 'other.json'}")
