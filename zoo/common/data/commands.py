"""What `python -m zoo data` does: list the data sets, fetch them, verify their files."""

from pathlib import Path

from tyro.conf import Positional

from zoo.common.data import cifar10, fetch, files
from zoo.common.data.files import DataError
from zoo.common.data.registry import ENTRIES, Entry


def list_data(data_dir: Path | None = None) -> None:
    """List the data sets that zoo knows and where each one is.

    Args:
        data_dir: The folder to look in first, before $ZOO_DATA_DIR and the cache.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for heading in ("name", "what", "where", "download", "licence"):
        table.add_column(heading, overflow="fold")
    for entry in ENTRIES.values():
        size = sum(download.size for download in entry.downloads)
        where = files.printable(_where(entry, data_dir))
        table.add_row(entry.name, entry.title, where, f"{size / 1e6:.1f} MB", entry.licence)
    Console().print(table)


def fetch_data(names: Positional[tuple[str, ...]], data_dir: Path | None = None) -> None:
    """Download data sets into the cache, each file checked against its checksum.

    Args:
        names: The data sets, by the names that `list` shows.
        data_dir: The folder to look in first; what is found there is not downloaded.
    """
    if not names:
        raise SystemExit(f"name the data sets to fetch: {', '.join(ENTRIES)}")
    failed = False
    for entry in _entries(names):
        try:
            if found := fetch.locate(entry._replace(usable=entry.usable[:1]), data_dir):
                print(f"{entry.name}: already in {files.printable(found.source)}")
            else:
                print(f"{entry.name}: now in {fetch.download(entry)}")
        except DataError as error:
            print(f"{entry.name}: failed: {error}")
            failed = True
    if failed:
        raise SystemExit(1)


def verify_data(names: Positional[tuple[str, ...]] = (), data_dir: Path | None = None) -> None:
    """Check every file that is here against its size and checksum; status 1 if one differs.

    Args:
        names: The data sets, by the names that `list` shows; none means all.
        data_dir: The folder to look in first, before $ZOO_DATA_DIR and the cache.
    """
    differs = False
    for entry in _entries(names):
        places = [p for root in fetch.roots(data_dir) for p in fetch.places(entry, root)]
        for file in entry.files:
            paths = [path for place in places if (path := fetch.find(entry, place, file.name))]
            if not paths and file.name in entry.usable[0]:
                print(f"{entry.name}: {file.name}: missing")
            for path in paths:
                where = files.printable(path)
                try:
                    read = cifar10.read_content if entry.name == "cifar10" else files.read_bytes
                    files.check_published(path, file, read(path))
                    print(f"{entry.name}: {where}: ok")
                except DataError as error:
                    wrong = str(error).removeprefix(f"{where}: ")
                    print(f"{entry.name}: {where}: differs: {wrong}")
                    differs = True
    if differs:
        raise SystemExit(1)


def _entries(names: tuple[str, ...]) -> list[Entry]:
    for name in names:
        if name not in ENTRIES:
            raise SystemExit(f"no data set {name!r}; there are {', '.join(ENTRIES)}")
    return [ENTRIES[name] for name in names or ENTRIES]


def _where(entry: Entry, data_dir: Path | None) -> str:
    """Where the data set would be read from, or else where some of its files are."""
    single = tuple((file.name,) for file in entry.files)
    found = fetch.locate(entry, data_dir) or fetch.locate(entry._replace(usable=single), data_dir)
    if found is None:
        return "not here"
    names = entry.usable[0]
    absent = [name for name in names if fetch.find(entry, found.source, name) is None]
    return f"{found.source} (without {', '.join(absent)})" if absent else str(found.source)
