"""Ratings in text files, one a line: what MovieLens 1M and 100K have in common.

Axes: R ratings.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.common.data import files, tables
from zoo.common.data.files import fault

LARGEST_ID = 2**31 - 1
LIMIT = 1024 * files.MIB
"""The largest file in bytes that is believed."""


class Ratings(NamedTuple):
    """Who rated what and how, in the order of the file."""

    user: np.ndarray
    """int32 [R]"""
    item: np.ndarray
    """int32 [R]"""
    rating: np.ndarray | None
    """uint8 [R], 1 to 5; None where only the pairs are known."""
    timestamp: np.ndarray | None
    """int64 [R], seconds since 1970 (UTC); None where only the pairs are known."""


def read_ratings(
    path: Path | str, separator: str = "::", columns: int = 4, count: int | None = None
) -> Ratings:
    """The ratings in one file.

    Args:
        path: ratings.dat or interactions.dat ("::"), u.data, u1.base and so on (tabs).
        separator: Between two numbers.
        columns: 4, or 2 for pairs only.
        count: The number of lines that the file must have; None takes any.

    Raises:
        DataError: At a malformed line, an id below one, a rating outside 1 to 5, a pair that
            stands there twice, or when the number of lines is not `count`.
    """
    table = tables.parse(path, files.read_bytes(path, LIMIT), separator.encode(), columns)
    if count is not None and len(table) != count:
        raise fault(path, f"line {len(table):,} (the end)", f"{len(table):,} lines", f"{count:,}")
    _check_ids(path, table)
    _check_twice(path, table)
    user, item = table[:, 0].astype(np.int32), table[:, 1].astype(np.int32)
    if columns == 2:
        return Ratings(user, item, None, None)
    check_values(path, table)
    return Ratings(user, item, table[:, 2].astype(np.uint8), table[:, 3].copy())


def arrays(ratings: Ratings | None) -> dict[str, np.ndarray]:
    """The columns that are known, by name; none at all for None."""
    if ratings is None:
        return {}
    return {key: value for key, value in ratings._asdict().items() if value is not None}


def pair_key(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """One int64 for each pair of ids."""
    return user.astype(np.int64) << 32 | item.astype(np.int64)


def dense(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each of `ids` its position in `known`, int32; what an embedding is indexed with.

    Args:
        ids: Any shape.
        known: [V] distinct, in any order.

    Raises:
        ValueError: When one of the ids is not known.
    """
    order = np.argsort(known)
    at = np.searchsorted(known, ids, sorter=order)
    index = order[np.minimum(at, len(known) - 1)]
    if (known[index] != ids).any():
        stray = np.asarray(ids)[known[index] != ids].flat[0]
        raise ValueError(f"id {stray} is not among the {len(known):,} known ones")
    return index.astype(np.int32)


def check_values(path: Path | str, table: np.ndarray) -> None:
    """Raise a `DataError` at the first row whose third number is not a rating, 1 to 5."""
    bad = (table[:, 2] < 1) | (table[:, 2] > 5)
    if bad.any():
        line = int(np.argmax(bad))
        raise fault(path, f"line {line + 1:,}", f"rating {table[line, 2]}", "1 to 5")


def _check_ids(path: Path | str, table: np.ndarray) -> None:
    ids = table[:, :2]
    bad = ((ids < 1) | (ids > LARGEST_ID)).any(axis=1)
    if bad.any():
        line = int(np.argmax(bad))
        found = f"user {ids[line, 0]} and film {ids[line, 1]}"
        raise fault(path, f"line {line + 1:,}", found, f"ids from 1 to {LARGEST_ID:,}")


def _check_twice(path: Path | str, table: np.ndarray) -> None:
    pairs = pair_key(table[:, 0], table[:, 1])
    order = np.argsort(pairs, kind="stable")
    again = pairs[order[1:]] == pairs[order[:-1]]
    if again.any():
        line = int(order[1:][again].min())
        pair = tuple(table[line, :2].tolist())
        raise fault(path, f"line {line + 1:,}", f"{pair} a second time", "each user and film once")
