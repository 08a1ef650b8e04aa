"""Classifying many images in shards, each by a worker that needs no other; then merging them.

The book runs its model a hundred times in a Kubernetes Job of ten parallel pods, each on the same
data. Here worker I of N takes its own part of the images and writes `shard-00002-of-00010.npz`: the
probabilities, float32 [n, K], and a record of which images and model these are of. A file appears
whole or not at all, so a worker that was killed has done nothing and one that is started again does
nothing twice. Files and folders may be URLs such as s3://bucket/images.
"""

import hashlib
import io
import json
import os
import zipfile
from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from zoo.ch10_deploy import export, store
from zoo.common.data import DataError
from zoo.common.run import versions
from zoo.common.settings import Bounds

RECORD = 1 + 3 * 32 * 32  # a label and 32x32 pixels of three colours, CIFAR-10's binary format
MERGED = "predictions"


class ShardError(DataError):
    """Images, shards or records do not fit together; the message says which and why."""


class Images(NamedTuple):
    """What is to be classified."""

    pixels: np.ndarray  # uint8 [N, ...]
    labels: np.ndarray | None  # [N], if the files have them
    sha256: str  # of the files' bytes, in order


def run(
    model: tyro.conf.Positional[str],
    images: tyro.conf.Positional[str],
    out: tyro.conf.Positional[str],
    shard: Annotated[int | None, Bounds(0), tyro.conf.arg(metavar="I")] = None,
    shards: Annotated[int | None, Bounds(1, ceiling=99_999), tyro.conf.arg(metavar="N")] = None,
    merge: bool = False,
) -> None:
    """Classify files of images, one shard of them or all, or merge what the shards wrote.

    Args:
      model: an exported model: a folder or a URL such as s3://bucket/model
      images: files or URLs with commas between: CIFAR-10's .bin, .npz with `image`, or .npy
      out: the folder or URL for the predictions
      shard: which part, from 0; JOB_COMPLETION_INDEX of an indexed Job if not given
      shards: into how many parts
      merge: put the shards together instead, in order, as predictions.npz

    Raises:
      ShardError: the images are none, the numbers do not fit, or a shard is missing or of others.
      ExportError, StoreError: the model is damaged, or a file can't be read or written.
    """
    if merge:
        count, agree = merge_shards(out, 1 if shards is None else shards)
        known = "" if agree is None else f", {agree / count:.2%} of them as labelled"
        print(f"{count:,} predictions{known}: {store.join(out, MERGED)}.npz and .json")
        return
    shard, shards = which(shard, shards)
    given = read_images(images.split(","))
    start, end = bounds(len(given.pixels), shard, shards)
    location, fresh = predict_shard(export.load(model), given, out, shard, shards)
    what = "predicted" if fresh else "predicted before, from the same model and images"
    print(f"shard {shard} of {shards}, images {start:,} to {end:,}: {what}: {location}")


def which(shard: int | None, shards: int | None) -> tuple[int, int]:
    """The number of this worker's shard and of all, from the flags or from an indexed Job.

    Raises:
      ShardError: the number of shards is missing, or the shard is none of them.
    """
    index = os.environ.get("JOB_COMPLETION_INDEX")
    if shard is None and index is not None and not index.isdecimal():
        raise ShardError(f"JOB_COMPLETION_INDEX is {index!r}, expected a number from 0")
    if shards is None and (shard is not None or index is not None):
        raise ShardError(
            "got the number of a shard but not how many there are: give --shards N, in an indexed "
            "Job the number of its completions"
        )
    shard = int(index or 0) if shard is None else shard
    shards = 1 if shards is None else shards
    if not 0 <= shard < shards:
        raise ShardError(f"got shard {shard} of {shards}, expected 0 to {shards - 1}")
    return shard, shards


def read_images(locations: list[str]) -> Images:
    """The images of the files one after the other; the files' types are told by their names.

    Raises:
      ShardError: a file is of another type or damaged, or they differ in the images' shape.
    """
    # Of the bytes in order, so that shards cut from other files are never merged.
    sha256 = hashlib.sha256()
    parts: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for location in locations:
        content = store.read(location)
        sha256.update(content)
        try:
            pixels, label = _parse(location, content)
        except (ValueError, KeyError, OSError) as error:  # as NumPy and zipfile raise them
            if isinstance(error, ShardError):
                raise
            raise ShardError(f"{location} can't be read as images: {error}") from error
        if pixels.dtype != np.uint8 or pixels.ndim < 2:
            raise ShardError(
                f"{location} has {pixels.dtype} of shape {pixels.shape}, expected uint8 images, "
                "[number, height, width] or [number, height, width, colours]"
            )
        if parts and pixels.shape[1:] != parts[0].shape[1:]:
            raise ShardError(
                f"{location} has images of {pixels.shape[1:]}, {locations[0]} of "
                f"{parts[0].shape[1:]}: put images of one shape together"
            )
        parts.append(pixels)
        if label is not None:
            labels.append(label)
    known = np.concatenate(labels) if len(labels) == len(parts) else None
    return Images(np.concatenate(parts), known, sha256.hexdigest())


