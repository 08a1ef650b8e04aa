"""Compiles every model for a graphics card that need not be here, and reads what came out.

They are the programs that such a card runs, but for what XLA chooses by trying it where there is a
card: the algorithms of cuDNN, and whether cuBLAS or Triton multiplies matrices. Nothing runs, and
no model is held in memory. Each model has a process of its own, as a compiler that fails may end
its process.
"""

import collections
import functools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from zoo.ch04_gpu import machine, models, tables, targets
from zoo.ch04_gpu.commands import Models, Where
from zoo.common import device, fit

Row = dict[str, Any]
REFUSED = 3
"""The status of a model's process whose target XLA can't read."""
CARDS = 2
"""Of one host, which the loop splits its batches over."""
_COLLECTIVES = (
    *("all-reduce", "all-gather", "all-to-all", "ragged-all-to-all", "reduce-scatter"),
    *("collective-permute", "collective-broadcast"),
)
_NO_KERNEL = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "opt-barrier", "copy"),
    *("while", "conditional", "call", "custom-call", "copy-start", "async-start", "async-update"),
    *("after-all", "partition-id", "replica-id", "get-dimension-size"),
)
_FOLLOWED = ("while", "conditional", "call", "async-start")
_HEAD = re.compile(r"(ENTRY )?%?([\w.$-]+) .*\{$")
_OPERATION = re.compile(r"\s+(?:ROOT )?%?[\w.$-]+ = .*?\s([a-z][\w-]*)\(")
_CALLED = re.compile(
    r"(?:body|condition|to_apply|calls|true_computation|false_computation|branch_computations"
    r"|called_computations)=(\{[^}]*\}|%?[\w.$-]+)"
)
_NAMES = {
    "custom-call": re.compile(r'custom_call_target="([^"]+)"'),
    "fusion": re.compile(r'"kind":"(__[^"]+)"'),
}


class Program(NamedTuple):
    """One of a model's programs."""

    name: str
    devices: int
    compile: Callable[[], Any]


