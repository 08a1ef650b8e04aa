"""What the chapter does with the zoo's models on the command line, and its report."""

from pathlib import Path

import jax

from zoo.ch04_gpu import (
    agreement,
    hardware,
    machine,
    models,
    operations,
    report,
    scaling,
)
from zoo.ch04_gpu import profile as profiling
from zoo.ch04_gpu.results import Devices, Models, OneModel, begin, keep, new_folder, positive
from zoo.common import bench as timing
from zoo.common import run
from zoo.common.data import DataError
from zoo.common.device import Name as DeviceName
from zoo.common.device import current, describe, use


def devices() -> None:
    """Every backend of JAX with its devices and memory, and what is missing for the others."""
    print(f"JAX {jax.__version__}; the default device is {describe(current())}")
    for b in machine.backends():
        parts = [f"{b.count} x {b.kind}, {b.memory}" if b.count else b.kind, b.note]
        print(f"{b.name:<5}{': '.join(part for part in parts if part)}")


def bench(
    names: Models = (),
    devices: Devices = (),
    runs: int = 5,
    seconds: float = 0.5,
    examples: int = 0,
    out: Path | None = None,
) -> None:
    """Time an epoch of training, and inference, of the zoo's models on each device.

    Args:
        names: models, such as feedforward-book; all if none is named
        devices: kinds to measure on, such as cpu gpu; all that are here if not given
        runs: how often training is timed
        seconds: least length of each of these runs
        examples: of the data set; 0 for as many as the model's chapter has
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    positive(runs=runs, seconds=seconds)
    chosen, kinds = models.choose(names), begin(devices)
    record, rows = machine.record("bench", kinds), []
    for model in chosen:
        for kind in kinds:
            rows.append(_time(model, kind, runs, seconds, examples))
            row = rows[-1]
            print(f"{model.name} on {kind}: {row['epoch']['median']:.3g} s an epoch", flush=True)
    keep({**record, "rows": rows}, out)


def _time(model: models.Model, kind: DeviceName, runs: int, seconds: float, examples: int) -> dict:
    use(kind)
    task, config, size = model.task, model.config, model.batch_size
    data = model.random(max(examples, size) if examples else None)
    trained, state = timing.training(task, config, data, size, runs=runs, seconds=seconds)
    batch = {name: array[:size] for name, array in data.items()}
    predicted = timing.inference(task, config, task.weights(state), batch)
    low, high = timing.quartiles(trained.values)
    items = task.items(config)
    epoch = {"median": trained.median, "low": high, "high": low}
    return {
        "model": model.name,
        "recipe": model.recipe,
        "device": kind,
        "unit": task.unit,
        "batch": size,
        "examples_per_epoch": task.epoch,
        "epoch": {name: task.epoch / rate for name, rate in epoch.items()},
        "training": trained.scaled(items).summary(),
        "inference": predicted.scaled(items).summary(),
        "runs": trained.values,
        "book": models.BOOK_SECONDS.get(model.name),
    }


def check(names: Models = (), devices: Devices = (), out: Path | None = None) -> None:
    """Hold every model's loss and gradient on each device against float64 on the CPU.

    Args:
        names: models; all if none is named
        devices: kinds to check; all that are here if not given
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    chosen, kinds = models.choose(names), begin(devices)
    record = machine.record(
        "check",
        kinds,
        loss_tolerance=agreement.LOSS_TOLERANCE,
        gradient_tolerance=agreement.GRADIENT_TOLERANCE,
    )
    rows = []
    for model in chosen:
        rows += agreement.measure(model, kinds)
        print(f"{model.name}: checked", flush=True)
    keep({**record, "rows": rows}, out)
    wrong = [f"{row['model']} on {row['device']}" for row in rows if not row["agrees"]]
    if wrong:
        raise run.RunError(f"beyond the tolerance: {', '.join(wrong)}")


