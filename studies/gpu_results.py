"""Measures on a GPU what this repository's READMEs say of a CPU: `python -m studies.gpu_results`.

One part after the other, the most wanted first, each a command that can be typed by itself and that
takes less than ten minutes on a large card. What a part has measured is kept in a file; one that is
there and whole is not measured again, so the program can be stopped and started again. A part that
fails costs the others nothing.
"""

import datetime
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from zoo.ch04_gpu import tables
from zoo.common import bench, cli, device, run
from zoo.common.data import DataError
from zoo.common.runs import NO_METRICS
from zoo.common.settings import Duration

GRACE = 60.0
"""Seconds that a command gets to save what it has when it is stopped."""
_ALONE = "--only zoo --out {folder}"
_QUICK = f"{_ALONE} --rounds 1 --seconds 0.1"


class Part(NamedTuple):
    """Something to measure: a command, and the file that it leaves."""

    name: str  # begins with the chapter whose README it is for
    command: str  # behind `python -m`, with places for {device}, {kinds} and {folder}
    full: str = ""  # more of it: the sizes that are wanted
    tiny: str = ""  # instead of `full`: sizes to see that it runs
    result: str = "summary.json"  # pattern of the files below its folder
    group: str = ""  # the folder, if several parts share one

    @property
    def trains(self) -> bool:
        """Whether it makes a run folder, with which it can go on."""
        return self.result == "summary.json"


def _chapter4(name: str, full: str = "", tiny: str = "") -> Part:
    command = f"zoo.ch04_gpu {name} --device {{kinds}} --out {{folder}}"
    return Part(f"ch04-{name}", command, full, tiny, f"{name}_*.json", "ch04_gpu")


def _scaling(cards: int) -> Part:
    most = 2 ** (cards.bit_length() - 1)  # the batch divides by it
    command = f"zoo.ch04_gpu scale --devices {most} --device {{device}} --out {{folder}}"
    return Part("ch04-scale", command, "", "--seconds 0.01", "scale_*.json", "ch04_gpu")


def _speedrun(split: str, target: float) -> Part:
    command = f"studies.ch06_speedrun repeat --split {split} --target {target} --device {{device}}"
    few = "--seeds 1 --recipe speedrun-cpu --width 4 --epochs 1 --out {folder}/seeds.json"
    full = "--seeds 20 --out {folder}/seeds.json"
    return Part(f"ch06-speedrun-{split}", command, full, few, "seeds.json")


def _training(name: str, command: str, full: str = "", tiny: str = "--epochs 1") -> Part:
    return Part(name, f"{command} --device {{device}}", full, tiny)


def _ablation(number: int, rows: tuple[str, ...]) -> Part:
    named = " ".join(map(shlex.quote, rows))
    command = f"studies.ch06_speedrun ablation --split holdout --device {{device}} --rows {named}"
    few = "--seeds 1 --recipe speedrun-cpu --width 4 --epochs 1 --out {folder}/rows.json"
    full = "--seeds 3 --out {folder}/rows.json"
    return Part(f"ch06-ablation-{number}", command, full, few, "rows.json")


