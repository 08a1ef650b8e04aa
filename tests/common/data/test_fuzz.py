"""All readers on files that are broken at random; `python test_fuzz.py SECONDS SEED` runs longer.

A reader gives a valid result or raises `DataError`: no other error, no endless loop, and no more
memory than the files need.
"""

import codecs
import collections
import functools
import gzip
import itertools
import lzma
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np

from zoo.common.data import DataError, cifar10, fetch, files, mnist, movielens, text

SECONDS, MEMORY = 20, 64 << 20  # for one call
NUMBERS = (0, 1, 2, 9, 10, 27, 28, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
STARTS = (
    *(codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE),
    *(b"<!doctype html>", b"<?xml version='1.0'?>", b"<!-- -->", b"\x1f\x8b", b"\xfd7zXZ\0"),
    *(b"PK\x03\x04", b"BZh9", b"\x80\x04", b"\x93NUMPY", b"%PDF-1.7", b"\0", b"\r\n", b"userId,"),
)
PACK = {
    "": bytes,
    ".gz": functools.partial(gzip.compress, mtime=0),
    ".xz": functools.partial(lzma.compress, preset=0),
}


def idx(magic, *shape):
    count = int(np.prod(shape))
    header = struct.pack(f">{1 + len(shape)}I", magic, *shape)
    return header + bytes(i % 10 for i in range(count))


def mnist_files():
    for part, count in (("train", 3), ("t10k", 2)):
        yield f"{part}-images-idx3-ubyte", idx(0x803, count, 28, 28)
        yield f"{part}-labels-idx1-ubyte", idx(0x801, count)


def leave_one_out():
    """Two users who each rated what the other one did not."""
    rows = [f"{n // 101 + 1}::{n + 1}::{n % 5 + 1}::{n}\n" for n in range(202)]
    yield "ratings.dat", "".join(rows).encode()
    yield "movies.dat", "".join(f"{n}::Café {n}::Drama\n" for n in range(1, 203)).encode("latin-1")
    yield "ml-1m.test.rating", b"0\t100\t1\t100\n1\t201\t2\t201\n"
    others = ("\t".join(map(str, range(n, n + 99))) for n in (101, 0))
    lines = (f"({u},{m})\t{row}\n" for u, m, row in zip((0, 1), (100, 201), others, strict=True))
    yield "ml-1m.test.negative", "".join(lines).encode()


RATINGS = "1::1::5::978300760\n1::2::3::978302109\n2::1::4::978301968\n"
FLAGS = "|".join("0001010000000000000")
ITEMS = f"1|Toy Story (1995)|01-Jan-1995||http://a|{FLAGS}\n2|Amélie|01-Jan-2001|||{FLAGS}\n"
SETS = {
    "mnist": dict(mnist_files()),
    "cifar10": {
        name: b"".join(bytes([n]) + bytes([n]) * 3072 for n in (3, 9))
        for name in (*cifar10.TRAIN, cifar10.TEST)
    },
    "ml-1m": dict(leave_one_out()),
    "ml-100k": {
        **{f"u{k}.{part}": b"" for k in "12345ab" for part in ("base", "test")},
        "u1.base": b"1\t1\t5\t978300760\n1\t2\t3\t978302109\n",
        "u1.test": b"2\t1\t4\t978301968\n",
        "u.data": RATINGS.replace("::", "\t").encode(),
        "u.item": ITEMS.encode(),
    },
    "tiny-shakespeare": {"input.txt": "First Citizen:\nBefore é we proceed €.\n".encode()},
}


def check_images(dataset, shape, most=9):
    for part in (dataset.train, dataset.test):
        image, label = part["image"], part["label"]
        assert image.dtype == label.dtype == np.uint8
        assert image.shape == (len(label), *shape)
        assert len(label) > 0 or dataset.name.startswith("unknown")
        assert label.max(initial=0) <= most


def check_ratings(ratings):
    assert ratings["user"].dtype == ratings["item"].dtype == np.int32
    assert len({len(values) for values in ratings.values()}) == 1
    pairs = list(zip(ratings["user"].tolist(), ratings["item"].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert min(itertools.chain(*pairs)) >= 1
    assert np.isin(ratings.get("rating", np.uint8([1])), (1, 2, 3, 4, 5)).all()


def check_movies(titles, genres):
    assert list(titles) == list(genres)
    assert titles
    assert all(number >= 1 and title.isprintable() for number, title in titles.items())
    assert all(names and set(names) <= set(movielens.GENRES) for names in genres.values())


def check_movielens(dataset):
    check_ratings(dataset.train)
    if dataset.test:
        check_ratings({k: v for k, v in dataset.test.items() if k != "negative"})
    assert set(dataset.train["item"].tolist()) <= set(dataset.titles)
    check_movies(dataset.titles, dataset.genres)


def check_text(string):
    assert string
    assert not set(string) & {"\0", "\ufeff"}
    string.encode()


def load(name, folder):
    """A data set by its loader, its description and its digest included."""
    if name == "mnist":
        check_images(found := mnist.load("real", folder), (28, 28))
    elif name == "cifar10":
        check_images(found := cifar10.load("real", folder), (32, 32, 3))
    elif name == "tiny-shakespeare":
        check_text((found := text.load(name, "real", folder)).text)
    else:
        check_movielens(found := movielens.load(name, "real", folder))
    assert found.description.isprintable()
    assert (found.name.split()[0], found.source) == ("unknown", "real")
    return True


READERS = {
    "images": lambda path: mnist.read_images(path).shape[1:] == (28, 28),
    "labels": lambda path: mnist.read_labels(path).max(initial=0) <= 9,
    "batch": lambda path: cifar10.read_batch(path)[0].shape[1:] == (32, 32, 3),
    "test.": lambda path: len(files.read_bytes(path)) > 0,
    "ratings.dat": lambda path: check_ratings(movielens.read_ratings(path)) is None,
    "u": lambda path: check_ratings(movielens.read_ratings(path, line="N\tN\tN\tN")) is None,
    "movies": lambda path: check_movies(*movielens.read_movies(path)) is None,
    "item": lambda path: check_movies(*movielens.read_movies(path)) is None,
    "input": lambda path: check_text(text.read(path)) is None,
}


def reader_of(name):
    """The reader of the files of one name."""
    return next(READERS[key] for key in READERS if key in name)


def broken(rng, content):
    """The content with one change."""
    size = len(content)
    at, other = rng.randrange(size + 1), rng.randrange(size + 1)
    begin, end = min(at, other), max(at, other)
    few = rng.randrange(1, 40)
    match rng.randrange(12):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
        case 2:
            return content[:at] + rng.randbytes(few) + content[at:]
        case 3:
            return content[:at] + content[at + few :]
        case 4:
            return content[:end] + content[begin:end] + content[end:]
        case 5:
            return content[end:] + content[:begin]
        case 6:
            at = 4 * rng.randrange(5)
            return content[:at] + struct.pack(">I", rng.choice(NUMBERS)) + content[at + 4 :]
        case 7:
            return rng.choice(STARTS) + content
        case 8:
            return content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"")))
        case 9:
            string = content.decode("latin-1")
            return string.encode(rng.choice(("utf-8", "utf-8-sig", "utf-16", "utf-16-be")))
        case 10:
            digits = [n for n, byte in enumerate(content) if chr(byte).isdecimal()] or [0]
            at = rng.choice(digits)
            number = rng.choice((b"", b"0", b"6", b"-1", b"3.5", b"99999999999", "１".encode()))
            return content[:at] + number + content[at + 1 :]
    return rng.choice((b"", b"\0", b"\n", content * 3, codecs.BOM_UTF8, rng.randbytes(few)))