def programs(model: models.Model, batch: fit.Batch, cards: list[jax.Device]) -> Iterator[Program]:
    """A model's update, its predictions, what else is timed, and the loop on one and all cards.

    The loop is `fit.iterate`'s over the data of an epoch; a loop of the model's own is `own loop`.
    """
    task, config, size = model.task, model.config, model.batch_size
    made: dict[str, Callable[..., Any]] = {}

    def begin(raw: fit.Batch) -> tuple[fit.State, fit.Batch, dict[str, Any]]:
        made["update"], state, batch = model.step(raw)
        timed = task.timings(config, task.weights(state)) if task.timings else {}
        made.update({name: function for name, (function, _, _) in timed.items()})
        return state, batch, {name: args for name, (_, args, _) in timed.items()}

    state, batch, timed = jax.eval_shape(lambda: begin(batch))
    step = made["update"]
    weights, alone = jax.eval_shape(task.weights, state), SingleDeviceSharding(cards[0])

    def program(name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Program:
        placed = _place(args, alone)
        return Program(name, 1, functools.partial(device.compile, function, *placed, **options))

    yield program("update", step, state, batch, donate_argnums=0)
    for name, prediction in task.predictions(config).items():
        yield program(name, prediction.function, weights, _lengthened(prediction.inputs, size))
    for name, args in timed.items():
        yield program("own loop" if name == "loop" else name, made[name], *args)
    whole = _lengthened(jax.tree.map(lambda a: a.update(shape=a.shape[1:]), batch), task.epoch)
    for count in (1, len(cards)):
        mesh = None if count == 1 else Mesh(np.array(cards), ("data",))
        where = alone if mesh is None else NamedSharding(mesh, PartitionSpec())
        given = (step, *_place((state, whole), where), size, "loop", mesh)
        yield Program("loop", count, functools.partial(_loop, *given))


def _loop(*args: Any) -> Any:
    return fit.compile_call(*args)[0]


def _lengthened(tree: Any, count: int) -> Any:
    """Shapes with an axis of so many examples in front."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((count, *a.shape), a.dtype), tree)


def _place(tree: Any, sharding: Sharding) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


def anatomy(text: str) -> Row:
    """What a compiled program consists of, by its text; the body of a loop counts once.

    `kernels` and `loops`, and by name how many `calls` of libraries and `collectives`.
    """
    kernels = loops = 0
    calls: collections.Counter[str] = collections.Counter()
    collectives: collections.Counter[str] = collections.Counter()
    bodies, waiting = _computations(text)
    reached = set(waiting)
    while waiting:
        for line in bodies[waiting.pop()]:
            if (match := _OPERATION.match(line)) is None or match[1].endswith("-done"):
                continue
            operation, name = match[1], match[1].removesuffix("-start")
            if name in _COLLECTIVES:
                collectives[name] += 1
                continue
            kernels += operation not in _NO_KERNEL
            loops += operation == "while"
            if operation in _NAMES:
                calls.update(_NAMES[operation].findall(line))
            if operation in _FOLLOWED:
                called = re.findall(r"[\w.$-]+", " ".join(_CALLED.findall(line)))
                waiting += [name for name in called if name not in reached]
                reached.update(called)
    return {
        "kernels": kernels,
        "loops": loops,
        "calls": dict(calls),
        "collectives": dict(collectives),
    }


def _computations(text: str) -> tuple[dict[str, list[str]], list[str]]:
    """The lines of each computation of a program by its name, and the entry's name."""
    bodies: dict[str, list[str]] = {}
    entry: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        if (match := _HEAD.match(line)) is None:
            lines.append(line)
        else:
            lines = bodies[match[2]] = []
            entry += [match[2]] if match[1] else []
    return bodies, entry


def measure(program: Program) -> Row:
    """Whether a program compiles (`error`: what is said if not), its bytes, and its anatomy."""
    row: Row = {"program": program.name, "devices": program.devices, "error": None}
    try:
        compiled = program.compile()
    except Exception as error:  # whatever it is, it is what was to be found out
        return row | {"error": _line(error)}
    memory = compiled.memory_analysis()
    sizes = {name: getattr(memory, f"{name}_size_in_bytes") for name in tables.SIZES}
    return row | sizes | anatomy(compiled.as_text())


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _answer(name: str, target: str) -> None:
    """Prints a row of JSON for each program of a model: what the process of a model does."""
    try:
        cards = targets.devices(targets.read(target), CARDS)
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        print(_line(error), file=sys.stderr)
        sys.exit(REFUSED)
    (model,) = models.choose((name,))
    batch = model.random(model.batch_size)
    # What depends on the device that computes, and asks for it while it is traced, gets the card.
    with jax.enable_x64(False), jax.default_device(cards[0]):
        for program in programs(model, batch, cards):
            print(json.dumps(measure(program)), flush=True)


def ask(model: models.Model, target: targets.Target, environment: dict[str, str]) -> list[Row]:
    """The rows of a model, from a process of its own.

    Raises:
      DeviceError: XLA can't read the target.
    """
    command = [sys.executable, "-m", __name__, model.name, str(target.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    *_, said = done.stderr.splitlines() or [""]
    if done.returncode == REFUSED:  # XLA tells line and column in its log alone
        said = " ".join(re.findall(r"GpuTargetConfigProto: (.*)", done.stderr)) or said
        raise device.DeviceError(f"XLA can't use the target {target.path}: {said}")
    if done.returncode:
        died = done.returncode < 0
        status = signal.Signals(-done.returncode).name if died else f"status {done.returncode}"
        rows.append(
            {"program": "the rest", "devices": 1, "error": f"it ended with {status}: {said}"}
        )
    return [{"model": model.name, **row} for row in rows]


def compile_models(
    names: Models = (),
    target: str = "h100",
    wheels: Path | None = None,
    out: Path | None = None,
) -> None:
    """Compile every model for a GPU that need not be here: memory, kernels, library calls.

    Args:
        names: models; all if none is named
        target: h100, or the file of another card
        wheels: folder of JAX's plugin for CUDA; $ZOO_CUDA_WHEELS, or where JAX is, if not given
        out: folder for the results; runs/ch04_gpu/TIME if not given
    """
    chosen, card = models.choose(names), targets.read(target)
    environment = targets.environment(wheels)
    record: tables.Record = machine.record("compile", (), target=card.text, card=card.card)
    about = f"for {card.card}, by {device.processor()}"
    record["devices"], record["system"]["kinds"] = [card.name], {card.name: about}
    rows: list[Row] = []
    for model in chosen:
        found = ask(model, card, environment)
        rows += found
        print(f"{model.name} for {card.name}: {len(found)} programs", flush=True)
    failed = [
        f"{row['model']}, {row['program']} does not compile: {row['error']}"
        for row in rows
        if row["error"] is not None
    ]
    Where(out=out).keep(record, rows, failed)


if __name__ == "__main__":
    _answer(*sys.argv[1:])
