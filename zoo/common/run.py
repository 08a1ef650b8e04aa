"""A run's folder and the loop that keeps it: progress on the screen, metrics, checkpoints, stops.

A folder holds `config.json`, `metrics.jsonl` (a line an epoch), `checkpoints/`, `figures/` and, at
the end, `summary.json`. Each file appears whole or not at all. Ctrl-C, SIGTERM and the end of the
terminal stop a run after the step under way, with a checkpoint; killed outright, it goes on from
the end of the last epoch. A folder is written by one process at a time, see `held`; of several that
train together the first alone writes, and all stop at the same step.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np
from jax.sharding import Mesh

import zoo
from zoo.common import checkpoint, device, fit
from zoo.common.data import digest, files
from zoo.common.settings import SettingError
from zoo.common.task import Task

PACKAGES = ("jax", "jaxlib", "optax", "numpy")
ELSEWHERE = Path("runs", "elsewhere.txt")
"""The folders of runs that `--out` put outside of runs/, a line each."""
_PATHS: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}  # as in names of files
SAVE_SECONDS = 120.0
"""A checkpoint is also written within an epoch when the last one is older than this."""


class RunError(ValueError):
    """A run folder can't be used as asked; the message says what was found and what to do."""


class Stopped(Exception):
    """The run was stopped by a signal, and is saved."""


def write(path: Path, text: str) -> None:
    """Writes a file so that it appears whole or not at all."""
    files.write_bytes(path, text.encode(errors="surrogateescape"))  # as in names of files


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON whole or not at all."""
    write(path, _as_json(content))


def _as_json(content: Any, indent: int | None = 2) -> str:
    try:
        return json.dumps(content, indent=indent, default=str, allow_nan=False) + "\n"
    except ValueError as error:  # JSON knows neither NaN nor infinity
        raise RunError(f"the results are not all finite, and not written: {content}") from error


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Zoo's version, which need not be installed to run, and those of packages."""
    return {"zoo": zoo.__version__} | {p: importlib.metadata.version(p) for p in packages}


def create(
    name: str,
    config: Any,
    data: dict[str, Any],
    out: Path | None = None,
    *,
    resumes: bool = True,
    data_dir: Path | None = None,
    devices: int = 1,
) -> Path:
    """Makes the folder of a new run, by default runs/NAME/TIME, and writes its config.json.

    `data` is what config.json says of the data set: name, split, description, hash; `data_dir` is
    the folder that it was looked for in first; `devices` is over how many each batch is split. Of
    several processes that are given the same `out` one makes the run there; the file decides which.
    `resumes` is whether the command that trains can go on with a run.

    Raises:
      RunError: there is a run in `out` already.
    """
    content = {
        "chapter": name,
        "config": dataclasses.asdict(config),
        "data": data,
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "device": device.describe(device.current()),
        "devices": devices,
        "versions": versions(),
        "python": sys.version.split()[0],
        "command": sys.argv,
        "started": _now(),
    }
    text = _as_json(content)  # before the folder is made, since it may fail
    folder = _claim(Path("runs") / name) if out is None else out
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    try:
        files.write_bytes(path, text.encode(), new=True)
    except FileExistsError as error:
        advice = "choose another --out"
        if resumes:
            advice = f"go on with it by --resume {shlex.quote(str(folder))}, or {advice}"
        if not path.stat().st_size:  # only a file system without links shows it so, see `files`
            advice = f"another process is just beginning it, or was killed there: delete {path}"
        raise RunError(f"{folder} holds a run already: {advice}") from error
    return folder


def _claim(parent: Path) -> Path:
    """A new folder named by the time, which no other process can get as well."""
    stamp, numbers = time.strftime("%Y-%m-%d-%H%M%S"), itertools.count(2)
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / stamp
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            folder = parent / f"{stamp}-{next(numbers)}"


@contextlib.contextmanager
def locked(path: Path, folder: Path, what: str) -> Iterator[TextIO]:
    """Holds `folder` for one command, called `what`; yields its open lock file `path`.

    The lock is the operating system's: it ends with the last process that holds it, also one that
    is killed. Where there are none, as on Windows and some network drives, nothing is protected.

    Raises:
      RunError: another process holds the folder; says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        if not _lock(file):
            other = ""
            with contextlib.suppress(OSError):  # where a locked file cannot be read
                file.seek(0)
                other = file.read().strip()
            raise RunError(
                f"{folder.resolve()} is in use by another command ({other or 'just begun'}): "
                "wait until it is done, or end it"
            )
        file.truncate(0)
        file.write(f"{what}, process {os.getpid()}, since {time.strftime('%H:%M:%S')}\n")
        file.flush()
        yield file


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in a run's folder; errors as `locked`."""
    what = f"train on {platform.node()}, {time.strftime('%Y-%m-%d')}"  # runs last for days
    with locked(folder / ".lock", folder, what) as file:
        try:
            yield
        finally:
            file.truncate(0)  # the file stays: removed, two processes could lock two of one name


