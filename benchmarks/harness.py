"""Contenders side by side: what every row of the benchmarks shares.

Each contender lives in a process of its own that sleeps until it is asked, and they run in turn,
round by round, because a machine's speed drifts; a ratio is taken within a round.
"""

import argparse
import contextlib
import dataclasses
import datetime
import functools
import importlib
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from zoo.common import bench, device

ZOO = "zoo"
Run = Callable[[float], int]  # works for so many seconds or a little longer; gives the items done


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the benchmarks: a module `benchmarks.NAME` has one in its variable `ROW`."""

    name: str
    """Of the module and of the result's file."""
    title: str
    """Above the table, "Chapter 6"."""
    unit: str
    """What is counted, "images"."""
    base: str
    """The contender that ratios are taken to."""
    contenders: Sequence[str]
    """All but zoo."""
    tasks: Sequence[str]
    """What is done."""
    contend: Callable[[str, str], tuple[Run, float]]
    """(contender, task) -> (its work, the seconds that compilation took; 0 if there is none)."""
    note: str
    """What a reader must know to compare."""
    flops: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Floating-point operations per item by task, where they are known: 2 for a multiply-add."""
    about: Callable[[], Mapping[str, Any]] = dict
    """Gives what else the result's file should say: batch, sizes, data."""
    needs: Sequence[str] = ("torch",)
    """Packages that the other contenders need."""


def repeat(one: Callable[[], int]) -> Run:
    """Makes one piece of work, which gives the items done, into a run of some length."""

    def run(seconds: float) -> int:
        done, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            done += one()
        return done

    return run


def compiled(f: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], float]:
    """`f` compiled for arguments like these, as chapters compile, and the seconds that took."""
    began = time.perf_counter()
    return device.jit(f).lower(*args).compile(), time.perf_counter() - began


def _work(row: Row, name: str, task: str) -> None:
    """A contender's process: seconds in, items/s out (`peak`: FLOP/s), until the input ends."""
    answer, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with it
    say = functools.partial(print, file=answer, flush=True)
    try:
        run, compile_seconds = row.contend(name, task)
    except Exception as error:  # a compiler that fails is a result
        traceback.print_exc()
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return say(json.dumps({"failed": reason}))
    say(json.dumps({"compile_seconds": compile_seconds}))
    for line in sys.stdin:
        if line.strip() == "peak":
            say(bench.matmul_peak())
            continue
        run(0.1)  # untimed: brings code and data back into the caches
        began = time.perf_counter()
        done = run(float(line))
        say(done / (time.perf_counter() - began))


class Worker:
    """A contender in a process of its own, which uses no processor between two questions."""

    def __init__(self, row: str, name: str, task: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{row}", "--worker", name, task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
        )
        self.about = self.answer()

    def answer(self) -> Any:
        """The next line from the process."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, what: float | str) -> float:
        """Items per second in a run of so many seconds, or FLOP/s if asked for `peak`."""
        print(what, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        """Ends the process and waits for it."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def compete(
    row: Row, task: str, names: Sequence[str], rounds: int, seconds: float
) -> dict[str, Any]:
    """Everyone in turn; `rates` in items/s and `peak` in FLOP/s by round, `about` each."""
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in names:  # one after the other, so that no compilation disturbs another
            workers[name] = Worker(row.name, name, task)
            stack.callback(workers[name].close)
            if name == ZOO and "failed" in workers[name].about:
                raise RuntimeError(f"zoo itself failed: {workers[name].about['failed']}")
        about = {name: worker.about for name, worker in workers.items()}
        rates = {name: [] for name in names if "failed" not in about[name]}
        peak = []
        for number in range(rounds):
            peak.append(workers[ZOO].ask("peak"))
            for name, values in rates.items():
                values.append(workers[name].ask(seconds))
            print(f"{task}: round {number + 1} of {rounds}", file=sys.stderr)
    return {"about": about, "rates": rates, "peak": peak}


def table(row: Row, task: str, result: dict[str, Any]) -> list[list[str]]:
    """Lines of items/s, ratio to the base, share of the peak, seconds of compilation."""
    rates, lines = result["rates"], []
    for name, about in result["about"].items():
        if "failed" in about:
            lines.append([name, about["failed"], "", "", "", ""])
            continue
        low, high = bench.quartiles(rates[name])
        pairs = zip(rates[name], rates.get(row.base, []), strict=False)
        ratio = [mine / its for mine, its in pairs]
        pairs = zip(rates[name], result["peak"], strict=True)
        share = statistics.median(mine * row.flops.get(task, 0) / peak for mine, peak in pairs)
        lines.append(
            [
                name,
                f"{statistics.median(rates[name]):,.0f}",
                f"{low:,.0f} - {high:,.0f}",
                f"{statistics.median(ratio):.2f}" if ratio else "",
                f"{share:.0%}" if share else "",
                f"{about['compile_seconds']:.1f}",
            ]
        )
    return lines


def _parse(row: Row, doc: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{row.name}", description=doc.splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=9, help="how often everyone runs")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    everyone = [ZOO, *row.contenders]
    parser.add_argument("--only", nargs="*", default=everyone, help="contenders by name")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    parser.add_argument("--tasks", nargs="+", choices=row.tasks, default=row.tasks)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(row: Row, doc: str, arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the tables and writes the result; `doc` is the module's docstring."""
    options = _parse(row, doc, arguments)
    # Contenders share a GPU with this process.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    device.set_xla_flags()  # of all contenders in JAX: right numbers, and the faster convolutions
    if options.worker:
        return _work(row, *options.worker)
    absent = [name for name in row.needs if importlib.util.find_spec(name) is None]
    if options.only != [ZOO] and absent:
        sys.exit(f"not installed: {', '.join(absent)}; pip install -e '.[bench]' or --only zoo")

    where = jax.devices()[0]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{row.name}_{where.platform}.json"
    records = json.loads(path.read_text()) if path.exists() else {}  # the other tasks' stay
    for task in options.tasks:
        record = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": bench.commit(),
            "command": " ".join([f"python -m benchmarks.{row.name}", *(arguments or sys.argv[1:])]),
            "system": bench.system(),
            "load_before": os.getloadavg(),
            "note": row.note,
            **row.about(),
            "seconds_per_run": options.seconds,
            f"flops_per_{row.unit.removesuffix('s')}": row.flops.get(task),
        }
        record |= compete(row, task, options.only, options.rounds, options.seconds)
        bench.print_table(
            f"{row.title}, {task}, {device.describe(where)}",
            ["", f"{row.unit}/s", "quartiles", "ratio", "of peak", "compile s"],
            table(row, task, record),
        )
        print(f"float32 product: {statistics.median(record['peak']) / 1e9:.0f} GFLOP/s")
        path.write_text(json.dumps(records := records | {task: record}, indent=1) + "\n")
    print(f"{row.note}\nRatios are to {row.base}, medians over the rounds. Written: {path}")
