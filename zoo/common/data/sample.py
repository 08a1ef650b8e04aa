"""The built-in samples: small stand-ins that need no network, written in the real files' formats.

They are written as files and then read by the ordinary readers, so a run on a sample takes the
same path as one on real data:

- mnist: the 8x8 digits of scikit-learn (1,797, real handwriting), brought to 28x28.
- cifar10: drawn shapes in ten classes, in random colours, sizes, places and angles.
- ml-1m, ml-100k: ratings drawn from a latent-factor model, see `zoo.common.data.sample_ratings`.
- text: the documentation inside CPython, `pydoc_data.topics`; it varies with the Python version.

All but the text are the same on every machine.
"""

import contextlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zoo.common.data import fetch, sample_ratings

VERSION = "v1"
"""To be raised when what is written below changes: the files are kept in the cache."""

SHAPES = (
    "circle",
    "ring",
    "square",
    "frame",
    "triangle",
    "cross",
    "star",
    "crescent",
    "bar",
    "pair",
)
SHAPES_PER_FILE = 500
"""Records in each of the six files of the sample in the CIFAR-10 format."""
TEST_DIGITS = 297
"""Digits of scikit-learn's 1,797 to test on: the last ones, mostly of other writers."""


@contextlib.contextmanager
def folder(name: str) -> Iterator[Path]:
    """The folder with the files of sample `name`, in the cache, written when it is not there.

    Where the cache cannot be written the files are in a temporary folder, which is removed at the
    end. The folder appears whole or not at all, also with two processes at once.
    """
    home = fetch.cache() / "sample" / f"{name}-{VERSION}"
    if home.is_dir():
        yield home
        return
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        started = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=home.parent))
    except OSError:
        with tempfile.TemporaryDirectory() as temporary:
            write(name, Path(temporary))
            yield Path(temporary)
        return
    try:
        write(name, started)
        with contextlib.suppress(OSError):  # another process was first; its files are the same
            os.rename(started, home)
        yield home
    finally:
        shutil.rmtree(started, ignore_errors=True)


def write(name: str, path: Path) -> None:
    """Write the files of sample `name` ("mnist", "cifar10", "ml-1m", "ml-100k" or "text")."""
    writers = {
        "mnist": write_mnist,
        "cifar10": write_cifar10,
        "ml-1m": sample_ratings.write_1m,
        "ml-100k": sample_ratings.write_100k,
        "text": write_text,
    }
    writers[name](path)


def write_mnist(path: Path) -> None:
    """Write scikit-learn's digits as the four files of MNIST.

    The 8x8 digit, 0 to 16, becomes 20x20 by linear interpolation, 0 to 255, and stands in the
    middle of 28x28, as MNIST's own digits do.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    centres = (np.arange(20) + 0.5) * 8 / 20 - 0.5  # of the 20 pixels, in units of the 8
    weights = np.maximum(0, 1 - np.abs(np.clip(centres, 0, 7)[:, None] - np.arange(8)))
    large = weights @ digits.images @ weights.T * (255 / 16)
    images = np.pad(np.rint(large).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))
    labels = digits.target.astype(np.uint8)
    parts = {"train": slice(None, -TEST_DIGITS), "t10k": slice(-TEST_DIGITS, None)}
    for part, rows in parts.items():
        count = len(labels[rows])
        (path / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, count, 28, 28) + images[rows].tobytes()
        )
        (path / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, count) + labels[rows].tobytes()
        )


def write_cifar10(path: Path) -> None:
    """Write drawn shapes as the six files of CIFAR-10, each class equally often in each."""
    rng = np.random.default_rng(6)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    for name in names:
        labels = rng.permutation(np.arange(SHAPES_PER_FILE) % 10).astype(np.uint8)
        images = draw_shapes(rng, labels)
        planes = images.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        (path / name).write_bytes(np.concatenate([labels[:, None], planes], axis=1).tobytes())


def draw_shapes(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """One image, uint8 [N, 32, 32, 3], for each label [N], an index into `SHAPES`.

    Colours, place, size and angle are drawn anew for each image, so that no pixel and no mean
    colour tells the class. The background runs from one colour to another; there is some noise.
    """
    n = len(labels)
    radius = rng.uniform(8, 12, (n, 1, 1))
    angle = rng.uniform(-0.4, 0.4, (n, 1, 1))
    centre = 15.5 + rng.uniform(-4, 4, (2, n, 1, 1))
    y, x = np.mgrid[:32, :32][:, None] - centre
    u = (np.cos(angle) * x + np.sin(angle) * y) / radius
    v = (np.cos(angle) * y - np.sin(angle) * x) / radius
    distance = np.empty_like(u)
    for label, name in enumerate(SHAPES):
        rows = labels == label
        distance[rows] = _distance(name, u[rows], v[rows])
    cover = np.clip(0.5 - distance * radius, 0, 1)[..., None]  # 1 inside, soft at the edge
    colours = rng.uniform(0, 255, (3, n, 1, 1, 3))
    near = np.abs(colours[0] - colours[1]).sum(-1) < 200  # a shape must stand out a little
    colours[0][near] = (colours[1][near] + 127) % 255
    ramp = np.linspace(0, 0.3, 32)[:, None, None]
    background = colours[1] * (1 - ramp) + colours[2] * ramp
    image = cover * colours[0] + (1 - cover) * background + rng.normal(0, 12, (n, 32, 32, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _distance(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """About the distance from a shape's edge, negative inside; the shape has radius one."""
    r, square = np.hypot(u, v), np.maximum(np.abs(u), np.abs(v))
    match name:
        case "circle":
            return r - 0.9
        case "ring":
            return np.abs(r - 0.75) - 0.22
        case "square":
            return square - 0.8
        case "frame":
            return np.abs(square - 0.68) - 0.2
        case "triangle":
            return np.maximum(v - 0.6, np.abs(u) * 0.866 - v * 0.5 - 0.5)
        case "cross":
            return np.minimum(
                np.maximum(np.abs(u) - 0.28, np.abs(v) - 1),
                np.maximum(np.abs(u) - 1, np.abs(v) - 0.28),
            )
        case "star":
            return r - 0.68 - 0.32 * np.cos(5 * np.arctan2(u, -v))
        case "crescent":
            return np.maximum(r - 0.95, 0.75 - np.hypot(u - 0.45, v))
        case "bar":
            return np.maximum(np.abs(u) - 1, np.abs(v) - 0.3)
        case "pair":
            return np.hypot(np.abs(u) - 0.55, v) - 0.4
    raise ValueError(f"no shape {name!r}, expected one of {', '.join(SHAPES)}")


def write_text(path: Path) -> None:
    """Write CPython's own documentation of the language as one text, input.txt."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))
    (path / "input.txt").write_bytes(text.encode())
