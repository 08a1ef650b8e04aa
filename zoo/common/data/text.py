"""Plain text: the complete file as one string, for the chapters on sequences.

The book trains its chapter 5 on shakespeare.txt; tiny Shakespeare is Karpathy's (char-rnn, 2015).
"""

from pathlib import Path
from typing import NamedTuple

from zoo.common.data import dataset, files
from zoo.common.data.files import Check, fault
from zoo.common.data.registry import ENTRIES

NAMES = ("tiny-shakespeare", "book-shakespeare")


class Text(NamedTuple):
    """A text in memory; the first fields are those of a `Dataset`."""

    name: str
    source: str
    split: str
    """Always "all": what is tested on is the chapter's choice."""
    description: str
    text: str


def read(path: Path | str, check: Check | None = None, encoding: str = "utf-8") -> str:
    """The text of a file, exactly: no newline is translated and nothing is stripped.

    Args:
        path: A file, plain, .gz or .xz.
        check: Called with the file's content, unpacked.
        encoding: The encoding that the file must have.

    Raises:
        DataError: When the file is empty, an HTML page, not in this encoding, or has NUL
            characters, which text never has.
    """
    content = files.read_bytes(path, check=check)
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = content.count(b"\n", 0, start) + 1
        found = content[start : start + 4].hex(" ")
        raise fault(path, f"byte {start:,} (line {line:,})", found, f"{encoding} text") from error
    if (at := text.find("\0")) >= 0:
        raise fault(path, f"character {at:,}", "a NUL character", "text", "Is it a binary file?")
    return text


def load(
    name: str = "tiny-shakespeare", data: str = "auto", data_dir: Path | str | None = None
) -> Text:
    """A text by name; where its file has another content it is accepted as "unknown text".

    Args:
        name: "tiny-shakespeare", or "book-shakespeare" for the file of the book's chapter 5.
        data: "auto", "real" or "sample", see `zoo.common.data.fetch.resolve`.
        data_dir: The folder to look in first.

    Raises:
        DataError: When the file is not what it should be, or "real" data is not available.
    """
    if name not in NAMES:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(NAMES)}")
    entry = ENTRIES[name]
    with dataset.opened(entry, data, data_dir) as found:
        sample = (found.source / "input.txt",)  # one for both texts
        text = read(*(found.at(found.names[0]) if found.kind == "real" else sample))
    title, name = ("unknown text",) * 2 if found.unknown else (entry.title, name)
    description = found.describe(
        name,
        f"{title}, {len(text):,} characters",
        f"the documentation inside this Python (pydoc_data.topics), {len(text):,} characters",
    )
    return Text(name, found.kind, "all", description, text)
