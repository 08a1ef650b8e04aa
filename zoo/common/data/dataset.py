"""What a loader opens and returns, and the fingerprint that a run folder keeps of it."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo.common.data import fetch, files
from zoo.common.data.fetch import Found
from zoo.common.data.registry import Entry


class Dataset(NamedTuple):
    """A data set in memory, with what has to be said wherever its results stand."""

    name: str
    """As people call it, "CIFAR-10"; other files than the published are "unknown images in ..."."""
    source: str
    """"real", "sample", or "own" for what a user has."""
    split: str
    """"official", "holdout" or "sample": what is trained on and what is tested on; "given" for
    training and test files that are not the published ones; "drawn" by the seed."""
    description: str
    """One line for the screen, the run folder and the captions of figures."""
    train: dict[str, np.ndarray]
    """Arrays with a leading axis of examples; "image" uint8 [N, ...] and "label" uint8 [N]."""
    test: dict[str, np.ndarray]
    """As `train`, the examples that are never trained on."""
    classes: tuple[str, ...]
    """The name of each label."""


@contextlib.contextmanager
def opened(entry: Entry, data: str, data_dir: Path | str | None) -> Iterator[Found]:
    """As `fetch.resolve`, but in place of a real set that is missing the sample is found."""
    from zoo.common.data import sample  # here, because it needs a reader's constants

    found = fetch.resolve(entry, data, data_dir)
    if isinstance(found, Found):
        try:
            yield found
        finally:
            files.forget()
    else:
        with sample.folder(entry.sample) as folder:
            yield Found(entry, folder, entry.usable[0], reason=found)


def digest(dataset: Any) -> str:
    """The sha256, in hexadecimal, of a data set's content: names, types, shapes and bytes.

    Takes a `Dataset` and every other loader's result; the description does not count. Strided
    views and copies of the same arrays give the same digest. CIFAR-10 takes about 0.2 s.

    Raises:
        TypeError: When it holds something else than dicts, tuples, NumPy arrays, text and numbers.
    """
    state = hashlib.sha256()

    def update(value: Any) -> None:
        if isinstance(value, dict):
            state.update(b"{%d" % len(value))
            for key in value:
                update(key)
                update(value[key])
        elif isinstance(value, tuple):
            state.update(b"(%d" % len(value))
            for item in value:
                update(item)
        elif isinstance(value, np.ndarray):
            state.update(f"{value.dtype.str}{value.shape}".encode())
            rows = np.atleast_1d(value)
            # In slices, so that a strided view is never copied as a whole.
            for start in range(0, len(rows), 1000):
                state.update(np.ascontiguousarray(rows[start : start + 1000]).data)
        elif isinstance(value, str | int | float | np.generic | None):
            text = repr(value).encode()
            state.update(b"%d:" % len(text) + text)
        else:  # what `repr` says of a list of arrays, or of one of JAX, leaves out most of it
            raise TypeError(f"a data set holds a {type(value).__name__}: make it a NumPy array")

    # Not the description: it may name folders of this machine.
    update({key: value for key, value in dataset._asdict().items() if key != "description"})
    return state.hexdigest()
