"""The study of the book's bugs: a smoke run, and the ladder that it climbs."""

import dataclasses
import json

from studies import ch07_mends
from zoo.ch07_dqn.agent import model


def test_the_mends_lead_from_book_to_modern():
    lines = list(ch07_mends.ladder(model.RECIPES["book"]).values())
    assert lines[0] == model.RECIPES["book"]
    assert dataclasses.replace(lines[-1], recipe="modern") == model.RECIPES["modern"]
    assert len(set(lines)) == len(lines)


def test_mends_writes_table_and_figure(tmp_path, monkeypatch, capsys):
    ends = ("as printed", "one input for each tile")
    few = {name: ch07_mends.MENDS[name] for name in ends}
    monkeypatch.setattr(ch07_mends, "MENDS", few)
    ch07_mends.mends(count=2, rows=1, columns=2, steps=100, out=tmp_path)
    found = json.loads((tmp_path / "mends.json").read_text())
    assert tuple(found["solved"]) == tuple(found["tiles_solved"]) == ends
    assert (tmp_path / "mends.png").exists()
    assert "as printed" in capsys.readouterr().out
