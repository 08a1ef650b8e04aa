"""Images in files, local or behind URLs, a few thousand at a time: what `batch` reads.

A unit is what is read in one go: a file of many images (CIFAR-10's .bin, .npy, .npz, .parquet), or
several pictures. `chunks` takes it to pieces as it is stored, `decode` makes of a piece what a
model takes. N images in a piece, [H, W, 3] or [H, W] each.
"""

import hashlib
import io
import itertools
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from zoo.ch10_deploy import store
from zoo.common import images
from zoo.common.data import DataError
from zoo.common.data.own_pictures import SUFFIXES

RECORD = 1 + 3 * 32 * 32  # a label and 32x32 pixels of three colours, CIFAR-10's binary format
KINDS = (".bin", ".npy", ".npz", ".parquet")
"""Of files with many images."""
PICTURES = 256  # in a piece, since each may have many more pixels than is left of it
DAMAGED = (DataError, OSError, ValueError, KeyError, zipfile.BadZipFile)
"""What a damaged file raises; Arrow's errors are ValueErrors."""
_THREADS = 8  # as pictures behind a URL take their time
_NAMES = (("image", "label"), ("images", "labels"))

Shape = tuple[int, ...]
Piece = tuple[Any, np.ndarray | None]
"""uint8 [N, ...], or N pictures (contents or paths); labels, where the file has any."""


def has_many(path: str) -> bool:
    """Whether a file holds many images, by its name."""
    return _kind(path) in KINDS


