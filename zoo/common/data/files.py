"""Opening data files: plain, `.gz` and `.xz` files, members of `.zip` and `.tar.gz` archives.

Every reader of this package gets its bytes here. Whatever a file can get wrong before its own
format begins (it is missing, a folder, empty, cut off, broken, too large, a web page that was
saved as data, or of another kind) becomes a `DataError` that names the file, the place, what was
found and what was expected.

A member of an archive is written like a file in a folder: `ml-1m.zip/ml-1m/movies.dat`. A
compressed tar has no index: it is unpacked once, in memory, until `forget` is called.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import lzma
import os
import secrets
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from zoo.common.data.registry import File

MIB = 1 << 20
Check = Callable[[bytes], None]
"""What is called with a file's content, unpacked, before it is read."""
_MAGIC = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\x00"}
_UNPACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
LARGEST_TAR = 1024 * MIB
"""What a tar may hold, in bytes."""
_TAR_LOCK = threading.Lock()
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")
_KINDS = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "a bzip2 file",
    b"\x28\xb5\x2f\xfd": "a zstandard file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x93NUMPY": "an array of NumPy",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
    **{bytes([0x80, n]): "a pickle, as Python versions of data are" for n in (2, 3, 4, 5)},
}


class DataError(ValueError):
    """A data set is missing or a data file is not what it should be."""


def fault(path: Path | str, place: str, found: str, expected: str, advice: str = "") -> DataError:
    """A `DataError` in the one form: file, place, found, expected and, where useful, what to do."""
    message = f"{path}: {place}: found {found}, expected {expected}."
    return DataError(printable(f"{message} {advice}").rstrip())


def printable(text: object) -> str:
    """One line that UTF-8 has: a file's name may hold newlines, and bytes that are not UTF-8."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def expand(path: Path | str) -> Path:
    """A path whose `~`, which no shell expands behind `=` or in a variable, is the home folder.

    Raises:
        DataError: When that user has no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise fault(path, "~", "no home folder", "one: write the path out") from error


def kind_of(content: bytes) -> str:
    """What some bytes are that no data file is, such as "a zip archive", or ""."""
    if content[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for start, kind in _KINDS.items() if content.startswith(start)), "")


def read_bytes(
    path: Path | str, limit: int = 1024 * MIB, check: Check | None = None, text: bool = False
) -> bytes:
    """The whole content of `path`, decompressed if its name ends in `.gz` or `.xz`.

    Args:
        path: A file, or a member of a zip archive.
        limit: The largest content in bytes that makes sense; no more than this is ever unpacked.
        check: Called with the content.
        text: Whether it is somebody's text, which may begin in any way, as HTML and XML do.

    Raises:
        DataError: In all the cases that the module's docstring lists.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    try:
        with _opened(path) as file:
            # Before unpacking: gzip's own error would not say that the file is a web page.
            _check_start(path, file.peek(64), text)
            unpacked = _UNPACKED[suffix](file) if suffix in _UNPACKED else file
            content = _read(path, unpacked, limit)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(printable(f"{path}: there is no such file.")) from None
    except Exception as error:  # a broken archive makes its module raise nearly anything
        place = "the packed data" if suffix in _UNPACKED else "the file"
        found = str(error) or type(error).__name__
        raise fault(path, place, found, "one that is whole and can be read") from error
    if not text:
        _reject_markup(path, content)
        if kind := kind_of(content):
            raise fault(path, "byte 0", kind, "the data file itself")
    if check:
        check(content)
    return content


def check_published(path: Path | str, known: File, content: bytes) -> None:
    """Raise a `DataError` unless a content has the size and checksum of the published file."""
    check_size(path, len(content), known.size)
    algorithm, expected = known.checksum.split(":")
    if (found := checksum(content, algorithm)) != expected:
        advice = "This is not the published file: remove it and fetch it again."
        raise fault(path, "the whole file", f"{algorithm} {found}", expected, advice)


def check_size(path: Path | str, found: int, expected: int) -> None:
    """Raise a `DataError` unless a content of `found` bytes has the `expected` size."""
    if found < expected:
        place = f"byte {found:,} (the end)"
        raise fault(path, place, f"{found:,} bytes", f"{expected:,}", "The file is cut off.")
    if found > expected:
        place = f"byte {expected:,}"
        raise fault(path, place, f"{found - expected:,} more bytes", "the end of the file")


def checksum(content: bytes, algorithm: str) -> str:
    """The hexadecimal checksum of some bytes: "sha256", "md5" or "git" (a blob's object id)."""
    if algorithm == "git":
        algorithm, content = "sha1", b"blob %d\0" % len(content) + content
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


def is_markup(content: bytes) -> bool:
    """Whether some bytes begin as an HTML or XML page does."""
    return content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP)


