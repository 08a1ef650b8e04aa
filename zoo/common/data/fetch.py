"""Where a data set is: in a folder, in the cache, or on a server.

A data set is looked for in the folder that the caller names, in `$ZOO_DATA_DIR` and in the cache,
then downloaded from its home or a mirror. Every download is checked against a checksum and appears
in the cache whole or not at all. Without a network the attempt is given up within seconds.
"""

import contextlib
import dataclasses
import fnmatch
import functools
import os
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from zoo.common.data import files
from zoo.common.data.files import DataError
from zoo.common.data.registry import Entry, File

CONNECT_SECONDS = 3.0
"""How long a server may take to accept a connection."""
ANSWER_SECONDS = 5.0
"""How long it may take until its answer begins, the look-up of its name included."""
SLOWEST = 100_000
"""Bytes per second below which a download is given up, after ten seconds of grace."""
DEPTH, WALKED, SHOWN = 3, 10_000, 3
"""How deep and among how many names what is similar is looked for, and how many are shown."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Where a data set is."""

    entry: Entry
    source: Path
    """A folder or a zip archive."""
    names: tuple[str, ...] = ()
    """The files found, of those looked for."""
    reason: str = ""
    """Why it is the sample; empty for the real set."""
    unknown: list[Path] = dataclasses.field(default_factory=list)
    """The files read so far that differ from the published ones."""

    @property
    def kind(self) -> str:
        """What it is, "real" or "sample"."""
        return "sample" if self.reason else "real"

    def at(self, name: str) -> tuple[Path, files.Check | None]:
        """A reader's arguments: where a file is and, if it is real, what notes a difference."""
        path = find(self.entry, self.source, name)
        if path is None:
            raise files.fault(self.source, "the folder or archive", f"no {name}", name)

        def compare(content: bytes) -> None:
            try:
                files.check_published(path, self.entry.file(name), content)
            except DataError:
                # Nothing but downloads is kept in the cache: one that has changed is broken.
                if path.is_relative_to(cache()):
                    raise
                self.unknown.append(path)

        return path, None if self.reason else compare

    def describe(self, name: str, real: str, sample: str) -> str:
        """The line that describes what was read: `real`, or the sample and why it is one."""
        if self.reason:
            return files.printable(f"built-in sample, not {name} ({self.reason}): {sample}")
        if not self.unknown:
            return real
        first, *more = sorted(self.unknown)  # threads may have read them in any order
        others = f" and {len(more)} more" if more else ""
        differ = f"files that differ from the published ones: {first}{others}"
        return files.printable(f"{real}; {differ}")


def cache() -> Path:
    """The cache folder: `$ZOO_CACHE`, or `zoo` in the system's folder for caches."""
    if named := os.environ.get("ZOO_CACHE"):
        return files.expand(named)
    import pooch  # here, because it takes a while and is rarely needed

    try:
        return files.expand(pooch.os_cache("zoo"))
    except (RuntimeError, DataError):  # a user without a home, as in many containers
        return temporary()


