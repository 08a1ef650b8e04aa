"""CIFAR-10: small photographs of ten classes, in the binary format or Python's.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The book reads it in
chapters 6 and 9. A file is a row of records of 3,073 bytes: the label, then 32x32 red, green and
blue values. Python's files are pickles of the same rows, of which nothing but arrays, text and
numbers is unpickled. Axes: N examples, H rows, W columns, C channels (red, green, blue).

Images are returned as [N, H, W, C] *views* of the records as they were read: a copy in this order
would take longer than the reading. `numpy.ascontiguousarray` makes a packed copy.
"""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from zoo.common.data import dataset, fetch, files, sample
from zoo.common.data.dataset import Dataset
from zoo.common.data.fetch import Found
from zoo.common.data.files import Check, DataError, fault
from zoo.common.data.registry import CIFAR10

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

RECORD = 1 + 3 * 32 * 32
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
PYTHON = tuple(name.removesuffix(".bin") for name in (*TRAIN, TEST))
"""The names of Python's files."""
SPLITS = ("auto", "official", "given", "holdout")
FIRST_THOUSAND = "test_batch.first1000.bin"
MOST = 60_000
"""The largest number of records that is believed in one file."""


def read_batch(path: Path | str, check: Check | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The images, uint8 [N, 32, 32, 3], and labels, uint8 [N], of one file.

    Args:
        path: For example data_batch_1.bin, plain, .gz or .xz.
        check: Called with the file's content, unpacked.

    Raises:
        DataError: When the file is not a whole number of records, or a label is above 9.
    """
    return _split_records(_read_records(path, check))


def load(data: str = "auto", data_dir: Path | str | None = None, split: str = "auto") -> Dataset:
    """CIFAR-10: "image" uint8 [N, 32, 32, 3] (a view, see above) and "label" uint8 [N].

    Other files of these names are "unknown images in CIFAR-10's format"; their classes have
    numbers for names.

    Args:
        data: "auto", "real" or "sample", see `zoo.common.data.fetch.resolve`.
        data_dir: The folder to look in first.
        split: "official" trains on data_batch_1..5 and tests on test_batch; "holdout" trains on
            data_batch_1..4 and tests on data_batch_5; "auto" is the official one where
            test_batch is available. "given" is the official one by the name that a result has
            where the files differ from the published ones.

    Raises:
        DataError: When a file is not what it should be, when "real" data is not available, or
            when the official split is wanted and its test file is not available.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if split == "official":
        if data == "sample":
            raise DataError("CIFAR-10: the built-in sample has no official split; use split auto.")
        data = "real"  # not auto: who wants the official split has no use for the sample
    usable = {"auto": CIFAR10.usable, "holdout": (TRAIN,)}.get(split, ((*TRAIN, TEST),))
    with dataset.opened(CIFAR10._replace(usable=usable), data, data_dir) as found:
        train, test = _read(found)
    name, whole = "CIFAR-10", "official"
    classes: tuple[str, ...] = CLASSES
    if found.kind == "sample":
        classes, whole = sample.SHAPES, "sample"
    elif found.unknown:
        name, classes, whole = "unknown images in CIFAR-10's format", tuple("0123456789"), "given"
    if split != "holdout":
        split = whole if TEST in found.names else "holdout"
    kind, trained, tested = f"{split} split", "1..5", "test_batch"
    if split == "holdout":
        kind, trained, tested = "held-out split", "1..4", "data_batch_5"
    count, test_count = f"{len(train['label']):,}", f"{len(test['label']):,}"
    description = found.describe(
        name,
        f"{name}, {kind}: train on data_batch_{trained} ({count}), test on {tested} ({test_count})",
        f"drawn shapes in ten classes, train on {count}, test on {test_count}",
    )
    return Dataset(name, found.kind, split, description, train, test, classes)


def first_thousand(data_dir: Path | str | None = None) -> dict[str, np.ndarray] | None:
    """The first 1,000 images of the official test set, "image" and "label", where they are here.

    A check beside the held-out split: near 90 % its standard error is about 0.9 points, and it is
    not to be called CIFAR-10 test accuracy. Taken from test_batch.first1000.bin or test_batch.bin;
    None where neither is found, or what is found differs from the published file.
    """
    found = fetch.locate(CIFAR10._replace(usable=((FIRST_THOUSAND,), (TEST,))), data_dir)
    if found is None:
        return None
    images, labels = read_batch(*found.at(found.names[0]))
    return None if found.unknown else {"image": images[:1_000], "label": labels[:1_000]}


def _read(found: Found) -> list[dict[str, np.ndarray]]:
    """All but the last of the files to train on, the last to test on."""
    # Unpacking and hashing release Python's lock: two cores read .xz files in half the time.
    with ThreadPoolExecutor() as pool:
        records = list(pool.map(_read_records, *zip(*map(found.at, found.names), strict=True)))
    # Concatenated as records: the images stay views of them, see the top of this file.
    parts = (_split_records(np.concatenate(part)) for part in (records[:-1], records[-1:]))
    return [{"image": images, "label": labels} for images, labels in parts]


class _Unpickler(pickle.Unpickler):
    """Of arrays, text, numbers, lists and dicts; a pickle could name any function to be called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.ndarray.__reduce__(np.empty(0))[0]  # wherever this NumPy has it
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in protocol 2
            return lambda text, encoding: text.encode("latin-1")
        raise pickle.UnpicklingError(f"{module}.{name} in place of an array")


def _from_python(path: Path | str, content: bytes) -> bytes:
    """The records of one of Python's files, as the binary one of its name has them."""
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = found[b"data"], np.asarray(found[b"labels"])
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), RECORD - 1):
            raise ValueError(f"data {pixels.dtype} {pixels.shape}, {len(labels)} labels")
        if not np.issubdtype(labels.dtype, np.integer) or not ((labels >= 0) & (labels < 10)).all():
            raise ValueError("labels that are not numbers from 0 to 9")
    except Exception as error:  # a broken pickle can raise anything
        expected = f"a dict with data, uint8 [N, {RECORD - 1:,}], and labels"
        raise fault(path, "the pickle", f"{type(error).__name__}: {error}", expected) from error
    return np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()


