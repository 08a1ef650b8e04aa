"""A trained model as one object, whether it comes from a run's folder or with zoo.

Published models are two files in a chapter's folder `pretrained`: the weights as float16
(`model.safetensors`, or the name of a second model) and their card (`model.json`): data, command,
commit, seed, metrics, machine.
"""

import dataclasses
import datetime
import functools
import hashlib
import importlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo.common import bench, checkpoint, device, fit, run
from zoo.common.task import Prediction, Task

PUBLISHED = "published"
"""What `--run` takes in place of a folder."""
LIMIT = 3_000_000
"""No published file of weights is larger, in bytes."""
BATCH = 500
"""`Trained.predict` computes so many examples at a time."""
# Flags that mean nothing on another machine.
_PRIVATE = ("--out", "--data-dir", "--resume", "--text", "--images")


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Trained:
    """A trained model."""

    task: Task
    config: Any
    """The configuration that it was trained with."""
    weights: fit.Weights
    """`params` and, where the model has any, `stats`."""
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The run's config.json, or the published model's card; `about["data"]` is its data set."""
    folder: Path = Path(".")
    """The run's folder; for a published model, where its pictures and results are written."""
    state: Any = None
    """The training state of a run; None for a published model."""

    @property
    def params(self) -> Any:
        """The parameters, as the model's `apply` takes them."""
        return self.weights["params"]

    @property
    def stats(self) -> Any:
        """The running statistics, or None."""
        return self.weights.get("stats")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, or the characters."""
        return tuple(self.about["data"]["classes"])

    @functools.cached_property
    def predictions(self) -> dict[str, Prediction]:
        """What the model computes, by name; the first one is the main one."""
        return self.task.predictions(self.config)

    def predict(self, prediction: str | None = None, /, **inputs: Any) -> dict[str, np.ndarray]:
        """One of `predictions` on any number of examples: arrays [N, ...] to arrays [N, ...].

        It is the main one if not named; the inputs are named as in `Prediction.inputs`.

        Raises:
          ValueError: there is no such prediction, or an input has another name, shape or type.
        """
        name = next(iter(self.predictions)) if prediction is None else prediction
        if name not in self.predictions:
            raise ValueError(f"got {name!r}, expected one of {', '.join(self.predictions)}")
        chosen = self.predictions[name]
        arrays = check_inputs(chosen.inputs, inputs)
        return fit.predict(chosen.function, self.weights, arrays, BATCH)

    def dataset(self, data_dir: Path | None = None) -> Any:
        """The data set that the model was trained on.

        Raises:
          DataError: it can't be had.
          RunError: the data found now are others than those of the run.
        """
        saved = self.about["data"]
        dataset = run.load_again(self.task, self.config, self.about, data_dir)
        run.check_data(self.folder, saved, run.about_data(dataset))
        return dataset


def check_inputs(
    specs: Mapping[str, jax.ShapeDtypeStruct], inputs: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The inputs as arrays of the types that a prediction takes, see `Prediction.inputs`.

    Raises:
      ValueError: a name, shape or type is wrong, or the inputs disagree in length.
    """
    if set(inputs) != set(specs):
        got, expected = ", ".join(inputs) or "none", ", ".join(specs)
        raise ValueError(f"got the inputs {got}, expected {expected}")
    arrays = {}
    for name, spec in specs.items():
        array = np.asarray(inputs[name])
        # Numbers may have another width, but grey levels in [0, 1] are no bytes.
        bytes_wanted = spec.dtype == np.uint8 and array.dtype != np.uint8
        if array.ndim == 0 or array.shape[1:] != spec.shape or bytes_wanted:
            got, sizes = f"{array.dtype} of shape {array.shape}", ("number", *map(str, spec.shape))
            raise ValueError(f"{name} is {got}, expected {spec.dtype} ({', '.join(sizes)})")
        arrays[name] = array.astype(spec.dtype)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the inputs must be of one length, got {lengths}")
    return arrays


def find(name: str) -> Task:
    """The task of a name such as `ch06_cnn/speedrun`.

    Raises:
      RunError: zoo has no such model.
    """
    found = {task.name: task for task in zoo.tasks(name.partition("/")[0])}
    if name not in found:
        known = ", ".join(found or {task.name: task for task in zoo.tasks()})
        raise run.RunError(f"zoo has no model {name!r}, expected one of {known}")
    return found[name]


def load(folder: Path | str, task: Task | None = None) -> Trained:
    """The newest checkpoint of a run; its model is looked up by config.json if not given.

    Raises:
      RunError, CheckpointError: it is no run, one of another model, or damaged.
    """
    folder = Path(folder)
    task = find(run.name_of(folder)) if task is None else task
    config, about = run.read_config(folder, task.name, task.config_type)
    state, _ = checkpoint.restore(folder, task.like(config))
    return Trained(task, config, task.weights(state), about, folder, state)


