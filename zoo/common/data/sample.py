"""The built-in samples: small stand-ins that need no network, written in the real files' formats.

They are written as files and then read by the ordinary readers, so a run on a sample takes the
same path as one on real data:

- mnist: the 8x8 digits of scikit-learn (1,797, real handwriting), brought to 28x28.
- cifar10: drawn shapes in ten classes, in random colours, sizes, places and angles.
- ml-1m, ml-100k: ratings drawn from a latent-factor model. A rating is
  round(3.6 + b_u + b_i + p_u . q_i + noise), kept within 1 to 5, for users' and movies' leanings b
  and their vectors p and q of four factors. A movie's genres follow its factors.
- text: the documentation inside CPython, `pydoc_data.topics`; it varies with the Python version.

All but the text are the same on every machine.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zoo.common.data import fetch
from zoo.common.data.movielens import GENRES, NEGATIVES, by_appearance

VERSION = "v1"
"""To be raised when what is written below changes: the files are kept in the cache."""


def _box(u: np.ndarray, v: np.ndarray, width: float, height: float) -> np.ndarray:
    return np.maximum(np.abs(u) - width, np.abs(v) - height)


# About the distance from a shape's edge, negative inside; the shape has radius one.
_DISTANCES = {
    "circle": lambda u, v: np.hypot(u, v) - 0.9,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.75) - 0.22,
    "square": lambda u, v: _box(u, v, 0.8, 0.8),
    "frame": lambda u, v: np.abs(_box(u, v, 0.68, 0.68)) - 0.2,
    "triangle": lambda u, v: np.maximum(v - 0.6, np.abs(u) * 0.866 - v * 0.5 - 0.5),
    "cross": lambda u, v: np.minimum(_box(u, v, 0.28, 1), _box(u, v, 1, 0.28)),
    "star": lambda u, v: np.hypot(u, v) - 0.68 - 0.32 * np.cos(5 * np.arctan2(u, -v)),
    "crescent": lambda u, v: np.maximum(np.hypot(u, v) - 0.95, 0.75 - np.hypot(u - 0.45, v)),
    "bar": lambda u, v: _box(u, v, 1, 0.3),
    "pair": lambda u, v: np.hypot(np.abs(u) - 0.55, v) - 0.4,
}
SHAPES = tuple(_DISTANCES)
SHAPES_PER_FILE = 500
"""Records in each of the six files of the sample in the CIFAR-10 format."""
TEST_DIGITS = 297
"""Digits of scikit-learn's 1,797 to test on: the last ones, mostly of other writers."""
USERS, MOVIES, FACTORS = 300, 250, 4
BEGIN = 978_300_000
"""Seconds since 1970 at the first rating, as in MovieLens 1M."""


@contextlib.contextmanager
def folder(name: str) -> Iterator[Path]:
    """The folder with the files of sample `name`, in the cache, written if it doesn't exist.

    Where the cache cannot be written the files are in a temporary folder, which is removed at the
    end. The folder appears whole or not at all, also with two processes at once.
    """
    home = fetch.cache() / "sample" / f"{name}-{VERSION}"
    if os.path.isdir(home):
        yield home
        return
    temporary = functools.partial(
        tempfile.TemporaryDirectory, prefix=f".{name}.", ignore_cleanup_errors=True
    )
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        started = temporary(dir=home.parent)
    except OSError:
        started = temporary()
        home = Path(started.name)
    with started:
        write(name, Path(started.name))
        with contextlib.suppress(OSError):  # another process was first; its files are the same
            os.rename(started.name, home)
        yield home


def write(name: str, path: Path) -> None:
    """Write the files of sample `name` ("mnist", "cifar10", "ml-1m", "ml-100k" or "text")."""
    _WRITERS[name](path)


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
    for part, rows in (("train", slice(-TEST_DIGITS)), ("t10k", slice(-TEST_DIGITS, None))):
        for kind, magic, array in (("images-idx3", 0x803, images), ("labels-idx1", 0x801, labels)):
            header = np.array([magic, *array[rows].shape], ">u4").tobytes()
            (path / f"{part}-{kind}-ubyte").write_bytes(header + array[rows].tobytes())


