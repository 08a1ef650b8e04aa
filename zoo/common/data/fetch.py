"""Where a data set is: in a folder, in the cache, or on a server.

A data set is looked for in the folder that the caller names, in `$ZOO_DATA_DIR` and in the cache
(`$ZOO_CACHE`, else the system's cache folder), then downloaded from its home or a mirror. Every
download is checked against a checksum and appears in the cache whole or not at all. Without a
network the attempt is given up within seconds.
"""

import functools
import hashlib
import os
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from zoo.common.data import files
from zoo.common.data.files import DataError
from zoo.common.data.registry import ENTRIES, Download, Entry

CHOICES = ("auto", "real", "sample")

CONNECT_SECONDS = 3.0
"""How long a server may take to accept a connection."""
ANSWER_SECONDS = 5.0
"""How long it may take until its answer begins, the look-up of its name included."""
SLOWEST = 100_000
"""Bytes per second below which a download is given up, after ten seconds of grace."""


class Found(NamedTuple):
    """Where a data set is, or why the built-in sample stands in for it."""

    source: Path | None
    """A folder or a zip archive; None means the sample."""
    names: tuple[str, ...]
    """The files that are there, out of those asked for."""
    reason: str
    """Why it is the sample."""


def cache() -> Path:
    """The cache folder: `$ZOO_CACHE`, or `zoo` in the system's folder for caches."""
    if named := os.environ.get("ZOO_CACHE"):
        return Path(named)
    import pooch

    return Path(pooch.os_cache("zoo"))


def roots(data_dir: Path | str | None = None) -> list[Path]:
    """The folders to look in, in order: `data_dir`, `$ZOO_DATA_DIR`, the cache.

    Raises:
        DataError: When `data_dir` is given and does not exist.
    """
    named = [Path(data_dir)] if data_dir is not None else []
    if named and not named[0].exists():
        raise files.fault(named[0], "the data folder", "no such folder", "a folder that exists")
    variable = os.environ.get("ZOO_DATA_DIR")
    return [*named, *([Path(variable)] if variable else []), cache()]


def find(entry: Entry, source: Path, name: str) -> Path | None:
    """The file `name` of a data set in a folder or zip archive: any spelling, plain or packed."""
    (file,) = (file for file in entry.files if file.name == name)
    return files.find(source, file.name, *file.aliases)


def path(entry: Entry, source: Path, name: str) -> Path:
    """As `find`, but it raises a `DataError` where there is none."""
    (file,) = (file for file in entry.files if file.name == name)
    return files.member(source, file.name, *file.aliases)


def locate(
    entry: Entry, data_dir: Path | str | None = None, *alternatives: tuple[str, ...]
) -> Found | None:
    """The first place that has all the files of one of the `alternatives`; no network.

    Args:
        entry: The data set.
        data_dir: Looked in first.
        alternatives: Sets of file names, the best first; by default those that the registry calls
            usable. An earlier folder counts for more than a better alternative.
    """
    for root in roots(data_dir):
        for names in alternatives or entry.usable:
            for source in _sources(entry, root):
                if all(find(entry, source, name) for name in names):
                    return Found(source, names, "")
    return None


def places(entry: Entry, data_dir: Path | str | None = None) -> list[Path]:
    """Each folder or zip archive where files of a data set may lie, in the order of `locate`."""
    found = (source for root in roots(data_dir) for source in _sources(entry, root))
    return list(dict.fromkeys(found))


def _sources(entry: Entry, root: Path) -> list[Path]:
    inside = (root / place if place else root for place in entry.places)
    return [source for source in inside if source.exists()]


def folder(name: str, data_dir: Path | str | None = None) -> Path | None:
    """The folder or zip archive that has data set `name`; no network."""
    if name not in ENTRIES:
        raise ValueError(f"no data set {name!r}, expected one of {', '.join(ENTRIES)}")
    found = locate(ENTRIES[name], data_dir)
    return found.source if found else None


def resolve(
    entry: Entry,
    data: str = "auto",
    data_dir: Path | str | None = None,
    *alternatives: tuple[str, ...],
) -> Found:
    """Where to read a data set from, downloading it where it must be.

    Args:
        entry: The data set.
        data: "auto" turns to the sample when the set is neither here nor to be had, "real" fails
            then, and "sample" never looks for it.
        data_dir: Looked in first.
        alternatives: As in `locate`.

    Raises:
        DataError: With "real", when the data set is not to be had.
    """
    if data not in CHOICES:
        raise ValueError(f"data is {data!r}, expected one of {', '.join(CHOICES)}")
    if data == "sample":
        return Found(None, (), "asked for")
    if found := locate(entry, data_dir, *alternatives):
        return found
    try:
        download(entry)
    except DataError as error:
        if data == "real":
            raise DataError(f"{missing(entry, data_dir, *alternatives)} {error}") from error
        looked = ", ".join(str(root) for root in roots(data_dir))
        return Found(None, (), f"the real set is not in {looked} and could not be downloaded")
    if found := locate(entry, data_dir, *alternatives):
        return found
    raise DataError(missing(entry, data_dir, *alternatives))


