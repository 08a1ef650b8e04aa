"""Classifying any number of images with Ray Data, on one machine or a cluster.

Readers turn files into blocks of a few thousand images, and workers, which have loaded the exported
model once, classify a block and write it as one Parquet file. So memory does not grow with the
input. A part has the name that its place among the files gives it, the same content whoever writes
it, and appears whole or not at all: a worker or node that dies loses nothing and doubles nothing,
and a job that is started again does what is missing.
"""

import contextlib
import importlib.util
import io
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro

from zoo.ch10_deploy import export, sources, store
from zoo.common import device as devices
from zoo.common.data import DataError, files
from zoo.common.run import versions
from zoo.common.settings import Bounds

ROWS, BYTES = 4096, 12 * files.MIB  # of a part, at most
RESULT = "record.json"
OBJECT_STORE = 128 * files.MIB  # shared memory for blocks between readers and workers
_PART = re.compile(r"part-\d{6,}-\d{6,}\.parquet")

Row = Mapping[str, Any]


class JobError(DataError):
    """A job can't be done, or not wholly; the message says which files or what to change."""


class Job(NamedTuple):
    """What readers and workers have to know."""

    model: str  # a folder or URL
    digest: str  # of its manifest
    out: str
    shape: tuple[int, ...]  # of a picture as the model takes it
    own: bool  # whether it was trained on a user's own pictures
    rows: int  # of a part, at most