def write_cifar10(path: Path) -> None:
    """Write drawn shapes as the six files of CIFAR-10, each class equally often in each."""
    rng = np.random.default_rng(6)  # every draw counts: another order gives another sample
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
        distance[rows] = _DISTANCES[name](u[rows], v[rows])
    cover = np.clip(0.5 - distance * radius, 0, 1)[..., None]  # 1 inside, soft at the edge
    colours = rng.uniform(0, 255, (3, n, 1, 1, 3))
    near = np.abs(colours[0] - colours[1]).sum(-1) < 200  # a shape must stand out a little
    colours[0][near] = (colours[1][near] + 127) % 255
    ramp = np.linspace(0, 0.3, 32)[:, None, None]
    background = colours[1] * (1 - ramp) + colours[2] * ramp
    image = cover * colours[0] + (1 - cover) * background + rng.normal(0, 12, (n, 32, 32, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def write_text(path: Path) -> None:
    """Write CPython's own documentation of the language as one text, input.txt."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))
    (path / "input.txt").write_bytes(text.encode())


def draw_ratings() -> tuple[np.ndarray, list[list[int]]]:
    """About 16,000 ratings, the same on every machine; each user rates 25 to 90 movies."""
    rng = np.random.default_rng(3)  # as in write_cifar10: the order of the draws matters
    p, q = rng.normal(0, 0.5, (USERS, FACTORS)), rng.normal(0, 0.9, (MOVIES, FACTORS))
    lean_user, lean_movie = rng.normal(0, 0.3, USERS), rng.normal(0, 0.4, MOVIES)
    popular = rng.permutation(1 / np.arange(5, MOVIES + 5))
    rows = []
    for user in range(USERS):
        # The Gumbel trick: without replacement, popular and well-liked movies more often.
        score = np.log(popular) + 0.5 * (q @ p[user]) + rng.gumbel(size=MOVIES)
        seen = np.argsort(-score)[: rng.integers(25, 91)]
        value = 3.6 + lean_user[user] + lean_movie[seen] + q[seen] @ p[user]
        value = np.clip(np.rint(value + rng.normal(0, 0.5, len(seen))), 1, 5)
        time = BEGIN + user * 9_000 + np.cumsum(rng.integers(1, 90, len(seen)))
        rows.append(np.stack([np.full(len(seen), user + 1), seen + 1, value, time], axis=1))
    genres = [sorted({1 + int(np.argmax(f)) * 4, 2 + int(np.argmin(f)) * 4}) for f in q]
    return np.concatenate(rows).astype(np.int64), genres


def write_1m(path: Path) -> None:
    """Write ratings.dat, movies.dat and the leave-one-out files of He et al. 2017."""
    rows, genres = draw_ratings()
    np.savetxt(path / "ratings.dat", rows, "%d", "::")
    names = ["|".join(GENRES[g] for g in movie) for movie in genres]
    lines = [f"{i}::{_title(i)}::{name}\n" for i, name in enumerate(names, start=1)]
    (path / "movies.dat").write_bytes("".join(lines).encode("latin-1"))

    rng = np.random.default_rng(31)
    number = np.zeros(MOVIES + 1, np.int64)
    movies = by_appearance(rows[:, 1])
    number[movies] = np.arange(len(movies))
    held, negatives = [], []
    for user in range(USERS):
        own = rows[rows[:, 0] == user + 1]
        last = own[-1]
        held.append([user, number[last[1]], last[2], last[3]])
        unseen = np.setdiff1d(np.arange(len(movies)), number[own[:, 1]])
        others = rng.permutation(unseen)[:NEGATIVES]
        negatives.append(f"({user},{number[last[1]]})\t" + "\t".join(map(str, others)) + "\n")
    np.savetxt(path / "ml-1m.test.rating", held, "%d", "\t")
    (path / "ml-1m.test.negative").write_text("".join(negatives), newline="\n")


def write_100k(path: Path) -> None:
    """Write u.data, u.item and the folds u1 to u5, ua and ub."""
    rows, genres = draw_ratings()
    rng = np.random.default_rng(100)
    rows = rng.permutation(rows)
    np.savetxt(path / "u.data", rows, "%d", "\t")
    lines = []
    for i, movie in enumerate(genres, start=1):
        flags = "|".join(str(int(g in movie)) for g in range(len(GENRES)))
        lines.append(f"{i}|{_title(i)}|01-Jan-{1950 + i % 50}|||{flags}\n")
    (path / "u.item").write_bytes("".join(lines).encode("latin-1"))
    fifth = np.arange(len(rows)) % 5
    order = np.lexsort([rows[:, 0]])  # stable: within a user the order of u.data
    begins = np.searchsorted(rows[order, 0], rows[order, 0])
    nth = np.empty(len(rows), np.int64)
    nth[order] = np.arange(len(rows)) - begins  # a user's first rating, second, and so on
    tests = {f"u{k + 1}": fifth == k for k in range(5)}
    tests |= {"ua": nth < 10, "ub": (nth >= 10) & (nth < 20)}
    for fold, test in tests.items():
        np.savetxt(path / f"{fold}.base", rows[~test], "%d", "\t")
        np.savetxt(path / f"{fold}.test", rows[test], "%d", "\t")


def _title(movie: int) -> str:
    return f"Sample Film {movie:03} ({1950 + movie % 50})"


_WRITERS = {
    "mnist": write_mnist,
    "cifar10": write_cifar10,
    "ml-1m": write_1m,
    "ml-100k": write_100k,
    "text": write_text,
}