def _kind(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def units(given: Iterable[str], most: int = PICTURES) -> list[list[str]]:
    """The paths of each unit.

    Args:
      given: files, or folders and all that is in them, in the order of their names.
      most: pictures in a unit.

    Raises:
      DataError: there is nothing, or a file is of another kind.
    """
    paths: list[str] = []
    for location in given:
        inside = store.find(location)
        paths += [location] if inside is None else [p for p in inside if _known(p)]
    if unknown := [path for path in paths if not _known(path)]:
        raise DataError(f"{unknown[0]} is none of {', '.join(KINDS)} and no picture by its name")
    if not paths:
        raise DataError(f"there are no images in {', '.join(given)}")
    made: list[list[str]] = []
    for many, together in itertools.groupby(paths, has_many):
        same, size = [*together], 1 if many else most
        made += [same[start : start + size] for start in range(0, len(same), size)]
    return made


def _known(path: str) -> bool:
    return _kind(path) in (*KINDS, *SUFFIXES)


def sha256(paths: Sequence[str]) -> str:
    """The SHA-256 of a file; of several that of their SHA-256 in hexadecimal, in order."""

    def one(path: str) -> str:
        try:
            with store.opened(path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except DataError:
            if len(paths) == 1:
                raise
            return ""  # `decode` tells what is wrong with it, and others go on

    if len(paths) == 1:
        return one(paths[0])
    with ThreadPoolExecutor(_THREADS) as threads:
        return store.sha256("".join(threads.map(one, paths)).encode())


def chunks(paths: Sequence[str], shape: Shape, rows: int) -> Iterator[Piece]:
    """A unit in pieces of at most `rows` images, in order.

    Raises:
      One of `DAMAGED`: the file is, or its images are not of `shape`.
    """
    if not has_many(paths[0]):
        yield paths, None
        return
    read = {".bin": _records, ".npy": _array, ".npz": _archive, ".parquet": _table}
    with store.opened(paths[0]) as file:
        for pixels, labels in read[_kind(paths[0])](file, shape, rows):
            if labels is not None and (
                labels.shape != (len(pixels),) or labels.dtype.kind not in "iu"
            ):
                found = f"labels {labels.dtype} {labels.shape}"
                raise DataError(f"has {found}, expected {len(pixels)} whole numbers")
            yield pixels, labels


def _records(file: Any, shape: Shape, rows: int) -> Iterator[Piece]:
    """CIFAR-10's binary format."""
    size = file.seek(0, io.SEEK_END)
    if not size or size % RECORD:
        raise DataError(f"has {size:,} bytes, expected whole records of {RECORD:,}")
    if shape != (32, 32, 3):
        raise DataError(f"has images of (32, 32, 3), the model takes {shape}")
    file.seek(0)
    while content := file.read(rows * RECORD):
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
        pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        yield np.ascontiguousarray(pixels), records[:, 0]


def _array(file: Any, shape: Shape, rows: int) -> Iterator[Piece]:
    """An open .npy file."""
    formats = np.lib.format
    headers = {(1, 0): formats.read_array_header_1_0, (2, 0): formats.read_array_header_2_0}
    found, fortran, dtype = headers[formats.read_magic(file)](file)
    if dtype != np.uint8 or fortran or tuple(found[1:]) != shape:
        order = " in Fortran's order" * fortran
        raise DataError(f"has {dtype} of shape {found}{order}, expected uint8 [N, *{shape}]")
    size = int(np.prod(shape))
    for start in range(0, found[0], rows):
        count = min(rows, found[0] - start)
        content = file.read(count * size)
        if len(content) < count * size:
            raise DataError(f"is cut off: it ends within image {start + len(content) // size:,}")
        yield np.frombuffer(content, np.uint8).reshape(count, *shape), None


def _archive(file: Any, shape: Shape, rows: int) -> Iterator[Piece]:
    """An open .npz file."""
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():  # before anything is taken from it
            raise DataError(f"is damaged: {damaged} in it has another checksum")
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        image, label = next((pair for pair in _NAMES if pair[0] in names), ("", ""))
        if not image:
            raise DataError(f"has the arrays {', '.join(names)}, expected image and perhaps label")
        labels, start = None, 0
        if label in names:
            with archive.open(f"{label}.npy") as member:
                labels = np.lib.format.read_array(member, allow_pickle=False)
        with archive.open(f"{image}.npy") as member:
            for pixels, _ in _array(member, shape, rows):
                own = None if labels is None else labels[start : start + len(pixels)]
                yield pixels, own
                start += len(pixels)


def _table(file: Any, shape: Shape, rows: int) -> Iterator[Piece]:
    """An open Parquet file: `image` is picture files, structs with `bytes`, or nested numbers."""
    import pyarrow as arrow
    from pyarrow import parquet

    opened = parquet.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
    schema = opened.schema_arrow
    names = next((pair for pair in _NAMES if pair[0] in schema.names), None)
    if names is None:
        raise DataError(f"has the columns {', '.join(schema.names)}, expected image")
    kind, columns = schema.field(names[0]).type, [n for n in names if n in schema.names]
    as_files = (arrow.types.is_struct, arrow.types.is_binary, arrow.types.is_large_binary)
    pictures = any(is_one(kind) for is_one in as_files)
    size = min(PICTURES, rows) if pictures else rows
    for batch in opened.iter_batches(size, columns=columns):
        column = batch.column(names[0])
        labels = batch.column(names[1]).to_numpy(zero_copy_only=False) if columns[1:] else None
        if arrow.types.is_struct(kind):
            column = column.field("bytes")
        yield (column.to_pylist() if pictures else _numbers(column, shape)), labels


def _numbers(column: Any, shape: Shape) -> np.ndarray:
    """Nested lists of whole numbers from 0 to 255."""
    flat = getattr(column, "storage", column)  # of tensors, as Arrow writes them
    while hasattr(flat.type, "value_type"):
        flat = flat.flatten()
    values = flat.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "iu" or values.size != len(column) * int(np.prod(shape)):
        raise DataError(f"image has {column.type}, expected picture files or uint8 of {shape}")
    low, high = values.min(initial=0), values.max(initial=0)
    if not 0 <= low <= high <= 255:
        raise DataError(f"image has values from {low} to {high}, expected 0 to 255")
    return values.astype(np.uint8).reshape(-1, *shape)


def decode(
    raw: Any, shape: Shape, own: bool, path: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A piece as a model takes it: uint8 [n, ...], where in the piece they are [n], faults.

    Args:
      raw: of `chunks`.
      shape: of an image.
      own: whether the model was trained on a user's own pictures, see `images.read_for`.
      path: of the file, for what is wrong with a picture in it.
    """
    if isinstance(raw, np.ndarray):
        return raw, np.arange(len(raw)), []

    def one(row: int, given: str | bytes | None) -> np.ndarray | str:
        name = given if isinstance(given, str) else f"{path}, picture {row} of a piece"
        try:
            content = store.read(given) if isinstance(given, str) else given or b""
            return images.read_for(content, shape, own)
        except DataError as error:
            return named(name, error)

    with ThreadPoolExecutor(_THREADS) as threads:
        found = [*threads.map(one, itertools.count(), raw)]
    kept = [row for row, image in enumerate(found) if not isinstance(image, str)]
    pixels = np.zeros((len(kept), *shape), np.uint8)
    for place, row in enumerate(kept):
        pixels[place] = found[row]
    return pixels, np.array(kept, np.int64), [fault for fault in found if isinstance(fault, str)]


def named(path: str, error: Exception) -> str:
    """What is wrong with a file, its name first."""
    if str(error).startswith(path):
        return str(error)
    return f"{path}: {error}" if isinstance(error, DataError) else f"{path} can't be read: {error}"
