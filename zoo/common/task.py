"""`Task`: everything that zoo has to know of a model, written once.

Training, evaluation, timing, export, serving, publishing and the tests of the contract are made
from it (`zoo.common.commands`, chapters 4 and 10), so adding a model is one file beside its
`model.py`: a `TASK`, and a line in the chapter's `TASKS`. A task is a frozen dataclass of plain
functions and values; there is nothing to inherit from and nothing registers itself.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from zoo.common import device, fit, keys
from zoo.common.fit import Batch, Loss, Progress, State, Weights
from zoo.common.settings import SettingError

Arrays = dict[str, jax.Array]
# Fields of a `Task` that compute beside the training, of 32 bits even where a notebook has 64.
_COMPUTING = (
    *("load", "random", "fill", "prepare"),
    *("watch", "report", "pictures", "predictions"),
)


class Prediction(NamedTuple):
    """A pure function of arrays with named inputs and outputs, which can be exported and served."""

    about: str
    """One line for people who call it."""
    inputs: dict[str, jax.ShapeDtypeStruct]
    """Of one example, without the batch axis; what is uint8 [H, W] or [H, W, 3] is a picture."""
    function: Callable[[Weights, Arrays], Arrays]
    """(weights, arrays [B, ...]) -> arrays [B, ...]; in an export B is a symbol."""


class Loop(NamedTuple):
    """The training of an algorithm that owns its loop; what is None is as for every other model."""

    iterate: Callable[..., Iterator[Progress]]
    """(config, state, data, test, mesh) -> reports, as `fit.iterate` gives them."""
    start: Callable[[Any, Batch], Any] | None = None
    """(config, data) -> the state before the first step, with an attribute `step`; is compiled."""
    steps: Callable[[Any], int] | None = None
    """config -> steps in an epoch."""


Result = Callable[[Mapping[str, float]], dict[str, float]]
"""A line of metrics.jsonl -> the figure that says how good the model is, by what people call it."""


def accuracy(line: Mapping[str, float]) -> dict[str, float]:
    """The accuracy, or else the loss, of tests if there are any; empty without either."""
    names = ("test_accuracy", "train_accuracy", "test_loss", "train_loss", "loss")
    return dict([(name, line[name]) for name in names if name in line][:1])


def called(shown: str, name: str) -> Result:
    """The `Result` that is the metric `name`, and `accuracy` of a line that lacks it."""
    return lambda line: {shown: line[name]} if name in line else accuracy(line)


def of_classes(config: Any, dataset: Any) -> Any:
    """The configuration, which must have as many classes as the data set if it has a number.

    Raises:
      SettingError: it has another number.
    """
    names = getattr(dataset, "classes", ())
    if (count := getattr(config, "classes", len(names))) != len(names):
        known = ", ".join(map(str, names))
        raise SettingError(f"got classes {count}, expected {len(names)} for these data: {known}")
    return config


@dataclasses.dataclass(frozen=True)
class Task:
    """What zoo has to know of a model."""

    name: str
    """`CHAPTER` for a chapter's main model, `CHAPTER/MODEL` for another one, as in runs/NAME."""
    model: ModuleType
    """`Config`, `RECIPES`, `init`, `apply`, `loss` and `example`; see CONTRIBUTING.md."""
    about: str
    """What is trained on what, for --help: "a convolutional network on CIFAR-10"."""
    load: Callable[[Any, str, Path | None], Any]
    """(config, "auto", "real" or "sample", folder) -> a data set with the fields of `Dataset`."""
    random: Callable[[Any, int], Batch]
    """(config, examples) -> random arrays like the data set's `train`, for timing and tests."""
    optimizer: Callable[[Any, int], optax.GradientTransformation]
    """(config, updates in the run) -> the solver."""
    losses: Callable[[Any, int], tuple[Loss, Loss]]
    """(config, updates in an epoch) -> the losses in training and in tests, of raw data."""
    metrics: tuple[str, ...]
    """The names of what the losses return beside their value."""
    predictions: Callable[[Any], dict[str, Prediction]]
    """config -> what the model computes for its users; the first one is the main one."""
    result: Result = accuracy
    """A line of metrics.jsonl -> what tables of runs show of it, such as "test RMSE"."""
    pictures: Callable[[Any, Any], dict[str, Any]] | None = None
    """(trained, data set) -> figures by name."""
    report: Callable[[Any, Any], Any] | None = None
    """(trained, data set): prints what training reached, at its end."""
    following: Callable[[Any], tuple[str, ...]] = lambda dataset: ()
    """data set -> commands to try after training, such as "predict cat.png"."""
    watch: Callable[..., Iterator[Progress]] | None = None
    """(config, data set, run folder, state, reports) -> the reports: keeps something of them."""
    fill: Callable[[Any, Any], Any] = of_classes
    """(config, data set) -> the configuration with what only the data can tell, as a size."""
    prepare: Callable[[Any, Batch], Batch] = lambda config, data: data
    """(config, data) -> the arrays that the losses take."""
    init: Callable[[jax.Array, Any, Batch], Any] | None = None
    """(key, config, data) -> parameters, where they depend on the data; else `model.init`."""
    stats: Callable[[Any, Any], Any] = lambda config, params: None
    """(config, parameters) -> running statistics before the first step, such as batch norm's."""
    carry: Callable[[Any, Any], Any] = lambda config, params: None
    """(config, parameters) -> what the first batch takes from none before it: a recurrent state."""
    average: Callable[[Any], fit.Average | None] = lambda config: None
    """config -> how the average of the parameters is kept that evaluation then uses."""
    weights: Callable[[State], Weights] = fit.weights_of
    """State -> what evaluation, prediction and publication need of it."""
    shuffle: Callable[[Any], bool] = lambda config: getattr(config, "shuffle", True)
    """config -> whether each epoch has its own random order."""
    loop: Loop | None = None
    """For algorithms that own their loop."""
    timings: Callable[[Any, Weights], dict[str, tuple[Callable, tuple, int]]] | None = None
    """(config, weights) -> more for `bench`: by name a function, its arguments and the units."""
    examples_per_shard: Callable[[Any], int] = lambda config: 0
    """config -> how few examples of a batch still keep a CPU's core busy, as measured; then
    `--devices auto` gives each core a shard. 0: one device is faster."""
    unit: str = "images"
    """What is counted in rates."""
    items: Callable[[Any], int] = lambda config: 1
    """config -> units in an example."""
    epoch: int = 0
    """Examples in an epoch of the real data, for timing."""
    synthetic: bool = False
    """The data are made from the configuration, so there is no --data."""

    def __post_init__(self) -> None:
        for name in _COMPUTING:
            function = getattr(self, name)
            if function is not None:
                object.__setattr__(self, name, device.in_float32(function))

    @property
    def config_type(self) -> type:
        """The model's `Config`."""
        return self.model.Config

    @property
    def recipes(self) -> Mapping[str, Any]:
        """Whole configurations by name, the default first."""
        return self.model.RECIPES

    @property
    def chapter(self) -> str:
        """The name of the chapter's package, `ch06_cnn`."""
        return self.name.partition("/")[0]

    @property
    def second(self) -> str:
        """The model's name within its chapter; empty for the main one."""
        return self.name.partition("/")[2]

    @property
    def label(self) -> str:
        """A short name for tables: the package of `model.py`, without a chapter's number."""
        return re.sub(r"^ch\d\d_", "", self.model.__name__.split(".")[-2])

    @property
    def package(self) -> str:
        """The dotted name of the chapter's package."""
        parts = self.model.__name__.split(".")
        return ".".join(parts[: parts.index(self.chapter) + 1])

    @property
    def command(self) -> str:
        """How the model's commands begin: `python -m zoo.ch06_cnn speedrun`."""
        return f"python -m {self.package} {self.second}".strip()

    def check(self, config: Any, data: Batch) -> None:
        """Refuses data that the losses do not take; looks at names, shapes and types alone.

        Raises:
          SettingError: an array is missing, or has another shape or type than `random` gives.
        """
        if self.loop is not None and self.loop.start is not None:
            return  # an algorithm that owns its loop knows its data
        like = self.random(config, 1)
        if missing := like.keys() - data.keys():
            names = f"got the arrays {', '.join(data)}, expected {', '.join(like)}"
            raise SettingError(f"{names}: {', '.join(sorted(missing))} is missing")
        for name, wanted in like.items():
            found = data[name]
            exact = wanted.dtype.kind in "biu"  # any width will do, but grey levels are no bytes
            same = found.dtype.kind in ("biu" if exact else "biuf")
            if found.shape[1:] != wanted.shape[1:] or not same:
                shapes = [("N", *map(str, array.shape[1:])) for array in (found, wanted)]
                got, expected = (f"[{', '.join(shape)}]" for shape in shapes)
                kind = ": bytes from 0 to 255" if exact and wanted.ndim > 2 else ""
                raise SettingError(
                    f"got {name} {found.dtype} {got}, expected {wanted.dtype} {expected}{kind}"
                )

    def steps(self, config: Any, data: Batch, mesh: Mesh | None = None) -> int:
        """Updates in an epoch over `data`.

        Raises:
          BatchError: as `fit.steps_per_epoch`.
          SettingError: the labels are of more classes than the configuration has, or there are more
            updates than can be counted.
        """
        if self.loop is not None and self.loop.steps is not None:
            return self.loop.steps(config)
        self.check(config, data)
        steps = fit.steps_per_epoch(data, config.batch_size, mesh)
        if (updates := self.updates(config, steps)) >= 2**31:
            raise SettingError(
                f"got {config.epochs:,} epochs of {steps:,} updates, {updates:,} in all, expected "
                f"at most {2**31 - 1:,}"
            )
        self.check_labels(config, data)
        return steps

    def check_labels(self, config: Any, data: Batch) -> None:
        """Refuses labels that are not of the configuration's classes, or characters.

        Raises:
          SettingError: names what was found, and the number that the configuration has.
        """
        numbers = {"label": "classes", "input": "vocabulary", "target": "vocabulary"}
        for name, field in numbers.items():
            count, array = getattr(config, field, None), data.get(name)
            if count is None or array is None:
                continue
            for number in (int(array.min()), int(array.max())):
                if not 0 <= number < count:
                    raise SettingError(
                        f"got {field} {count} and {name} {number}, expected numbers from 0 to "
                        f"{count - 1}"
                    )

    def updates(self, config: Any, steps: int) -> int:
        """Updates in a run with so many in an epoch."""
        return steps * getattr(config, "epochs", 1)

    @device.in_float32
    def start(self, config: Any, data: Batch) -> Any:
        """The state before the first step of a run over `data`."""
        own = None if self.loop is None else self.loop.start
        return self.begin(config, data) if own is None else device.jit(lambda: own(config, data))()

    def begin(self, config: Any, data: Batch) -> State:
        """The state before the first update of a loop that trains by gradients."""
        init_key = keys.derive(config.seed, "weights")
        if self.init is None:
            params = self.model.init(init_key, config)
        else:
            params = self.init(init_key, config, data)
        steps = fit.steps_per_epoch(data, getattr(config, "batch_size", 1))
        optimizer = self.optimizer(config, self.updates(config, steps))
        return self.first(config, params, optimizer, keys.derive(config.seed, "training"))

    def first(
        self, config: Any, params: Any, optimizer: optax.GradientTransformation, key: jax.Array
    ) -> State:
        """The state of a loop that begins with these parameters."""
        return fit.start(
            params,
            optimizer,
            key,
            self.metrics,
            stats=self.stats(config, params),
            carry=self.carry(config, params),
            averaged=self.average(config) is not None,
        )

    @device.in_float32
    def like(self, config: Any) -> Any:
        """The shapes and dtypes of a state; nothing is computed."""
        # One batch will do, since no state depends on how many examples there are.
        data = self.random(config, getattr(config, "batch_size", 1))
        own = None if self.loop is None else self.loop.start
        return jax.eval_shape(lambda: (own or self.begin)(config, data))

    @device.in_float32
    def iterate(
        self,
        config: Any,
        state: Any,
        data: Batch,
        test: Batch | None = None,
        mesh: Mesh | None = None,
    ) -> Iterator[Progress]:
        """Trains from `state` to the configuration's last epoch; reports as `fit.iterate` does."""
        if self.loop is not None:
            yield from self.loop.iterate(config, state, data, test, mesh)
            return
        steps = self.steps(config, data, mesh)
        if test is not None:
            self.check_labels(config, test)
        training, testing = self.losses(config, steps)
        yield from fit.iterate(
            training,
            self.optimizer(config, self.updates(config, steps)),
            state,
            self.prepare(config, data),
            epochs=config.epochs,
            batch_size=config.batch_size,
            average=self.average(config),
            test=None if test is None else self.prepare(config, test),
            test_loss=testing,
            tested=self.weights,
            shuffle=self.shuffle(config),
            mesh=mesh,
        )

    def train(
        self,
        config: Any,
        data: Batch,
        test: Batch | None = None,
        *,
        state: Any = None,
        mesh: Mesh | None = None,
        follow: Callable[[Iterator[Progress]], Any] = fit.last,
    ) -> Any:
        """Fits the model to `data`; returns the last state.

        The configuration is one of the model's `RECIPES`, or changed by `dataclasses.replace`; the
        data are arrays with a leading axis of examples, as the `train` of the task's data set.
        `test` is measured at the end of each epoch. Training goes on from `state`, if given, splits
        each batch over the devices of `mesh`, and `follow` consumes the reports of `iterate`: shows
        progress, saves, stops.
        """
        state = self.start(config, data) if state is None else state
        return follow(self.iterate(config, state, data, test, mesh))