def temporary() -> Path:
    """A folder of this user's alone among the temporary files, or one that cannot be made."""
    with contextlib.suppress(OSError):
        folder = Path(tempfile.gettempdir(), f"zoo-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid == os.getuid():  # else it may hold what others want to be run
            return folder
    return Path(os.devnull, "zoo")


def roots(data_dir: Path | str | None = None) -> list[Path]:
    """The folders to look in, in order: `data_dir`, `$ZOO_DATA_DIR`, the cache.

    Raises:
        DataError: When one of the first two is named and is no folder (or archive).
    """
    variable = os.environ.get("ZOO_DATA_DIR")
    found = []
    for folder, name in ((data_dir, "the data folder"), (variable, "the folder of ZOO_DATA_DIR")):
        if folder:
            found.append(files.expand(folder))
            _check_folder(found[-1], name)
    return list(dict.fromkeys([*found, cache()]))


def _check_folder(path: Path, name: str) -> None:
    if files.is_archive(path):
        return
    try:
        os.scandir(path).close()
    except FileNotFoundError:
        found = "no such folder"
    except NotADirectoryError:
        found = "a file"
    except (OSError, ValueError) as error:
        found = str(error)
    else:
        return
    raise files.fault(path, name, found, "a folder that exists and can be read")


def places(entry: Entry, root: Path) -> list[Path]:
    """The folders and archives in one of the `roots` that may hold files of a data set.

    Also a folder within one of its own name, as some programs unpack what has one already.
    """
    found = []
    for place in entry.places:
        paths = [root / place, *([root / place / Path(place).name] if place else [])]
        found += [path for path in paths if os.path.exists(path)]
    return found


def find(entry: Entry, source: Path, name: str) -> Path | None:
    """The file `name` of a data set in a folder or zip archive: any spelling, plain or packed."""
    return files.find(source, name, entry.file(name).alias or name)


def locate(entry: Entry, data_dir: Path | str | None = None) -> Found | None:
    """The first place that has a data set, without the network.

    Args:
        entry: The data set. Of its usable sets of files the first is the best one, but an earlier
            folder counts for more.
        data_dir: Looked in first.
    """
    for root in roots(data_dir):
        for names in entry.usable:
            for source in places(entry, root):
                if all(find(entry, source, name) for name in names):
                    return Found(entry, source, names)
    return None


def resolve(entry: Entry, data: str = "auto", data_dir: Path | str | None = None) -> Found | str:
    """Where to read a data set from, or why the built-in sample stands in; downloads if need be.

    Args:
        entry: The data set, as in `locate`.
        data: "auto" falls back to the sample when the set is neither here nor available, "real"
            fails then, and "sample" never looks for it.
        data_dir: Looked in first.

    Raises:
        DataError: With "real", when the data set is not available.
    """
    if data not in ("auto", "real", "sample"):
        raise ValueError(f"data is {data!r}, expected one of auto, real, sample")
    if data == "sample":
        return "asked for"
    if found := locate(entry, data_dir):
        return found
    try:
        download(entry)
    except DataError as error:
        if data == "real":
            raise DataError(f"{missing(entry, data_dir)} {error}") from error
        looked = ", ".join(map(str, roots(data_dir)))
        named = data_dir or os.environ.get("ZOO_DATA_DIR")
        names = f"; {_absent(entry, data_dir)}{similar(entry, data_dir)}" if named else ""
        return f"the real set is not in {looked} and could not be downloaded{names}"
    # A download gives what is usable, which need not be what the caller wants.
    if found := locate(entry, data_dir):
        return found
    raise DataError(missing(entry, data_dir))


def missing(entry: Entry, data_dir: Path | str | None = None) -> str:
    """The message when a data set is not here: what is missing, where we looked, what to do."""
    looked = ", ".join(map(str, roots(data_dir)))
    return (
        f"{entry.name}: {_absent(entry, data_dir)}{similar(entry, data_dir)}. "
        f"Looked in {looked}, there in {', '.join(p or '.' for p in entry.places)}. "
        f"Run `python -m zoo data fetch {entry.name}`, or put the files into one folder "
        "and name it with --data-dir or ZOO_DATA_DIR."
    )


def _absent(entry: Entry, data_dir: Path | str | None) -> str:
    """Which files were not found, and where others were."""
    names = entry.usable[0]
    part = locate(entry._replace(usable=tuple((name,) for name in names)), data_dir)
    absent = [name for name in names if part is None or not find(entry, part.source, name)]
    beside = f" beside {part.names[0]} in {part.source}" if part else ""
    return f"{_some(absent, ', ')} (plain, .gz or .xz) not found{beside}"


def similar(entry: Entry, data_dir: Path | str | None = None) -> str:
    """What else in the folders looks like a data set, as "; found ...", or ""."""
    known = {n + s for f in entry.files for n in (f.name, f.alias) for s in ("", ".gz", ".xz")}
    found = {}
    for root in roots(data_dir):
        read, left = {str(root / place) for place in entry.places}, WALKED
        for folder, folders, names in os.walk(root) if root != cache() else ():
            for name in sorted([*folders, *names]):
                path = os.path.join(folder, name)
                if name in known and folder not in read:
                    found[folder] = f"{folder}, which has {name}: name this folder by --data-dir"
                elif name not in known and path not in read and (what := _what(entry, name)):
                    found[path] = f"{path}, {what}"
            left -= len(folders) + len(names)
            deep = len(Path(folder).relative_to(root).parts) >= DEPTH or left < 0
            folders[:] = () if deep else sorted(f for f in folders if not _closed(entry, f))
    return f"; found {_some([*found.values()], '; ')}" if found else ""


def _what(entry: Entry, name: str) -> str:
    """What a file or folder of this name is, if it is like those of a data set, or ""."""
    fitting = (what for glob, what in entry.similar if fnmatch.fnmatch(name.lower(), glob))
    return next(fitting, "")


def _closed(entry: Entry, folder: str) -> bool:
    """Whether a folder is not looked into: it is hidden, or its name tells what it holds."""
    return folder.startswith(".") or bool(_what(entry, folder))


def _some(words: list[str], comma: str) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return comma.join(words[:SHOWN]) + more


def download(entry: Entry) -> Path:
    """Download a data set into the cache and return the folder that it is in.

    Raises:
        DataError: When no server delivers the right bytes, with what each one did.
    """
    home = cache() / entry.home
    try:
        home.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()
    except OSError as error:
        advice = "Name another folder for the cache by ZOO_CACHE."
        raise files.fault(home, "the cache", str(error), "a folder to write in", advice) from error
    for wanted in entry.downloads:
        kept = _retrieve(wanted, home)
        if wanted.name.endswith(".tar.gz"):
            _unpack(entry, kept, home)
            kept.unlink(missing_ok=True)
    return home


def _retrieve(wanted: File, home: Path) -> Path:
    """Download one file from the first of its servers that delivers it."""
    import pooch

    failures = []
    stream = functools.partial(_stream, size=wanted.size)
    for url in wanted.urls:
        try:
            return Path(pooch.retrieve(url, wanted.checksum, wanted.name, home, downloader=stream))
        except (OSError, ValueError) as error:  # a failed request is an OSError
            text = " ".join(str(error).split())  # short: requests wraps one error in another
            text = text if len(text) <= 200 else text[:197] + "..."
            failures.append(f"{url}: {type(error).__name__}: {text}")
    raise DataError(f"{wanted.name} could not be downloaded. " + " ".join(failures))


def _stream(url: str, output_file: str, _: object, *, size: int) -> None:
    """Pooch's downloader, but bounded in time and size, and a web page is refused by name."""
    import requests
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    # A server must not pack the answer again: the checksum is of the file as it is kept.
    headers, limits = {"Accept-Encoding": "identity"}, (CONNECT_SECONDS, ANSWER_SECONDS)
    get = functools.partial(requests.get, url, stream=True, timeout=limits, headers=headers)
    start, received = time.monotonic(), 0
    response = _within(ANSWER_SECONDS, get)
    response.raise_for_status()
    columns = TextColumn("{task.description}"), DownloadColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with response, open(output_file, "wb") as file, bar:
        task = bar.add_task(url.rsplit("/", 1)[-1], total=size)
        for chunk in response.iter_content(1 << 16):
            if received == 0 and files.is_markup(chunk):
                raise ValueError("the server sent an HTML or XML page, not the file")
            file.write(chunk)
            received += len(chunk)
            bar.update(task, completed=received)
            # The checksum comes at the end only: an endless answer would first fill the disk.
            if received > 1.1 * size + files.MIB:
                raise ValueError(f"the server sent more than the file's {size:,} bytes")
            # The timeouts above are for single reads, which a server that drips never exceeds.
            if time.monotonic() - start > 10 + size / SLOWEST:
                raise TimeoutError(f"too slow: {received:,} of {size:,} bytes")


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """`call()`, or TimeoutError after `seconds`: the look-up of a name has no time limit itself."""
    future: Future[Any] = Future()

    def attempt():
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:g} s") from error


def _unpack(entry: Entry, archive: Path, home: Path) -> None:
    """Take a data set's files out of a .tar.gz, each checked, and nothing else.

    Not by `pooch.Untar`, which writes in place (a cut-off file would look like a whole one) and
    does not limit sizes.
    """
    known = {file.name: file for file in entry.files}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = known.get(member.name.rsplit("/", 1)[-1])
                packed = tar.extractfile(member) if file and member.isfile() else None
                if file and packed:
                    # By one byte more than the record says a larger file shows.
                    content = packed.read(file.size + 1)
                    files.check_published(archive / member.name, file, content)
                    files.write_bytes(home / file.name, content)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise files.fault(archive, "the archive", str(error), "a whole .tar.gz") from error
