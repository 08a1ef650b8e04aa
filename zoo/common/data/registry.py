"""The data sets that zoo knows, as `registry.toml` has them: files, checksums, homes, licences."""

import tomllib
from importlib import resources
from typing import NamedTuple


class File(NamedTuple):
    """One file of a data set: name, size and checksum of its uncompressed content."""

    name: str
    size: int
    checksum: str
    """"sha256:..." or, where that is not known, "git:..."."""
    alias: str = ""
    """Another spelling of the name."""


class Download(NamedTuple):
    """One file as servers send it: a .tar.gz is unpacked, a .zip and a .gz stay as they are."""

    name: str
    size: int
    checksum: str
    urls: tuple[str, ...]
    """The home first, then mirrors."""


class Entry(NamedTuple):
    """One data set; the fields are described in registry.toml."""

    name: str
    title: str
    licence: str
    files: tuple[File, ...]
    downloads: tuple[Download, ...]
    usable: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]
    home: str
    sample: str

    def file(self, name: str) -> File:
        """The record of one of the files."""
        return next(file for file in self.files if file.name == name)


def _entry(name: str, table: dict) -> Entry:
    old, new = table.get("respelled", ("", ""))
    downloads = table.get("downloads", table["files"])
    return Entry(
        name=name,
        title=table["title"],
        licence=table["licence"],
        files=tuple(File(*row, row[0].replace(old, new)) for row in table["files"]),
        downloads=tuple(
            Download(*row, tuple(url + row[0] for url in table["urls"])) for row in downloads
        ),
        usable=tuple(map(tuple, table.get("usable", [[row[0] for row in table["files"]]]))),
        places=tuple(table["places"]),
        home=table["home"],
        sample=table.get("sample", name),
    )


_TABLES = tomllib.loads(resources.files(__package__).joinpath("registry.toml").read_text("utf-8"))
ENTRIES = {name: _entry(name, table) for name, table in _TABLES.items()}
MNIST, CIFAR10 = ENTRIES["mnist"], ENTRIES["cifar10"]
ML_1M, ML_1M_NCF, ML_100K = (ENTRIES[name] for name in ("ml-1m", "ml-1m-ncf", "ml-100k"))
TINY_SHAKESPEARE, BOOK_SHAKESPEARE = ENTRIES["tiny-shakespeare"], ENTRIES["book-shakespeare"]
