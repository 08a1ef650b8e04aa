"""The tables of each command, from what its JSON file holds: on the screen and in README.md."""

import collections
import re
from collections.abc import Callable, Sequence
from typing import Any

from zoo.ch04_gpu import products
from zoo.ch04_gpu import roofline as roofs
from zoo.common.bench import Table

Record = dict[str, Any]
Column = tuple[str, str | Callable[[Record], str]]
"""The header, and a format of a row's values or a function of the row."""
PRECISION: Column = ("precision", "{precision}")
WHICH: tuple[Column, ...] = (("model", "{model}"), ("device", "{device}"), PRECISION)


def file_name(record: Record) -> str:
    """Of a record without its suffix: the command and the devices, `bench_cpu_nvidia-h200`.

    A GPU has its own name there, so that the records of two of them can lie in one folder.
    """
    kinds = record["system"]["kinds"]
    names = [n if n == "cpu" else slug(kinds[n].partition(": ")[2]) or n for n in record["devices"]]
    return "_".join([record["name"], *names])


def slug(text: str) -> str:
    """A device's name as a part of a file's: `NVIDIA H100 80GB HBM3` is `nvidia-h100-80gb-hbm3`."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def machine(record: Record) -> str:
    """One line: what was measured, where, with which versions, when."""
    system = record["system"]
    names = [system["kinds"].get(name, name) for name in record["devices"]]
    versions = [f"{name} {system['versions'][name]}" for name in ("jax", "numpy")]
    parts = ["; ".join(names), f"{system['memory_gib']} GiB of main memory", *versions]
    if system["driver"]:
        parts.append(f"NVIDIA driver {system['driver']}")
    parts += [f"{name}={value}" for name, value in system.get("environment", {}).items()]
    return f"{', '.join(parts)}, {record['date'][:10]}"


def significant(value: float | None) -> str:
    """A number with three significant digits, thousands apart; a dash for None."""
    if value is None:
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2e}"


def spread(times: dict[str, float], scale: float = 1.0) -> str:
    """Median and, in brackets, quartiles."""
    median, low, high = (significant(scale * times[name]) for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def _of(name: str) -> Callable[[Record], str]:
    return lambda row: significant(row[name])


def _share(part: float, whole: float | None) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _table(title: str, rows: Sequence[Record], *columns: Column, note: str = "") -> Table:
    cells = [
        [c.format(**row) if isinstance(c, str) else c(row) for _, c in columns] for row in rows
    ]
    return Table(title, [header for header, _ in columns], cells, note)


def bench(record: Record) -> list[Table]:
    """Seconds an epoch, training and inference by model and device."""
    inference = "{inference[median]:,.0f} ({inference[low]:,.0f} to {inference[high]:,.0f})"
    table = _table(
        "Training and inference",
        record["rows"],
        *WHICH,
        ("s/epoch", lambda row: spread(row["epoch"])),
        ("training", "{training[median]:,.0f} {unit}/s"),
        ("inference, the same /s", inference),
        ("compile s", "{training[compile_seconds]:.1f} + {inference[compile_seconds]:.1f}"),
        (
            "the book's s/epoch",
            lambda row: "{:g} CPU, {:g} GPU".format(*row["book"]) if row["book"] else "-",
        ),
        note="Medians, quartiles in brackets. An epoch is that of the model's chapter (60,000 "
        "digits, 50,000 colour pictures, 943 users, Tiny Shakespeare, 10,000 steps of the first "
        "network); its time follows from runs of half a second and more. Chapter 7's are updates "
        "alone, without the mazes. Precision: that of most products in training.",
    )
    return [table]


def check(record: Record) -> list[Table]:
    """Errors of every model's loss and gradient by device."""
    note = (
        "Relative errors against the same functions in float64 on the CPU; tolerances "
        f"{record['loss_tolerance']:g} and {record['gradient_tolerance']:g}."
    )
    if record["devices"] == ["cpu"]:
        note += " No second device was there to compare with, so this bounds the rounding alone."
    table = _table(
        "Loss and gradient in float32",
        record["rows"],
        *WHICH,
        ("loss", "{loss:.6g}"),
        ("error of the loss", "{loss_error:.1e}"),
        ("of the gradient", "{gradient_error:.1e}"),
        ("agrees", lambda row: "yes" if row["agrees"] else "NO"),
        note=note,
    )
    return [table]


