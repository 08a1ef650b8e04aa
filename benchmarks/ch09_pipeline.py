"""Chapter 9 beside plain DVC and by hand: `python -m benchmarks.ch09_pipeline` (extra `pipeline`).

Three ways to have up-to-date predictions, timed in turn as a user feels them, processes' start
included: `run` of the chapter, `dvc repro` in the same workspace, and the commands of the stages
one after the other. In four situations: nothing has changed; one test picture has; the recipe has,
to one that was trained before; and everything is new. Drawn shapes, the book's network.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from zoo.ch09_pipeline import engine, params, workspace
from zoo.ch09_pipeline.params import Params
from zoo.common import bench
from zoo.common.data import cifar10, sample

ZOO, DVC, HAND = "zoo run", "dvc repro", "by hand"
STAGES = ("prepare", "train", "evaluate", "predict")
NOTE = (
    "zoo run is dvc repro with a lock, commits of data, inputs and results; by hand runs all four "
    "stages, as who remembers nothing must. Seconds, processes' start included."
)


def command(way: str) -> list[list[str]]:
    """The processes of one way."""
    if way == ZOO:
        return [[sys.executable, "-m", "zoo.ch09_pipeline", "run"]]
    if way == DVC:
        return [[sys.executable, "-m", "dvc", "repro"]]
    return [[sys.executable, "-m", "zoo.ch09_pipeline", stage] for stage in STAGES]


def seconds(way: str, folder: pathlib.Path) -> float:
    """How long one way takes in a workspace."""
    began = time.perf_counter()
    for arguments in command(way):
        subprocess.run(
            arguments, cwd=folder, env=engine.environment(folder), check=True, capture_output=True
        )
    return time.perf_counter() - began


def make(folder: pathlib.Path) -> None:
    """A workspace with the built-in sample, after a run of both of the book's models."""
    workspace.init(folder, Params({"recipe": "nodropout", "epochs": 1}, classes=sample.SHAPES))
    with workspace.cifar_files("sample") as (chosen, _):
        workspace.put(folder, chosen)
    seconds(ZOO, folder)
    swap(folder)
    seconds(ZOO, folder)


def nothing(folder: pathlib.Path) -> None:
    """Changes nothing."""


def picture(folder: pathlib.Path) -> None:
    """Changes one byte of one test picture."""
    path = folder / "data/test/test_batch.bin"
    records = np.fromfile(path, np.uint8)
    records[np.random.default_rng().integers(cifar10.RECORD - 1) + 1] ^= 1
    records.tofile(path)


def swap(folder: pathlib.Path) -> None:
    """Changes the model to the other of the two that were trained."""
    before = params.read(folder)
    other = {"book": "nodropout", "nodropout": "book"}[before.model["recipe"]]
    params.write(folder, dataclasses.replace(before, model=before.model | {"recipe": other}))


def anew(folder: pathlib.Path) -> None:
    """Takes a seed that was never used: everything from training on is new."""
    before = params.read(folder)
    seed = int(np.random.default_rng().integers(2**31))
    params.write(folder, dataclasses.replace(before, model=before.model | {"seed": seed}))


SITUATIONS: dict[str, Callable[[pathlib.Path], None]] = {
    "nothing changed": nothing,
    "one test picture": picture,
    "back to a model": swap,
    "a new model": anew,
}


def measure(situation: str, rounds: int, folder: pathlib.Path) -> dict[str, list[float]]:
    """The seconds of each way by round; each begins from a copy of the same workspace."""
    found: dict[str, list[float]] = {ZOO: [], DVC: [], HAND: []}
    for number in range(rounds):
        for way, values in found.items():
            place = folder.with_name("copy")
            shutil.copytree(folder, place, symlinks=True)
            SITUATIONS[situation](place)
            values.append(seconds(way, place))
            shutil.rmtree(place)
        print(f"{situation}: round {number + 1} of {rounds}", file=sys.stderr)
    return found


def main() -> None:
    """Measures, prints a table, writes benchmarks/results/ch09_pipeline_cpu.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    options = parser.parse_args()
    engine.require()
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.ch09_pipeline", *sys.argv[1:]]),
        "system": bench.system(),
        "load_before": os.getloadavg(),
        "note": NOTE,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary, "workspace")
        make(folder)
        record["seconds"] = {s: measure(s, options.rounds, folder) for s in SITUATIONS}
    rows = []
    for situation, ways in record["seconds"].items():
        medians = {way: statistics.median(values) for way, values in ways.items()}
        rows.append([situation, *(f"{value:.1f}" for value in medians.values())])
    bench.print_table("Chapter 9, seconds, medians", ["", ZOO, DVC, HAND], rows)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "ch09_pipeline_cpu.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{NOTE}\nWritten: {path}")


if __name__ == "__main__":
    main()