def put(rng, path, content):
    """Writes a file, or something else in its place, perhaps packed and perhaps broken again."""
    suffix = rng.choice(("", "", "", ".gz", ".xz"))
    content = PACK[suffix](content)
    if rng.random() < 0.1:
        content = PACK[rng.choice((".gz", ".xz"))](content)
    if suffix and rng.random() < 0.3:
        content = broken(rng, content)
    if rng.random() < 0.05:
        suffix = rng.choice((".gz", ".xz", ".GZ", ".zip", ".bak", ""))
    path = path.with_name(path.name + suffix)
    match rng.randrange(60):
        case 0:
            path.mkdir()
        case 1:
            path.symlink_to(path.name)
        case 2:
            os.mkfifo(path)
        case 3:
            path = path.with_name("é" + path.name)
            path.write_bytes(content)
        case _:
            path.write_bytes(content)
    return path


def as_zip(rng, name, folder, archive):
    """Moves the files of a folder into an archive, which may be broken."""
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    paths = sorted(folder.iterdir())
    with zipfile.ZipFile(archive, "w", kind) as zipped:
        for path in paths:
            if path.is_file():
                zipped.write(path, f"{name}/{path.name}")
                path.unlink()
    if rng.random() < 0.7:
        archive.write_bytes(broken(rng, archive.read_bytes()))


