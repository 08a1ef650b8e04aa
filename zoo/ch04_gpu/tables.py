"""The tables of each command, from what its JSON file holds: on the screen and in README.md."""

from collections.abc import Callable
from typing import Any

from zoo.ch04_gpu import products
from zoo.common.bench import Table

Record = dict[str, Any]


def machine(record: Record) -> str:
    """One line: what was measured, where, with which versions, when."""
    system = record["system"]
    names = [system["kinds"].get(name, name) for name in record["devices"]]
    versions = ", ".join(
        f"{n} {system['versions'][n]}" for n in ("jax", "numpy") if n in system["versions"]
    )
    parts = ["; ".join(names), f"{system['memory_gib']} GiB of memory", versions]
    if system["driver"]:
        parts.append(f"NVIDIA driver {system['driver']}")
    return f"{', '.join(parts)}, {record['date'][:10]}"


def significant(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, thousands apart; a dash for None."""
    if value is None:
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1000:
        return f"{value:.{digits}g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits - 1}e}"


def spread(times: dict[str, float], scale: float = 1.0) -> str:
    """Median and, in brackets, quartiles."""
    median, low, high = (significant(scale * times[name]) for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def bench(record: Record) -> list[Table]:
    """Seconds an epoch, training and inference by model and device."""
    rows = [
        (
            row["model"],
            row["device"],
            spread(row["epoch"]),
            f"{row['training']['median']:,.0f} {row['unit']}/s",
            f"{row['inference']['median']:,.0f} ({row['inference']['low']:,.0f} to "
            f"{row['inference']['high']:,.0f})",
            f"{row['training']['compile_seconds']:.1f} + {row['inference']['compile_seconds']:.1f}",
            "-" if row["book"] is None else f"{row['book'][0]:g} CPU, {row['book'][1]:g} GPU",
        )
        for row in record["rows"]
    ]
    header = (
        "model",
        "device",
        "s/epoch",
        "training",
        "inference, the same /s",
        "compile s",
        "the book's s/epoch",
    )
    note = (
        "Medians, quartiles in brackets. An epoch is that of the model's chapter (60,000 digits, "
        "50,000 colour pictures, 943 users, Tiny Shakespeare, 10,000 steps of the first network); "
        "its time follows from runs of half a second and more. `dqn` and `planner` are updates "
        "alone, without the mazes."
    )
    return [Table("Training and inference", header, rows, note)]


def check(record: Record) -> list[Table]:
    """Errors of every model's loss and gradient by device."""
    rows = [
        (
            row["model"],
            row["device"],
            f"{row['loss']:.6g}",
            f"{row['loss_error']:.1e}",
            f"{row['gradient_error']:.1e}",
            "yes" if row["agrees"] else "NO",
        )
        for row in record["rows"]
    ]
    header = ("model", "device", "loss", "error of the loss", "of the gradient", "agrees")
    note = (
        "Relative errors against the same functions in float64 on the CPU; tolerances "
        f"{record['loss_tolerance']:g} and {record['gradient_tolerance']:g}."
    )
    if record["devices"] == ["cpu"]:
        note += " No second device was there to compare with, so this bounds the rounding alone."
    return [Table("Loss and gradient in float32", header, rows, note)]


def ops(record: Record) -> list[Table]:
    """Forward and backward time of the chapter's operations, a table for each size."""
    tables = []
    for size in dict.fromkeys(row["size"] for row in record["rows"]):
        rows = []
        for row in record["rows"]:
            if row["size"] == size:
                cells = [f"{row['operation']} {'x'.join(map(str, row['shape']))}", row["device"]]
                for way in ("forward", "backward"):
                    times = row[way]
                    cells += [
                        spread(times, 1e3),
                        significant(times["gflops"]),
                        significant(times["gbytes"]),
                    ]
                rows.append(cells)
        header = (
            "operation",
            "device",
            "forward ms",
            "GFLOP/s",
            "GB/s",
            "backward ms",
            "GFLOP/s",
            "GB/s",
        )
        tables.append(Table(f"Operations, {size}", header, rows))
    return tables


def crossover(record: Record) -> list[Table]:
    """Microseconds of a product by size and contender."""
    names = list(record["rows"][0]["seconds"])
    rows = [
        (str(row["size"]), *(spread(row["seconds"][name], 1e6) for name in names))
        for row in record["rows"]
    ]
    notes = []
    for who in names:
        against = "JAX, cpu" if "JAX, cpu" in names and "cpu" not in who else "NumPy"
        if who != "NumPy":
            size = products.pays_from(record["rows"], who, against)
            found = f"from {size}x{size} on" if size else "not up to the largest size"
            notes.append(f"{who}: ahead of {against} {found}.")
    if "gpu" not in record["devices"]:
        notes.append("No GPU was there.")
    header = ("size", *names)
    return [Table("Product of two square matrices, microseconds", header, rows, " ".join(notes))]


def roofline(record: Record) -> list[Table]:
    """The peaks of each device, and the models below them."""
    peaks = [
        (
            name,
            *(significant(p[k] and p[k] / 1e9) for k in ("float32", "tf32", "bfloat16")),
            significant(p["bandwidth"] / 1e9),
            f"{p['float32'] / (p['bandwidth'] / 4):.0f}",
        )
        for name, p in record["peaks"].items()
    ]
    for name, (flops, words) in record["book"].items():
        peaks.append(
            (
                f"the book's {name}",
                significant(flops),
                "-",
                "-",
                significant(4 * words),
                f"{flops / words:.0f}",
            )
        )
    header = ("device", "float32 GFLOP/s", "tf32", "bfloat16", "copy GB/s", "FLOPs a word")
    models = []
    for row in record["rows"]:
        peak = record["peaks"][row["device"]]
        roof = min(peak["float32"], row["intensity"] * peak["bandwidth"]) / 1e9
        models.append(
            (
                row["model"],
                row["device"],
                significant(row["flops"] / 1e6),
                significant(row["intensity"]),
                significant(row["gflops"]),
                significant(roof),
                f"{row['gflops'] / roof:.0%}",
            )
        )
    names = ("model", "device", "MFLOP an update", "FLOPs a byte", "GFLOP/s", "roof", "share")
    note = (
        "Bytes are those of the compiled program (`lstm`, `planner`: as if nothing was fused) as "
        "if none stayed in a cache, so a model that fits into one can stand above its roof."
    )
    return [Table("Peaks", header, peaks), Table("Models in training", names, models, note)]


def blas(record: Record) -> list[Table]:
    """The three levels of BLAS."""
    rows = [
        (
            row["level"],
            row["who"],
            spread(row, 1e6),
            significant(row["flops_per_byte"]),
            significant(row["gflops"]),
            significant(row["gbytes"]),
        )
        for row in record["rows"]
    ]
    header = ("level", "by", "microseconds", "FLOPs a byte", "GFLOP/s", "GB/s")
    return [Table(f"BLAS on operands of up to {record['numbers']:,} numbers", header, rows)]


def memory(record: Record) -> list[Table]:
    """Three orders of reading."""
    rows = [
        (
            row["order"],
            row["device"],
            spread(row, 1e3),
            f"{row['nanoseconds']:.2f}",
            f"{row['ratio']:.1f}",
        )
        for row in record["rows"]
    ]
    header = ("order", "device", "ms", "ns a number", "times sequential")
    title = f"Summing {record['rows'][0]['numbers']:,} numbers by index"
    return [Table(title, header, rows, "Strided: a cache line (16 numbers) apart.")]


def precision(record: Record) -> list[Table]:
    """Speed and loss by precision."""
    rows = [
        (
            row["model"],
            row["device"],
            row["precision"],
            spread(row, 1e3),
            f"{row['first_loss']:.5g}",
            f"{row['last_loss']:.5g}",
            f"{row['loss_error']:.1e}",
            f"{row['gradient_error']:.1e}",
        )
        for row in record["rows"]
    ]
    steps = record["rows"][0]["steps"]
    header = (
        "model",
        "device",
        "precision",
        "ms an update",
        "loss at first",
        f"after {steps}",
        "error of the first loss",
        "of its gradient",
    )
    note = "One batch learnt by heart with Adam; errors are relative, against float64 on the CPU."
    return [Table("Precision", header, rows, note)]


def scale(record: Record) -> list[Table]:
    """Strong and weak scaling."""
    rows = []
    for row in record["rows"]:
        cells = [str(row["devices"])]
        for kind in ("strong", "weak"):
            found = row[kind]
            cells += [f"{found['batch']:,}", spread(found), f"{found['efficiency']:.0%}"]
        rows.append(cells)
    unit = f"{record['unit']}/s"
    header = ("devices", "strong: batch", unit, "efficiency", "weak: batch", unit, "efficiency")
    note = (
        f"After four updates the parameters on {record['most']} devices differ from those on one "
        f"by {record['difference']:.1e} of the largest in an array."
    )
    if record["devices"] == ["cpu"]:
        note += (
            " These devices share one processor, which a single one uses already: n of them cannot "
            "be faster than one, so 1/n is what to expect, and the rest is what splitting costs."
        )
    return [Table(f"`{record['model']}` on several devices", header, rows, note)]


TABLES: dict[str, Callable[[Record], list[Table]]] = {
    function.__name__: function
    for function in (bench, check, ops, crossover, roofline, blas, memory, precision, scale)
}