def parts(cards: int = 1) -> tuple[Part, ...]:
    """All of them on a machine with so many cards, the most wanted first."""
    from studies.ch06_speedrun import ABLATIONS

    rows = tuple(ABLATIONS)
    sample = "--data sample --epochs 1"
    return (
        _chapter4("bench", tiny="basic_nn --runs 1 --seconds 0.01"),
        _chapter4("check", tiny="basic_nn"),
        _speedrun("official", 0.94),
        _speedrun("all", 0.94),
        _speedrun("holdout", 0.935),
        _chapter4("crossover", tiny="--largest 16 --seconds 0.001"),
        _chapter4("roofline", tiny="basic_nn --size 64 --seconds 0.01"),
        _chapter4("ops", "--sizes small medium large", "--sizes small --runs 1"),
        _chapter4("blas", tiny="--numbers 1024 --runs 1"),
        _chapter4("memory", tiny="--numbers 1024 --runs 1"),
        _chapter4("precision", tiny="basic_nn --steps 2 --runs 1"),
        *(_scaling(cards) for _ in range(cards > 1)),
        _training("ch06-modern", "zoo.ch06_cnn train", "--data real --split holdout", sample),
        _training(
            "ch06-book", "zoo.ch06_cnn train --recipe book", "--data real --split holdout", sample
        ),
        _training("ch05-modern", "zoo.ch05_lstm train", "--data real", f"{sample} --hidden 8"),
        _training(
            "ch05-best", "zoo.ch05_lstm train --recipe best", "--data real", f"{sample} --hidden 8"
        ),
        *(
            _training(f"ch08-modern-{seed}", f"zoo.ch08_vae train --seed {seed}", "--data real",
                      f"{sample} --hidden 8 --latents 2")
            for seed in range(3)
        ),
        _training(
            "ch08-iwae",
            "zoo.ch08_vae train --recipe iwae --samples 1",
            "--epochs 400 --data real",
            f"{sample} --hidden 8 --latents 2",
        ),
        _training(
            "ch07-mazes", "zoo.ch07_dqn train", "--mazes 100", "--epochs 1 --epoch-steps 100"
        ),
        _training("ch07-planner", "zoo.ch07_dqn planner train", tiny="--epochs 1 --epoch-steps 1"),
        _training("ch07-planner-large", "zoo.ch07_dqn planner train --recipe large",
                  tiny="--epochs 1 --epoch-steps 1"),
        *(
            Part(f"{name.partition('_')[0]}-rates-{name.partition('_')[2]}", f"benchmarks.{name}",
                 _ALONE, _QUICK, f"{name}_*.json")
            for name in ("ch06_cnn", "ch06_speedrun", "ch05_lstm", "ch08_vae", "ch07_dqn")
        ),
        *(_ablation(k // 5 + 1, ("all ideas", *rows[max(1, k) : k + 5])) for k in (0, 5, 10)),
    )  # fmt: skip


class Place(NamedTuple):
    """Where a card's figures go."""

    card: str
    cards: int
    kind: device.Name
    out: Path
    runs: Path
    tiny: bool

    def folder(self, part: Part) -> Path:
        """What a part's command writes to."""
        return self.runs / self.card / (part.group or part.name)

    def record(self, part: Part) -> Path:
        """The file that is kept."""
        return self.out / self.card / f"{part.name}.json"

    def command(self, part: Part) -> list[str]:
        """A part's command, behind `python -m`."""
        kinds = "cpu" if self.kind == "cpu" else f"cpu {self.kind}"
        folder = shlex.quote(str(self.folder(part)))
        text = f"{part.command} {part.tiny if self.tiny else part.full}"
        return shlex.split(text.format(device=self.kind, kinds=kinds, folder=folder))

    def typed(self, part: Part) -> list[str]:
        """The command with the run folder to begin or to go on with, where it makes one."""
        folder, command = self.folder(part), self.command(part)
        if not part.trains:
            return command
        going = (folder / "config.json").exists()
        return [*command, "--resume" if going else "--out", str(folder)]

    def whole(self, part: Part) -> bool:
        """Whether its file exists, and is of this command."""
        try:
            found = json.loads(self.record(part).read_text(encoding="utf-8"))
            return found["command"] == self.command(part) and bool(found["results"])
        except (OSError, ValueError, KeyError, TypeError):  # TypeError: no object
            return False


def measure(
    names: tyro.conf.Positional[tuple[str, ...]] = (),
    device: device.Name = "gpu",
    out: Path = Path("benchmarks/results/gpu"),
    runs: Path = Path("runs/gpu"),
    limit: Duration = 600.0,
    tiny: bool = False,
    dry_run: bool = False,
) -> None:
    """Measure all missing parts, or the named ones.

    Args:
        names: parts, see --dry-run; all if none is named
        device: what to measure
        out: folder for the results, with a folder for each card
        runs: folder for what the commands leave beside them: run folders, pictures, what they print
        limit: seconds after which a part is stopped; one that trains goes on the next time
        tiny: sizes so small that it only shows whether all parts run; the results mean nothing
        dry_run: print the parts and their commands alone
    """
    if tiny:
        out, runs = out / "tiny", runs / "tiny"
    try:
        card, cards = _cards(device)
    except run.RunError:
        if not dry_run:
            raise
        card, cards = device, 1
    place = Place(card, cards, device, out, runs, tiny)
    chosen = _chosen(names, place)
    if dry_run:
        for part in chosen:
            there = "there" if place.whole(part) else "missing"
            print(f"{part.name} ({there}): {place.record(part)}")
            print(f"    python -m {shlex.join(place.typed(part))}")
        return
    failed = {}
    for number, part in enumerate(chosen):
        what = f"[{number + 1}/{len(chosen)}] {part.name}"
        if place.whole(part):
            print(f"{what}: there already", flush=True)
            continue
        print(f"{what}: python -m {shlex.join(place.typed(part))}", flush=True)
        began = time.monotonic()
        if reason := _measure(part, place, limit):
            failed[part.name] = reason
        print(f"{what}: {reason or 'measured'}, {time.monotonic() - began:.0f} s", flush=True)
    _report(place)
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise run.RunError(f"{len(failed)} of {len(chosen)} parts are missing: {reasons}")


def _chosen(names: tuple[str, ...], place: Place) -> list[Part]:
    known = {part.name: part for part in parts(place.cards)}
    for name in names:
        if name not in known:
            raise DataError(f"got the part {name!r}, expected one of {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())


def _cards(kind: device.Name) -> tuple[str, int]:
    """The devices' name as a folder's, and how many there are.

    Another process looks at them, since it keeps their memory.
    """
    look = (
        "import sys; from zoo.common import device; found = device.devices(sys.argv[1]); "
        "print(len(found), found[0].device_kind)"
    )
    command, pipe = [sys.executable, "-c", look, kind], subprocess.PIPE
    done = subprocess.run(command, stdout=pipe, stderr=pipe, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing was printed"]
        raise run.RunError(f"no device to measure on: {said[-1].rpartition('Error: ')[2]}")
    number, _, card = done.stdout.splitlines()[-1].partition(" ")
    return tables.slug(card), int(number)


def _measure(part: Part, place: Place, limit: float) -> str:
    """Runs a part's command and keeps what it leaves; gives what went wrong, if something did."""
    folder, command = place.folder(part), [sys.executable, "-m", *place.typed(part)]
    log = place.runs / place.card / "logs" / f"{part.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if place.kind == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    elif part.command.startswith("benchmarks."):  # two of its processes look at the card
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as text:
        status = _run(command, environment, text, limit)
    if status is None:
        return f"stopped after {limit:g} s, see {log}"
    if status:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
        return f"ended with status {status}, see {log}: {said[-1][:300]}"
    try:
        found = {f.name: json.loads(f.read_text(encoding="utf-8")) for f in _files(part, folder)}
    except ValueError as error:
        return f"left a broken file in {folder}: {error}"
    if not found:
        return f"left no {part.result} in {folder}"
    content = {
        "part": part.name,
        "command": place.command(part),
        "device": place.card,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": bench.commit(),
        "seconds": round(time.monotonic() - began, 1),
        "results": found,
    }
    run.write_json(place.record(part), content)
    return ""


def _files(part: Part, folder: Path) -> list[Path]:
    return sorted(folder.glob(part.result))


def _run(command: list[str], environment: dict[str, str], log: Any, limit: float) -> int | None:
    """The status of a command, None for one that is stopped at the limit."""
    # In a session of its own: Ctrl-C reaches it once, through this process.
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.terminate()  # training saves
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _report(place: Place) -> None:
    """Writes and prints a line for each part that was measured."""
    rows = []
    for part in parts(place.cards):
        if place.whole(part):
            found = json.loads(place.record(part).read_text(encoding="utf-8"))
            figures = "; ".join(filter(None, map(figure, found["results"].values())))
            rows.append((part.name, figures or "see its tables", f"{found['seconds']:,.0f}"))
    table = bench.Table(f"{place.card}", ("part", "figures", "seconds"), rows)
    if rows:
        path = place.out / place.card / "README.md"
        run.write(path, table.markdown())
        print(f"{table.text()}\nwritten: {path}")
    chapter4 = place.runs / place.card / "ch04_gpu"
    if chapter4.exists() and not place.tiny:
        print(f"next: python -m studies.ch04_report --keep-from {shlex.quote(str(chapter4))}")


def figure(result: dict[str, Any]) -> str:
    """What a README says of a result: of a run, of seeds, of a benchmark's rates."""
    if "train_seconds" in result:
        metrics = {k: v for k, v in result.items() if k not in NO_METRICS}
        tests = {k: v for k, v in metrics.items() if k.startswith("test_")} or metrics
        return f"{run.describe(tests)}, {result['train_seconds']:.1f} s"
    if isinstance(result.get("rows"), dict):
        return "; ".join(f"{name}: {_seeds(rows)}" for name, rows in result["rows"].items() if rows)
    rates = {task: one["rates"]["zoo"] for task, one in result.items()
             if isinstance(one, dict) and "rates" in one}  # fmt: skip
    return ", ".join(f"{task} {statistics.median(r):,.0f}/s" for task, r in rates.items())


def _seeds(rows: list[dict[str, Any]]) -> str:
    accuracy = [100 * row["test_accuracy"] for row in rows]
    spread = f" ± {statistics.stdev(accuracy):.2f}" if len(rows) > 1 else ""
    seconds = statistics.median(row["seconds"] for row in rows)
    return f"{statistics.mean(accuracy):.2f}{spread} %, {seconds:.2f} s, {len(rows)} seeds"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the part is stopped too
    cli.main(__doc__, measure)
