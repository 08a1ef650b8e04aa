"""One HTML page that shows a workspace, in place of the book's dashboard; it needs nothing else.

What made the predictions, checked; metrics, figures, the versions of the models and of the data.
Pictures are inside; it has no scripts and fetches nothing. What people wrote (names of files,
messages) is shown as text.
"""

import base64
import csv
import io
from collections.abc import Sequence
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from zoo.ch09_pipeline import record, stages, trace, workspace
from zoo.common import figures as common
from zoo.common import run
from zoo.common.run import RunError

SHOWN = 20
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222222;max-width:980px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}p,td{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:.3em .7em .3em 0;border-bottom:1px solid #dddddd;vertical-align:top}
th{color:#666666;font-weight:600}
img{max-width:100%;display:block;margin:1em 0}
""".strip()


def write(folder: Path, path: Path) -> Path:
    """Writes the page of a workspace and returns its path.

    Raises:
        RunError: nothing was run yet, or the results are not in the workspace.
    """
    predictions = folder / record.FILES["predictions"]
    versions = workspace.models(folder)
    for name in (record.FILES["predictions"], "model/history.json", "evaluation/confusion.json"):
        if not (folder / name).is_file():
            command = "python -m zoo.ch09_pipeline run"
            raise RunError(f"{folder / name} is missing: `{command}` makes it")
    chain, last = trace.check(folder, predictions), versions[-1]
    checks = [("BROKEN" if link.fault else "ok", *link) for link in chain]
    data = [
        (v.commit[:8], workspace.minute(v.date), v.message, str(v.files), f"{v.size:,}")
        for v in reversed(workspace.data_versions(folder))
    ]
    packages = record.read(predictions)["program"]["versions"]
    name = escape(folder.resolve().name)
    sections = [
        f"<h1>{name}</h1>",
        f"<p>Recipe {last.recipe}, epochs {last.epochs}: test accuracy "
        f"{last.metrics['test_accuracy']:.4f}, cross-entropy "
        f"{last.metrics['test_cross_entropy']:.4f} nats on {last.metrics['test_images']:,} "
        f"pictures. Run {last.run[:10]}, {workspace.minute(last.date)}.</p>",
        "<h2>What made the predictions</h2>",
        _table(("", "link", "what is wrong", "what it leads to"), checks),
        "<h2>Models</h2>",
        _table(workspace.HEADS, [v.row() for v in reversed(versions)]),
        _image(accuracies(versions), "test accuracy of each version"),
        "<h2>Training</h2>",
        *(_image(curve, "training") for curve in training(folder)),
        "<h2>Test pictures</h2>",
        _image(confusion(folder), "confusion matrix"),
        "<h2>Predictions</h2>",
        _predictions(folder, predictions),
        "<h2>Versions of the data</h2>",
        _table(("commit", "date", "what", "files", "bytes"), data),
        "<h2>Made with</h2>",
        _table(("package", "version"), list(packages.items())),
    ]
    head = f'<meta charset="utf-8"><title>{name}: pipeline</title><style>{_STYLE}</style>'
    body = "\n".join(sections)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    run.write(path, page)
    return path


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts."""
    lines = [[("th", text) for text in heads], *([("td", text) for text in row] for row in rows)]
    cells = ["".join(f"<{tag}>{escape(text)}</{tag}>" for tag, text in line) for line in lines]
    return f"<table>{''.join(f'<tr>{inner}</tr>' for inner in cells)}</table>"


def _image(figure: Figure, what: str) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    text = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{escape(what)}" src="data:image/png;base64,{text}">'


@common.own_style
def accuracies(versions: Sequence[workspace.Version]) -> Figure:
    """The test accuracy of each version of the model, the oldest on the left."""
    shares = [version.metrics["test_accuracy"] for version in versions]
    return _percent("test", shares, range(1, len(versions) + 1), "version")


@common.own_style
def training(folder: Path) -> list[Figure]:
    """Loss and accuracy on the training pictures of a workspace's model, by epoch."""
    rows = run.read_json(folder / "model/history.json")
    epochs = [row["epoch"] for row in rows]
    loss = {"train": [row["train_loss"] for row in rows]}
    shares = [row["train_accuracy"] for row in rows]
    return [
        common.curves(loss, epochs, "epoch", "loss, as the recipe defines it"),
        _percent("train", shares, epochs, "epoch"),
    ]


@common.own_style
def _percent(name: str, shares: Sequence[float], x: Sequence[int], xlabel: str) -> Figure:
    figure = common.curves({name: [100 * share for share in shares]}, x, xlabel, "accuracy (%)")
    figure.axes[0].set_ylim(0, 100)
    return figure


@common.own_style
def confusion(folder: Path) -> Figure:
    """The confusion matrix of a workspace's model: true classes in rows, predicted in columns."""
    content = run.read_json(folder / "evaluation/confusion.json")
    return common.confusion_matrix(np.array(content["counts"]), content["classes"])


def _predictions(folder: Path, path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(islice(csv.reader(file), 1, SHOWN + 1))
    shares = [max(map(float, row[2:])) for row in rows]
    cells = [(*row[:2], f"{share:.4f}") for row, share in zip(rows, shares, strict=True)]
    table = _table(("name", "class", "probability"), cells)
    images = stages.load(folder / "prepared/new.npz")["image"][: len(rows)]
    if len(images) != len(rows):
        return table
    titles = [f"{row[1]}\n{100 * share:.0f} %" for row, share in zip(rows, shares, strict=True)]
    return _image(common.image_grid(images, titles), f"the first {len(rows)} pictures") + table
