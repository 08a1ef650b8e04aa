"""The leave-one-out test set of MovieLens 1M.

He et al., "Neural Collaborative Filtering", 2017: of each user the latest film is held out and
ranked against 99 others. Axes: U users, K negatives (99).
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.common.data import files, tables
from zoo.common.data.files import DataError, fault
from zoo.common.data.ratings import LARGEST_ID, LIMIT, Ratings, arrays, check_values, pair_key


class HeldOut(NamedTuple):
    """The leave-one-out test set: one film a user, ranked against films never rated."""

    user: np.ndarray
    """int32 [U]"""
    item: np.ndarray
    """int32 [U], the film held out."""
    rating: np.ndarray
    """uint8 [U], 1 to 5."""
    timestamp: np.ndarray
    """int64 [U], seconds since 1970 (UTC)."""
    negative: np.ndarray
    """int32 [U, K], films that the user never rated; of the real file's 597,960 there are 156 that
    are the held-out film itself: a metric must not count those as films ranked above it."""


def read_held_out(rating_path: Path | str, negative_path: Path | str) -> HeldOut:
    """The leave-one-out files of He et al. 2017, in *their* numbering, which begins at zero.

    Users are in the order of their ids; films are numbered in the order in which they first
    appear in ratings.dat, see `by_appearance`.

    Args:
        rating_path: ml-1m.test.rating: user, film, rating and time between tabs.
        negative_path: ml-1m.test.negative: `(user,film)` and the negatives between tabs.

    Raises:
        DataError: When a line is malformed or the two files do not agree.
    """
    held = tables.parse(rating_path, files.read_bytes(rating_path, LIMIT), b"\t", 4)
    check_values(rating_path, held)
    content = files.read_bytes(negative_path, LIMIT)
    table = tables.parse(negative_path, *_unwrapped(negative_path, content))
    if len(held) != len(table):
        found = f"{len(table):,} lines, but {len(held):,} in {rating_path}"
        raise fault(negative_path, "the end", found, "the same number")
    differs = (held[:, :2] != table[:, :2]).any(axis=1)
    if differs.any():
        line = int(np.argmax(differs))
        found = f"pair {tuple(table[line, :2].tolist())}"
        expected = f"{tuple(held[line, :2].tolist())} as in {rating_path}"
        raise fault(negative_path, f"line {line + 1:,}", found, expected)
    if max(held[:, :2].max(), table.max()) > LARGEST_ID:
        raise fault(negative_path, "a line", f"an id above {LARGEST_ID:,}", "smaller ids")
    ids = [column.astype(np.int32) for column in (held[:, 0], held[:, 1], table[:, 2:])]
    return HeldOut(ids[0], ids[1], held[:, 2].astype(np.uint8), held[:, 3].copy(), ids[2])


def by_appearance(ids: np.ndarray) -> np.ndarray:
    """The distinct ids in the order in which they first appear; `result[n]` is number n's id."""
    distinct, first = np.unique(ids, return_index=True)
    return distinct[np.argsort(first)]


def leave_one_out(ratings: Ratings, held: HeldOut) -> tuple[dict, dict]:
    """The ratings without the held-out ones, and those with their negatives, in the files' ids.

    Args:
        ratings: All of MovieLens 1M.
        held: In the numbering of He et al., as `read_held_out` returns it.

    Raises:
        DataError: When a held-out pair is not among the ratings, or a negative is among those
            that are left to train on.
    """
    users, items = np.unique(ratings.user), by_appearance(ratings.item)
    if held.user.max() >= len(users) or max(held.item.max(), held.negative.max()) >= len(items):
        raise DataError("The held-out set has users or films that the ratings do not have.")
    test = {
        "user": users[held.user],
        "item": items[held.item],
        "rating": held.rating,
        "timestamp": held.timestamp,
        "negative": items[held.negative],
    }
    pairs = pair_key(ratings.user, ratings.item)
    held_pairs = pair_key(test["user"], test["item"])
    if not np.isin(held_pairs, pairs).all():
        raise DataError("The held-out set has pairs that are not among the ratings.")
    kept = ~np.isin(pairs, held_pairs)
    if np.isin(pair_key(test["user"][:, None], test["negative"]), pairs[kept]).any():
        raise DataError("The held-out set has negatives that are among the ratings to train on.")
    return {key: values[kept] for key, values in arrays(ratings).items()}, test


def _unwrapped(path: Path | str, content: bytes) -> tuple[bytes, bytes, int]:
    """Lines `(user,film)<tab>...` as plain tables: content, separator and number of columns."""
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        head, _, tail = line.partition(b")\t")
        if not re.fullmatch(rb"\([0-9]+,[0-9]+", head):
            found = repr(line[:60])[1:]
            raise fault(path, f"line {number:,}", found, "'(user,film)' and negatives")
        lines[number - 1] = head[1:].replace(b",", b"\t") + b"\t" + tail
    return b"\n".join(lines), b"\t", lines[0].count(b"\t") + 1
