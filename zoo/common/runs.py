"""`python -m zoo runs`: which runs there are, and two of them side by side."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from zoo.common import bench, run, trained
from zoo.common.data import DataError, files
from zoo.common.task import accuracy

NO_METRICS = (
    *("epoch", "step", "examples_per_second", "seconds", "train_seconds", "compile_seconds"),
)
"""What stands beside the metrics in metrics.jsonl and summary.json."""
_OUT = Path("runs/compare.png")


def table(chapter: str = "") -> None:
    """List the runs under runs/ and those that --out put elsewhere, the last trained first.

    Args:
        chapter: of this chapter alone, such as ch06_cnn, or of one of its models
    """
    rows = []
    for folder, saved in run.folders().items():
        with contextlib.suppress(run.RunError):  # what can't be read is no run to go on with
            about = run.about(folder)
            if chapter in ("", about["chapter"], about["chapter"].partition("/")[0]):
                rows.append(_row(folder, saved, about))
    if not rows:
        of = f" of {chapter}" if chapter else ""
        print(f"no run{of} here: `python -m zoo chapters` lists what can be trained")
        return
    header = ("model", "recipe", "data", "trained", "epochs", "result", "folder")
    print(bench.Table(f"{len(rows)} run{'s' * (len(rows) > 1)}", header, rows).text())
    print("next: python -m zoo runs compare FOLDER FOLDER")


def _row(folder: Path, saved: float, about: dict[str, Any]) -> tuple[str, ...]:
    config, data, metrics = about["config"], about["data"], run.read_metrics(folder)
    last = metrics[-1] if metrics else {}
    epochs = f"{last.get('epoch', 0)}/{config['epochs']}" if "epochs" in config else "-"
    return (
        about["chapter"],
        str(config.get("recipe", "-")),
        f"{data.get('name', '-')}, {data.get('source', '-')}",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(saved)),
        epochs,
        _result(about["chapter"], last),
        files.printable(folder),
    )


def _result(name: str, line: dict[str, Any]) -> str:
    """What a model of this name, which may be another version's, reached by a line of metrics."""
    try:
        shown = trained.find(name).result
    except run.RunError:
        shown = accuracy
    return run.describe(shown(line)) or "-"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def compare(first: Positional[Path], second: Positional[Path], out: Path = _OUT) -> None:
    """Show where the settings of two runs differ, and draw their curves in one picture.

    Args:
        first: folder of a run
        second: folder of another run
        out: the picture
    """
    folders = (first, second)
    abouts, metrics = [run.about(f) for f in folders], [run.read_metrics(f) for f in folders]
    labels = _labels(first, second)
    settings = [_settings(about) for about in abouts]
    names = list(dict.fromkeys([*settings[0], *settings[1]]))
    pairs = [(name, *(_shown(s.get(name)) for s in settings)) for name in names]
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    header = ("", *labels)
    print(bench.Table("Settings that differ", header, differing or [("none", "", "")]).text())
    lasts = [rows[-1] if rows else {} for rows in metrics]
    measured = [n for n in dict.fromkeys([*lasts[0], *lasts[1]]) if n not in NO_METRICS]
    values = [(n, *(_value(n, last) for last in lasts)) for n in ("epoch", *measured)]
    print(f"\n{bench.Table('After the last epoch', header, values).text()}")
    both = [name for name in measured if all(name in last for last in lasts)]
    if not both:
        raise DataError(
            f"{first} and {second} have no metric in common, so there is no picture: expected runs "
            "of one model, or of models with the same metrics"
        )
    print(f"\ndrawn to {_draw(both, dict(zip(labels, metrics, strict=True)), out)}")


def _labels(first: Path, second: Path) -> tuple[str, str]:
    """Short names of two folders that tell them apart."""
    if first.resolve() == second.resolve():
        raise DataError(f"got {first} twice, expected two runs")
    a, b = first.resolve().parts, second.resolve().parts
    length = 1
    while a[-length:] == b[-length:]:
        length += 1
    return files.printable(Path(*a[-length:])), files.printable(Path(*b[-length:]))


def _settings(about: dict[str, Any]) -> dict[str, Any]:
    """What was chosen for a run, or what it found: configuration, data, versions, device."""
    data = {"data": about["data"].get("description")}
    found = {"model": about["chapter"], **about["config"], **data, "device": about.get("device")}
    return found | {f"version of {k}": v for k, v in about.get("versions", {}).items()}


def _shown(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)


def _value(name: str, line: dict[str, Any]) -> str:
    if name not in line:
        return "-"
    if not _is_number(line[name]) or name == "epoch":
        return str(line[name])
    return run.describe({name: line[name]}).removeprefix(name.replace("_", " ")).strip()


def _draw(names: list[str], runs: dict[str, list[dict[str, Any]]], out: Path) -> Path:
    from zoo.common import figures  # matplotlib takes half a second

    drawn = figures.page(max(5.5, 3.6 * len(names)), 3.4, "two runs")
    for axes, name in zip(drawn.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        share = name.endswith("accuracy")
        styles = zip(figures.COLOURS, ("-", "--"), strict=False)  # equal curves show both
        for (colour, line), (label, rows) in zip(styles, runs.items(), strict=True):
            told = [row for row in rows if name in row]
            epochs = [row["epoch"] for row in told]
            values = [(100 if share else 1) * row[name] for row in told]
            marker = "." * (len(told) < 20)
            axes.plot(epochs, values, line, color=colour, label=label, marker=marker)
        figures.plain(axes, "epoch", name.replace("_", " ") + " (%)" * share)
        axes.xaxis.set_major_locator(figures.MaxNLocator(integer=True))
        axes.legend(fontsize=figures.SMALL, frameon=False)
    return figures.save(drawn, out)