def attempt(rng, folder):
    """One case in an empty folder: what was tried, and what came of it."""
    name = rng.choice(list(SETS))
    contents = dict(SETS[name])
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        chosen = rng.choice([key for key in contents if contents[key]] or list(contents))
        contents[chosen] = broken(rng, contents[chosen])
    if rng.random() < 0.5:  # one file by its reader
        path = put(rng, folder / chosen, contents[chosen])
        call = functools.partial(reader_of(chosen), path)
    else:
        if rng.random() < 0.1:
            del contents[rng.choice(list(contents))]
        for key, content in contents.items():
            if content != SETS[name][key]:
                put(rng, folder / key, content)
            else:
                suffix = rng.choice(list(PACK))
                (folder / (key + suffix)).write_bytes(PACK[suffix](content))
        if name.startswith("ml") and rng.random() < 0.5:
            as_zip(rng, name, folder, folder / f"{name}.zip")
        call = functools.partial(load, name, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    message = ""
    try:
        assert call()
    except DataError as error:
        message = str(error)
        if not message.isprintable() or len(message) > 2_000:
            raise ValueError("this is not one short line") from error
    taken = tracemalloc.get_traced_memory()[1] - before
    assert taken < MEMORY + 50 * size, f"{taken:,} bytes for files of {size:,}"
    return name, "an error" if message else "a result"


def hang(*_):
    raise TimeoutError(f"no end within {SECONDS} s")


@mock.patch.object(fetch, "download", mock.Mock(side_effect=DataError("There is no network.")))
def fuzz(seed, base, cases=None, seconds=None):
    """Tries cases, the same ones for the same seed; counts by data set and outcome."""
    counts, begin = collections.Counter(), time.monotonic()
    before = signal.signal(signal.SIGALRM, hang)
    tracemalloc.start()
    try:
        for n in itertools.count():
            if n == cases or (seconds and time.monotonic() - begin > seconds):
                return counts
            folder = base / "case"
            folder.mkdir()
            signal.alarm(SECONDS)
            try:
                counts[attempt(random.Random(f"{seed} {n}"), folder)] += 1
            except BaseException as error:
                error.add_note(f"case {n} of seed {seed}")
                raise
            finally:
                signal.alarm(0)
                shutil.rmtree(folder)
    finally:
        tracemalloc.stop()
        signal.signal(signal.SIGALRM, before)


def test_a_broken_file_gives_a_valid_result_or_a_data_error(tmp_path):
    counts = fuzz(18, tmp_path, cases=150)
    assert {name for name, _ in counts} == set(SETS)
    assert {outcome for _, outcome in counts} == {"a result", "an error"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as base:
        os.environ["ZOO_CACHE"] = f"{base}/cache"
        os.environ.pop("ZOO_DATA_DIR", None)
        seconds, seed = (int(word) for word in sys.argv[1:])
        for outcome, count in sorted(fuzz(seed, Path(base), seconds=seconds).items()):
            print(*outcome, count)
