"""Searches zoo's own functions for wrong numbers of XLA's CPU compiler, version by version.

`python -m studies.right_numbers search` does so for the JAX that runs it, `search PYTHON ...` for
that of other interpreters. `table` shows what was found.

Each function is computed by `jax.jit`, by `device.jit` with its compiler options, and eagerly, as
users call it: JAX's own functions are compiled programs then. Its reference computes in float64,
see `right_numbers_reference`. Programs, which compile by themselves, are compared with those of a
process that has the options in XLA_FLAGS. A process that dies or hangs is a result.
"""

import contextlib
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import Positional

from zoo.common import bench, cli, device, run
from zoo.common.data import DataError

RESULT = Path("benchmarks", "results", "right_numbers_cpu.json")
MODES = ("plain", "option", "eager")
LIMIT = 180
"""Seconds that a computation may take of the processor; waiting, five times as many."""
PART = 40
"""So many cases are computed by one process."""
FLOOR, TIMES, LOOSE, PROGRAM = 1e-5, 20.0, 1e-2, 1e-3
"""Wrong is an error above FLOOR and TIMES that of the option; of the option itself above LOOSE, and
of a program above PROGRAM."""
WORST = 1e99
"""Stands for what is infinite, not a number, or of another shape."""

Process = Literal["flags", "patched", "library"]
"""One with the options in XLA_FLAGS; one in which zoo gives none; one that imports zoo."""
Asked = tuple[int, list[str]]
"""The number of a case, and the modes that are still to be computed."""


def errors(found: Any, expected: Any) -> dict[str, float]:
    """By the path of each array, its largest error as a share of its own largest number.

    That number counts as at least a millionth of the largest of all arrays, as gradients are 0 but
    for rounding. Of whole numbers it is the share that differs; infinite where something is not
    finite that should be, or has another shape.
    """
    pairs = list(zip(_numbers(found).items(), _numbers(expected).values(), strict=True))
    largest = [np.abs(b[np.isfinite(b)]).max(initial=0) for _, b in pairs if b.dtype.kind == "f"]
    least, shares = max(1e-6 * max(largest, default=0), 1e-30), {}
    for (path, a), b in pairs:
        if a.shape != b.shape:
            shares[path] = np.inf
        elif b.dtype.kind != "f":
            shares[path] = float((a != b).mean()) if a.size else 0.0
        else:
            a, fine = a.astype(np.float64), np.isfinite(b)
            same = np.array_equal(a[~fine], b[~fine], equal_nan=True) and np.isfinite(a[fine]).all()
            size = max(np.abs(b[fine]).max(initial=0), least)
            shares[path] = np.abs(a[fine] - b[fine]).max(initial=0) / size if same else np.inf
    return {path: float(share) for path, share in shares.items()}


def _numbers(tree: Any) -> dict[str, np.ndarray]:
    """Arrays of NumPy by their paths; keys are left out."""
    leaves = jax.tree.leaves_with_path(tree)
    arrays = {jax.tree_util.keystr(path): jnp.asarray(leaf) for path, leaf in leaves}
    is_key = jax.dtypes.prng_key
    return {p: np.asarray(a) for p, a in arrays.items() if not jnp.issubdtype(a.dtype, is_key)}


def judge(shares: Mapping[str, float], allowed: Mapping[str, float]) -> dict[str, Any]:
    """The largest error; where one is above what is allowed, the array that is farthest beyond."""
    times = {path: share / allowed[path] for path, share in shares.items()}
    worst = max(times, key=times.__getitem__, default="")
    wrong = {"wrong": worst} if times.get(worst, 0) > 1 else {}
    return {"error": min(max(shares.values(), default=0.0), WORST), **wrong}