def _parse(location: str, content: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    kind = PurePosixPath(location).suffix
    if kind == ".bin":
        if not content or len(content) % RECORD:
            raise ShardError(
                f"{location} has {len(content):,} bytes, expected whole records of {RECORD:,}"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
        return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]
    if kind == ".npy":
        # Pickles run code: files of images come from anywhere.
        return np.load(io.BytesIO(content), allow_pickle=False), None
    if kind == ".npz":
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return arrays["image"], arrays.get("label")
    raise ShardError(f"{location} is none of .bin, .npz and .npy")


def bounds(count: int, shard: int, shards: int) -> tuple[int, int]:
    """Where a shard of `count` images begins and ends; sizes differ by one at the most."""
    return shard * count // shards, (shard + 1) * count // shards


def predict_shard(
    model: export.Exported, images: Images, out: str, shard: int, shards: int
) -> tuple[str, bool]:
    """Predicts a shard and writes it, unless that was done with this model and these images.

    Returns:
      The file, and whether it is a new one.

    Raises:
      ShardError: the model is no classifier of pictures.
      ExportError: the model takes images of another shape.
      StoreError: it can't be written.
    """
    start, end = bounds(len(images.pixels), shard, shards)
    about = {
        "count": len(images.pixels),
        "model": model.digest,
        "images": images.sha256,
        "classes": list(model.classes),
    }
    location = _location(out, shard, shards)
    found = _read_shard(location)
    if found is not None and about.items() <= found.record.items():
        return location, False
    probabilities = _classify(model, images.pixels[start:end])
    agree = None
    if images.labels is not None:
        agree = int((probabilities.argmax(-1) == images.labels[start:end]).sum())
    record = json.dumps(about | {"agree": agree, "versions": versions(("jax",))})
    store.write(location, _npz(probability=probabilities, record=np.array(record)))
    return location, True


def _classify(model: export.Exported, pixels: np.ndarray) -> np.ndarray:
    name, signature = next(iter(model.predictions.items()))
    if not (model.classifies(name) and signature.picture):
        raise ShardError(
            f"{model.manifest['model']} does not classify pictures: export one that does"
        )
    (given,) = signature.inputs
    return model.predict(name, {given: pixels})["probabilities"]


def merge_shards(out: str, shards: int) -> tuple[int, int | None]:
    """Puts the shards together, in order, as predictions.npz and predictions.json.

    The archive has `probability`, float32 [N, K], `label`, uint8 [N] (the most probable class), and
    `classes`. It does not depend on the number of shards, as far as the model's rounding does not
    on the number of images at a time.

    Returns:
      How many predictions, and how many agree with the labels of the images' files, if known.

    Raises:
      ShardError: a shard is missing, damaged, or of another model or other images than the first.
    """
    if shards < 1:
        raise ShardError(f"got --shards {shards}, expected at least 1")
    found, missing = [], []
    for shard in range(shards):
        part = _read_shard(_location(out, shard, shards))
        if part is None:
            missing.append(str(shard))
        else:
            found.append(part)
    if missing:
        raise ShardError(
            f"{out} lacks shard {', '.join(missing)} of {shards}, or it is damaged: predict first"
        )
    first = found[0].record
    for shard, part in enumerate(found):
        for key in ("model", "images", "count", "classes"):
            if part.record[key] != first[key]:
                raise ShardError(
                    f"{_location(out, shard, shards)} is of other {key} than shard 0: "
                    "predict it again"
                )
    probabilities = np.concatenate([part.probabilities for part in found])
    labels = probabilities.argmax(-1).astype(np.uint8)
    archive = _npz(probability=probabilities, label=labels, classes=np.array(first["classes"]))
    counts = [part.record["agree"] for part in found]
    agree = None if None in counts else sum(counts)
    about = {key: first[key] for key in ("model", "images", "count", "classes", "versions")}
    about |= {"agree": agree, "sha256": store.sha256(archive)}
    store.write(store.join(out, f"{MERGED}.npz"), archive)
    store.write(store.join(out, f"{MERGED}.json"), store.as_json(about))
    return first["count"], agree


class _Shard(NamedTuple):
    probabilities: np.ndarray
    record: dict[str, Any]


def _location(out: str, shard: int, shards: int) -> str:
    return store.join(out, f"shard-{shard:05d}-of-{shards:05d}.npz")


def _npz(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]  # none is named allow_pickle
    return content.getvalue()


def _read_shard(location: str) -> _Shard | None:
    """A shard, None if there is none or it is damaged (zip files have checksums)."""
    if not store.exists(location):
        return None
    try:
        with np.load(io.BytesIO(store.read(location)), allow_pickle=False) as arrays:
            return _Shard(arrays["probability"], json.loads(str(arrays["record"])))
    except (ValueError, KeyError, OSError, zipfile.BadZipFile):
        return None
