"""What every measurement of the chapter leaves: tables on the screen, JSON, and a picture."""

import time
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from zoo.ch04_gpu import machine, report, tables
from zoo.common import run
from zoo.common.data import DataError
from zoo.common.device import Name as DeviceName

CHAPTER = "ch04_gpu"
Models = Annotated[tuple[str, ...], tyro.conf.Positional]
OneModel = Annotated[str, tyro.conf.Positional]
Devices = tuple[DeviceName, ...]


def new_folder(out: Path | None) -> Path:
    """The folder of a measurement, runs/ch04_gpu/TIME if none is given."""
    return out or Path("runs", CHAPTER, time.strftime("%Y-%m-%d-%H%M%S"))


def begin(names: Devices) -> Devices:
    """The kinds of devices to measure; compilation is timed, so none comes from a cache."""
    jax.config.update("jax_enable_compilation_cache", False)
    names = machine.select(names)
    if "gpu" not in names:
        reason = "not asked for" if "gpu" in machine.present() else machine.missing_for_gpu()
        print(f"without a GPU: {reason}")
    return names


def keep(record: dict[str, Any], out: Path | None) -> Path:
    """Prints a record's tables, writes its JSON and its picture; gives the folder."""
    from zoo.ch04_gpu.figures import FIGURES
    from zoo.common import figures

    folder, name = new_folder(out), report.file_name(record)
    run.write_json(folder / f"{name}.json", record)
    print(tables.machine(record))
    for table in tables.TABLES[record["name"]](record):
        print(f"\n{table.text()}")
    written = [folder / f"{name}.json"]
    if record["name"] in FIGURES:
        figure = FIGURES[record["name"]](record)
        written.append(figures.save(figure, folder / "figures" / f"{name}.png"))
    print(f"\nwritten: {', '.join(map(str, written))}")
    return folder


def positive(**values: float) -> None:
    """Refuses, by its name, a number that is not above 0."""
    for name, value in values.items():
        if value <= 0:
            raise DataError(f"got {name.replace('_', '-')} {value:g}, expected more than 0")
