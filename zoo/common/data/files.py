"""Opening data files: plain, `.gz` and `.xz` files and the members of `.zip` archives.

Every reader of this package gets its bytes here. Whatever a file can get wrong before its own
format begins (it is missing, a folder, empty, cut off, broken, followed by garbage, too large, or
an HTML error page that was saved as data) becomes a `DataError` that names the file, the place,
what was found and what was expected.

A member of a zip archive is written like a file in a folder: `ml-1m.zip/ml-1m/movies.dat`.
"""

import contextlib
import lzma
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MIB = 1 << 20
GZIP_MAGIC, XZ_MAGIC = b"\x1f\x8b", b"\xfd7zXZ\x00"
_MAGIC = {".gz": GZIP_MAGIC, ".xz": XZ_MAGIC}
_HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")


class DataError(ValueError):
    """A data set is missing or a data file is not what it should be."""


def fault(path: Path | str, place: str, found: str, expected: str, advice: str = "") -> DataError:
    """A `DataError` in the one form: file, place, found, expected and, where useful, what to do."""
    message = f"{path}: {place}: found {found}, expected {expected}."
    return DataError(f"{message} {advice}".rstrip())


def read_bytes(path: Path | str, limit: int = 1024 * MIB) -> bytes:
    """The whole content of `path`, decompressed if its name ends in `.gz` or `.xz`.

    Args:
        path: A file, or a member of a zip archive.
        limit: The largest content in bytes that makes sense; no more than this is ever unpacked.

    Raises:
        DataError: In all the cases that the module's docstring lists.
    """
    path = Path(path)
    packed = path.suffix.lower() in _MAGIC
    raw = _raw(path, 2 * limit + MIB if packed else limit)
    content = _expand(path, raw, limit) if packed else raw
    _reject_html(path, content)
    return content


def read_start(path: Path | str, count: int) -> bytes:
    """The first `count` bytes of the content of `path`, or all of it where it is shorter."""
    path = Path(path)
    with _opened(path) as (file, _):
        raw = _checked_start(path, file.read(64 * 1024))
    packed = path.suffix.lower() in _MAGIC
    start = _expand(path, raw, count, whole=False) if packed else raw
    _reject_html(path, start)
    return start[:count]


def read_into(path: Path | str, out: np.ndarray) -> None:
    """Fill `out`, contiguous uint8, with the content of `path`, which must have exactly its size.

    A plain file is read straight into the array, without a copy.
    """
    path = Path(path)
    if path.suffix.lower() in _MAGIC or _is_in_zip(path):
        content = read_bytes(path, out.nbytes)
        check_size(path, len(content), out.nbytes)
        out.reshape(-1)[:] = np.frombuffer(content, np.uint8)
        return
    with _opened(path) as (file, size):
        _checked_start(path, file.read(64))
        check_size(path, size, out.nbytes)
        file.seek(0)
        done = file.readinto(memoryview(out).cast("B"))
    check_size(path, done, out.nbytes)


def read_array(path: Path | str, limit: int) -> np.ndarray:
    """The whole content of `path`, at most `limit` bytes, as a uint8 array."""
    path = Path(path)
    if path.suffix.lower() in _MAGIC or _is_in_zip(path):
        return np.frombuffer(read_bytes(path, limit), np.uint8)
    with _opened(path) as (_, size):
        if size > limit:
            raise fault(path, f"byte {limit:,}", "more data", f"at most {limit:,} bytes")
    out = np.empty(size, np.uint8)
    read_into(path, out)
    return out


def check_size(path: Path | str, found: int, expected: int) -> None:
    """Raise a `DataError` unless a content of `found` bytes has the `expected` size."""
    if found < expected:
        place = f"byte {found:,} (the end)"
        raise fault(path, place, f"{found:,} bytes", f"{expected:,}", "The file is cut off.")
    if found > expected:
        place = f"byte {expected:,}"
        raise fault(path, place, f"{found - expected:,} more bytes", "the end of the file")


def is_html(content: bytes) -> bool:
    """Whether some bytes begin like an HTML page."""
    return content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML)


def find(source: Path, *names: str) -> Path | None:
    """The first of `names`, plain or with `.gz` or `.xz`, in a folder or a zip archive, or None."""
    if source.suffix.lower() == ".zip" and source.is_file():
        return _find_in_zip(source, names)
    for name in names:
        for suffix in ("", ".gz", ".xz"):
            if (path := source / (name + suffix)).exists():
                return path
    return None


def member(source: Path, *names: str) -> Path:
    """As `find`, but it raises a `DataError` where there is none."""
    if path := find(source, *names):
        return path
    raise fault(source, "the folder or archive", f"no {names[0]}", names[0])


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, also with two writers at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process's mask of file modes, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _raw(path: Path, limit: int) -> bytes:
    """The bytes of the file as they are stored, at most `limit`."""
    with _opened(path) as (file, size):
        # Not read(limit): a buffered reader sets aside as much memory as it is asked for.
        raw = _checked_start(path, file.read(min(size, limit) + 1))
        if len(raw) > limit:
            raise fault(path, f"byte {limit:,}", "more data", f"at most {limit:,} bytes")
    return raw


