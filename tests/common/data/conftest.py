import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache, or finds the real data without asking for it."""
    shared = tmp_path_factory.getbasetemp() / "zoo-cache"
    monkeypatch.setenv("ZOO_CACHE", str(shared))
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)


# Read before the fixture above takes the variable away.
_REAL = os.environ.get("ZOO_DATA_DIR")


@pytest.fixture
def real():
    """The folder with the real data, for tests marked `realdata`."""
    if not _REAL or not Path(_REAL).is_dir():
        pytest.skip(f"ZOO_DATA_DIR is {_REAL!r}: set it to a folder with the real data sets")
    return Path(_REAL)


@pytest.fixture
def no_network(monkeypatch):
    """Every server refuses the connection."""
    from zoo.common.data import fetch

    def refuse(url, output_file, _, *, size):
        raise ConnectionError("refused by the test")

    monkeypatch.setattr(fetch, "_stream", refuse)


@pytest.fixture
def published(monkeypatch):
    """A function that makes the files of a folder the published ones, as the registry has them."""

    def publish(module, name, folder):
        entry = getattr(module, name)
        known = []
        for file in entry.files:
            if (path := folder / file.name).exists():
                checksum = f"sha256:{sha256(path.read_bytes()).hexdigest()}"
                file = file._replace(size=path.stat().st_size, checksum=checksum)
            known.append(file)
        monkeypatch.setattr(module, name, entry._replace(files=tuple(known)))

    return publish


@pytest.fixture
def mutate():
    """A function that changes some bytes at random, as hypothesis's `data` draws it."""

    def change(data, content):
        """One random change: a byte, a cut, some bytes more, some bytes gone."""
        kind = data.draw(st.sampled_from(["change", "cut", "append", "insert", "delete"]))
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        some = data.draw(st.binary(min_size=1, max_size=5))
        match kind:
            case "change":
                return content[:at] + some[:1] + content[at + 1 :]
            case "cut":
                return content[:at]
            case "append":
                return content + some
            case "insert":
                return content[:at] + some + content[at:]
        return content[:at] + content[at + len(some) :]

    return change
