"""The README's Python runs as it is written."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_python_blocks_run(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "(32, 10)" in printed
    assert "nats, accuracy" in printed


def test_the_page_on_python_runs(capsys):
    page = README.parent / "docs" / "python.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 6
    namespace = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "reconstruct {'image'" in printed
    assert namespace["drawn"].shape == (16, 28, 28)
    found = namespace["output"].logits.argmax(-1) == namespace["label"]
    assert found.mean() > 0.5
    accuracy = namespace["metrics"]["accuracy"]
    assert accuracy.shape == (8, 10)
    assert len(set(accuracy[:, -1].tolist())) > 1