def read_content(path: Path | str, check: Check | None = None) -> bytes:
    """The content of a file, of one of Python's that of the binary one.

    Raises:
        DataError: When it can't be read, or is a pickle of something else.
    """
    if Path(path).name not in PYTHON:
        return files.read_bytes(path, RECORD * MOST, check)
    content = _from_python(path, files.read_bytes(path, 2 * RECORD * MOST, text=True))
    if check:
        check(content)
    return content


def _read_records(path: Path | str, check: Check | None = None) -> np.ndarray:
    """The records of a file, uint8 [N, 3073], with labels from 0 to 9."""
    content = np.frombuffer(read_content(path, check), np.uint8)
    if extra := len(content) % RECORD:
        whole = len(content) - extra
        place = f"byte {whole:,} (record {whole // RECORD:,})"
        expected, advice = f"a record of {RECORD:,}", "The file is cut off."
        if len(content) % (RECORD + 1) == 0:
            advice = f"Records of {RECORD + 1:,} bytes, with two labels, are CIFAR-100's."
        raise fault(path, place, f"{extra:,} bytes up to the end", expected, advice)
    records = content.reshape(-1, RECORD)
    if (wrong := records[:, 0] > 9).any():
        first = int(np.argmax(wrong))
        place = f"byte {first * RECORD:,} (record {first:,})"
        raise fault(path, place, f"label {records[first, 0]}", "0 to 9")
    return records


def _split_records(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3], a view, and labels [N] of records [N, 3073]."""
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return planes.transpose(0, 2, 3, 1), records[:, 0].copy()