def ops(record: Record) -> list[Table]:
    """Forward and backward time of the chapter's operations, a table for each size."""

    def columns(way: str) -> list[Column]:
        return [
            (f"{way} ms", lambda row: spread(row[way], 1e3)),
            ("GFLOP/s", lambda row: significant(row[way]["gflops"])),
            ("GB/s", lambda row: significant(row[way]["gbytes"])),
        ]

    return [
        _table(
            f"Operations, {size}",
            [row for row in record["rows"] if row["size"] == size],
            ("operation", lambda row: f"{row['operation']} {'x'.join(map(str, row['shape']))}"),
            ("device", "{device}"),
            PRECISION,
            *columns("forward"),
            *columns("backward"),
        )
        for size in dict.fromkeys(row["size"] for row in record["rows"])
    ]


def crossover(record: Record) -> list[Table]:
    """Microseconds of a product by size and contender."""
    names, notes = list(record["rows"][0]["seconds"]), []
    for who in names[1:]:  # all but NumPy
        against = "JAX, cpu" if "JAX, cpu" in names and "cpu" not in who else "NumPy"
        size = products.pays_from(record["rows"], who, against)
        found = f"from {size}x{size} on" if size else "not up to the largest size"
        notes.append(f"{who}: ahead of {against} {found}.")
    if "gpu" not in record["devices"]:
        notes.append("No GPU was measured.")
    times = [(name, lambda row, name=name: spread(row["seconds"][name], 1e6)) for name in names]
    title = "Product of two square matrices in float32, microseconds"
    return [_table(title, record["rows"], ("size", "{size}"), *times, note=" ".join(notes))]


def roof(record: Record, row: Record) -> float | None:
    """GFLOP/s of the roof over a model in the precision that it is trained in.

    None where there is none to draw: its bytes are not those of a compiled program, so the place
    below it is not known, or nothing measured the peak in this precision.
    """
    peaks = record["peaks"][row["device"]]
    if not row["fused"] or not (peak := peaks.get(row["precision"])):
        return None
    return roofs.bound(row["intensity"], peak, peaks["bandwidth"]) / 1e9


def roofline(record: Record) -> list[Table]:
    """The peaks of each device, and the models below them."""

    def billions(name: str) -> Callable[[Record], str]:
        return lambda row: significant(row[name] and row[name] / 1e9)

    def of_peak(row: Record) -> str:
        peak = record["peaks"][row["device"]].get(row["precision"])
        return _share(row["gflops"], peak and peak / 1e9)

    peaks = [{"name": name, **peak} for name, peak in record["peaks"].items()]
    for name, (flops, words) in record["book"].items():
        book = {"name": f"the book's {name}", "tf32": None, "bfloat16": None}
        peaks.append({**book, "float32": 1e9 * flops, "bandwidth": 4e9 * words})
    machines = _table(
        "Peaks",
        peaks,
        ("device", "{name}"),
        ("float32 GFLOP/s", billions("float32")),
        ("tf32", billions("tf32")),
        ("bfloat16", billions("bfloat16")),
        ("memory GB/s", billions("bandwidth")),
        ("FLOPs a word", lambda row: f"{row['float32'] / (row['bandwidth'] / 4):.0f}"),
    )
    models = _table(
        "Models in training",
        record["rows"],
        *WHICH,
        ("MFLOP an update", lambda row: significant(row["flops"] / 1e6)),
        ("GFLOP/s", _of("gflops")),
        ("of the peak", of_peak),
        ("bytes", lambda row: "fused" if row["fused"] else "unfused"),
        ("FLOPs a byte", _of("intensity")),
        ("roof", lambda row: significant(roof(record, row))),
        ("share", lambda row: _share(row["gflops"], roof(record, row))),
        note="Peak and roof are those of the row's precision. Fused bytes are those of the "
        "compiled program as if none stayed in a cache, so a model that fits into one can stand "
        "above its roof. Unfused ones, of programs with a loop inside, are an upper bound and not "
        "comparable with the others, so no roof follows.",
    )
    return [machines, models]


def _caches(record: Record, numbers: int) -> str:
    """Whether operands of so many numbers come from memory."""
    size, there = 4 * numbers, record.get("cache")
    if not there:
        return "How large the processor's caches are is not recorded, so operands may fit into one."
    times = f"{size / there:.1f} times" if size / there < 10 else f"{size / there:,.0f} times"
    named = f"the processor's last-level cache of {there / 2**20:.0f} MiB"
    if size < 2 * there:
        return f"The largest operand takes {times} {named}, so it may come from there."
    return f"The largest operand takes {times} {named}."