def _lock(file: TextIO) -> bool:
    """Locks an open file until it is closed; False if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on CIFS
        return False
    except OSError:  # the file system has no locks
        return True
    return True


def remember(folder: Path) -> None:
    """Notes a run that `--out` put outside of runs/ in `ELSEWHERE`, so that `folders` finds it."""
    place = folder.resolve()
    inside = place.is_relative_to(Path("runs").resolve())
    if inside or not (place / "config.json").exists() or jax.process_index():
        return
    with contextlib.suppress(OSError):  # where nothing can be written it is found by --run alone
        known = ELSEWHERE.read_text(**_PATHS).splitlines() if ELSEWHERE.exists() else []
        if str(place) not in known:
            ELSEWHERE.parent.mkdir(exist_ok=True)
            with ELSEWHERE.open("a", **_PATHS) as file:
                file.write(f"{place}\n")


def folders() -> dict[Path, float]:
    """The runs under runs/ and those elsewhere that have a checkpoint, and when it was written.

    The one that was trained last comes first; a folder that is gone is left out.
    """
    found = []
    for parent, below, names in os.walk("runs"):
        if "config.json" in names:
            found.append(Path(parent))
            below.clear()  # a run holds no other run
    with contextlib.suppress(OSError):
        found += [_near(Path(line)) for line in ELSEWHERE.read_text(**_PATHS).splitlines()]
    times = {}
    for folder in found:
        with contextlib.suppress(OSError):  # deleted just now, or not to be read
            if (folder / "config.json").exists() and (saved := checkpoint.latest(folder)):
                times[folder] = saved.stat().st_mtime
    return dict(sorted(times.items(), key=lambda item: -item[1]))


def _near(folder: Path) -> Path:
    """The folder as seen from here, if it is below."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def newest(name: str) -> Path | None:
    """The run of a task that was trained last, or None; of those that `folders` finds."""
    for folder in folders():
        with contextlib.suppress(RunError):  # a damaged one is none
            if name_of(folder) == name:
                return folder
    return None


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
      RunError: it can't be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read: {error}; name the folder of a run") from error


