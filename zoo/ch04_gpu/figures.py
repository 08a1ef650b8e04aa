"""The pictures of chapter 4, each made from what a command's JSON file holds."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.ch04_gpu import tables
from zoo.common import figures
from zoo.common.figures import BLUE, COLOURS, INK, ORANGE, PALE, SMALL, page, plain

Record = tables.Record
Groups = dict[str, dict[str, float]]
DEVICES = {"cpu": BLUE, "gpu": ORANGE, "tpu": COLOURS[2]}


def _grouped(rows: list[Record], group: str, name: str, value: Callable[[Record], float]) -> Groups:
    groups: Groups = {}
    for row in rows:
        groups.setdefault(row[group], {})[row[name]] = value(row)
    return groups


@figures.own_style
def _bars(record: Record, groups: Groups, title: str, label: str) -> Figure:
    """Bars side by side: the groups on the left, in each one bar for every name."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    high = (0.2 * len(names) + 0.1) * len(groups) + 1.1
    figure = page(7.0, high, title, tables.machine(record))
    axes = figure.subplots()
    height = 0.8 / len(names)
    for k, name in enumerate(names):
        places = [i + (k - (len(names) - 1) / 2) * height for i in range(len(groups))]
        values = [group.get(name, np.nan) for group in groups.values()]
        bars = axes.barh(places, values, 0.9 * height, color=COLOURS[k % 6], label=name)
        texts = [tables.significant(v) if np.isfinite(v) else "" for v in values]
        axes.bar_label(bars, texts, padding=3, size=SMALL, color=INK)
    if "logarithmic" in label:
        axes.set_xscale("log")
    plain(axes, label).margins(x=0.12)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.legend(fontsize=SMALL, frameon=False, loc="best", labelcolor=INK)
    return figure


@figures.own_style
def bench(record: Record) -> Figure:
    """Seconds an epoch of every model, on a logarithmic scale, and the book's where it has them."""
    groups = _grouped(record["rows"], "model", "device", lambda row: row["epoch"]["median"])
    figure = _bars(record, groups, "Seconds an epoch", "seconds an epoch (logarithmic)")
    axes = figure.axes[0]
    books = {row["model"]: row["book"] for row in record["rows"] if row["book"]}
    places = [list(groups).index(name) for name in books]
    for k, (who, marker) in enumerate((("CPU", "D"), ("GPU", "o")) if books else ()):
        times, label = [book[k] for book in books.values()], f"the book's {who}"
        axes.plot(times, places, marker, color="white", markeredgecolor=INK, label=label)
    axes.legend(fontsize=SMALL, frameon=False, loc="best", labelcolor=INK)
    return figure


@figures.own_style
def crossover(record: Record) -> Figure:
    """GFLOP/s of products by size: NumPy and JAX, with and without the transfer."""
    rows = record["rows"]
    sizes = [row["size"] for row in rows]
    figure = page(6.5, 4.0, "Products of square matrices", tables.machine(record))
    axes = figure.subplots()
    speeds = {
        name: [2 * row["size"] ** 3 / row["seconds"][name]["median"] / 1e9 for row in rows]
        for name in rows[0]["seconds"]
    }
    figures.draw_curves(axes, speeds, sizes, "rows and columns (logarithmic)", "GFLOP/s")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, map(str, sizes))
    axes.minorticks_off()
    return figure