def find(source: Path, *names: str) -> Path | None:
    """The first of `names`, plain or with `.gz` or `.xz`, in a folder or an archive, or None.

    In a folder it may also lie in one of its own name, as some sites unpack what they show.
    """
    if not is_archive(source):
        spelled = [name + suffix for name in names for suffix in ("", *_MAGIC)]
        nested = [f"{name}/{name}{suffix}" for name in names for suffix in ("", *_MAGIC)]
        there = [source / place for place in nested if os.path.isfile(source / place)]
        there += [source / place for place in spelled if os.path.exists(source / place)]
        return next(iter(there), None)
    if source.suffix.lower() != ".zip":
        members = list(_tar_members(source))
    else:
        try:
            with source.open("rb") as file:
                _check_start(source, file.peek(64))
                members = zipfile.ZipFile(file).namelist()
        except DataError:
            raise
        except Exception as error:  # a broken archive makes zipfile raise nearly anything
            raise fault(source, "the archive", f"{error!r}", "a whole zip archive") from error
    for name in names:
        found = [member for member in members if member.rsplit("/", 1)[-1] == name]
        if len(found) > 1:
            raise fault(source, "the archive", f"{len(found)} members {name}", "one")
        if found:
            return source / found[0]
    return None


def write_bytes(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write a file so that it appears whole or not at all, also with two writers at once.

    Args:
        path: The file; folders are made where they are missing.
        content: What it shall hold.
        new: Whether it must not be there yet; of several writers at once one succeeds.

    Raises:
        FileExistsError: a `new` file exists already.
    """
    # In the same folder, since only there a rename replaces the file in one step.
    started = path.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with started.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a crash may leave the new name with no content
        if new and _linked(started, path):
            started.unlink()
        else:
            os.replace(started, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            started.unlink()
        if isinstance(error, OSError):  # in a caller's words, not by the name that it has not seen
            error.filename, error.filename2 = str(path), None
        raise


def _linked(started: Path, path: Path) -> bool:
    """Give a file a second name that must be free, or else take that name by an empty file."""
    try:
        os.link(started, path)  # a rename would replace an existing file
    except FileExistsError:
        raise
    except OSError:  # the file system knows no links: whoever makes the empty file has the name
        path.open("xb").close()
        return False
    return True


def is_archive(path: Path) -> bool:
    """Whether a path is that of an archive that is read as a folder."""
    return path.name.lower().endswith(_ARCHIVES) and path.is_file()


def _tar_members(path: Path) -> dict[str, bytes]:
    """The files in a tar by their names; those of the last one stay in memory.

    Raises:
        DataError: When it can't be read, or holds more than `LARGEST_TAR`.
    """
    found = path.stat()
    with _TAR_LOCK:  # several threads read members of one
        return _read_tar(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=1)
def _read_tar(path: Path, time: int, size: int) -> dict[str, bytes]:
    members, left = {}, LARGEST_TAR
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile():
                    if (left := left - member.size) < 0:
                        at_most = f"at most {LARGEST_TAR:,} bytes"
                        raise fault(path, member.name, "more data", at_most)
                    file = archive.extractfile(member)
                    members[member.name] = file.read() if file else b""
    except DataError:
        raise
    except Exception as error:  # a broken archive makes tarfile raise nearly anything
        raise fault(path, "the archive", f"{error!r}", "a whole tar archive") from error
    return members


def forget() -> None:
    """Frees the memory of the archive that was unpacked last."""
    _read_tar.cache_clear()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """An open binary file, as it is stored."""
    if archive := next((parent for parent in path.parents if is_archive(parent)), None):
        member = path.relative_to(archive).as_posix()
        if archive.suffix.lower() != ".zip":
            yield io.BufferedReader(io.BytesIO(_tar_members(archive)[member]))  # type: ignore[arg-type]
            return
        with zipfile.ZipFile(archive) as zipped, zipped.open(member) as file:
            yield file  # type: ignore[misc]  # it can peek as well
        return
    if path.is_dir():
        raise DataError(printable(f"{path}: this is a directory, expected a file."))
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        expected = "a regular file, since it is read again later: write the content to one"
        raise DataError(printable(f"{path}: this is a pipe or a device, expected {expected}."))
    with path.open("rb") as file:
        yield file


def _read(path: Path, file: BinaryIO, limit: int) -> bytes:
    """The rest of a file, at most `limit` bytes.

    In steps, since `read(limit)` would set aside as much memory as the limit allows; a plain file
    is one step, and nothing is copied.
    """
    step = max(MIB, path.stat().st_size + 1 if path.is_file() else 0)
    parts, left = [], limit + 1
    while left and (part := file.read(min(step, left))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise fault(path, f"byte {limit:,}", "more data", f"at most {limit:,} bytes")
    if not parts:
        raise fault(path, "byte 0", "an empty file inside the packed one", "data")
    return b"".join(parts)


def _check_start(path: Path, start: bytes, text: bool = False) -> None:
    """Raise if a file is empty, a web page, or not compressed as its name says."""
    if not start:
        raise fault(path, "byte 0", "an empty file", "data")
    if not text:
        _reject_markup(path, start)
    packed = next((suffix for suffix, magic in _MAGIC.items() if start.startswith(magic)), None)
    suffix = path.suffix.lower()
    if suffix in _MAGIC and packed != suffix:
        advice = f"If the file is not compressed, rename it to {path.stem}."
        raise fault(path, "byte 0", start[:6].hex(" "), f"the start of a {suffix} file", advice)
    if packed and packed != suffix:
        advice = f"Rename it to {path.name}{packed}."
        raise fault(path, "byte 0", f"a compressed {packed} file", "plain data", advice)


def _reject_markup(path: Path, content: bytes) -> None:
    if is_markup(content):
        found = f"an HTML or XML page, {content[:16].decode('latin-1')!r}"
        advice = "If a server's error page was saved here, remove it and fetch the file again."
        raise fault(path, "byte 0", found, "data", advice)
