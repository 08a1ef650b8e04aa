"""Files in a folder or behind a URL such as s3://bucket/model, by fsspec.

A folder of files appears whole or not at all: locally by renaming, behind a URL by writing the
manifest last. Credentials and endpoints are the business of the URL's own library, which takes
them from its usual places (for S3: AWS_ENDPOINT_URL, instance roles, ...), never from zoo.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.common.data import DataError, files

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class StoreError(DataError):
    """A file cannot be read or written; the message says which one and why."""


def sha256(content: bytes) -> str:
    """The hash in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def as_json(content: Any) -> bytes:
    """Indented JSON, the same bytes for the same content."""
    return (json.dumps(content, indent=2) + "\n").encode()


def is_url(location: str | Path) -> bool:
    """Whether it is a URL rather than a path: `s3://bucket/model`."""
    return isinstance(location, str) and bool(_URL.match(location))


def join(location: str | Path, name: str) -> str:
    """The place of a file in a folder or under a URL."""
    return f"{str(location).rstrip('/')}/{name}" if is_url(location) else str(Path(location) / name)


def exists(location: str | Path) -> bool:
    """Whether there is a file.

    Raises:
      StoreError: the store does not answer, or refuses.
    """
    if not is_url(location):
        return Path(location).is_file()
    with _remote(str(location)) as (system, path):
        return system.isfile(path)


def read(location: str | Path, limit: int = files.MIB * 1024) -> bytes:
    """The content of a file of at most `limit` bytes.

    Raises:
      StoreError: there is no such file, it is larger, or the store refuses.
    """
    if not is_url(location):
        path = Path(location)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size  # so that a small file takes little memory
                content = file.read(min(size, limit) + 1)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
    else:
        with _remote(str(location)) as (system, name), system.open(name, "rb") as file:
            content = file.read(limit + 1)
    if len(content) > limit:
        raise StoreError(f"{location} has more than {limit:,} bytes, expected at most that")
    return content


@contextlib.contextmanager
def opened(location: str | Path) -> Iterator[Any]:
    """A file to be read a part at a time; it can seek.

    Raises:
      StoreError: there is no such file, or the store refuses, also while it is read.
    """
    if is_url(location):
        with _remote(str(location)) as (system, path), system.open(path, "rb") as file:
            yield file
        return
    try:
        with Path(location).open("rb") as file:
            yield file
    except OSError as error:
        raise StoreError(f"{location}: {error.strerror or error}") from error


def find(location: str | Path) -> list[str] | None:
    """All files in a folder and the folders in it, hidden ones apart, by name; None for a file.

    Raises:
      StoreError: there is neither, or the store refuses.
    """
    if is_url(location):
        with _remote(str(location)) as (system, path):
            if system.isfile(path):
                return None
            found = system.find(path)
            if not found:
                raise FileNotFoundError(path)
            return _shown(str(location), [name[len(path.rstrip("/")) :] for name in found])
    folder = Path(location)
    if folder.is_file():
        return None
    if not folder.is_dir():
        raise StoreError(f"{folder}: No such file or directory")
    found = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return _shown(str(folder), [name[len(str(folder)) :] for name in found])


def _shown(folder: str, names: list[str]) -> list[str]:
    return sorted(folder.rstrip("/") + name for name in names if "/." not in name)


def remove(location: str | Path) -> None:
    """Removes a file.

    Raises:
      StoreError: there is none, or the store or the disk refuses.
    """
    if is_url(location):
        with _remote(str(location)) as (system, path):
            system.rm_file(path)
        return
    try:
        Path(location).unlink()
    except OSError as error:
        raise StoreError(f"cannot remove {location}: {error.strerror or error}") from error


def write(location: str | Path, content: bytes) -> None:
    """Writes one file, whole or not at all; folders are made if need be.

    Raises:
      StoreError: the store or the disk refuses.
    """
    if is_url(location):
        with _remote(str(location)) as (system, path):
            system.makedirs(system._parent(path), exist_ok=True)
            system.pipe_file(path, content)
        return
    try:
        files.write_bytes(Path(location), content)
    except OSError as error:
        raise StoreError(f"cannot write {location}: {error.strerror or error}") from error


def write_folder(location: str | Path, contents: Mapping[str, bytes]) -> None:
    """Writes the files of a new folder; the last one vouches for the others.

    Raises:
      StoreError: the store or the disk refuses, or the folder exists already.
    """
    if is_url(location):
        for name, content in contents.items():
            write(join(location, name), content)
        return
    folder = Path(location)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the folder, as a rename works within one file system only.
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for name, content in contents.items():
                files.write_bytes(temporary / name, content)
            with contextlib.suppress(OSError):  # some network drives know no modes
                temporary.chmod(0o755)  # mkdtemp makes it for its owner alone
            temporary.rename(folder)  # over an empty folder it succeeds, over a full one it fails
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error


@contextlib.contextmanager
def _remote(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL and the path in it, with every failure turned into a StoreError."""
    scheme = url.partition("://")[0]
    try:
        import fsspec

        # Without a cache of listings: others write there too.
        system, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise StoreError(
            f"{url}: reading {scheme}:// needs another package ({error}): pip install -e '.[serve]'"
        ) from error
    except Exception as error:
        raise StoreError(f"{url}: {error}") from error
    try:
        yield system, path
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such file or bucket") from error
    except Exception as error:  # each store has exceptions of its own
        raise StoreError(f"{url}: {type(error).__name__}: {error}") from error
