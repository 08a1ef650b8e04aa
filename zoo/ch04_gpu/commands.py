"""What the chapter does on the command line: measurements, their tables, JSON and pictures."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro

from zoo.ch04_gpu import (
    agreement,
    machine,
    memory,
    models,
    operations,
    precision,
    products,
    profile,
    roofline,
    scaling,
    tables,
)
from zoo.common import bench as timing
from zoo.common import run
from zoo.common.data import DataError
from zoo.common.device import DeviceError, current, describe, use
from zoo.common.device import Name as DeviceName
from zoo.common.settings import Bounds, Count, Duration, Positive, Size

CHAPTER = "ch04_gpu"
Models = tyro.conf.Positional[tuple[str, ...]]
OneModel = tyro.conf.Positional[str]
Sizes = Literal["small", "medium", "large"]
Largest = Annotated[int, Bounds(products.SMALLEST, ceiling=2**17)]
Kinds = Annotated[tuple[DeviceName, ...], tyro.conf.arg(aliases=("--devices",))]


@dataclasses.dataclass(frozen=True)
class Where:
    """What every measurement takes."""

    device: Kinds = ()
    """kinds to measure on, such as cpu gpu; all that are available if not given"""
    out: Path | None = None
    """folder for the results; runs/ch04_gpu/TIME if not given"""

    def folder(self) -> Path:
        """The folder of a measurement."""
        return self.out or Path("runs", CHAPTER, time.strftime("%Y-%m-%d-%H%M%S"))

    def begin(self) -> tuple[DeviceName, ...]:
        """The kinds of devices to measure; compilation is timed, so none comes from a cache."""
        jax.config.update("jax_enable_compilation_cache", False)
        names = machine.select(self.device)
        if "gpu" not in names:
            here = "gpu" in machine.present()
            print(f"without a GPU: {'not requested' if here else machine.missing_for_gpu()}")
        return names

    def keep(self, record: dict[str, Any], rows: Iterable[Any], failed: Iterable[str] = ()) -> None:
        """Prints a record's tables, writes its JSON and its picture.

        Raises:
          RunError: some of it `failed`; what didn't is kept.
        """
        from zoo.ch04_gpu.figures import FIGURES  # here, since matplotlib takes its time
        from zoo.common import figures

        record["rows"] = list(rows)
        if record["rows"]:
            folder, name = self.folder(), tables.file_name(record)
            run.write_json(folder / f"{name}.json", record)
            print(tables.machine(record))
            for table in tables.TABLES[record["name"]](record):
                print(f"\n{table.text()}")
            written = f"{folder / name}.json"
            if record["name"] in FIGURES:
                figure = FIGURES[record["name"]](record)
                written += f", {figures.save(figure, folder / 'figures' / f'{name}.png')}"
            print(f"\nwritten: {written}")
        if failed := list(failed):
            raise run.RunError(f"not measured: {'; '.join(failed)}")


def _tried(what: str, measure: Callable[[], Any], failed: list[str]) -> list[dict[str, Any]]:
    """The rows of one of several measurements; none if it fails, which costs the others nothing."""
    try:
        rows = measure() or []
    except Exception as error:  # too large for the device, not lowered for it: that is a result
        if os.environ.get("ZOO_DEBUG"):
            raise
        said = " ".join(str(error).split())[:300]
        failed.append(f"{what}: {type(error).__name__}: {said}")
        print(failed[-1], flush=True)
        return []
    print(f"{what}: measured", flush=True)
    return rows


def _each(
    chosen: list[models.Model],
    kinds: tuple[DeviceName, ...],
    measure: Callable[[models.Model], list[dict[str, Any]]],
    failed: list[str],
) -> list[dict[str, Any]]:
    """The rows of each model on each kind of device, with progress on the screen.

    Ctrl-C ends it with those measured so far.
    """
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        for model in chosen:
            use(kind)
            what = f"{model.name} on {kind}"
            try:
                found = _tried(what, functools.partial(measure, model), failed)
            except KeyboardInterrupt:
                failed.append(f"{what} and what follows: interrupted")
                return rows
            rows += [{"model": model.name, "device": kind, **row} for row in found]
    return rows


def devices() -> None:
    """List every backend of JAX with its devices and memory, and what is missing for the others."""
    try:
        default = f"the default device is {describe(current())}"
    except DeviceError as error:
        default = f"no default device: {error}"
    print(f"JAX {jax.__version__}; {default}")
    for b in machine.backends():
        parts = [f"{b.number} x {b.kind}, {b.memory}" if b.number else b.kind, b.note]
        print(f"{b.name:<5}{': '.join(part for part in parts if part)}")


def bench(
    where: Where,
    names: Models = (),
    runs: Count = 5,
    seconds: Duration = 0.5,
    examples: Annotated[int, Bounds(0, ceiling=2**24)] = 0,
) -> None:
    """Time an epoch of training, and inference, of the zoo's models on each device.

    Args:
        where: devices and folder
        names: models, such as feedforward-book; all if none is named
        runs: how often training is timed
        seconds: least length of each of these runs
        examples: of the data set; 0 for as many as the model's chapter has
    """
    chosen, kinds = models.choose(names), where.begin()
    failed: list[str] = []

    def one(model: models.Model) -> list[dict[str, Any]]:
        task, config, size = model.task, model.config, model.batch_size
        data = model.random(max(examples, size) if examples else None)
        batch = {name: array[:size] for name, array in data.items()}
        trained, state = timing.training(task, config, data, size, runs=runs, seconds=seconds)
        predicted = timing.inference(task, config, task.weights(state), batch)
        items = task.items(config)
        row = {
            "precision": precision.of_training(model),
            "recipe": model.recipe,
            "unit": task.unit,
            "batch": size,
            "examples_per_epoch": task.epoch,
            "epoch": timing.spread([task.epoch / rate for rate in trained.values]),
            "training": trained.scaled(items).summary(),
            "inference": predicted.scaled(items).summary(),
            "runs": trained.values,
            "book": models.BOOK_SECONDS.get(model.name),
        }
        return [row]

    record = machine.record("bench", kinds)
    where.keep(record, _each(chosen, kinds, one, failed), failed)


def check(where: Where, names: Models = ()) -> None:
    """Compare every model's loss and gradient on each device with float64 on the CPU.

    Args:
        where: devices and folder
        names: models; all if none is named
    """
    chosen, kinds = models.choose(names), where.begin()
    machine.select(("cpu",))  # which has to be here, to compare with
    tolerances = {"loss_tolerance": agreement.LOSS_TOLERANCE}
    tolerances["gradient_tolerance"] = agreement.GRADIENT_TOLERANCE
    record = machine.record("check", kinds, **tolerances)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    for model in chosen:
        rows += _tried(model.name, functools.partial(agreement.measure, model, kinds), failed)
    where.keep(record, rows, failed)
    wrong = [f"{row['model']} on {row['device']}" for row in record["rows"] if not row["agrees"]]
    if wrong:
        raise run.RunError(f"beyond the tolerance: {', '.join(wrong)}")


def ops(where: Where, sizes: tuple[Sizes, ...] = ("small", "medium"), runs: Count = 10) -> None:
    """Time the chapter's operations forward and backward: convolutions, pooling, product ...

    Args:
        where: devices and folder
        sizes: some of small, medium, large: 4, 32, 128 pictures, matrices of 128, 1024, 4096
        runs: how often each is timed
    """
    if not sizes:
        raise DataError("got no sizes, expected some of small, medium, large")
    kinds = where.begin()
    where.keep(machine.record("ops", kinds), operations.run(kinds, sizes, runs))


def crossover(where: Where, largest: Largest | None = None, seconds: Duration = 0.3) -> None:
    """Time products of matrices from 8x8 up, in NumPy and JAX, with and without the transfer.

    Args:
        where: devices and folder
        largest: the largest size; 2048 if not given, 8192 with a GPU
        seconds: how long to repeat each product
    """
    kinds = where.begin()
    largest = largest or (2048 if kinds == ("cpu",) else 8192)
    where.keep(machine.record("crossover", kinds), products.run(kinds, largest, seconds))


def place_models(
    where: Where,
    names: Models = (),
    size: Annotated[int, Bounds(0, ceiling=2**17)] = 0,
    seconds: Duration = 0.5,
) -> None:
    """Measure the machine's peaks and place every model below its roof.

    Args:
        where: devices and folder
        names: models; all if none is named
        size: of the matrices whose product is the peak; 0 for 2048 on a CPU, 8192 on a GPU
        seconds: least length of a timed run, of which there are three for each model
    """
    chosen, kinds = models.choose(names), where.begin()
    peaks, failed = {}, list[str]()
    for kind in kinds:
        use(kind)
        peaks[kind] = roofline.peaks(size)
    record = machine.record("roofline", kinds, peaks=peaks, book=roofline.BOOK)
    rows = _each(chosen, kinds, lambda model: [roofline.place(model, seconds)], failed)
    where.keep(record, rows, failed)


def blas(where: Where, numbers: Count | None = None, runs: Count = 10) -> None:
    """Time BLAS levels 1, 2 and 3, in NumPy and SciPy and in JAX.

    Args:
        where: devices and folder
        numbers: in the largest operand; more than the caches hold if not given. Level 3, which
            doesn't wait for memory, takes 2^22 of them at most
        runs: how often each is timed
    """
    kinds = where.begin()
    numbers = numbers or memory.beyond_caches(kinds)
    record = machine.record("blas", kinds, numbers=numbers, cache=memory.cache())
    where.keep(record, memory.blas(kinds, numbers, runs))


def read_memory(
    where: Where, numbers: Annotated[int, Bounds(memory.LINE)] | None = None, runs: Count = 5
) -> None:
    """Time reading memory in sequence, in strides and at random.

    Args:
        where: devices and folder
        numbers: how many float32 numbers; more than the caches hold if not given
        runs: how often each is timed
    """
    kinds = where.begin()
    numbers = numbers or memory.beyond_caches(kinds)
    record = machine.record("memory", kinds, cache=memory.cache())
    where.keep(record, memory.patterns(kinds, numbers, runs))


def toy(
    items: tuple[Count, ...] = (1, 2, 3, 10, 100), cpu: Positive = 2.0, gpu: Positive = 4.0
) -> None:
    """The chapter's arithmetic: 2 ns one after the other against 4 ns all at once.

    Args:
        items: numbers of multiplications
        cpu: nanoseconds of one on the CPU
        gpu: nanoseconds of up to 1,000 at once on the GPU
    """
    rows = []
    for count in items:
        one, other = memory.toy(count, cpu, gpu)
        first = "GPU" if other < one else "CPU" if one < other else "neither"
        rows.append((count, f"{one:g}", f"{other:g}", first))
    timing.print_table("Multiplications", ("", "CPU, ns", "GPU, ns", "ahead"), rows)


def compare_precisions(
    where: Where, names: Models = precision.DEFAULT, steps: Count = 50, runs: Count = 10
) -> None:
    """Time updates in float32, tf32 (on a GPU) and bfloat16, and see what they do to the loss.

    Args:
        where: devices and folder
        names: models
        steps: updates on the one batch before the last loss
        runs: how often an update is timed
    """
    chosen, kinds = models.choose(names), where.begin()
    machine.select(("cpu",))  # which has to be here, to compare with
    failed: list[str] = []

    def one(model: models.Model) -> list[dict[str, Any]]:
        return [precision.measure(model, name, steps, runs) for name in precision.available()]

    record = machine.record("precision", kinds)
    where.keep(record, _each(chosen, kinds, one, failed), failed)


def scale(
    name: OneModel = "feedforward-book",
    devices: Annotated[int, Bounds(1, ceiling=1024)] = 2,
    device: DeviceName = "auto",
    batch_size: Size = 1024,
    seconds: Duration = 0.5,
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
    where = Where((device,), out)
    (model,), kinds = models.choose((name,)), where.begin()
    if batch_size % devices:
        raise DataError(f"a batch of {batch_size} does not divide by {devices} devices")
    there = len(jax.devices(kinds[0]))
    if there < devices and kinds[0] == "cpu":
        flags = {"devices": devices, "device": "cpu", "out": where.folder()}
        flags |= {"batch-size": batch_size, "seconds": seconds}
        arguments = ["scale", name, *(f"--{flag}={value}" for flag, value in flags.items())]
        if scaling.restarted(devices, arguments):
            raise run.RunError("the process with several devices failed; its message is above")
        return
    if there < devices:
        raise DeviceError(
            f"got {devices} devices, {there} {kinds[0]} here: choose --devices {there}, or "
            "--device cpu, which shows one CPU as several"
        )
    record = machine.record("scale", kinds, model=name, unit=model.task.unit, most=devices)
    rows = scaling.measure(model, kinds[0], devices, batch_size, seconds)
    record["difference"] = scaling.difference(model, kinds[0], devices, batch_size)
    where.keep(record, rows)


def trace(
    name: OneModel, device: DeviceName = "auto", steps: Count = 5, out: Path | None = None
) -> None:
    """Write a profiler's trace of a model's training, which Perfetto and XProf open.

    Args:
        name: which model
        device: where to compute
        steps: updates in the trace
        out: folder for the trace; runs/ch04_gpu/TIME if not given
    """
    (model,), folder = models.choose((name,)), Where(out=out).folder()
    use(device)
    path = profile.trace(model, folder, steps)
    if found := profile.most_expensive(path):
        rows = [(operation, times, f"{spent:.2f}") for operation, times, spent in found]
        title = f"{name}, {steps} updates: the most expensive operations"
        timing.print_table(title, ("operation", "times", "ms in all"), rows)
    print(f"trace: {path}: open it at https://ui.perfetto.dev, or: xprof --logdir {folder}")


MEASUREMENTS: dict[str, Callable[..., None]] = {
    "bench": bench,
    "check": check,
    "ops": ops,
    "crossover": crossover,
    "roofline": place_models,
    "blas": blas,
    "memory": read_memory,
    "precision": compare_precisions,
}


def everything(where: Where, largest: Largest | None = None) -> None:
    """All measurements one after the other into one folder; some minutes.

    What fails costs the others nothing and is named at the end. Several GPUs are compared with one;
    where there is only one this is left out.

    Args:
        where: devices and folder
        largest: of `crossover`
    """
    where = dataclasses.replace(where, out=where.folder())
    kind = machine.select(where.device)[-1]  # the GPU, where there is one
    parts = {
        name: functools.partial(
            measure, where, **({"largest": largest} if name == "crossover" else {})
        )
        for name, measure in MEASUREMENTS.items()
    }
    there = len(jax.devices(kind))
    if there > 1 or kind == "cpu":
        most = max(2, 2 ** (there.bit_length() - 1))  # batches divide by powers of two
        parts["scale"] = functools.partial(scale, device=kind, devices=most, out=where.out)
    else:
        print(f"scale: left out, there is one {kind}")
    failed: list[str] = []
    for name, measure in parts.items():
        _tried(name, measure, failed)
    print(f"all of it: {where.out}")
    if failed:
        raise run.RunError(f"failed: {'; '.join(failed)}")
