"""The lists of films of MovieLens: movies.dat (1M) and u.item (100K), both in latin-1."""

import re
from collections.abc import Iterator
from pathlib import Path

from zoo.common.data import files
from zoo.common.data.files import fault

GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""In the order of u.genre and of the flags in u.item; movies.dat has all but "unknown"."""

# Every byte is a latin-1 character, but none of these belongs into a title.
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_LIMIT = 16 * files.MIB
_Films = tuple[dict[int, str], dict[int, tuple[str, ...]]]


def read_dat(path: Path | str) -> _Films:
    """Titles and genres by film id from movies.dat: lines `id::title::genre|genre`.

    Raises:
        DataError: At a malformed line, an id that is there twice, an unknown genre, or bytes that
            are not latin-1 text.
    """
    titles, genres = {}, {}
    for number, line in _lines(path):
        fields = line.split("::")
        if len(fields) != 3:
            raise fault(path, f"line {number:,}", repr(line[:60]), "'id::title::genre|genre'")
        film = _film(path, number, fields[0], titles)
        titles[film] = _title(path, number, fields[1])
        genres[film] = tuple(fields[2].split("|"))
        for genre in genres[film]:
            if genre not in GENRES or genres[film].count(genre) > 1:
                raise fault(path, f"line {number:,}", f"genre {genre!r}", "a known genre, once")
    return titles, genres


def read_item(path: Path | str) -> _Films:
    """Titles and genres by film id from u.item.

    A line has 24 fields between bars: id, title, date, video date, address, 19 flags of genres.

    Raises:
        DataError: As `read_dat`.
    """
    titles, genres = {}, {}
    for number, line in _lines(path):
        fields = line.split("|")
        if len(fields) != 5 + len(GENRES):
            found, expected = f"{len(fields)} fields", f"{5 + len(GENRES)} between '|'"
            raise fault(path, f"line {number:,}", found, expected)
        film = _film(path, number, fields[0], titles)
        titles[film] = _title(path, number, fields[1])
        flags = fields[5:]
        if not set(flags) <= {"0", "1"} or "1" not in flags:
            raise fault(path, f"line {number:,}", f"flags {flags}", "0 and 1, with a 1 among them")
        genres[film] = tuple(
            genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"
        )
    return titles, genres


def _lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from one, decoded; the last must end in a newline too."""
    content = files.read_bytes(path, _LIMIT).replace(b"\r\n", b"\n")
    if found := _CONTROL.search(content):
        line = content.count(b"\n", 0, found.start()) + 1
        place = f"byte {found.start():,} (line {line:,})"
        raise fault(path, place, f"the byte {found[0][0]:#04x}", "latin-1 text")
    if not content.isascii() and _is_utf8(content):
        raise fault(path, "the whole file", "UTF-8 text", "latin-1", "Convert it with iconv.")
    if not content.endswith(b"\n"):
        line = content.count(b"\n") + 1
        raise fault(path, f"line {line:,} (the end)", "no newline", "one", "The file is cut off.")
    # Not splitlines(): in latin-1 it would also break at the byte 0x85.
    return enumerate(content.decode("latin-1").removesuffix("\n").split("\n"), start=1)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _film(path: Path | str, number: int, text: str, seen: dict[int, str]) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise fault(path, f"line {number:,}", f"film id {text[:20]!r}", "a number from 1")
    if int(text) in seen:
        raise fault(path, f"line {number:,}", f"film {int(text)} a second time", "each once")
    return int(text)


def _title(path: Path | str, number: int, text: str) -> str:
    if not text.strip():
        raise fault(path, f"line {number:,}", "an empty title", "a title")
    return text