def ops(
    sizes: tuple[str, ...] = ("small", "medium"),
    devices: Devices = (),
    runs: int = 10,
    out: Path | None = None,
) -> None:
    """Time the chapter's operations forward and backward: convolutions, pooling, product ...

    Args:
        sizes: some of small, medium, large: 4, 32, 128 pictures, matrices of 128, 1024, 4096
        devices: kinds to measure on; all that are here if not given
        runs: how often each is timed
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    positive(runs=runs, sizes=len(sizes))
    kinds = begin(devices)
    record = machine.record("ops", kinds)
    keep({**record, "rows": operations.run(kinds, sizes, runs)}, out)


def scale(
    name: OneModel = "feedforward-book",
    devices: int = 2,
    device: DeviceName = "auto",
    batch_size: int = 1024,
    seconds: float = 0.5,
    out: Path | None = None,
) -> None:
    """Train on 1, 2, 4 ... devices: strong and weak scaling, and whether the result is the same.

    Where there are too few, one CPU is shown as several, in a process of its own.

    Args:
        name: which model
        devices: the largest number
        device: their kind
        batch_size: of all together (strong) or of each (weak)
        seconds: least length of a timed run, of which there are three
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    positive(devices=devices, batch_size=batch_size, seconds=seconds)
    (model,), kinds = models.choose((name,)), begin((device,))
    if batch_size % devices:
        raise DataError(f"a batch of {batch_size} does not divide by {devices} devices")
    if len(jax.devices(kinds[0])) < devices and kinds[0] == "cpu":
        out = new_folder(out)
        flags = {"devices": devices, "device": "cpu", "out": out}
        flags |= {"batch-size": batch_size, "seconds": seconds}
        arguments = [
            "scale",
            name,
            *(x for flag, value in flags.items() for x in (f"--{flag}", value)),
        ]
        if scaling.restarted(devices, list(map(str, arguments))):
            raise run.RunError("the process with several devices failed; its message is above")
        return
    record = machine.record("scale", kinds, model=name, unit=model.task.unit, most=devices)
    record["rows"] = scaling.measure(model, kinds[0], devices, batch_size, seconds)
    record["difference"] = scaling.difference(model, kinds[0], devices, batch_size)
    keep(record, out)


def trace(
    name: OneModel, device: DeviceName = "auto", steps: int = 5, out: Path | None = None
) -> None:
    """Write a profiler's trace of a model's training, which Perfetto and XProf open.

    Args:
        name: which model
        device: where to compute
        steps: updates in the trace
        out: folder for the trace; runs/ch04_gpu/TIME if not given
    """
    positive(steps=steps)
    (model,) = models.choose((name,))
    use(device)
    folder = new_folder(out)
    path = profiling.trace(model, folder, steps)
    ranked = profiling.most_expensive(profiling.read(path))
    rows = [(operation, str(times), f"{spent:.2f}") for operation, times, spent in ranked]
    if rows:
        title = f"{name}, {steps} updates: the most expensive operations"
        timing.print_table(title, ("operation", "times", "ms in all"), rows)
    print(f"trace: {path}: open it at https://ui.perfetto.dev, or: xprof --logdir {folder}")


def everything(devices: Devices = (), largest: int = 2048, out: Path | None = None) -> None:
    """All measurements one after the other into one folder, for `report`; some minutes.

    Args:
        devices: kinds to measure on; all that are here if not given
        largest: of `crossover`
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    out = new_folder(out)
    bench(devices=devices, out=out)
    check(devices=devices, out=out)
    ops(devices=devices, out=out)
    hardware.crossover(largest, devices=devices, out=out)
    hardware.place_models(devices=devices, out=out)
    hardware.blas(devices=devices, out=out)
    hardware.read_memory(devices=devices, out=out)
    hardware.compare_precisions(devices=devices, out=out)
    kind = machine.select(devices)[-1]
    scale(device=kind, devices=max(2, len(jax.devices(kind))), out=out)
    print(f"all of it: {out}")


def write_report(
    results: Path = Path("benchmarks/results/ch04_gpu"),
    readme: Path = Path("zoo/ch04_gpu/README.md"),
    docs: Path = Path("docs/ch04_gpu"),
    keep_from: Path | None = None,
) -> None:
    """Write README.md's tables and figures from the JSON files that are kept.

    Args:
        results: the folder where they are kept
        readme: what to write the tables into
        docs: folder for the figures
        keep_from: a folder of new ones, which are copied into `results` first
    """
    if keep_from is not None:
        for record in report.load(keep_from):
            run.write_json(results / f"{report.file_name(record)}.json", record)
    for path in report.write(results, readme, docs):
        print(path)
