"""A trained model as files that outlive the code: `export_run` writes them, `load` checks and runs.

| file | content |
| --- | --- |
| weights.safetensors | the weights, with a digest of their own |
| config.json | the task's name and configuration, from which its code can rebuild it |
| NAME.jaxexport | a prediction, weights and named arrays -> named arrays, as StableHLO |
| manifest.json | SHA-256 of the others, versions, classes, inputs and outputs of each prediction |

A prediction (`jax.export`) has a symbolic batch size and takes the weights as an argument. JAX
keeps such files readable for six months; after that `load` goes back to the weights and the code
here. Nothing is ever unpickled. An export of the same run by the same versions has the same bytes.
"""

import dataclasses
import functools
import json
import re
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from zoo.ch10_deploy import store
from zoo.common import checkpoint, device, fit, run
from zoo.common import trained as trained_models
from zoo.common.data import DataError, files
from zoo.common.task import Prediction, Task
from zoo.common.trained import Trained

FORMAT = 2
WEIGHTS, CONFIG, MANIFEST = "weights.safetensors", "config.json", "manifest.json"
FUNCTION = ".jaxexport"
PLATFORMS = ("cpu", "cuda", "tpu")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")  # of predictions: part of a file's name and of a URL
# `predict` computes larger inputs in pieces of this size. On a CPU larger ones leave the cache:
# chapter 6's network takes 0.3 ms an image in batches up to 128, 0.5 to 0.8 in those of 256.
_LARGEST = {"cpu": 64, "accelerator": 1024}

Arrays = dict[str, np.ndarray]
Specs = dict[str, jax.ShapeDtypeStruct]


class ExportError(DataError):
    """An exported model is damaged, of another format, or can't be made."""


class Signature(NamedTuple):
    """What a prediction takes and returns for one example, without the batch axis."""

    about: str
    inputs: Specs
    outputs: Specs

    @property
    def picture(self) -> tuple[int, ...] | None:
        """The shape of the picture, if its only input is one: uint8 [S, S] or [S, S, 3]."""
        first, *others = self.inputs.values()
        alone = not others and _is_picture(first, np.uint8) and first.shape[0] == first.shape[1]
        return first.shape if alone else None

    def classifies(self, classes: Sequence[str]) -> bool:
        """Whether one output is the probabilities of these classes."""
        found = self.outputs.get("probabilities")
        return found is not None and found.shape == (len(classes),)

    @property
    def drawn(self) -> str | None:
        """The first output that is a picture: float in [0, 1], [H, W] or [H, W, 3]."""
        named = ("image", "reconstruction")
        found = (n for n in named if _is_picture(self.outputs.get(n), np.float32))
        return next(found, None)


def _is_picture(spec: jax.ShapeDtypeStruct | None, dtype: Any) -> bool:
    if spec is None or spec.dtype != dtype:
        return False
    return len(spec.shape) == 2 or (len(spec.shape) == 3 and spec.shape[2] == 3)


