"""Characters as numbers, and a text laid out for training.

A vocabulary begins with the book's three marks: START (U+0002), END (U+0003) and BLANK (U+0004).
Axes: B streams or sentences in a batch, T characters in a chunk.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.common.data import DataError, files, text

MARKS = ("\x02", "\x03", "\x04")
START, END, BLANK = range(3)
TRAINED_SHARE = 0.9  # from the text's beginning; the rest is for validation, as nanoGPT has it
ROUND = 128  # rows for evaluation are a multiple of this long, what `model.score` reads at a time


class Vocabulary(NamedTuple):
    """The characters that a model knows, by number."""

    characters: tuple[str, ...]

    def encode(self, string: str) -> np.ndarray:
        """The numbers of the characters, int32 [len(string)].

        Raises:
          DataError: the vocabulary lacks some of them; says which, how often and where first.
        """
        number = {character: n for n, character in enumerate(self.characters)}
        if unknown := [c for c in dict.fromkeys(string) if c not in number]:
            found = ", ".join(
                f"{c!r} ({string.count(c)} times, first at character {string.index(c):,})"
                for c in unknown[:5]
            )
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            known = "".join(self.characters[len(MARKS) :])
            raise DataError(
                f"the text has characters that the vocabulary lacks: {found}{more}; "
                f"expected only {known!r}: leave them out or train on a text that has them"
            )
        return np.array([number[character] for character in string], np.int32)

    def decode(self, numbers: Sequence[int] | np.ndarray) -> str:
        """The characters of the numbers; marks are left out."""
        return "".join(self.characters[n] for n in np.asarray(numbers).tolist() if n > BLANK)


def make_vocabulary(string: str, name: str = "the text") -> Vocabulary:
    """The three marks and then the text's characters in Unicode order.

    Raises:
      DataError: the text, called `name`, has one of the marks in it.
    """
    found = set(string)
    if marks := found & set(MARKS):
        mark = min(marks)
        raise DataError(
            f"{name} has the control character {mark!r} at character {string.index(mark):,}, which "
            r"is a mark of the vocabulary: take such characters out: tr -d '\002\003\004'"
        )
    return Vocabulary(
        (*MARKS, *sorted(found))
    )  # sorted, so that texts of the same characters share it


def load(
    dataset: str = "tiny-shakespeare",
    path: str = "",
    data: str = "auto",
    data_dir: Path | str | None = None,
) -> text.Text:
    """The file at `path` if one is named, else a data set of `zoo.common.data.text`.

    Where the file is no longer there, one of its name in `data_dir` is taken.

    Raises:
      DataError: the file is missing, empty or not UTF-8, or the real data set is not available.
    """
    if not path:
        return text.load(dataset, data, data_dir)
    found = Path(absolute(path))
    if data_dir is not None and not os.path.exists(found):
        found = files.expand(data_dir) / found.name
    try:
        content = text.read(found)
    except DataError as error:
        if os.path.lexists(found):
            raise
        advice = "If the text was moved, name its new folder by --data-dir."
        raise DataError(f"{error} {advice}") from error
    newlines = r", lines end in \r\n" if "\r\n" in content else ""
    description = files.printable(f"{found.name}, {len(content):,} characters{newlines}")
    return text.Text(found.name, "file", "all", description, content)


def absolute(path: str) -> str:
    """The path of a text from any folder; of a file that is /dev/stdin, the file's own."""
    whole = os.path.abspath(files.expand(path))
    own = os.path.realpath(whole) if whole.startswith(("/dev/", "/proc/")) else whole
    return own if os.path.exists(own) else whole


def streams(ids: np.ndarray, batch: int, steps: int, name: str = "the text") -> dict:
    """A text as `batch` streams read side by side, for truncated backpropagation through time.

    Row i B + b is chunk i of stream b, so that batches taken in order go through all streams at
    once and each row goes on where the row B before it ended. What does not fill all is left out.

    Returns:
      `input` and `target`, int32 [chunks B, T], the target being the character behind, and
      `first`, bool [chunks B], which is true where a stream begins.

    Raises:
      DataError: the text, called `name`, is shorter than one chunk of every stream.
    """
    chunks = (len(ids) - 1) // (batch * steps)
    if chunks < 1:
        raise DataError(
            f"{name} has {len(ids):,} characters to train on, expected at least "
            f"{batch * steps + 1:,} for one chunk of {steps} in each of {batch} streams: "
            "use a longer text, or smaller --batch-size and --chunk"
        )

    def rows(ids: np.ndarray) -> np.ndarray:
        streams = ids[: batch * chunks * steps].reshape(batch, chunks, steps)
        return np.ascontiguousarray(streams.transpose(1, 0, 2)).reshape(-1, steps)

    first = np.arange(batch * chunks) < batch
    return {"input": rows(ids[:-1]), "target": rows(ids[1:]), "first": first}


def windows(ids: np.ndarray, count: int, warm_up: int = 256) -> dict:
    """A text as `count` long rows for evaluation: each character but the first is scored once.

    Each row begins with the `warm_up` characters before it, or a few more, which are read but not
    scored, so that its state is about what it would be had all been read in one go. Where there are
    not so many, it begins with the text, and is what it would be.

    Returns:
      `input` and `target`, int32 [count, L], and `weight`, float32 [count, L], 1 where it counts.
    """
    each = -(-(len(ids) - 1) // count)
    warm_up = -(-(each + warm_up) // ROUND) * ROUND - each
    begin = np.arange(count)[:, None] * each
    at = (begin - warm_up).clip(0) + np.arange(warm_up + each)
    scored = (begin <= at) & (at < (begin + each).clip(max=len(ids) - 1))
    at = at.clip(max=len(ids) - 2)  # what would lie behind the text has weight 0
    return {"input": ids[at], "target": ids[at + 1], "weight": scored.astype(np.float32)}


def lines(string: str) -> list[str]:
    """The book's "sentences": the lines of a text, stripped, without the empty ones."""
    return [line for raw in re.split(r"\r\n?|\n", string) if (line := raw.strip())]


def sentences(string: str, vocabulary: Vocabulary, length: int = 30) -> dict:
    """The book's examples: each line, cut to its first `length` characters.

    A shorter one gets END behind it and then BLANKs.

    Returns:
      `input`, int32 [N, length], START and then the characters; `target`, the characters; `first`,
      true for all, since each begins anew.

    Raises:
      DataError: there is no line.
    """
    given = lines(string)
    if not given:
        raise DataError("the text has no line that is not empty")
    targets = np.full((len(given), length), BLANK, np.int32)
    for row, line in zip(targets, given, strict=True):
        ids = np.append(vocabulary.encode(line[:length]), END)[:length]
        row[: len(ids)] = ids  # a line that is cut has no END
    inputs = np.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=START)
    return {"input": inputs, "target": targets, "first": np.ones(len(given), bool)}
