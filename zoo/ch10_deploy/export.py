"""A trained model as files that outlive the code: `export_run` writes them, `load` checks and runs.

| file | content |
| --- | --- |
| weights.safetensors | the weights, with a digest of their own |
| config.json | the model's name and configuration, from which its code can rebuild it |
| model.jaxexport | the function, weights and uint8 images -> probabilities, as StableHLO |
| manifest.json | SHA-256 of the others, versions, classes, shapes; its own hash names the model |

The function (`jax.export`) has a symbolic batch size and takes the weights as arguments. JAX keeps
such files readable for six months; after that `load` goes back to the weights and the code here.
Nothing is ever unpickled. An export of the same run by the same versions has the same bytes.
"""

import dataclasses
import functools
import importlib.metadata
import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from zoo.ch10_deploy import models, store
from zoo.ch10_deploy.manifest import (
    CONFIG,
    FORMAT,
    FUNCTION,
    LIMITS,
    MANIFEST,
    WEIGHTS,
    ExportError,
    as_json,
    read_manifest,
    sha256_of,
)
from zoo.common import checkpoint, cli, device, run
from zoo.common.data import files

PLATFORMS = ("cpu", "cuda", "tpu")
# `predict` goes through more images in pieces of this size. On a CPU larger ones leave the cache:
# chapter 6's network takes 0.3 ms an image in batches up to 128, 0.5 to 0.8 in those of 256.
_LARGEST = {"cpu": 64, "accelerator": 1024}


