"""Plain text: the complete file as one string, for the chapters on sequences.

The book trains its chapter 5 on shakespeare.txt; tiny Shakespeare is Karpathy's (char-rnn, 2015).
"""

import codecs
from pathlib import Path
from typing import NamedTuple

from zoo.common.data import dataset, files
from zoo.common.data.files import Check, fault
from zoo.common.data.registry import ENTRIES

NAMES = ("tiny-shakespeare", "book-shakespeare")
_MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}


class Text(NamedTuple):
    """A text in memory; the first fields are those of a `Dataset`."""

    name: str
    source: str
    split: str
    """Always "all": what is tested on is the chapter's choice."""
    description: str
    text: str


def read(path: Path | str, check: Check | None = None, encoding: str = "utf-8") -> str:
    """The text of a file: no newline is translated and nothing is stripped but byte order marks.

    Args:
        path: A file, plain, .gz or .xz.
        check: Called with the file's content, unpacked, which then must not be a web page.
        encoding: The encoding that the file must have, unless it begins with the byte order mark
            of UTF-8, UTF-16 or UTF-32.

    Raises:
        DataError: When the file is empty, not in this encoding, or has NUL characters, which text
            never has.
    """
    content = files.read_bytes(path, check=check, text=check is None)
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), encoding)
    likely = "UTF-16LE" if b"\0" in content else "WINDOWS-1252"
    advice = f"If it is text, convert it, such as with `iconv -f {likely} -t UTF-8`."
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = content[:start].decode(encoding, "ignore").count("\n") + 1
        found = files.kind_of(content) or content[start : start + 4].hex(" ")
        place, expected = f"byte {start:,} (line {line:,})", f"{encoding} text"
        raise fault(path, place, found, expected, advice) from error
    if (at := text.find("\0")) >= 0:
        found = files.kind_of(content) or "a NUL character"
        raise fault(path, f"character {at:,}", found, "text", advice)
    # Inside a text it is where files that each had one were joined.
    if not (text := text.replace("\ufeff", "")):
        raise fault(path, "byte 0", "a byte order mark alone", "text")
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
