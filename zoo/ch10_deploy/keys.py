"""API keys: made and revoked by a command, kept as hashes, compared in constant time.

A key is `zoo_ID_SECRET`. The secret has 256 random bits, so a salted SHA-256 is enough to keep:
slow hashes such as Argon2 protect passwords, which people choose and attackers guess; here nobody
can try a share of 2^256 that matters, and each request can be checked in microseconds.
"""

import contextlib
import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from zoo.common.data import DataError, files

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(r"zoo_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "id": str,
    "salt": str,
    "sha256": str,
    "rate": (int, float),
    "made": str,
}


class KeyFileError(DataError):
    """The file of keys is missing or damaged, or a name in it is not as asked."""


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest()


def add(path: Path, name: str, rate: float) -> str:
    """Makes a key and writes its hash into the file, mode 0600; gives the key, kept nowhere.

    Args:
      path: the file; created if it doesn't exist.
      name: to revoke it by.
      rate: requests per second that it may make; 0 for any number.

    Raises:
      KeyFileError: the name is taken or unfit.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"name {name!r}: use 1 to 64 letters, digits, dots and dashes")
    if not (math.isfinite(rate) and rate >= 0):
        raise KeyFileError(f"rate {rate}: use requests per second, 0 for no limit")
    identity, salt, secret = secrets.token_hex(8), secrets.token_hex(16), secrets.token_urlsafe(32)
    with _changing(path) as entries:
        if any(entry["name"] == name for entry in entries):
            raise KeyFileError(f"{path} has a key {name!r} already: revoke it, or choose a name")
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        values = (name, identity, salt, _hash(salt, secret), rate, made)
        entries.append(dict(zip(_FIELDS, values, strict=True)))
    return f"zoo_{identity}_{secret}"


def revoke(path: Path, name: str) -> None:
    """Removes a key; a server that uses the file refuses it within a second.

    Raises:
      KeyFileError: there is no key of that name.
    """
    with _changing(path) as entries:
        kept = [entry for entry in entries if entry["name"] != name]
        if len(kept) == len(entries):
            names = ", ".join(entry["name"] for entry in entries) or "none"
            raise KeyFileError(f"{path} has no key {name!r}; there are: {names}")
        entries[:] = kept


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of the file: name, id, salt, hash, rate and time of making.

    Raises:
      KeyFileError: it can't be read.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        for entry in entries:
            if set(entry) != set(_FIELDS) or not all(
                isinstance(entry[field], kind) for field, kind in _FIELDS.items()
            ):
                raise ValueError("an entry has other fields than expected")
    except FileNotFoundError as error:
        raise KeyFileError(
            f"no file of keys {path}: `python -m zoo.ch10_deploy keys add NAME --file {path}`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeyFileError(f"{path} can't be read as a file of keys: {error}") from error
    return entries


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The entries, written back whole at the end; two commands at once take turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The folder is locked, not the file: writing replaces the file, and a lock on it with it.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = read(path) if path.exists() else []
        yield entries
        # Before the file exists: changed afterwards, others could open it in between.
        mask = os.umask(0o077)
        try:
            files.write_bytes(path, (json.dumps({"keys": entries}, indent=2) + "\n").encode())
        finally:
            os.umask(mask)
    finally:
        os.close(folder)


class Bucket:
    """Lets `rate` requests a second pass, and a second's worth at once (a token bucket)."""

    def __init__(self, rate: float):
        self.rate, self.size = rate, max(rate, 1.0)
        self.tokens, self.time = self.size, time.monotonic()

    def wait(self) -> float:
        """0 if a request may pass, and counts it; else the seconds until one may."""
        if not self.rate:
            return 0.0
        now = time.monotonic()
        self.tokens = min(self.size, self.tokens + (now - self.time) * self.rate)
        self.time = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return (1.0 - self.tokens) / self.rate


class Key(NamedTuple):
    """A key that the server knows."""

    name: str
    salt: str
    sha256: str
    bucket: Bucket


class KeyRing:
    """The keys of a file, read again when it changes; a file that can't be read lets nobody in."""

    def __init__(self, path: Path):
        self.path = path
        self._keys: dict[str, Key] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._next = 0.0
        self._take(read(path))

    def find(self, given: str) -> Key | None:
        """The entry of a key as a caller sent it, None if it is not (or no longer) valid."""
        self._refresh()
        found = _KEY.fullmatch(given)
        if found is None:
            return None
        key = self._keys.get(found[1])
        # An unknown id takes the same time as a wrong secret.
        salt, sha256 = (key.salt, key.sha256) if key else ("", "0" * 64)
        right = hmac.compare_digest(_hash(salt, found[2]), sha256)
        return key if key and right else None

    def _refresh(self) -> None:
        # Not at every request: looking at the file takes longer than checking a key.
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.5
        try:
            about = self.path.stat()
            stamp = (about.st_mtime_ns, about.st_ino, about.st_size)
            if stamp != self._stamp:
                self._take(read(self.path))
                self._stamp = stamp
        except (OSError, KeyFileError):  # half written or gone: closed rather than open
            self._keys, self._stamp = {}, None

    def _take(self, entries: list[dict[str, Any]]) -> None:
        buckets = {identity: key.bucket for identity, key in self._keys.items()}
        self._keys = {}
        for entry in entries:
            # A key keeps its bucket, else each change of the file would fill all of them.
            bucket = buckets.get(entry["id"])
            if bucket is None or bucket.rate != entry["rate"]:
                bucket = Bucket(entry["rate"])
            self._keys[entry["id"]] = Key(entry["name"], entry["salt"], entry["sha256"], bucket)
