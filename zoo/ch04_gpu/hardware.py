"""What the chapter measures of the machine itself: products, peaks, memory, precision; its toy."""

from pathlib import Path

from zoo.ch04_gpu import machine, memory, models, precision, products, roofline
from zoo.ch04_gpu.results import Devices, Models, begin, keep, positive
from zoo.common import bench, device


def crossover(
    largest: int = 2048, devices: Devices = (), seconds: float = 0.3, out: Path | None = None
) -> None:
    """Time products of matrices from 8x8 up, in NumPy and JAX, with and without the transfer.

    Args:
        largest: the largest size; the whole range of a GPU needs 8192
        devices: kinds to measure on; all that are here if not given
        seconds: how long to repeat each product
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    kinds = begin(devices)
    record = machine.record("crossover", kinds)
    keep({**record, "rows": products.run(kinds, largest, seconds)}, out)


def place_models(
    names: Models = (),
    devices: Devices = (),
    size: int = 0,
    seconds: float = 0.5,
    out: Path | None = None,
) -> None:
    """Measure the machine's peaks and place every model below its roof.

    Args:
        names: models; all if none is named
        devices: kinds to measure on; all that are here if not given
        size: of the matrices whose product is the peak; 0 for 2048 on a CPU, 8192 on a GPU
        seconds: least length of a timed run, of which there are three for each model
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    positive(seconds=seconds)
    chosen, kinds = models.choose(names), begin(devices)
    record, peaks, rows = machine.record("roofline", kinds), {}, []
    for kind in kinds:
        device.use(kind)
        peaks[kind] = roofline.peaks(size)
        for model in chosen:
            rows.append({"device": kind, **roofline.place(model, seconds)})
            print(f"{model.name} on {kind}: {rows[-1]['gflops']:.3g} GFLOP/s", flush=True)
    keep({**record, "peaks": peaks, "book": roofline.BOOK, "rows": rows}, out)


def blas(
    numbers: int = 2**22, devices: Devices = (), runs: int = 10, out: Path | None = None
) -> None:
    """Time BLAS levels 1, 2 and 3 on operands of the same number of numbers.

    Args:
        numbers: in the largest operand
        devices: kinds to measure on; all that are here if not given
        runs: how often each is timed
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    positive(numbers=numbers, runs=runs)
    kinds = begin(devices)
    record = machine.record("blas", kinds, numbers=numbers)
    keep({**record, "rows": memory.blas(kinds, numbers, runs)}, out)


def read_memory(
    numbers: int = 2**24, devices: Devices = (), runs: int = 5, out: Path | None = None
) -> None:
    """Time reading memory in sequence, in strides and at random.

    Args:
        numbers: how many float32 numbers; they should not fit into a cache
        devices: kinds to measure on; all that are here if not given
        runs: how often each is timed
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    positive(numbers=numbers // memory.LINE, runs=runs)
    kinds = begin(devices)
    record = machine.record("memory", kinds)
    keep({**record, "rows": memory.patterns(kinds, numbers, runs)}, out)


def toy(items: tuple[int, ...] = (1, 2, 3, 10, 100), cpu: float = 2.0, gpu: float = 4.0) -> None:
    """The chapter's arithmetic: 2 ns one after the other against 4 ns all at once.

    Args:
        items: numbers of additions
        cpu: nanoseconds of one on the CPU
        gpu: nanoseconds of up to 1,000 at once on the GPU
    """
    rows = []
    for count in items:
        one, other = memory.toy(count, cpu, gpu)
        first = "GPU" if other < one else "CPU" if one < other else "neither"
        rows.append((str(count), f"{one:g}", f"{other:g}", first))
    bench.print_table("Additions", ("", "CPU, ns", "GPU, ns", "ahead"), rows)


def compare_precisions(
    names: Models = precision.DEFAULT,
    devices: Devices = (),
    steps: int = 50,
    runs: int = 10,
    out: Path | None = None,
) -> None:
    """Time updates in float32, tf32 (on a GPU) and bfloat16, and see what they do to the loss.

    Args:
        names: models
        devices: kinds to measure on; all that are here if not given
        steps: updates on the one batch before the last loss
        runs: how often an update is timed
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    positive(steps=steps, runs=runs)
    chosen, kinds = models.choose(names), begin(devices)
    record, rows = machine.record("precision", kinds), []
    for model in chosen:
        for kind in kinds:
            device.use(kind)
            for name in precision.available():
                rows.append({"device": kind, **precision.measure(model, name, steps, runs)})
                print(f"{model.name} on {kind} in {name}: measured", flush=True)
    keep({**record, "rows": rows}, out)
