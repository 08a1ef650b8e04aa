"""Fast, strict reading of text tables of whole numbers, such as MovieLens's ratings."""

import re
from pathlib import Path

import numpy as np

from zoo.common.data.files import MIB, fault

DIGITS = 10
"""The most digits a number may have."""


def parse(path: Path | str, content: bytes, separator: bytes, columns: int) -> np.ndarray:
    """The numbers of `content`, int64 [L, columns], one row a line.

    A line is `columns` runs of one to ten digits with `separator` between them, and ends in a
    newline (or carriage return and newline); nothing else is taken, not even a space.

    Args:
        path: Named in errors.
        content: The file.
        separator: Between two numbers, for example b"::".
        columns: Numbers in a line.

    Raises:
        DataError: At the first line that is not so, with its number, counted from one.
    """
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    text = np.frombuffer(content, np.uint8)
    blocks, start, line = [], 0, 1
    end = content.rfind(b"\n") + 1
    while start < end:  # a block of whole lines at a time keeps the memory small
        stop = content.find(b"\n", min(start + MIB, end - 1)) + 1
        block = _parse_block(text[start:stop], separator, columns)
        if block is None:
            raise _bad_line(path, content[start:stop], line, separator, columns)
        blocks.append(block)
        line += len(block)
        start = stop
    if end < len(content):
        found = f"{_shown(content[end:])} without a newline"
        raise fault(path, f"line {line:,} (the end)", found, "one", "The file is cut off.")
    return np.concatenate(blocks)


def _parse_block(text: np.ndarray, separator: bytes, columns: int) -> np.ndarray | None:
    """The numbers of some whole lines, or None where a line is malformed."""
    marks = separator * (columns - 1) + b"\n"
    at = np.flatnonzero((text - np.uint8(48)) > 9)  # everything that is not a digit
    if len(at) % len(marks):
        return None
    at = at.reshape(-1, len(marks))
    if (text[at] != np.frombuffer(marks, np.uint8)).any():
        return None
    ends = at[:, :: len(separator)]  # where each number ends: at a separator's first byte
    if len(separator) > 1 and (at[:, 1::2] - at[:, :-1:2] != 1).any():
        return None
    starts = np.empty_like(ends)
    starts[1:, 0], starts[0, 0] = ends[:-1, -1] + 1, 0
    starts[:, 1:] = ends[:, :-1] + len(separator)
    widths = ends - starts
    if widths.min() < 1 or widths.max() > DIGITS:
        return None
    numbers = np.zeros(ends.shape, np.int64)
    for column in range(columns):
        end, width = ends[:, column], widths[:, column]
        for place in range(width.max()):
            digit = text[np.maximum(end - 1 - place, 0)].astype(np.int64) - 48
            numbers[:, column] += np.where(place < width, digit, 0) * 10**place
    return numbers


def _bad_line(path: Path | str, block: bytes, line: int, separator: bytes, columns: int):
    """The error for the first malformed line of a block that begins at line number `line`."""
    number = rb"[0-9]{1,%d}" % DIGITS
    pattern = re.compile(re.escape(separator).join([number] * columns))
    expected = separator.decode().join(["number"] * columns)
    lines = block.removesuffix(b"\n").split(b"\n")
    offset, bad = next((i, b) for i, b in enumerate(lines) if not pattern.fullmatch(b))
    return fault(path, f"line {line + offset:,}", _shown(bad), repr(expected))


def _shown(line: bytes) -> str:
    """A line as it may stand in a message."""
    return repr(line if len(line) <= 60 else line[:57] + b"...")[1:]