@dataclasses.dataclass(frozen=True)
class Exported:
    """A model ready to predict; several threads may use it at once."""

    predict_batch: models.Predict
    """(weights, uint8 images [B, ...]) -> probabilities [B, K], to be compiled"""
    weights: Any
    manifest: dict[str, Any]
    source: Literal["exported function", "code"]
    """what runs: the file model.jaxexport, or zoo's code where this JAX can't read that"""
    digest: str
    """SHA-256 of manifest.json, which names weights, function and classes to the bit"""
    _compiled: dict[int, Callable] = dataclasses.field(default_factory=dict, repr=False)
    _lock: Any = dataclasses.field(default_factory=threading.Lock, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.manifest["classes"])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image, uint8."""
        return tuple(self.manifest["input"]["shape"][1:])

    def compiled(self, size: int) -> Callable[[np.ndarray], np.ndarray]:
        """The function for exactly `size` images, compiled at the first call, then kept."""
        with self._lock:
            if size not in self._compiled:
                spec = jax.ShapeDtypeStruct((size, *self.shape), np.uint8)
                program = device.jit(self.predict_batch).lower(self.weights, spec).compile()
                self._compiled[size] = functools.partial(program, self.weights)
            call = self._compiled[size]
        return lambda images: np.asarray(call(images))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The probability of each class, float32 [N, K], for uint8 images [N, ...].

        They are filled up to a power of two, so that few sizes are compiled.

        Raises:
          ExportError: the images have another shape or type.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ExportError(
                f"images are {images.dtype} of shape {images.shape}, expected uint8 (number, "
                f"{', '.join(map(str, self.shape))})"
            )
        out = np.empty((len(images), len(self.classes)), np.float32)
        largest = _LARGEST["cpu" if device.current().platform == "cpu" else "accelerator"]
        for start in range(0, len(images), largest):
            part = images[start : start + largest]
            size = 1 << (len(part) - 1).bit_length()
            padded = np.zeros((size, *self.shape), np.uint8)
            padded[: len(part)] = part
            out[start : start + len(part)] = self.compiled(size)(padded)[: len(part)]
        return out


class Written(NamedTuple):
    """What `export_run` did."""

    location: str
    digest: str  # SHA-256 of the manifest
    was_there: bool  # the same model lay there already


def export_run(name: str, trained: cli.Trained, out: str | None = None) -> Written:
    """Exports a run; `out` is a folder or a URL, by default the folder `export` of the run.

    Args:
      name: of `models.MODELS`.
      trained: which run; the newest of the model if it names none.
      out: where to; must not hold another model.

    Raises:
      ExportError: another model lies there, or no such model can be exported.
      RunError, CheckpointError: there is no such run, or it is damaged.
    """
    if name not in models.MODELS:
        raise ExportError(f"no model {name!r}, expected one of {', '.join(models.MODELS)}")
    model = models.MODELS[name]
    folder, config, state, content = run.restore(model.chapter, trained, model.config, model.like)
    contents = build(name, config, model.weights(state), content)
    location = str(folder / "export") if out is None else out
    digest = sha256_of(contents[MANIFEST])
    if store.exists(store.join(location, MANIFEST)):
        if store.read(store.join(location, MANIFEST), files.MIB) != contents[MANIFEST]:
            raise ExportError(f"{location} holds another model: choose another --out")
        load(location, digest)
        return Written(location, digest, True)
    store.write_folder(location, contents)
    return Written(location, digest, False)


def build(name: str, config: Any, weights: Any, content: dict[str, Any]) -> dict[str, bytes]:
    """The files of an exported model by name, the manifest last.

    Args:
      name: of `models.MODELS`.
      config: the model's configuration.
      weights: as `Model.weights` gives them.
      content: the run's config.json, for the classes and the data set.

    Raises:
      ExportError: a package is missing.
    """
    model = models.MODELS[name]
    exported = _export_function(model.predict(config), weights, model.shape)
    data = content["data"]
    classes = [str(one) for one in data["classes"]] or list(map(str, range(config.classes)))
    about = {"model": name, "config": dataclasses.asdict(config)}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / WEIGHTS
        checkpoint.save_weights(path, weights, {})  # two entries would come in any order
        contents = {WEIGHTS: path.read_bytes()}
    try:
        contents |= {CONFIG: as_json(about), FUNCTION: bytes(exported.serialize())}
    except ImportError as error:
        raise ExportError("exporting needs flatbuffers: pip install -e '.[serve]'") from error
    packages = ("zoo", "jax", "jaxlib")
    manifest = {
        "format": FORMAT,
        "model": name,
        "recipe": config.recipe,
        "classes": classes,
        "input": {"shape": ["batch", *model.shape], "dtype": "uint8"},
        "output": {"shape": ["batch", len(classes)], "dtype": "float32", "is": "probabilities"},
        "data": {key: data[key] for key in ("name", "source", "split", "sha256")},
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "files": {
            file: {"sha256": sha256_of(bytes_), "bytes": len(bytes_)}
            for file, bytes_ in contents.items()
        },
    }
    return {**contents, MANIFEST: as_json(manifest)}


def _export_function(predict: models.Predict, weights: Any, shape: tuple[int, ...]) -> Any:
    """`predict` for every platform and batch size, with no path of this machine in it."""
    import jax.export

    specs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), weights)
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *shape), np.uint8)
    options = {
        "jax_hlo_source_file_canonicalization_regex": ".*",
        "jax_include_full_tracebacks_in_locations": False,
    }
    before = {name: getattr(jax.config, name) for name in options}
    try:
        for name, value in options.items():
            jax.config.update(name, value)
        return jax.export.export(jax.jit(predict), platforms=PLATFORMS)(specs, images)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def load(location: str | Path, digest: str | None = None) -> Exported:
    """Reads an exported model from a folder or a URL, checking every file before it is used.

    Args:
      location: as `export_run` was given, or `s3://bucket/model`.
      digest: SHA-256 that the manifest must have; without it, whoever can write there is trusted.

    Raises:
      ExportError: something is missing or changed, or neither the function nor the code here fits.
      StoreError: a file can't be read.
    """
    raw = store.read(store.join(location, MANIFEST), files.MIB)
    found = sha256_of(raw)
    if digest is not None and found != digest:
        raise ExportError(f"{location}: the manifest's SHA-256 is {found}, expected {digest}")
    manifest = read_manifest(location, raw)
    contents = {}
    for name, about in manifest["files"].items():
        contents[name] = store.read(store.join(location, name), min(LIMITS[name], about["bytes"]))
        if (sha256 := sha256_of(contents[name])) != about["sha256"]:
            raise ExportError(
                f"{store.join(location, name)} was changed: its SHA-256 is {sha256}, expected "
                f"{about['sha256']}: export the run again"
            )
    try:
        predict, weights = _from_function(contents, manifest)
        source = "exported function"
    except Exception as error:  # whatever this JAX makes of a file of another version
        predict, weights = _from_code(location, contents, manifest, error)
        source = "code"
        versions = manifest["versions"]
        print(
            f"{location}: this JAX {jax.__version__} can't read the exported function of JAX "
            f"{versions.get('jax')} ({_one_line(error)}); using its weights with zoo's code"
        )
    return Exported(predict, jax.device_put(weights), manifest, source, found)


def _from_function(contents: dict[str, bytes], manifest: dict[str, Any]) -> tuple[Any, Any]:
    """The exported function and the weights, tried for one image."""
    import jax.export

    exported = jax.export.deserialize(bytearray(contents[FUNCTION]))
    low = jax.export.minimum_supported_calling_convention_version
    high = jax.export.maximum_supported_calling_convention_version
    version = exported.calling_convention_version
    if not low <= version <= high:
        raise ExportError(f"calling convention {version}, this JAX knows {low} to {high}")
    (like, images), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    shape = (1, *manifest["input"]["shape"][1:])
    if images.shape[1:] != shape[1:] or images.dtype != np.uint8:
        raise ExportError(f"it takes {images}, the manifest says {manifest['input']}")
    weights = _weights(contents[WEIGHTS], like)
    device.jit(exported.call).lower(weights, jax.ShapeDtypeStruct(shape, np.uint8))
    return exported.call, weights


def _from_code(location, contents, manifest, cause: Exception) -> tuple[Any, Any]:
    try:
        about = json.loads(contents[CONFIG])
        predict, like = models.rebuild(about["model"], about["config"])
        return predict, _weights(contents[WEIGHTS], like)
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