@dataclasses.dataclass(frozen=True)
class Exported:
    """A model ready to predict; several threads may use it at once."""

    functions: dict[str, Callable[[Any, Any], Any]]
    """of each prediction: (weights, arrays [B, ...]) -> arrays [B, ...], to be compiled"""
    weights: Any
    manifest: dict[str, Any]
    source: Literal["exported function", "code"]
    """what runs: the files `*.jaxexport`, or zoo's code where this JAX can't read those"""
    digest: str
    """SHA-256 of manifest.json, which names weights, functions and classes to the bit"""
    _compiled: dict[tuple[str, int], Callable] = dataclasses.field(default_factory=dict, repr=False)
    _lock: Any = dataclasses.field(default_factory=threading.Lock, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes or characters; empty for other models."""
        return tuple(self.manifest["classes"])

    @functools.cached_property
    def predictions(self) -> dict[str, Signature]:
        """What the model computes, by name; the first one is the main one."""
        return signatures(self.manifest)

    def classifies(self, name: str) -> bool:
        """Whether a prediction gives the probabilities of the model's classes."""
        return self.predictions[name].classifies(self.classes)

    @device.in_float32
    def compiled(self, name: str, size: int) -> Callable[[Arrays], Arrays]:
        """A prediction for exactly `size` examples, compiled at the first call, then kept."""
        with self._lock:
            if (name, size) not in self._compiled:  # within the lock: nothing is compiled twice
                specs = _batched(self.predictions[name].inputs, size)
                program = device.compile(self.functions[name], self.weights, specs)
                # A server calls it in threads, where nothing else turns 64 bits off.
                call = device.in_float32(functools.partial(program, self.weights))
                self._compiled[name, size] = call
            call = self._compiled[name, size]
        return lambda inputs: jax.device_get(call(inputs))

    def predict(self, name: str, inputs: Mapping[str, Any]) -> Arrays:
        """A prediction for any number of examples: arrays [N, ...] to arrays [N, ...], by name.

        The last batch is padded to a power of two, so that few sizes are compiled.

        Args:
          name: of one of `predictions`.
          inputs: arrays with a leading axis, by the names in its signature.

        Raises:
          ExportError: there is no such prediction, or an input has another name, shape or type.
        """
        if name not in self.predictions:
            raise ExportError(f"no prediction {name!r}, expected {', '.join(self.predictions)}")
        signature = self.predictions[name]
        try:
            arrays = trained_models.check_inputs(signature.inputs, inputs)
        except ValueError as error:
            raise ExportError(str(error)) from error
        if not len(next(iter(arrays.values()))):
            return {n: np.empty((0, *s.shape), s.dtype) for n, s in signature.outputs.items()}
        largest = _LARGEST["cpu" if device.current().platform == "cpu" else "accelerator"]

        def call(batch: Arrays) -> Arrays:
            return self.compiled(name, len(next(iter(batch.values()))))(batch)

        return fit.in_batches(call, arrays, largest)


def _batched(specs: Specs, size: Any) -> Specs:
    """With a batch axis, whose length may be symbolic."""
    return {n: jax.ShapeDtypeStruct((size, *spec.shape), spec.dtype) for n, spec in specs.items()}


def _rows(arrays: Mapping[str, Any]) -> Specs:
    """Without it."""
    return {n: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for n, a in arrays.items()}


class Written(NamedTuple):
    """What `export_run` did."""

    location: str
    digest: str  # SHA-256 of the manifest
    was_there: bool  # the same model was exported to this place before


def export_run(trained: Trained, out: str | None = None) -> Written:
    """Exports a trained model.

    Args:
      trained: a run or the published model.
      out: a folder or a URL, by default the folder `export` of the run; it must not hold another
        model.

    Raises:
      ExportError: the folder holds another model, or a package is missing.
      StoreError: the place can't be read or written.
    """
    contents = build(trained.task, trained.config, trained.weights, trained.about["data"])
    location = str(trained.folder / "export") if out is None else out
    location = location if store.is_url(location) else str(files.expand(location))
    digest = store.sha256(contents[MANIFEST])
    if store.exists(store.join(location, MANIFEST)):
        if store.read(store.join(location, MANIFEST), files.MIB) != contents[MANIFEST]:
            raise ExportError(f"{location} holds another model: choose another --out")
        load(location, digest)  # the manifest is right; are the files?
        return Written(location, digest, True)
    store.write_folder(location, contents)
    return Written(location, digest, False)


@device.in_float32
def build(task: Task, config: Any, weights: Any, data: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of an exported model by name, the manifest last.

    Args:
      task: the model.
      config: its configuration.
      weights: `params` and, where there are any, `stats`.
      data: what config.json of the run says of the data set.

    Raises:
      ExportError: a package is missing, or a prediction is not one row for each example.
    """
    functions, described = {}, {}
    try:
        for name, prediction in task.predictions(config).items():
            _check_rows(name, prediction, weights)
            exported = _export_function(name, prediction, weights)
            functions[name + FUNCTION] = bytes(exported.serialize())
            outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
            described[name] = {
                "about": prediction.about,
                "inputs": _describe(prediction.inputs),
                "outputs": _describe(_rows(outputs)),
            }
    except ImportError as error:
        raise ExportError("exporting needs flatbuffers: pip install -e '.[serve]'") from error
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / WEIGHTS
        checkpoint.save_weights(path, weights, {})
        contents = {WEIGHTS: path.read_bytes()}
    about = {"task": task.name, "config": trained_models.portable(config)}
    origin = "the built-in sample" if data["source"] == "sample" else data["name"]
    contents |= {CONFIG: store.as_json(about), **functions}
    manifest = {
        "format": FORMAT,
        "model": task.name,
        "about": f"{re.split(' on | [(]', task.about)[0]}, trained on {origin}",
        "recipe": config.recipe,
        "classes": _classes(data, next(iter(described.values()))),
        "predictions": described,
        "data": {key: data[key] for key in ("name", "source", "split", "sha256")},
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "versions": run.versions(("jax", "jaxlib")),
        "files": {
            file: {"sha256": store.sha256(bytes_), "bytes": len(bytes_)}
            for file, bytes_ in contents.items()
        },
    }
    return {**contents, MANIFEST: store.as_json(manifest)}


def _check_rows(name: str, prediction: Prediction, weights: Any) -> None:
    """Refuses a function of which an example's answer depends on its place in the batch.

    Chapter 6's `--dropout-bug` is such a case. The server fills batches as requests arrive.
    """
    rng, twice = np.random.default_rng(0), {}
    for n, spec in prediction.inputs.items():
        high = 256 if spec.dtype == np.uint8 else 2  # also good as indices
        values = rng.normal(size=spec.shape) if spec.dtype == np.float32 else None
        one = rng.integers(0, high, spec.shape) if values is None else values
        twice[n] = np.stack([one, one]).astype(spec.dtype)
    with jax.debug_nans(False):  # random numbers are no valid input to all models
        answers = jax.device_get(device.jit(prediction.function)(weights, twice))
    for output, rows in answers.items():
        if rows.shape[:1] != (2,) or not np.allclose(
            rows[0], rows[1], rtol=1e-4, atol=1e-6, equal_nan=True
        ):
            raise ExportError(
                f"{name} returns a {output} that depends on an example's place in the batch, "
                "expected a row for each example, the same for equal ones"
            )


def _classes(data: Mapping[str, Any], main: Mapping[str, Any]) -> list[str]:
    """The classes of the data set; where it names none, those of a classifier are numbered."""
    named = [str(name) for name in data["classes"]]
    scores = main["outputs"].get("probabilities")
    return named if named or scores is None else [str(n) for n in range(scores["shape"][-1])]


def _describe(specs: Specs) -> dict[str, Any]:
    return {
        name: {"shape": ["batch", *spec.shape], "dtype": np.dtype(spec.dtype).name}
        for name, spec in specs.items()
    }


def _export_function(name: str, prediction: Prediction, weights: Any) -> Any:
    """A prediction for every platform and batch size, with no path of this machine in it."""
    import jax.export

    specs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), weights)
    (batch,) = jax.export.symbolic_shape("batch")
    # Locations would put the paths of this machine, and the order of calls, into the bytes.
    options = {
        "jax_hlo_source_file_canonicalization_regex": ".*",
        "jax_include_full_tracebacks_in_locations": False,
    }
    before = {option: getattr(jax.config, option) for option in options}
    try:
        for option, value in options.items():
            jax.config.update(option, value)
        # A new function object: traces of it made earlier would bring their source paths along.
        function = device.jit(lambda weights, inputs: prediction.function(weights, inputs))
        with jax.disable_jit(False):  # an export is a compiled program, whatever is set
            exporter = jax.export.export(function, platforms=PLATFORMS)
            return exporter(specs, _batched(prediction.inputs, batch))
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"{name} can't be exported for batches of any size ({_one_line(error)}): the length of "
            "the batch is a symbol, so use x.shape[0] in place of len(x), and no branch on it"
        ) from error
    finally:
        for option, value in before.items():
            jax.config.update(option, value)


@device.in_float32
def load(location: str | Path, digest: str | None = None) -> Exported:
    """Reads an exported model from a folder or a URL, checking every file before it is used.

    Args:
      location: as `export_run` was given, or `s3://bucket/model`.
      digest: SHA-256 that the manifest must have; without it, whoever can write there is trusted.

    Raises:
      ExportError: something is missing or changed, or neither the functions nor the code here fit.
      StoreError: a file can't be read.
    """
    manifest, found = read_manifest(location, digest)
    contents = {}
    for name, about in manifest["files"].items():
        contents[name] = store.read(store.join(location, name), min(_limit(name), about["bytes"]))
        if (sha256 := store.sha256(contents[name])) != about["sha256"]:
            raise ExportError(
                f"{store.join(location, name)} was changed: its SHA-256 is {sha256}, expected "
                f"{about['sha256']}: export the run again"
            )
    try:
        functions, weights = _from_functions(contents, manifest)
    except Exception as error:  # whatever this JAX makes of a file of another version
        functions, weights = _from_code(location, contents, manifest, error)
        versions = manifest["versions"]
        print(
            f"{location}: this JAX {jax.__version__} can't read the exported function of JAX "
            f"{versions.get('jax')} ({_one_line(error)}); using its weights with zoo's code"
        )
        return Exported(functions, jax.device_put(weights), manifest, "code", found)
    return Exported(functions, jax.device_put(weights), manifest, "exported function", found)


def _limit(name: str) -> int:
    """The largest file in bytes that is read."""
    return {WEIGHTS: 4096, CONFIG: 1}.get(name, 256) * files.MIB


def read_manifest(location: str | Path, digest: str | None = None) -> tuple[dict[str, Any], str]:
    """The manifest of an exported model, checked as far as others rely on it, and its SHA-256.

    Raises:
      ExportError: it is damaged, of another format, or its SHA-256 is not `digest`.
      StoreError: it can't be read.
    """
    raw = store.read(store.join(location, MANIFEST), files.MIB)
    found = store.sha256(raw)
    if digest is not None and found != digest:
        raise ExportError(f"{location}: the manifest's SHA-256 is {found}, expected {digest}")
    try:
        manifest = json.loads(raw)
        format_ = manifest["format"]
        if format_ == FORMAT:
            names = signatures(manifest)
            manifest |= {
                "model": str(manifest["model"]),
                "classes": [str(name) for name in manifest["classes"]],
                "versions": dict(manifest["versions"]),
                "files": {
                    name: {"sha256": str(about["sha256"]), "bytes": int(about["bytes"])}
                    for name, about in manifest["files"].items()
                },
            }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{location}: manifest.json can't be read: {error!r}") from error
    if format_ != FORMAT:
        raise ExportError(f"{location} has format {format_!r}, this zoo reads {FORMAT}")
    # No other file is ever opened, so that no name can lead out of the folder.
    expected = {WEIGHTS, CONFIG, *(name + FUNCTION for name in names)}
    if not names or set(manifest["files"]) != expected or not all(map(_NAME.fullmatch, names)):
        raise ExportError(f"{location}: manifest.json lacks files or predictions")
    return manifest, found


def signatures(manifest: Mapping[str, Any]) -> dict[str, Signature]:
    """What a manifest says of each prediction; the main one is the first."""

    def specs(described: Mapping[str, Any]) -> Specs:
        made = {}
        for name, about in described.items():
            shape = tuple(about["shape"][1:])
            if not all(isinstance(size, int) and size > 0 for size in shape):
                raise ValueError(f"{name} has the shape {shape}")
            made[name] = jax.ShapeDtypeStruct(shape, np.dtype(about["dtype"]))
        return made

    return {
        name: Signature(str(one["about"]), specs(one["inputs"]), specs(one["outputs"]))
        for name, one in manifest["predictions"].items()
    }


def _from_functions(contents: Mapping[str, bytes], manifest: Mapping[str, Any]) -> tuple[Any, Any]:
    """The exported functions and the weights, each function tried for one example."""
    import jax.export

    low = jax.export.minimum_supported_calling_convention_version
    high = jax.export.maximum_supported_calling_convention_version
    functions, weights = {}, None
    for name, signature in signatures(manifest).items():
        exported = jax.export.deserialize(bytearray(contents[name + FUNCTION]))
        version = exported.calling_convention_version
        if not low <= version <= high:
            raise ExportError(f"calling convention {version}, this JAX knows {low} to {high}")
        (like, inputs), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        _check_takes(name, _rows(inputs), signature)
        weights = _weights(contents[WEIGHTS], like) if weights is None else weights
        # Lowering finds operations that this JAX no longer has, before the first request does.
        with jax.disable_jit(False):
            device.jit(exported.call).lower(weights, _batched(signature.inputs, 1))
        functions[name] = exported.call
    return functions, weights


def _check_takes(name: str, takes: Specs, signature: Signature) -> None:
    if takes != signature.inputs:
        raise ExportError(f"{name} takes {takes}, the manifest says {signature.inputs}")


def _from_code(location, contents, manifest, cause: Exception) -> tuple[Any, Any]:
    try:
        about = json.loads(contents[CONFIG])
        task = trained_models.find(about["task"])
        config = run.make_config(task.config_type, about["config"], Path(CONFIG))
        predictions = task.predictions(config)  # of today's code, which may have changed
        for name, signature in signatures(manifest).items():
            _check_takes(name, predictions[name].inputs, signature)
        functions = {name: predictions[name].function for name in manifest["predictions"]}
        like = jax.eval_shape(task.weights, task.like(config))
        return functions, _weights(contents[WEIGHTS], like)
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{location}: neither the exported function ({_one_line(cause)}) nor the weights with "
            f"the code here can be used ({_one_line(error)}): export the run again"
        ) from error


def _weights(content: bytes, like: Any) -> Any:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / WEIGHTS
        path.write_bytes(content)
        return checkpoint.load_weights(path, like)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