def _of_function(case: Any, modes: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The verdict of each mode; the option comes first, since the others are measured by it."""
    from studies.right_numbers_reference import in_float64

    yield "reference", None
    function, args = case.make()
    args = jax.device_put(args)
    ways = {"plain": jax.jit(function), "option": device.jit(function), "eager": function}
    expected = in_float64(function, *args)
    yield "option", None
    own = errors(ways["option"](*args), expected)
    if "option" in modes:
        yield "option", judge(own, dict.fromkeys(own, LOOSE))
    for mode in (mode for mode in modes if mode != "option"):
        yield mode, None
        shares = errors(ways[mode](*args), expected)
        yield mode, judge(shares, {p: max(FLOOR, TIMES * own[p]) for p in own})


def _of_program(case: Any, mode: str, path: Path) -> Iterator[tuple[str, Any]]:
    yield mode, None
    with contextlib.redirect_stdout(sys.stderr):
        found = _numbers(case.make()[0]())
    if mode == "option":
        np.savez(path, **{f"{n:04}": array for n, array in enumerate(found.values())})
        shares = dict.fromkeys(found, 0.0)
    else:
        with np.load(path) as saved:
            expected = dict(zip(found, [saved[name] for name in sorted(saved)], strict=True))
        shares = errors(found, expected)
    yield mode, judge(shares, dict.fromkeys(shares, PROGRAM))


def work() -> None:
    """A process of the search: cases from the standard input, a line of JSON for each verdict."""
    from studies.right_numbers_cases import cases

    answer, sys.stdout = sys.stdout, sys.stderr

    def say(content: Any) -> None:
        print(json.dumps(content), file=answer, flush=True)

    order = json.load(sys.stdin)
    jax.config.update("jax_enable_compilation_cache", False)
    if order["process"] == "patched":
        device.compiler_options = lambda platform: {}  # type: ignore[assignment]
    say({"system": bench.system(), "options": device.compiler_options("cpu")})
    known = cases()
    for number, modes in order["asked"]:
        case, mode = known[number], modes[0]
        path = Path(order["folder"]) / f"{number}.npz"
        program = case.kind == "program"
        verdicts = _of_program(case, mode, path) if program else _of_function(case, modes)
        try:
            for mode, verdict in verdicts:
                signal.setitimer(signal.ITIMER_PROF, LIMIT)  # ends this process
                signal.alarm(5 * LIMIT)  # so does this
                say({"case": number, "mode": mode, "verdict": verdict})
        except Exception as error:
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            say({"case": number, "mode": mode, "verdict": {"failed": text}})
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        if number % 20 == 0:
            jax.clear_caches()


def _modes(case: Any, process: Process) -> list[str]:
    """What one kind of process computes of a case."""
    if case.kind == "program":
        return [{"flags": "option", "patched": "plain", "library": "eager"}[process]]
    if process != "library":
        return []
    return [mode for mode in ("option", "plain", "eager") if mode != "eager" or case.eager]


def _ask(
    python: str, process: Process, asked: Sequence[Asked], folder: str
) -> Iterator[dict[str, Any]]:
    """The lines of processes that compute these cases; a new one where one dies."""
    root = Path(__file__).parents[1]
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_ENABLE_X64")}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}
    if process == "flags":
        given = device.compiler_options("cpu").items()
        environment["XLA_FLAGS"] = " ".join(f"--{name}={value}" for name, value in given)
    line = [python, "-c", "from studies import right_numbers; right_numbers.work()"]
    left = [(number, list(modes)) for number, modes in asked if modes]
    while left:
        order = {"process": process, "asked": left, "folder": folder}
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile("w+") as said:
            given.write(json.dumps(order).encode())
            given.seek(0)
            options = {"stdin": given, "stdout": subprocess.PIPE, "stderr": said, "text": True}
            with subprocess.Popen(line, env=environment, cwd=root, **options) as child:
                at = None
                for answer in map(json.loads, child.stdout):
                    at = answer if "case" in answer else at
                    yield answer
            if not child.returncode:
                return
            said.seek(0)
            if at is None:
                raise run.RunError(f"{python} can't search: {said.read().strip()[-300:]}")
        code = -child.returncode
        hangs = code in (signal.SIGALRM, signal.SIGPROF)
        how = f"no answer in {LIMIT} s" if hangs else f"killed by signal {code}"
        done = [number for number, _ in left].index(at["case"])
        modes = left[done][1]
        dead = modes if at["mode"] == "reference" else [at["mode"]]
        for mode in dead:
            yield {"case": at["case"], "mode": mode, "verdict": {"failed": how}}
        rest = [mode for mode in modes if mode not in dead and _order(mode) > _order(dead[-1])]
        left = [(at["case"], rest)] * bool(rest) + left[done + 1 :]


def _order(mode: str) -> int:
    return ("option", "plain", "eager").index(mode)


def _compute(python: str, part: Sequence[int], keep: Callable[..., None]) -> None:
    """Hands what one interpreter's JAX makes of these cases to `keep`, verdict by verdict."""
    from studies.right_numbers_cases import cases

    known, about = cases(), {}
    with tempfile.TemporaryDirectory() as folder:
        for process in ("flags", "patched", "library"):
            asked = [(number, _modes(known[number], process)) for number in part]
            for line in _ask(python, process, asked, folder):
                if "system" in line:
                    about = line
                elif (verdict := line["verdict"]) is not None:
                    keep(about, known[line["case"]].label, line["mode"], verdict)


def _jax(about: Mapping[str, Any]) -> str:
    return about["system"]["versions"]["jax"]


def search(
    pythons: Positional[tuple[Path, ...]] = (),
    only: str = "",
    jobs: int = 1,
    out: Path = RESULT,
) -> None:
    """Compute all cases by each interpreter's JAX, and write what was found.

    Args:
        pythons: interpreters that have zoo's dependencies; this one if none is named
        only: a regular expression that a case's name and shape must have in them
        jobs: how many processes compute at a time
        out: the file of the results; what is in it of other cases and versions stays
    """
    from studies.right_numbers_cases import cases

    known = cases()
    chosen = [n for n, case in enumerate(known) if re.search(only, case.label)]
    if not chosen:
        raise DataError(f"no case has {only!r} in its name, expected part of {known[0].label!r}")
    record = run.read_json(out) if out.exists() else {"versions": {}}
    record |= {"limits": {"floor": FLOOR, "times": TIMES, "option": LOOSE, "program": PROGRAM}}
    labels, lock, commit = {case.label for case in known}, threading.Lock(), bench.commit()

    def keep(about: dict[str, Any], label: str, mode: str, verdict: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with lock:
            found = record["versions"].get(_jax(about), {}).get("found", {})
            found = {name: case for name, case in found.items() if name in labels}
            found[label] = found.get(label, {}) | {mode: verdict}
            what = {"system": about["system"], "options": about["options"]}
            record["versions"][_jax(about)] = what | {"date": now, "commit": commit, "found": found}
            if _is_bad(verdict):
                print(f"JAX {_jax(about)}: {label}, {mode}: {_cell([verdict])}")
                run.write_json(out, record)
            elif sum(map(len, found.values())) % 50 == 0:
                print(f"JAX {_jax(about)}: {label}")
                run.write_json(out, record)  # so that a search that is stopped has been of use

    named = [str(python.absolute()) for python in pythons] or [sys.executable]
    parts = [chosen[first : first + PART] for first in range(0, len(chosen), PART)]
    with ThreadPoolExecutor(jobs) as pool:
        asked = [pool.submit(_compute, python, part, keep) for part in parts for python in named]
        for done in as_completed(asked):
            done.result()
            run.write_json(out, record)
    table(out)
    print(f"written to {out}")


def table(results: Path = RESULT, full: bool = False) -> None:
    """Show how many results are wrong by version and mode, and which.

    Args:
        results: the file that `search` wrote
        full: show what is right as well
    """
    versions = run.read_json(results)["versions"]
    versions = {v: versions[v]["found"] for v in sorted(versions, key=_parts)}
    counts = []
    for mode in MODES:
        row = [mode]
        for found in versions.values():
            verdicts = [case[mode] for case in found.values() if mode in case]
            bad = [verdict for verdict in verdicts if _is_bad(verdict)]
            row.append(f"{len(bad)} of {len(verdicts):,}")
        counts.append(row)
    bench.print_table("wrong, or no result", ("", *versions), counts)
    lines = []
    for name, shapes in _grouped(versions).items():
        cells = [
            " | ".join(
                _cell([found[s][mode] for s in shapes if mode in found.get(s, {})])
                for mode in MODES
            )
            for found in versions.values()
        ]
        if full or any("!" in cell for cell in cells):
            lines.append((name, *cells))
    modes = " | ".join(MODES)
    bench.print_table(
        f"\nLargest error over all shapes, {modes}; with an exclamation mark where it is wrong",
        ("", *versions),
        lines,
    )


def _parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _grouped(versions: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The labels of each name's cases: what stands behind the last comma and space is the shape."""
    groups: dict[str, list[str]] = {}
    for label in dict.fromkeys(label for found in versions.values() for label in found):
        groups.setdefault(label.rpartition(", ")[0], []).append(label)
    return groups


def _is_bad(verdict: Mapping[str, Any]) -> bool:
    return "wrong" in verdict or "failed" in verdict


def _cell(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """The largest error of some verdicts, or how the process died."""
    failed = [verdict["failed"] for verdict in verdicts if "failed" in verdict]
    if failed:
        return f"{failed[0].partition(':')[0]}!"
    if not verdicts:
        return "-"
    largest = max(verdict["error"] for verdict in verdicts)
    return f"{largest:.0e}{'!' * any(_is_bad(verdict) for verdict in verdicts)}"


if __name__ == "__main__":
    cli.main(__doc__, {"search": search, "table": table})
