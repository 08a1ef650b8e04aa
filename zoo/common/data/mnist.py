"""MNIST: handwritten digits in the IDX format.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits". The book reads it in chapters
3, 4 and 8. An IDX file begins with a magic number (two zero bytes, the element type 8 for bytes,
the number of dimensions) and the sizes of the dimensions, all 32-bit big endian; the bytes of the
elements follow. Axes: N examples, 28 rows, 28 columns.
"""

from pathlib import Path

import numpy as np

from zoo.common.data import fetch, files, sample
from zoo.common.data.dataset import Dataset
from zoo.common.data.files import DataError, fault
from zoo.common.data.registry import MNIST

CLASSES = tuple("0123456789")

IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801
MOST = 1_000_000
"""The largest number of examples that is believed."""


def read_images(path: Path | str) -> np.ndarray:
    """The images of an IDX file, uint8 [N, 28, 28], 0 is paper and 255 ink.

    Args:
        path: For example train-images-idx3-ubyte, plain, .gz or .xz.

    Raises:
        DataError: When the file is not a whole IDX file of 28x28 images.
    """
    count, rows, columns = _header(path, IMAGES_MAGIC, "images", dimensions=3)
    if (rows, columns) != (28, 28):
        raise fault(path, "byte 8", f"images of {rows}x{columns} pixels", "28x28")
    return _elements(path, 16, (count, 28, 28))


def read_labels(path: Path | str) -> np.ndarray:
    """The labels of an IDX file, uint8 [N], each 0 to 9.

    Args:
        path: For example train-labels-idx1-ubyte, plain, .gz or .xz.

    Raises:
        DataError: When the file is not a whole IDX file of labels from 0 to 9.
    """
    (count,) = _header(path, LABELS_MAGIC, "labels", dimensions=1)
    labels = _elements(path, 8, (count,))
    if labels.size and labels.max() > 9:
        first = int(np.argmax(labels > 9))
        raise fault(path, f"byte {8 + first:,}", f"label {labels[first]}", "0 to 9")
    return labels


def load(data: str = "auto", data_dir: Path | str | None = None) -> Dataset:
    """MNIST: "image" uint8 [N, 28, 28] and "label" uint8 [N], 60,000 to train on, 10,000 to test.

    Args:
        data: "auto", "real" or "sample", see `zoo.common.data.fetch.resolve`.
        data_dir: The folder to look in first.

    Raises:
        DataError: When a file is not what it should be, or "real" data is not to be had.
    """
    found = fetch.resolve(MNIST, data, data_dir)
    if found.source is not None:
        train, test = _read(found.source, 60_000, 10_000)
        description = "MNIST: train on 60,000 digits, test on 10,000"
        return Dataset("MNIST", "real", "official", description, train, test, CLASSES)
    with sample.folder("mnist") as source:
        train, test = _read(source)
    description = (
        f"built-in sample, not MNIST ({found.reason}): the 8x8 digits of scikit-learn brought to "
        f"28x28, train on {len(train['label']):,}, test on {len(test['label']):,}"
    )
    return Dataset("MNIST", "sample", "sample", description, train, test, CLASSES)


def _read(source: Path, train: int | None = None, test: int | None = None) -> tuple[dict, dict]:
    return _read_pair(source, "train", train), _read_pair(source, "t10k", test)


def _read_pair(source: Path, part: str, count: int | None) -> dict[str, np.ndarray]:
    """Images and their labels, which must agree in number, and be `count` where that is given."""
    image_path = fetch.path(MNIST, source, f"{part}-images-idx3-ubyte")
    label_path = fetch.path(MNIST, source, f"{part}-labels-idx1-ubyte")
    images, labels = read_images(image_path), read_labels(label_path)
    check_pair(image_path, images, label_path, labels)
    if count is not None and len(images) != count:
        raise fault(image_path, "byte 4", f"{len(images):,} images", f"{count:,}")
    return {"image": images, "label": labels}


def check_pair(
    image_path: Path | str, images: np.ndarray, label_path: Path | str, labels: np.ndarray
) -> None:
    """Raise a `DataError` unless there are as many images as labels."""
    if len(images) != len(labels):
        raise DataError(
            f"{image_path} and {label_path}: byte 4: found {len(images):,} images and "
            f"{len(labels):,} labels, expected the same number. The files belong to two sets."
        )


def _header(path: Path | str, magic: int, kind: str, dimensions: int) -> tuple[int, ...]:
    size = 4 * (1 + dimensions)
    start = files.read_start(path, size)
    if len(start) >= 4 and (found := int.from_bytes(start[:4], "big")) != magic:
        expected = f"{magic:#010x} (an IDX file of {kind})"
        raise fault(path, "byte 0", f"the magic number {found:#010x}", expected)
    if len(start) < size:
        files.check_size(path, len(start), size)
    count, *rest = (int(n) for n in np.frombuffer(start, ">u4", dimensions, offset=4))
    if count > MOST:
        raise fault(path, "byte 4", f"{count:,} {kind}", f"at most {MOST:,}")
    return count, *rest


def _elements(path: Path | str, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 elements after the header; the file must end with the last of them."""
    size = offset + int(np.prod(shape))
    content = files.read_array(path, size)
    files.check_size(path, len(content), size)
    return content[offset:].reshape(shape)