def missing(
    entry: Entry, data_dir: Path | str | None = None, *alternatives: tuple[str, ...]
) -> str:
    """What to say when a data set is not here: what is missing, where we looked, what to do."""
    names = (alternatives or entry.usable)[-1]
    looked = ", ".join(str(root) for root in roots(data_dir))
    part = locate(entry, data_dir, *((name,) for name in names))
    absent = [name for name in names if part is None or not find(entry, part.source, name)]
    return (
        f"{entry.name}: {', '.join(absent)} (plain, .gz or .xz) not found"
        f"{f' beside {part.names[0]} in {part.source}' if part else ''}. "
        f"Looked in {looked}, there in {', '.join(p or '.' for p in entry.places)}. "
        f"Run `python -m zoo data fetch {entry.name}`, or put the files into one folder "
        "and name it with --data-dir or ZOO_DATA_DIR."
    )


def download(entry: Entry) -> Path:
    """Download a data set into the cache and return the folder that it is in.

    Raises:
        DataError: When no server delivers the right bytes; says what each one did.
    """
    home = cache() / entry.home
    for wanted in entry.downloads:
        kept = _retrieve(wanted, home)
        if wanted.name.endswith(".tar.gz"):
            _unpack(entry, kept, home)
            kept.unlink(missing_ok=True)
    return home


def checksum(content: bytes, algorithm: str) -> str:
    """The hexadecimal checksum of some bytes: "sha256", "md5" or "git" (a blob's object id)."""
    if algorithm == "git":
        head = b"blob %d\0" % len(content)
        return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


def _retrieve(wanted: Download, home: Path) -> Path:
    """Download one file from the first of its servers that delivers it."""
    import pooch

    failures = []
    for url in wanted.urls:
        stream = functools.partial(_stream, size=wanted.size)
        try:
            kept = pooch.retrieve(url, wanted.checksum, wanted.name, home, downloader=stream)
        except (OSError, ValueError) as error:  # a failed request is an OSError
            failures.append(f"{url}: {_one_line(error)}")
        else:
            return Path(kept)
    raise DataError(f"{wanted.name} could not be downloaded. " + " ".join(failures))


def _stream(url: str, output_file: str, _: object, *, size: int) -> None:
    """Pooch's downloader: as its own, but bounded in time and size, and it knows an HTML page."""
    import requests

    start = time.monotonic()
    # A server must not pack the answer again: the checksum is of the file as it is kept.
    get = functools.partial(
        requests.get,
        url,
        stream=True,
        timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
        headers={"Accept-Encoding": "identity"},
    )
    response = _within(ANSWER_SECONDS, get)
    response.raise_for_status()
    received = 0
    with response, open(output_file, "wb") as file, _progress(url, size) as advance:
        for chunk in response.iter_content(1 << 16):
            if received == 0 and files.is_html(chunk):
                raise ValueError("the server sent an HTML page, not the file")
            file.write(chunk)
            received += len(chunk)
            advance(len(chunk))
            if received > 1.1 * size + files.MIB:
                raise ValueError(f"the server sent more than the file's {size:,} bytes")
            if time.monotonic() - start > 10 + size / SLOWEST:
                raise TimeoutError(f"too slow: {received:,} of {size:,} bytes")


def _within(seconds: float, call: Callable):
    """`call()`, or TimeoutError after `seconds`: the look-up of a name has no time limit itself."""
    outcome = []

    def attempt():
        try:
            outcome.append((call(), None))
        except Exception as error:
            outcome.append((None, error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _progress(url: str, size: int):
    """A context with a function that takes the bytes received; a bar where there is a terminal."""
    from contextlib import contextmanager, nullcontext

    if not sys.stderr.isatty():
        return nullcontext(lambda count: None)
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def bar():
        columns = (TextColumn("{task.description}"), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(url.rsplit("/", 1)[-1], total=size)
            yield lambda count: progress.advance(task, count)

    return bar()


def _unpack(entry: Entry, archive: Path, home: Path) -> None:
    """Take a data set's files out of a .tar.gz, each checked, and nothing else."""
    known = {file.name: file for file in entry.files}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = known.get(member.name.rsplit("/", 1)[-1])
                if file is None or not member.isfile():
                    continue
                content = tar.extractfile(member).read(file.size + 1)
                algorithm, expected = file.checksum.split(":")
                if (found := checksum(content, algorithm)) != expected:
                    raise files.fault(archive, member.name, f"{algorithm} {found}", expected)
                files.write_bytes(home / file.name, content)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise files.fault(archive, "the archive", str(error), "a whole .tar.gz") from error


def _one_line(error: Exception) -> str:
    """The error's own words, short: requests wraps one exception in another."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"
