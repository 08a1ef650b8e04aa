"""CIFAR-10: small photographs of ten classes, in the binary format.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The book reads it in
chapters 6 and 9. A file is a row of records of 3,073 bytes: the label, then 32x32 red, green and
blue values. Axes: N examples, H rows, W columns, C channels (red, green, blue).

Images are returned as [N, H, W, C] *views* of the records as they were read, so that reading
costs no more than `numpy.fromfile`; `numpy.ascontiguousarray` makes a packed copy.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from zoo.common.data import fetch, files, sample
from zoo.common.data.dataset import Dataset
from zoo.common.data.files import DataError, fault
from zoo.common.data.registry import CIFAR10

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

RECORD = 1 + 3 * 32 * 32
SPLITS = ("auto", "official", "holdout")
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = "test_batch.bin"
PER_FILE = 10_000
MOST = 60_000
"""The largest number of records that is believed in one file."""


def read_batch(path: Path | str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The images, uint8 [N, 32, 32, 3], and labels, uint8 [N], of one file.

    Args:
        path: For example data_batch_1.bin, plain, .gz or .xz.
        count: The number of records that the file must have; None takes any whole number.

    Raises:
        DataError: When the file is not a whole number of records, or a label is above 9.
    """
    limit = RECORD * (MOST if count is None else count)
    content = files.read_array(path, limit)
    if count is not None:
        files.check_size(path, len(content), limit)
    if extra := len(content) % RECORD:
        whole = len(content) - extra
        place = f"byte {whole:,} (record {whole // RECORD:,})"
        expected = f"a record of {RECORD:,}"
        raise fault(path, place, f"{extra:,} bytes up to the end", expected, "The file is cut off.")
    records = content.reshape(-1, RECORD)
    _check_labels(path, records)
    return _split_records(records)


def load(data: str = "auto", data_dir: Path | str | None = None, split: str = "auto") -> Dataset:
    """CIFAR-10: "image" uint8 [N, 32, 32, 3] (a view, see above) and "label" uint8 [N].

    Args:
        data: "auto", "real" or "sample", see `zoo.common.data.fetch.resolve`.
        data_dir: The folder to look in first.
        split: "official" trains on data_batch_1..5 and tests on test_batch; "holdout" trains on
            data_batch_1..4 and tests on data_batch_5; "auto" is the official one where
            test_batch is there.

    Raises:
        DataError: When a file is not what it should be, when "real" data is not to be had, or
            when the official split is asked for and its test file is not to be had.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if split == "official":
        return _load_official(data, data_dir)
    alternatives = CIFAR10.usable if split == "auto" else (TRAIN,)
    found = fetch.resolve(CIFAR10, data, data_dir, *alternatives)
    if found.source is None:
        return _load_sample(found.reason, split)
    return _load_real(found.source, "official" if TEST in found.names else "holdout")


def first_thousand(data_dir: Path | str | None = None) -> dict[str, np.ndarray] | None:
    """The first 1,000 images of the official test set, "image" and "label", where they are here.

    A check beside the held-out split: near 90 % its standard error is about 0.9 points, and it is
    not to be called CIFAR-10 test accuracy. Taken from test_batch.first1000.bin or test_batch.bin.
    """
    name = "test_batch.first1000.bin"
    found = fetch.locate(CIFAR10, data_dir, (name,), (TEST,))
    if found is None:
        return None
    count = 1_000 if found.names == (name,) else PER_FILE
    images, labels = read_batch(fetch.path(CIFAR10, found.source, found.names[0]), count)
    return {"image": images[:1_000], "label": labels[:1_000]}


def _load_official(data: str, data_dir: Path | str | None) -> Dataset:
    if data == "sample":
        raise DataError("CIFAR-10: the built-in sample has no official split; use split auto.")
    names = (*TRAIN, TEST)
    # With "real": who asks for the official split does not want the sample in its place.
    found = fetch.resolve(CIFAR10, "real" if data == "auto" else data, data_dir, names)
    return _load_real(found.source, "official")


def _load_real(source: Path, split: str) -> Dataset:
    names = (*TRAIN, TEST) if split == "official" else TRAIN
    train, test = _read(source, names, PER_FILE)
    description = (
        "CIFAR-10, official split: train on data_batch_1..5 (50,000), test on test_batch (10,000)"
        if split == "official"
        else "CIFAR-10, held-out split: train on data_batch_1..4 (40,000), "
        "test on data_batch_5 (10,000)"
    )
    return Dataset("CIFAR-10", "real", split, description, train, test, CLASSES)


def _load_sample(reason: str, split: str) -> Dataset:
    names = TRAIN if split == "holdout" else (*TRAIN, TEST)
    with sample.folder("cifar10") as source:
        train, test = _read(source, names, sample.SHAPES_PER_FILE)
    description = (
        f"built-in sample, not CIFAR-10 ({reason}): drawn shapes in ten classes, "
        f"train on {len(train['label']):,}, test on {len(test['label']):,}"
    )
    name = "holdout" if split == "holdout" else "sample"
    return Dataset("CIFAR-10", "sample", name, description, train, test, sample.SHAPES)


def _read(source: Path, names: tuple[str, ...], count: int) -> tuple[dict, dict]:
    """All but the last of the files to train on, the last to test on."""
    paths = [fetch.path(CIFAR10, source, name) for name in names]
    records = np.empty((len(paths), count, RECORD), np.uint8)

    def read(path: Path, out: np.ndarray) -> None:
        files.read_into(path, out)
        _check_labels(path, out)

    # Reading and unpacking release Python's lock: two cores unpack .xz files in half the time.
    with ThreadPoolExecutor(max_workers=min(len(paths), os.cpu_count() or 1)) as pool:
        list(pool.map(read, paths, records))
    train = _split_records(records[:-1].reshape(-1, RECORD))
    test = _split_records(records[-1])
    return (
        {"image": train[0], "label": train[1]},
        {"image": test[0], "label": test[1]},
    )


def _check_labels(path: Path | str, records: np.ndarray) -> None:
    labels = records[:, 0]
    if labels.max() > 9:
        first = int(np.argmax(labels > 9))
        place = f"byte {first * RECORD:,} (record {first:,})"
        raise fault(path, place, f"label {labels[first]}", "0 to 9")


def _split_records(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 32, 32, 3], a view, and labels [N] of records [N, 3073]."""
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return planes.transpose(0, 2, 3, 1), records[:, 0].copy()
