"""One HTML page that shows a workspace, in place of the book's dashboard; it needs nothing else.

Lineage with the checks of `trace`, metrics, figures, the versions of the models and of the data.
Pictures are inside; there is no script, and nothing is fetched. What people wrote (names of files,
messages) is shown as text.
"""

import base64
import csv
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from zoo.ch09_pipeline import figures, history, lineage, record, stages, trace
from zoo.ch09_pipeline.lineage import Box
from zoo.common import figures as common
from zoo.common import run
from zoo.common.run import RunError

SHOWN = 20
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222222;max-width:980px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}p,td{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:14px}
td.n,code{white-space:nowrap}
th,td{text-align:left;padding:.3em .7em .3em 0;border-bottom:1px solid #dddddd;vertical-align:top}
th{color:#666666;font-weight:600}td.n,th.n{text-align:right}code{font-size:.92em}
img{max-width:100%;display:block;margin:1em 0}
.ok{color:#0072B2;font-weight:600}.broken{color:#D55E00;font-weight:600}
""".strip()


def write(folder: Path, path: Path) -> Path:
    """Writes the page of a workspace and returns its path.

    Raises:
        RunError: there was no run yet, or its results are not in the workspace.
    """
    predictions = folder / "predictions" / "predictions.csv"
    versions = history.models(folder)
    for name in ("predictions/predictions.csv", "model/history.json", "evaluation/confusion.json"):
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is not there: `python -m zoo.ch09_pipeline run`")
    chain = trace.links(folder, predictions)
    made = record.read(predictions)
    newest, recipe = versions[-1], versions[-1].recipe
    sections = [
        f"<h1>{escape(folder.resolve().name)}</h1>",
        _paragraph(
            f"Recipe {recipe}, epochs {newest.epochs}: test accuracy "
            f"{newest.metrics['test_accuracy']:.4f}, cross-entropy "
            f"{newest.metrics['test_cross_entropy']:.4f} nats on "
            f"{newest.metrics['test_images']:,} pictures. "
            f"Run {newest.run[:10]}, {newest.date[:16].replace('T', ' ')}."
        ),
        "<h2>Lineage of the predictions</h2>",
        _lineage(made, chain, newest),
        _checks(chain),
        "<h2>Models</h2>",
        _models(versions),
        _image(_accuracies(versions), "test accuracy of each version"),
        "<h2>Training</h2>",
        _image(figures.training(_json(folder / "model/history.json")), "loss and accuracy"),
        "<h2>Test pictures</h2>",
        _image(_confusion(folder), "confusion matrix"),
        "<h2>Predictions</h2>",
        _predictions(folder, predictions),
        "<h2>Versions of the data</h2>",
        _data(history.data_versions(folder)),
        "<h2>Made with</h2>",
        _table(("", ""), [(k, v) for k, v in made["program"]["versions"].items()]),
    ]
    title = escape(f"{folder.resolve().name}: pipeline")
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    body = "\n".join(sections)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    run.write(path, page)
    return path


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of plain texts; the columns in `numbers` are set to the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        marks = [' class="n"' if n in numbers else "" for n in range(len(cells))]
        inner = "".join(
            f"<{tag}{mark}>{escape(str(cell))}</{tag}>"
            for cell, mark in zip(cells, marks, strict=True)
        )
        return f"<tr>{inner}</tr>"

    head = line(heads, "th") if any(heads) else ""
    return f"<table>{head}{''.join(line(row, 'td') for row in rows)}</table>"


def _image(figure: Figure, what: str) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    text = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{escape(what)}" src="data:image/png;base64,{text}">'


def _lineage(made: dict[str, Any], chain: Sequence[trace.Link], newest: history.Version) -> str:
    broken = {link.name for link in chain if link.fault}
    data, prepared = made["data"], made["prepared"]
    program = made["program"]["commit"] or "not in git"
    boxes = {
        "data": Box(0, 0, "data", (f"commit {data['commit'][:12]}", f"{len(data['files'])} files")),
        "params": Box(0, 1, "params", (f"commit {made['commit'][:12]}", f"recipe {newest.recipe}")),
        "program": Box(
            0, 2, "program", (f"zoo {program[:12]}", f"sources {made['program']['stages'][:12]}")
        ),
        "prepare": Box(
            1, 0, "prepare",
            (f"train {prepared['train']['images']:,}, test {prepared['test']['images']:,}",
             f"to predict {prepared['new']['images']:,}"),
        ),
        "model": Box(
            2, 1.5, "model",
            (f"sha256 {made['model']['sha256'][:12]}", f"epochs {newest.epochs}"),
        ),
        "evaluate": Box(
            3, 0, "evaluate",
            (f"accuracy {newest.metrics['test_accuracy']:.4f}",
             f"{newest.metrics['test_images']:,} test pictures"),
        ),
        "predictions": Box(
            3, 1, "predictions",
            (f"sha256 {made['predictions']['sha256'][:12]}",
             f"{prepared['new']['images']:,} pictures"),
        ),
    }  # fmt: skip
    boxes = {name: box._replace(broken=name in broken) for name, box in boxes.items()}
    edges = [("data", "prepare"), ("prepare", "model"), ("params", "model"), ("program", "model")]
    edges += [("prepare", "evaluate"), ("prepare", "predictions")]
    edges += [("model", "evaluate"), ("model", "predictions")]
    return lineage.draw(boxes, edges)


def _checks(chain: Sequence[trace.Link]) -> str:
    rows = []
    for link in chain:
        mark = '<td class="broken">broken</td>' if link.fault else '<td class="ok">ok</td>'
        text = f"{link.says} — {link.fault}" if link.fault else link.says
        rows.append(f"<tr>{mark}<td>{escape(link.name)}</td><td>{escape(text)}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _models(versions: Sequence[history.Version]) -> str:
    heads = ("run", "date", "recipe", "epochs", "accuracy", "cross-entropy", "weights", "data")
    rows = [
        (v.run[:8], v.date[:16].replace("T", " "), v.recipe, str(v.epochs),
         f"{v.metrics['test_accuracy']:.4f}", f"{v.metrics['test_cross_entropy']:.4f}",
         v.weights[:8], v.data[:8])
        for v in reversed(versions)
    ]  # fmt: skip
    return _table(heads, rows, (3, 4, 5))


def _accuracies(versions: Sequence[history.Version]) -> Figure:
    last = versions[-SHOWN:]
    names = [f"{v.recipe}\n{v.run[:7]}" for v in last]
    return figures.accuracies(names, [v.metrics["test_accuracy"] for v in last])


def _confusion(folder: Path) -> Figure:
    content = _json(folder / "evaluation/confusion.json")
    return common.confusion_matrix(np.array(content["counts"]), content["classes"])


def _predictions(folder: Path, path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        heads, *rows = [row for _, row in zip(range(SHOWN + 1), csv.reader(file), strict=False)]
    shares = [max(map(float, row[2:])) for row in rows]
    table = _table(
        ("name", "class", "probability"),
        [(row[0], row[1], f"{share:.4f}") for row, share in zip(rows, shares, strict=True)],
        (2,),
    )
    images = stages.load(folder / "prepared/new.npz")["image"][: len(rows)]
    if len(images) != len(rows):
        return table
    picture = figures.predicted(images, [row[1] for row in rows], shares)
    return _image(picture, f"the first {len(rows)} pictures, {len(heads) - 2} classes") + table


def _data(versions: Sequence[history.DataVersion]) -> str:
    rows = [
        (v.commit[:8], v.date[:16].replace("T", " "), v.message, str(v.files), f"{v.size:,}")
        for v in reversed(versions)
    ]
    return _table(("commit", "date", "what", "files", "bytes"), rows, (3, 4))