@contextlib.contextmanager
def _opened(path: Path) -> Iterator:
    """An open binary file and its size in bytes, with every failure turned into a `DataError`."""
    if _is_in_zip(path):
        with _opened_in_zip(path) as opened:
            yield opened
        return
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise fault(path, "the path", "a directory", "a file")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise fault(path, "the path", "something that is not a regular file", "a file")
        with path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise fault(path, "the path", "no such file", "a file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise fault(path, "the path", str(error), "a file that can be read") from error


@contextlib.contextmanager
def _opened_in_zip(path: Path) -> Iterator:
    archive = next(parent for parent in path.parents if parent.suffix.lower() == ".zip")
    member = path.relative_to(archive).as_posix()
    try:
        with zipfile.ZipFile(archive) as zipped, zipped.open(member) as file:
            yield file, zipped.getinfo(member).file_size
    except DataError:
        raise
    except Exception as error:  # a broken archive makes zipfile raise nearly anything
        raise fault(path, "the archive", f"{error!r}", "a whole zip archive") from error


def _is_in_zip(path: Path) -> bool:
    return any(parent.suffix.lower() == ".zip" and parent.is_file() for parent in path.parents)


def _find_in_zip(archive: Path, names: tuple[str, ...]) -> Path | None:
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = zipped.namelist()
    except Exception as error:
        with _opened(archive) as (file, _):
            _checked_start(archive, file.read(64))
        raise fault(archive, "the archive", f"{error!r}", "a whole zip archive") from error
    for name in names:
        found = [member for member in members if member.rsplit("/", 1)[-1] == name]
        if len(found) > 1:
            raise fault(archive, "the archive", f"{len(found)} members {name}", "one")
        if found:
            return archive / found[0]
    return None


def _checked_start(path: Path, raw: bytes) -> bytes:
    """`raw` itself, unless it is empty, an HTML page, or not compressed as its name says."""
    if not raw:
        raise fault(path, "byte 0", "an empty file", "data")
    _reject_html(path, raw)
    suffix = path.suffix.lower()
    if suffix in _MAGIC and not raw.startswith(_MAGIC[suffix]):
        advice = f"If the file is not compressed, rename it to {path.stem}."
        raise fault(path, "byte 0", raw[:6].hex(" "), f"the start of a {suffix} file", advice)
    for other, magic in _MAGIC.items():
        if suffix not in _MAGIC and raw.startswith(magic):
            advice = f"Rename it to {path.name}{other}."
            raise fault(path, "byte 0", f"a compressed {other} file", "plain data", advice)
    return raw


def _reject_html(path: Path, content: bytes) -> None:
    if is_html(content):
        advice = "A server's error page was saved as data: remove the file and fetch it again."
        raise fault(path, "byte 0", "an HTML page", "data", advice)


def _expand(path: Path, raw: bytes, limit: int, whole: bool = True) -> bytes:
    """Unpack gzip or xz data, one stream after another, to at most `limit` bytes.

    `gzip.open` and `lzma.open` are not used: they let garbage after an xz stream pass.
    """
    suffix = path.suffix.lower()
    parts, size, rest = [], 0, raw
    while rest:
        if not rest.startswith(_MAGIC[suffix]):
            place = f"byte {len(raw) - len(rest):,} of the packed file"
            raise fault(path, place, f"{len(rest):,} bytes of garbage", "the end of the file")
        unpacker = _unpacker(suffix)
        try:
            parts.append(unpacker.decompress(rest, limit + 1 - size))
        except (zlib.error, lzma.LZMAError, MemoryError) as error:
            raise fault(path, "the packed data", str(error), f"a whole {suffix} file") from error
        size += len(parts[-1])
        if size > limit:
            if not whole:
                break
            raise fault(path, f"byte {limit:,}", "more data", f"at most {limit:,} bytes")
        if not unpacker.eof:
            if not whole:
                break
            place = f"byte {len(raw):,} of the packed file (the end)"
            raise fault(path, place, "a cut-off stream", f"a whole {suffix} file")
        rest = unpacker.unused_data.lstrip(b"\0")  # both formats allow padding with zeros
    content = b"".join(parts)
    if not content:
        raise fault(path, "byte 0", "an empty file inside the packed one", "data")
    return content


def _unpacker(suffix: str):
    if suffix == ".gz":
        return zlib.decompressobj(wbits=31)
    # xz -9 needs 65 MiB; without a limit a broken header may ask for gigabytes.
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 * MIB)