def published(task: Task | str) -> Trained:
    """The model that comes with zoo, as float32, of a task or its name, `ch06_cnn/speedrun`.

    Raises:
      RunError: zoo has no such model.
      CheckpointError: none is published, or a file is not the one that its card describes.
    """
    task = find(task) if isinstance(task, str) else task
    path = _path(task)
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"no published model {path}: {error}; install zoo again, or train one: "
            f"`{task.command} train`"
        ) from error
    if found != card["sha256"]:
        raise checkpoint.CheckpointError(
            f"{path} has the sha256 {found}, expected {card['sha256']}: install zoo again"
        )
    config = run.make_config(task.config_type, card["config"], path.with_suffix(".json"))
    shapes = jax.eval_shape(task.weights, task.like(config))
    halves = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float16), shapes)
    weights = checkpoint.load_weights(path, halves)
    weights = jax.tree.map(lambda a: a.astype(jnp.float32), weights)  # float16 is for the file
    return Trained(task, config, weights, card, Path("runs", task.name, PUBLISHED))


def choose(task: Task, which: Any, own: bool = False) -> Trained:
    """The model that `cli.Trained` names: a run, the newest run, or the published model.

    Without `--run` and without any run the published model answers. One line says which it is, and
    one more, where the input is the user's `own`, if the newest run knows the built-in sample only.

    Raises:
      RunError: there is no such model, or it is of another kind.
    """
    device.use(which.device)
    folder = run.newest(task.name) if which.run is None else _named(which.run, task)
    if folder is None:
        if not _path(task).is_file():
            raise run.RunError(
                f"no trained model of {task.name} here: run `{task.command} train` first, or name "
                "a run folder by --run"
            )
        print(f"no run of {task.name} here: using the published model")
    if folder is None or str(folder) == PUBLISHED:
        return published(task)
    model = load(folder, task)
    steps = int(model.state.step)
    print(f"model of {folder} after {steps:,} steps, recipe {model.config.recipe}")
    sample = model.about["data"].get("source") == "sample"
    if own and sample and which.run is None and _path(task).is_file():
        card = run.read_json(_path(task).with_suffix(".json"))
        print(
            f"it was trained on {model.about['data']['description']}, and knows nothing else; "
            f"--run {PUBLISHED} takes the published model ({card['data']['description']})"
        )
    return model


def _named(given: Path, task: Task) -> Path:
    """The folder that --run names, or `PUBLISHED` where it is the published model's name.

    Raises:
      RunError: it is the name of another model.
    """
    given = Path(given)
    name = given.as_posix()
    if name == PUBLISHED or given.exists() or name not in {other.name for other in zoo.tasks()}:
        return given
    if name != task.name:
        other = find(name)
        raise run.RunError(
            f"{other.name} is not {task.name}: its commands are `{other.command} ...`"
        )
    return Path(PUBLISHED)


def publish(folder: Path, task: Task | None = None, into: Path | None = None) -> Path:
    """Makes the model of a run the published one; returns the path of the weights.

    The card takes what the run's config.json, summary.json and evaluation*.json say; `into` is
    another folder than the chapter's.

    Raises:
      RunError, CheckpointError: it is no run, or its weights are too large or not finite.
    """
    model = load(folder, task)
    task, about = model.task, model.about
    halves = jax.tree.map(lambda a: jnp.asarray(a, jnp.float16), model.weights)
    leaves = jax.tree.leaves(halves)
    if not all(jnp.isfinite(leaf).all() for leaf in leaves):
        raise run.RunError(f"weights of {folder} don't fit into float16: they are not finite there")
    size = sum(leaf.nbytes for leaf in leaves)  # a repository keeps every version for ever
    if size > LIMIT:
        raise run.RunError(
            f"the weights of {folder} take {size:,} bytes as float16, expected at most {LIMIT:,}: "
            "train a smaller model"
        )
    path = _path(task) if into is None else into / _path(task).name
    metrics = _metrics(folder)  # first, since it may fail
    checkpoint.save_weights(path, halves, {"chapter": task.name})
    card = {
        "chapter": task.name,
        "parameters": sum(leaf.size for leaf in leaves),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "config": portable(model.config),
        "data": about["data"],
        "command": _command(task, about["command"]),
        "commit": bench.commit(),
        "seed": model.config.seed,
        "metrics": metrics,
        "machine": about["device"],
        "versions": about["versions"],
        "trained": about["started"],
        "published": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "licence": "Apache-2.0 (the weights; the data have terms of their own)",
    }
    run.write_json(path.with_suffix(".json"), card)
    return path


def portable(config: Any) -> dict[str, Any]:
    """The fields of a configuration for other machines: of data of one's own the name alone."""
    fields = dataclasses.asdict(config)
    named = {k: Path(fields[k]).name for k in ("text", "images") if fields.get(k)}
    return fields | named


def _path(task: Task) -> Path:
    """Of the published weights."""
    package = importlib.import_module(task.package)
    (home,) = package.__path__
    folder = Path(home) / "pretrained"
    return folder / f"{task.second or 'model'}.safetensors"


def _metrics(folder: Path) -> dict[str, Any]:
    """What the run's last epoch and its evaluations found."""
    summary = run.read_json(folder / "summary.json")
    kept = {k: v for k, v in summary.items() if k.startswith("test_")}
    for path in sorted(folder.glob("evaluation*.json")):
        kept[path.stem] = run.read_json(path)
    return kept


def _command(task: Task, arguments: Sequence[str]) -> str:
    """The command as a reader would type it: without the paths of the machine that ran it."""
    kept, rest = [], iter(arguments[1:])
    for argument in rest:
        flag, separator, _ = argument.partition("=")
        if flag.replace("_", "-") not in _PRIVATE:
            kept.append(argument)
        elif not separator:
            next(rest, None)  # its value
    return f"python -m {task.package} {shlex.join(kept)}"