@figures.own_style
def roofline(record: Record) -> Figure:
    """Each device's roof, one for each precision that models are trained in, and these below it.

    A model without a roof of its own, see `tables.roof`, is a hollow point.
    """
    several = len(record["peaks"]) > 1  # then names and roofs need more room
    figure = page(7.0, 8.0 if several else 4.6, "Roofline", tables.machine(record))
    axes = figure.subplots()
    points = [row["intensity"] for row in record["rows"]]
    reach = np.geomspace(min([0.1, *points]) / 2, max([500.0, *points]) * 2, 200)
    for name, peak in record["peaks"].items():
        mine = [row for row in record["rows"] if row["device"] == name]
        used = dict.fromkeys(["float32", *(row["precision"] for row in mine)])
        for kind, width in zip((k for k in used if peak.get(k)), (1.6, 1.0, 0.6), strict=False):
            roof = np.minimum(peak[kind], reach * peak["bandwidth"]) / 1e9
            speeds = f"{peak[kind] / 1e9:,.0f} GFLOP/s, {peak['bandwidth'] / 1e9:,.0f} GB/s"
            label = f"{name}, {kind}: {speeds}"
            axes.plot(reach, roof, color=DEVICES[name], linewidth=width, label=label)
        for placed, inside in ((True, DEVICES[name]), (False, "white")):
            some = [row for row in mine if (tables.roof(record, row) is not None) == placed]
            x, y = [row["intensity"] for row in some], [row["gflops"] for row in some]
            (dots,) = axes.plot(x, y, "o", color=DEVICES[name], mfc=inside, markersize=5)
            if some and not placed:
                dots.set_label(f"{name}: bytes as if nothing was fused")
        _name_points(axes, mine)
    for (name, (flops, words)), style in zip(record["book"].items(), ("--", ":"), strict=True):
        roof = np.minimum(flops, reach * 4 * words)
        axes.plot(reach, roof, style, color=PALE, linewidth=1.4, label=f"the book's {name}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain(axes, "FLOPs a byte", "GFLOP/s").grid(color=PALE, linewidth=0.4)
    if several:
        axes.set_ylim(top=60 * axes.get_ylim()[1])
    axes.legend(
        fontsize=SMALL,
        frameon=False,
        loc="upper left" if several else "lower right",
        labelcolor=INK,
    )
    return figure


def _name_points(axes: Axes, rows: list[Record], column: float = 60.0) -> None:
    """Names beside points of the roofline; where they would overlap, in a column with lines."""
    speeds = [row["gflops"] for row in rows]
    step = max(1.5, (max(speeds) / min(speeds)) ** (1 / 20))  # between two names

    def crowded(row: Record) -> bool:
        others = [other["gflops"] for other in rows if other is not row]
        return any(row["gflops"] / step < other < step * row["gflops"] for other in others)

    ranked = sorted(rows, key=lambda row: row["gflops"])
    moved = [row for row in ranked if crowded(row)]
    for row in ranked:
        x, y = row["intensity"], row["gflops"]
        place, line = (1.2 * x, y), None
        if row in moved:  # a third below the middle one, where the roofline leaves room
            middle = moved[len(moved) // 2]["gflops"] / 3
            place = (column, middle * step ** (moved.index(row) - len(moved) / 2))
            line = {"arrowstyle": "-", "color": PALE, "linewidth": 0.6, "relpos": (0, 0.5)}
        axes.annotate(
            row["model"], (x, y), place, size=SMALL, color=INK, va="center", arrowprops=line
        )


@figures.own_style
def ops(record: Record) -> Figure:
    """GFLOP/s of the operations at the largest size measured, forward and backward."""
    size = record["rows"][-1]["size"]
    groups: Groups = {}
    for row in record["rows"]:
        if row["size"] == size:
            who = _with_precision(row["device"], row)
            speeds = {f"{who}, {way}": row[way]["gflops"] for way in ("forward", "backward")}
            groups.setdefault(row["operation"], {}).update(speeds)
    label = "GFLOP/s (logarithmic)" if len(record["devices"]) > 1 else "GFLOP/s"
    return _bars(record, groups, f"The chapter's operations, {size}", label)


def _with_precision(who: str, row: Record) -> str:
    """Who computed a row, with the precision where that is not float32."""
    return who if row["precision"] == "float32" else f"{who}, {row['precision']}"


@figures.own_style
def blas(record: Record) -> Figure:
    """GFLOP/s of the three levels of BLAS."""
    rows = [{**row, "who": _with_precision(row["who"], row)} for row in record["rows"]]
    groups = _grouped(rows, "level", "who", lambda row: row["gflops"])
    return _bars(record, groups, "BLAS levels", "GFLOP/s (logarithmic)")


@figures.own_style
def memory(record: Record) -> Figure:
    """Nanoseconds a number in each order of reading."""
    groups = _grouped(record["rows"], "order", "device", lambda row: row["nanoseconds"])
    return _bars(record, groups, "Reading memory in three orders", "ns a number")


@figures.own_style
def scale(record: Record) -> Figure:
    """Examples per second over the number of devices, against the best there could be."""
    rows = record["rows"]
    devices = [row["devices"] for row in rows]
    figure = page(5.5, 3.6, f"{record['model']} on several devices", tables.machine(record))
    axes = figure.subplots()
    rates: dict[str, list[Any]] = {
        kind: [row[kind]["median"] for row in rows] for kind in ("strong", "weak")
    }
    rates["the best there could be"] = [n * rows[0]["strong"]["median"] for n in devices]
    figures.draw_curves(axes, rates, devices, "devices", f"{record['unit']}/s")
    axes.set_ylim(bottom=0)
    return figure


FIGURES: dict[str, Callable[[Record], Figure]] = {
    function.__name__: function
    for function in (bench, ops, crossover, roofline, blas, memory, scale)
}