def _read_content(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The path and the content of a run's config.json."""
    path = folder / "config.json"
    if not path.exists():
        raise RunError(f"{folder} is no run folder: it has no config.json")
    content = read_json(path)
    known = isinstance(content, dict) and {"chapter", "config", "data"} <= set(content)
    if not known or not isinstance(content["data"], dict):
        raise RunError(f"{path} can't be read as a run's configuration")
    return path, content


def about(folder: Path) -> dict[str, Any]:
    """All of a run's config.json.

    Raises:
      RunError: it is no run folder, or the file is damaged.
    """
    return _read_content(folder)[1]


def name_of(folder: Path) -> str:
    """The name of the task that a run is of.

    Raises:
      RunError: it is no run folder.
    """
    return about(folder)["chapter"]


def read_config(folder: Path, name: str, config_type: type) -> tuple[Any, dict[str, Any]]:
    """The configuration of a run, and all of its config.json.

    Raises:
      RunError: it is no run of this task, or its config.json is damaged or of another version.
    """
    path, content = _read_content(folder)
    if content["chapter"] != name:
        raise RunError(f"{folder} is a run of {content['chapter']}, expected one of {name}")
    return make_config(config_type, content["config"], path), content


def make_config(config_type: type, fields: Any, path: Path) -> Any:
    """A configuration from the JSON fields in `path`; what an older one lacks has its default.

    Raises:
      RunError: there are other fields than the class has, or a value that a field can't have.
    """
    known = {field.name: field.default for field in dataclasses.fields(config_type)}
    if not isinstance(fields, dict):
        raise RunError(f"{path} has no fields of a configuration")
    missing = {k: v for k, v in known.items() if k not in fields and v is not dataclasses.MISSING}
    if odd := sorted({**fields, **missing}.keys() ^ known.keys()):
        raise RunError(
            f"{path} has other fields than this version's Config: {', '.join(odd)}; train again"
        )
    # JSON knows no tuples, and a frozen configuration no lists.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()} | missing
    try:
        return config_type(**values)
    except SettingError as error:
        raise RunError(f"{path} is damaged or of another version: {error}; train again") from error


def check_same(folder: Path, saved: Any, asked: Any) -> None:
    """Refuses to go on with a run under another configuration.

    Raises:
      RunError: names each field that differs.
    """
    saved, asked = dataclasses.asdict(saved), dataclasses.asdict(asked)
    differs = [
        f"{k} is {v!r} there and {asked[k]!r} here" for k, v in saved.items() if asked[k] != v
    ]
    if differs:
        raise RunError(
            f"the run in {folder} has another configuration: {'; '.join(differs)}. "
            "Resume without these flags, or start a new run"
        )


def about_data(dataset: Any) -> dict[str, Any]:
    """What config.json says of a data set: names, split, description, classes, sha256."""
    about = {name: getattr(dataset, name) for name in ("name", "source", "split", "description")}
    return about | {"classes": list(getattr(dataset, "classes", ())), "sha256": digest(dataset)}


def check_data(folder: Path, saved: dict[str, Any], found: dict[str, Any]) -> None:
    """Refuses to go on with a run on other data than it began with; both as of `about_data`.

    Raises:
      RunError: says what both are.
    """
    if saved.get("sha256") != found["sha256"]:
        raise RunError(
            f"the run in {folder} was trained on {saved.get('description')}; found now: "
            f"{found['description']}, which is not the same. Give the data that it began with, as "
            "by --data-dir, or start a new run"
        )


def load_again(task: Task, config: Any, about: dict[str, Any], data_dir: Path | None) -> Any:
    """The data set of a run from what its config.json, or a published model's card, says of it.

    What "auto" chose then need not be what it chooses now. It is looked for in `data_dir`, or in
    the folder that the run was given.

    Raises:
      RunError: config.json does not say which it was.
    """
    saved, given = about.get("data", {}), about.get("data_dir")
    if data_dir is None and given is not None and Path(given).is_dir():
        data_dir = Path(given)
    if absent := {"source", "split", "sha256"} - set(saved):
        missing = ", ".join(sorted(absent))
        raise RunError(f"the run's config.json lacks {missing} of its data: name them by --data")
    if getattr(config, "split", None) == "auto" and saved["source"] == "real":
        config = dataclasses.replace(config, split=saved["split"])
    return task.load(config, saved["source"], data_dir)


def devices(task: Task, config: Any, options: Any) -> Mesh | None:
    """Makes JAX compute where `cli.Options` say; a mesh if it is on more than one device.

    With several processes `options.devices` are taken of each. "auto" is as many as the run had
    that goes on, so that it draws the same numbers, else what `Task.examples_per_shard` says.
    """
    count = getattr(options, "devices", 1)
    resumed = count == "auto" and options.resume is not None
    chosen = count == "auto" and not resumed
    if resumed:
        count = about(options.resume).get("devices", 1)  # of all processes
    elif chosen:
        count = _cores(task, config)
    device.show_cores(count)  # before JAX is asked anything, which starts it
    on_cpu, processes = device.use(options.device).platform == "cpu", jax.process_count()
    if resumed:
        count = max(1, count // processes)
    elif chosen and not (on_cpu and processes == 1):
        count = 1
    return None if count == processes == 1 else device.mesh(count, options.device)


def _cores(task: Task, config: Any) -> int:
    """The largest number of cores that divides the batch and keeps each of them busy."""
    least, batch = task.examples_per_shard(config), getattr(config, "batch_size", 1)
    most = min(device.threads(), batch // least) if least else 1
    return max((n for n in range(1, most + 1) if batch % n == 0), default=1)


def train(
    task: Task, config: Any, options: Any, dataset: Any, mesh: Mesh | None = None
) -> tuple[Path, Any]:
    """Trains in a new run folder, or goes on in the one that --resume names.

    `options` are `cli.Options`, the mesh is from `devices`, and the data set is a `Dataset` or
    another loader's result with name, source, split and description.

    A run that is resumed with more epochs than it began with starts a new leg: solver, rates and
    whatever else depends on the length of the run are from there on those of the longer one.

    Returns:
      The folder and the last state; of several processes only the first one returns, the others
      end here, since what follows needs no peers.

    Raises:
      RunError: --resume names no run, or one of another configuration or other data; several
        processes were given different ones.
      Stopped: a signal came; the state is saved.
    """
    about = about_data(dataset)
    _check_peers(config, about["sha256"])
    first_process = jax.process_index() == 0
    steps, devices = task.steps(config, dataset.train, mesh), 1 if mesh is None else mesh.size
    device.check_memory(task.like(config))
    if options.resume is None:  # first, so that what can't begin leaves no folder
        state, folder = task.start(config, dataset.train), options.out or Path("runs") / task.name
        fit.check_unfinished(state, config.epochs, steps)
        if first_process:
            data_dir = getattr(options, "data_dir", None)
            folder = create(
                task.name, config, about, options.out, data_dir=data_dir, devices=devices
            )
    else:
        state, folder = None, options.resume
        saved, content = read_config(folder, task.name, type(config))
        if config.epochs > saved.epochs:  # a new leg
            longer = dataclasses.replace(saved, epochs=config.epochs)
            _check_prolonged(folder, task, saved, longer)
            saved = longer
        check_same(folder, saved, config)
        check_data(folder, content["data"], about)
        if (before := content.get("devices", 1)) != devices:
            print(f"devices: {devices} in place of {before}; what is drawn at random differs")
            if first_process:
                write_json(folder / "config.json", content | {"devices": devices})
    with held(folder) if first_process else contextlib.nullcontext():
        state = _train(task, config, dataset, mesh, folder, state)
    if not first_process:
        sys.exit(0)
    return folder, state


def _check_prolonged(folder: Path, task: Task, saved: Any, longer: Any) -> None:
    """Refuses to prolong a run whose state has a place for each epoch."""
    states = [jax.tree.map(lambda a: (a.shape, a.dtype), task.like(c)) for c in (saved, longer)]
    if states[0] != states[1]:
        raise RunError(
            f"the run in {folder} can't be prolonged: its state has a place for each of its "
            f"{saved.epochs} epochs; start a new run with --epochs {longer.epochs}"
        )


def _prolong(folder: Path, config: Any, steps: int, step: int) -> None:
    """Writes into config.json that a run goes on from this step for more epochs, if it does."""
    content = about(folder)
    before = content["config"]["epochs"]
    if before == config.epochs:
        return
    print(
        f"a new leg: {config.epochs} epochs in place of {before}, from epoch {step // steps} on by "
        f"the schedule of a run of {config.epochs}"
    )
    if jax.process_index() == 0:
        epochs = [before, config.epochs]
        leg = {"step": step, "epochs": epochs, "started": _now(), "command": sys.argv}
        content["config"]["epochs"] = config.epochs
        content["legs"] = [*content.get("legs", ()), leg]
        write_json(folder / "config.json", content)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _train(
    task: Task, config: Any, dataset: Any, mesh: Mesh | None, folder: Path, state: Any
) -> Any:
    """The last state of the run in `folder`, from `state` or, where it is None, the checkpoint."""
    notes: dict[str, Any] = {}
    resumed, steps = state is None, task.steps(config, dataset.train, mesh)
    if state is None and checkpoint.latest(folder):
        state, notes = checkpoint.restore(folder, task.like(config))
    elif state is None:
        state = task.start(config, dataset.train)
    split = "" if mesh is None else f", each batch split over {mesh.size} devices"
    print(f"run folder {folder}, {device.describe(device.current())}{split}")
    first = int(state.step)
    if resumed:
        _prolong(folder, config, steps, first)
    if resumed and first == config.epochs * steps:
        print(f"all {config.epochs} epochs of this run are trained already")
        rows = read_metrics(folder)
        if jax.process_index() == 0 and rows and not (folder / "summary.json").exists():
            _summarise(folder, rows, 0.0)  # it was killed behind the last checkpoint
        return state
    reports = task.iterate(config, state, dataset.train, dataset.test or None, mesh)
    if task.watch is not None:
        reports = task.watch(config, dataset, folder, state, reports)
    seconds = notes.get("epoch_seconds", 0.0)
    return device.own(_follow(folder, config, steps, reports, first, seconds))


def _check_peers(config: Any, sha256: str) -> None:
    """Refuses several processes that would not train the same model on the same data."""
    words = hashlib.sha256(f"{config} {sha256}".encode()).digest()
    found = device.everyone(np.frombuffer(words, np.uint8))
    odd = np.flatnonzero((found != found[0]).any(axis=1))
    if odd.size:
        raise RunError(
            f"process {', '.join(map(str, odd))} of {len(found)} has another configuration or "
            "other data than process 0: give all of them the same flags and files"
        )


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that the first signal to stop sets; a second one interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield asked
        return

    def handle(number, frame):
        if asked.is_set():  # nobody wants to wait for a slow step
            raise KeyboardInterrupt
        asked.set()

    # These two whatever was set: shells have jobs behind an `&` ignore SIGINT, and sent by hand it
    # still means to stop.
    heard = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has none
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # as under `nohup`
        heard.append(hangup)
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; an empty list if there is none yet."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Writes metrics.jsonl anew, whole."""
    write(folder / "metrics.jsonl", "".join(_as_json(row, None) for row in rows))


def _follow(
    folder: Path,
    config: Any,
    steps_per_epoch: int,
    reports: Iterator[fit.Progress],
    first_step: int,
    seconds: float,
) -> fit.State:
    """Consumes reports: keeps the run's folder and shows progress; returns the last state.

    `first_step` and `seconds` within its epoch are those of the checkpoint, when resuming.

    Raises:
      Stopped: a signal came; the state is saved.
    """
    epochs, batch_size = config.epochs, getattr(config, "batch_size", 1)
    # A killed run may have written a line after its last checkpoint.
    rows = [row for row in read_metrics(folder) if row["step"] <= first_step]
    steps, compile_seconds, saved = first_step % steps_per_epoch, 0.0, time.monotonic()
    writes = jax.process_index() == 0
    with _signals() as asked, _screen(epochs, steps_per_epoch, first_step) as show:
        for progress in reports:
            _check_shared(progress.state)
            seconds += progress.seconds
            steps += progress.steps
            compile_seconds += progress.compile_seconds
            rate = steps * batch_size / max(seconds, 1e-9)
            step = int(progress.state.step)
            ended = progress.metrics is not None
            if progress.metrics is not None:
                row = {"epoch": progress.epoch, "step": step, **progress.metrics}
                row |= {"examples_per_second": round(rate, 1), "seconds": round(seconds, 3)}
                rows.append(row)
                if writes:
                    write_metrics(folder, rows)  # before the checkpoint, which vouches for it
                steps, seconds = 0, 0.0
            # All processes ask, or those that don't would wait for ever.
            stop = device.everyone(asked.is_set()).any() and step < epochs * steps_per_epoch
            if writes and (ended or stop or time.monotonic() - saved > SAVE_SECONDS):
                state = device.own(progress.state)
                checkpoint.save(folder, state, {"epoch_seconds": seconds})
                saved = time.monotonic()
            show(progress, step, rate)  # after the save, as a screen can fail as well
            if stop:
                raise Stopped(
                    f"stopped and saved at step {step:,} (epoch {progress.epoch} of {epochs}); "
                    f"go on with --resume {shlex.quote(str(folder))}"
                )
    if writes:
        _summarise(folder, rows, compile_seconds)
    return progress.state


def _summarise(folder: Path, rows: list[dict[str, Any]], compile_seconds: float) -> None:
    """Writes summary.json: the last epoch, and the times of the whole run."""
    total = round(sum(row["seconds"] for row in rows), 3)
    summary = {**rows[-1], "train_seconds": total, "compile_seconds": round(compile_seconds, 3)}
    write_json(folder / "summary.json", summary)


def _check_shared(state: fit.State) -> None:
    """Refuses several processes that would each train alone, without a mesh."""
    peers = jax.process_count()
    if peers > 1 and len(state.step.sharding.device_set) < peers:
        raise RunError("this model trains within one process only: start it without `launch`")


def describe(metrics: dict[str, float]) -> str:
    """Metrics in a line, accuracies as percentages."""
    parts = []
    for name, value in metrics.items():
        shown = f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.4f}"
        parts.append(f"{name.replace('_', ' ')} {shown}")
    return ", ".join(parts)


@contextlib.contextmanager
def _screen(epochs: int, steps_per_epoch: int, first_step: int) -> Iterator[Callable]:
    """A function (progress, step, rate) that shows a bar on a terminal, and a line an epoch."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(highlight=False, soft_wrap=True)
    columns = (
        TextColumn("epoch {task.fields[epoch]}/" + str(epochs)),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} % {task.fields[now]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(
            "", total=epochs * steps_per_epoch, completed=first_step, epoch="-", now="compiling"
        )

        def show(progress: fit.Progress, step: int, rate: float) -> None:
            if progress.metrics is None:
                done = step % steps_per_epoch
                totals = progress.state.totals.items()
                means = {k: float(v) / done for k, v in totals if k != "bad_step"}
                now = f"{describe(means)}, {rate:,.0f} examples/s"
            else:
                now = f"{rate:,.0f} examples/s"
                console.print(f"epoch {progress.epoch}: {describe(progress.metrics)}, {now}")
            bar.update(task, completed=step, epoch=progress.epoch, now=now)

        yield show