def run(
    model: tyro.conf.Positional[str],
    images: tyro.conf.Positional[str],
    out: tyro.conf.Positional[str],
    workers: Annotated[int, Bounds(0, ceiling=10_000)] = 0,
    device: devices.Name = "auto",
) -> None:
    """Classify images and write the probabilities as Parquet files, with Ray.

    Args:
      model: an exported model: a folder or a URL such as s3://bucket/model
      images: files, folders or URLs with commas between: pictures, CIFAR-10's .bin, .npy, .npz
        with `image`, .parquet with a column `image`
      out: the folder or URL for the predictions; the same command goes on with what it lacks
      workers: that classify, each with a CPU or GPU; 0 for one on each
      device: where to compute

    Ray runs on this machine while the command does; RAY_ADDRESS names a cluster.

    Raises:
      JobError: Ray is not installed, there are no images, some could not be read, or `out` holds
        predictions of another model or of other images.
      ExportError, StoreError: the model is damaged, or a file can't be read or written.
    """
    if importlib.util.find_spec("ray") is None:
        raise JobError("batch needs Ray, not installed: pip install -e '.[batch]'")
    manifest, digest = export.read_manifest(model)
    _, signature = next(iter(export.signatures(manifest).items()))
    if not (signature.classifies(manifest["classes"]) and signature.picture):
        raise JobError(f"{manifest['model']} does not classify pictures: export one that does")
    shape = signature.picture
    rows = min(ROWS, max(64, BYTES // int(np.prod(shape)) // 64 * 64))
    own = manifest["data"]["source"] == "own"
    job = Job(_absolute(model), digest, _absolute(out), shape, own, rows)
    given = [_absolute(name) for name in images.split(",")]
    if inside := [name for name in given if f"{job.out}/".startswith(name.rstrip("/") + "/")]:
        raise JobError(f"{job.out} lies within {inside[0]}, whose files are read: choose another")
    found = sources.units(given)
    record = {"model": digest, "images": given, "rows": rows}
    _claim(job.out, record)
    parts, faults = _execute(job, found, workers, device)
    _finish(job.out, record, parts, faults)


def _absolute(location: str) -> str:
    """A location that means the same in every process."""
    return location if store.is_url(location) else str(files.expand(location).absolute())


def _claim(out: str, record: Mapping[str, Any]) -> None:
    """Makes a folder this job's own.

    Raises:
      JobError: it is another one's.
    """
    location = store.join(out, RESULT)
    if not store.exists(location):
        store.write(location, store.as_json(record))
        return
    try:
        known = json.loads(store.read(location))
        others = [key for key, value in record.items() if known[key] != value]
    except (ValueError, KeyError, TypeError) as error:
        raise JobError(f"{location} can't be read: {error!r}: choose another folder") from error
    if others:
        raise JobError(f"{out} is for another job, its {others[0]} differs: choose another folder")


# ---- Ray


@contextlib.contextmanager
def _session() -> Iterator[Any]:
    """Ray: the cluster of RAY_ADDRESS, the session that this process has, or one of its own."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails is raised here as well
    import ray
    import ray.data

    if began := not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if "RAY_ADDRESS" not in os.environ:
            options |= {"address": "local", "include_dashboard": False}
            options |= {"object_store_memory": OBJECT_STORE}
        ray.init(**options)
    context = ray.data.DataContext.get_current()
    warnings.filterwarnings("ignore", module=r"ray\.")  # on how many tasks there could be
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.enable_progress_bars = False
    # Each row a block of its own: what a reader yields when it is run again has to be as many.
    context.target_max_block_size = 1
    try:
        yield ray
    finally:
        if began:
            ray.shutdown()


def _execute(
    job: Job, found: Sequence[list[str]], workers: int, device: devices.Name
) -> tuple[list[Row], list[str]]:
    """Has everything read, classified and written; the parts in order, and what is wrong."""
    parts, faults, began = [], [], time.monotonic()
    with _session() as ray:
        from ray.data import ActorPoolStrategy, TaskPoolStrategy

        resources = ray.cluster_resources()
        gpus = 0 if device == "cpu" else int(resources.get("GPU", 0))
        count = workers or gpus or max(1, int(resources.get("CPU", 1)))
        rows = [{"unit": number, "paths": paths} for number, paths in enumerate(found)]
        dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), 1000))
        # Readers reserve no CPU: where nodes die, the workers that start again may take them all.
        readers = TaskPoolStrategy(size=max(count, int(resources.get("CPU", 1))))
        dataset = dataset.flat_map(read, fn_kwargs={"job": job}, compute=readers, num_cpus=0)
        dataset = dataset.map_batches(
            Worker,
            fn_constructor_kwargs={"job": job, "device": device},
            batch_size=1,
            compute=ActorPoolStrategy(size=count),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        said, images = began, 0
        try:
            for row in dataset.iter_rows():
                about = json.loads(row["about"])
                faults += [(about["unit"], fault) for fault in about.pop("faults")]
                if "part" not in about:
                    continue
                parts.append(about)
                images += about["count"]
                if time.monotonic() > said + 10:
                    said = time.monotonic()
                    print(f"{images:,} images, {images / (said - began):,.0f}/s", flush=True)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise JobError(
                f"Ray gave up ({type(cause).__name__}: {' '.join(str(cause).split())[:300]}); the "
                "same command goes on with what is missing"
            ) from error
    return sorted(parts, key=lambda about: about["part"]), [fault for _, fault in sorted(faults)]


# ---- readers


def read(row: Row, job: Job) -> Iterator[Row]:
    """The blocks of a unit: pixels uint8 [n, ...], their labels [n] or [0], their places [n].

    A part that is written already comes without them, and so does what is wrong with the unit.
    """
    unit, paths = int(row["unit"]), [str(path) for path in row["paths"]]
    try:
        sha256, start = sources.sha256(paths), 0
        for number, (raw, labels) in enumerate(sources.chunks(paths, job.shape, job.rows)):
            part = f"part-{unit:06}-{number:06}.parquet"
            about = {"unit": unit, "part": part, "paths": paths, "sha256": sha256}
            about |= {"start": start, "rows": len(raw), "model": job.digest}
            if (written := _written(job.out, about)) is not None:
                yield _block(written)
            else:
                pixels, kept, faults = sources.decode(raw, job.shape, job.own, paths[0])
                labels = np.zeros(0) if labels is None else labels[kept]
                yield _block(about | {"faults": faults}, pixels, labels, start + kept)
            start += len(raw)
    except sources.DAMAGED as error:
        yield _block({"unit": unit, "faults": [sources.named(paths[0], error)]})


def _block(about: Row, *arrays: np.ndarray) -> Row:
    pixels, *whole = arrays or [np.zeros(0, np.uint8)] * 3
    labels, places = (numbers.astype(np.int64) for numbers in whole)
    return {"about": json.dumps(about), "pixels": pixels, "labels": labels, "places": places}


def _written(out: str, about: Row) -> Row | None:
    """The description in a part, if it exists, is whole, and is of the same model and files."""
    import pyarrow as arrow
    from pyarrow import parquet

    location = store.join(out, about["part"])
    if not store.exists(location):
        return None
    content = store.read(location)
    try:
        table = parquet.read_table(io.BytesIO(content), page_checksum_verification=True)
        found = json.loads(table.schema.metadata[b"zoo"])
    except (arrow.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    same = all(found.get(key) == value for key, value in about.items())
    return {**found, "written": store.sha256(content), "before": True} if same else None


# ---- workers


class Worker:
    """Classifies blocks and writes them; it loads the model once."""

    def __init__(self, job: Job, device: devices.Name):
        # One thread, as there is a worker for each CPU.
        os.environ.setdefault("NPROC", "1")
        devices.set_xla_flags()
        devices.use(device)
        self.job, self.model = job, export.load(job.model, job.digest)
        self.name, signature = next(iter(self.model.predictions.items()))
        (self.input,) = signature.inputs

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        """Writes the part of a batch of one block, and tells of it."""
        about = json.loads(batch["about"][0])
        if "part" in about and "before" not in about:
            about = self._write(about, *(batch[name][0] for name in ("pixels", "labels", "places")))
        return {"about": [json.dumps(about)]}

    def _write(
        self, about: dict[str, Any], pixels: np.ndarray, labels: np.ndarray, places: np.ndarray
    ) -> dict[str, Any]:
        with jax.enable_x64(False):
            found = self.model.predict(self.name, {self.input: pixels})["probabilities"]
        agree = int((found.argmax(-1) == labels).sum()) if len(labels) else None
        about |= {"count": len(pixels), "agree": agree}
        content = _parquet(about, found, places, self.model.classes)
        store.write(store.join(self.job.out, about["part"]), content)
        return about | {"written": store.sha256(content)}


def _parquet(
    about: Row, probabilities: np.ndarray, places: np.ndarray, classes: Sequence[str]
) -> bytes:
    """A part: columns `path`, `index` in that file, `label`, `probabilities` [K] and `model`."""
    import pyarrow as arrow
    from pyarrow import parquet

    paths, count, text = about["paths"], len(probabilities), arrow.string()
    several = not sources.has_many(paths[0])
    best = arrow.array(probabilities.argmax(-1).astype(np.int32))
    labels = arrow.DictionaryArray.from_arrays(best, arrow.array(classes, text))
    flat = arrow.array(probabilities.ravel(), arrow.float32())
    columns = {
        "path": arrow.array([paths[n] for n in places] if several else paths * count, text),
        "index": arrow.array(places * (not several), arrow.int64()),
        "label": labels.cast(text),
        "probabilities": arrow.FixedSizeListArray.from_arrays(flat, len(classes)),
        "model": arrow.array([about["model"]] * count, text),
    }
    table = arrow.table(columns).replace_schema_metadata({"zoo": json.dumps(about)})
    content = io.BytesIO()
    parquet.write_table(table, content, write_page_checksum=True)
    return content.getvalue()


# ---- the end


def _finish(out: str, record: Row, parts: Sequence[Row], faults: Sequence[str]) -> None:
    """Writes the record, removes parts that are no more, and tells what was done.

    Raises:
      JobError: some files or pictures could not be read.
    """
    names = {part["part"] for part in parts}
    for location in store.find(out) or ():
        if _PART.fullmatch(name := location.rsplit("/", 1)[-1]) and name not in names:
            store.remove(location)  # of this job, see `_claim`, when its files were more
    labelled = [part for part in parts if part["agree"] is not None]
    totals = {
        "count": sum(part["count"] for part in parts),
        "labelled": sum(part["count"] for part in labelled),
        "agree": sum(part["agree"] for part in labelled),
    }
    kept = ("part", "start", "count", "sha256", "written")
    about = [
        {"images": [part["paths"][0], part["paths"][-1]], **{key: part[key] for key in kept}}
        for part in parts
    ]
    made = {"faults": list(faults), "parts": about, "versions": versions(("jax", "ray", "pyarrow"))}
    store.write(store.join(out, RESULT), store.as_json({**record, **totals, **made}))
    known = ""
    if totals["labelled"]:
        share = totals["agree"] / totals["labelled"]
        known = f", {share:.2%} of the {totals['labelled']:,} with a label as labelled"
    before = sum("before" in part for part in parts)
    older = f"; {before} of {len(parts)} parts were written before" if before else ""
    print(
        f"{totals['count']:,} images classified{known}: {store.join(out, 'part-*.parquet')}{older}"
    )
    for fault in faults:
        print(f"error: {files.printable(fault)}", file=sys.stderr)
    if faults:
        raise JobError(
            f"{len(faults)} of the files or pictures could not be read, for the reasons above; "
            "all others are classified"
        )