def blas(record: Record) -> list[Table]:
    """The three levels of BLAS."""
    table = _table(
        f"BLAS on operands of up to {record['numbers']:,} numbers",
        record["rows"],
        ("level", "{level}"),
        ("by", "{who}"),
        PRECISION,
        ("numbers", "{numbers:,}"),
        ("microseconds", lambda row: spread(row, 1e6)),
        ("FLOPs a byte", _of("flops_per_byte")),
        ("GFLOP/s", _of("gflops")),
        ("GB/s", _of("gbytes")),
        note=_caches(record, record["numbers"]),
    )
    return [table]


def memory(record: Record) -> list[Table]:
    """Three orders of reading."""
    numbers = record["rows"][0]["numbers"]
    table = _table(
        f"Summing {numbers:,} float32 numbers by index",
        record["rows"],
        ("order", "{order}"),
        ("device", "{device}"),
        ("ms", lambda row: spread(row, 1e3)),
        ("ns a number", _of("nanoseconds")),
        ("times sequential", "{ratio:.1f}"),
        note=f"Strided: a cache line (16 numbers) apart. {_caches(record, numbers)}".strip(),
    )
    return [table]


def precision(record: Record) -> list[Table]:
    """Speed and loss by precision."""
    table = _table(
        "Precision",
        record["rows"],
        *WHICH,
        ("ms an update", lambda row: spread(row, 1e3)),
        ("loss at first", "{first_loss:.5g}"),
        (f"after {record['rows'][0]['steps']}", "{last_loss:.5g}"),
        ("error of the first loss", "{loss_error:.1e}"),
        ("of its gradient", "{gradient_error:.1e}"),
        note="One batch learnt by heart with Adam; errors are relative, against float64 on the "
        "CPU.",
    )
    return [table]


def scale(record: Record) -> list[Table]:
    """Strong and weak scaling."""

    def columns(kind: str) -> list[Column]:
        return [
            (f"{kind}: batch", lambda row: f"{row[kind]['batch']:,}"),
            (f"{record['unit']}/s", lambda row: spread(row[kind])),
            ("efficiency", lambda row: f"{row[kind]['efficiency']:.0%}"),
        ]

    note = (
        f"After four updates in float32 the parameters on {record['most']} devices differ from "
        f"those on one by {record['difference']:.1e} of the largest in an array. Devices draw "
        "random numbers of their own: where the loss needs any, that is the difference."
    )
    if record["devices"] == ["cpu"]:
        note += (
            " These devices are cores of one processor, all of which a single device uses as well: "
            "an efficiency of 1/n is the speed of one device."
        )
    title = f"`{record['model']}` on several devices"
    counted: tuple[Column, ...] = (("devices", "{devices}"), PRECISION)
    return [
        _table(title, record["rows"], *counted, *columns("strong"), *columns("weak"), note=note)
    ]


SIZES = ("temp", "argument", "output")
LIBRARIES = {
    "__cudnn": "cuDNN",
    "__cublas$lt": "cuBLASLt",
    "__cublas": "cuBLAS",
    "__triton": "Triton",
    "__dynamic_memcpy": "copies",
}
"""By how the names of custom calls and of fusions begin, who computes them."""


def compile(record: Record) -> list[Table]:
    """Memory and contents of each program."""

    def told(of: Callable[[Record], str]) -> Callable[[Record], str]:
        return lambda row: "-" if row["error"] is not None else of(row)

    def calls(row: Record) -> str:
        counts: collections.Counter[str] = collections.Counter()
        for name, count in row["calls"].items():
            known = (label for start, label in LIBRARIES.items() if name.startswith(start))
            counts[next(known, name)] += count
        return _listed(counts)

    def megabytes(name: str) -> Column:
        return f"{name} MB", told(lambda row: significant(row[name] / 1e6))

    table = _table(
        f"Compiled for {record['card']} by JAX {record['system']['versions']['jax']}",
        record["rows"],
        ("model", "{model}"),
        ("program", "{program}"),
        ("cards", "{devices}"),
        ("compiles", lambda row: "yes" if row["error"] is None else "NO"),
        *map(megabytes, SIZES),
        ("kernels", told(lambda row: str(row["kernels"]))),
        ("loops", told(lambda row: str(row["loops"]))),
        ("calls", told(calls)),
        ("collectives", told(lambda row: _listed(row["collectives"]))),
        note="MB of each card: temporary arrays, arguments (a loop's hold the data set), results. "
        "The body of a loop counts once. Triton's kernels are among the kernels; XLA takes cuBLAS "
        "in place of some of them where it can try both on a card.",
    )
    return [table]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "-"


TABLES: dict[str, Callable[[Record], list[Table]]] = {
    function.__name__: function
    for function in (
        bench,
        check,
        ops,
        crossover,
        roofline,
        blas,
        memory,
        precision,
        scale,
        compile,
    )
}
