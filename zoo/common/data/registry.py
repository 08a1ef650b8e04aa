"""The data sets that zoo knows, as `registry.toml` has them: files, checksums, homes, licences."""

import tomllib
from importlib import resources
from typing import NamedTuple


class File(NamedTuple):
    """One file of a data set, or as a server sends it."""

    name: str
    size: int
    """Of its content: unpacked for the files of a data set, packed for downloads."""
    checksum: str
    """"sha256:..." or, where that is not known, "git:..." or "md5:..."."""
    alias: str = ""
    """Another spelling of the name."""
    urls: tuple[str, ...] = ()
    """For downloads: the home first, then mirrors."""


class Entry(NamedTuple):
    """One data set; the fields are described in registry.toml."""

    name: str
    title: str
    licence: str
    files: tuple[File, ...]
    downloads: tuple[File, ...]
    usable: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]
    home: str
    sample: str
    similar: tuple[tuple[str, str], ...] = ()

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
        files=tuple(File(*row)._replace(alias=row[0].replace(old, new)) for row in table["files"]),
        downloads=tuple(
            File(*row)._replace(urls=tuple(url + row[0] for url in table["urls"]))
            for row in downloads
        ),
        usable=tuple(map(tuple, table.get("usable", [[row[0] for row in table["files"]]]))),
        places=tuple(table["places"]),
        home=table["home"],
        sample=table.get("sample", name),
        similar=tuple(map(tuple, table.get("similar", ()))),
    )


_TABLES = tomllib.loads(resources.files(__package__).joinpath("registry.toml").read_text("utf-8"))
ENTRIES = {name: _entry(name, table) for name, table in _TABLES.items()}
MNIST, CIFAR10 = ENTRIES["mnist"], ENTRIES["cifar10"]
ML_1M, ML_1M_NCF, ML_100K = (ENTRIES[name] for name in ("ml-1m", "ml-1m-ncf", "ml-100k"))
