"""MNIST: handwritten digits in the IDX format.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits". The book reads it in chapters
3, 4 and 8. An IDX file begins with a magic number (two zero bytes, the element type 8 for bytes,
the number of dimensions) and the sizes of the dimensions, all 32-bit big endian; the bytes of the
elements follow. Axes: N examples, 28 rows, 28 columns.
"""

import math
from pathlib import Path

import numpy as np

from zoo.common.data import dataset, files
from zoo.common.data.dataset import Dataset
from zoo.common.data.fetch import Found
from zoo.common.data.files import Check, fault
from zoo.common.data.registry import MNIST

CLASSES = tuple("0123456789")

IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801


def read_images(path: Path | str, check: Check | None = None) -> np.ndarray:
    """The images of an IDX file, uint8 [N, 28, 28], 0 is paper and 255 ink.

    Args:
        path: For example train-images-idx3-ubyte, plain, .gz or .xz.
        check: Called with the file's content, unpacked.

    Raises:
        DataError: When the file is not a whole IDX file of 28x28 images.
    """
    return _read(path, IMAGES_MAGIC, "images", check)


def read_labels(path: Path | str, check: Check | None = None) -> np.ndarray:
    """The labels of an IDX file, uint8 [N], each 0 to 9; arguments as in `read_images`.

    Raises:
        DataError: When the file is not a whole IDX file of labels from 0 to 9.
    """
    labels = _read(path, LABELS_MAGIC, "labels", check)
    if (wrong := labels > 9).any():
        first = int(np.argmax(wrong))
        raise fault(path, f"byte {8 + first:,}", f"label {labels[first]}", "0 to 9")
    return labels


def load(data: str = "auto", data_dir: Path | str | None = None) -> Dataset:
    """MNIST: "image" uint8 [N, 28, 28] and "label" uint8 [N], 60,000 to train on, 10,000 to test.

    Other files of these names, as Fashion-MNIST's, are "unknown images in MNIST's format".

    Args:
        data: "auto", "real" or "sample", see `zoo.common.data.fetch.resolve`.
        data_dir: The folder to look in first.

    Raises:
        DataError: When a file is not what it should be, or "real" data is not available.
    """
    with dataset.opened(MNIST, data, data_dir) as found:
        train, test = _read_pair(found, "train"), _read_pair(found, "t10k")
    name, what, split = "MNIST", "digits", "official" if found.kind == "real" else "sample"
    if found.unknown:
        name, what, split = "unknown images in MNIST's format", "images", "given"
    count, test_count = len(train["label"]), len(test["label"])
    description = found.describe(
        name,
        f"{name}: train on {count:,} {what}, test on {test_count:,}",
        "the 8x8 digits of scikit-learn brought to 28x28, "
        f"train on {count:,}, test on {test_count:,}",
    )
    return Dataset(name, found.kind, split, description, train, test, CLASSES)


def _read_pair(found: Found, part: str) -> dict[str, np.ndarray]:
    path, check = found.at(f"{part}-labels-idx1-ubyte")
    images = read_images(*found.at(f"{part}-images-idx3-ubyte"))
    labels = read_labels(path, check)
    if not 0 < len(labels) == len(images):
        expected = f"one for each of the {len(images):,} images, and at least one"
        raise fault(path, "byte 4", f"{len(labels):,} labels", expected)
    return {"image": images, "label": labels}


def _read(path: Path | str, magic: int, kind: str, check: Check | None) -> np.ndarray:
    """The elements of an IDX file of bytes; the low byte of `magic` counts its dimensions."""
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    content = files.read_bytes(path, check=check)
    if len(content) >= 4 and (found := int.from_bytes(content[:4], "big")) != magic:
        expected = f"{magic:#010x} (an IDX file of {kind})"
        raise fault(path, "byte 0", f"the magic number {found:#010x}", expected)
    if len(content) < header:
        files.check_size(path, len(content), header)
    shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4)]
    if shape[1:] not in ([], [28, 28]):
        raise fault(path, "byte 8", f"images of {shape[1]}x{shape[2]} pixels", "28x28")
    files.check_size(path, len(content), header + math.prod(shape))
    # A copy, since an array on top of bytes cannot be written to.
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
