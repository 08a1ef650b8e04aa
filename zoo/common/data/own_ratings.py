"""Ratings of one's own as a data set: a table of users, items and ratings in a text file.

Axes: R ratings, U users, K negatives. Numbers of users and items are the file's ids where all of
them are positive whole numbers; else they count the ids, from 1, in alphabetical order.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.common.data import DataError, files, movielens
from zoo.common.data.files import fault
from zoo.common.data.movielens import LARGEST_ID, NEGATIVES
from zoo.common.settings import MOST_VALUES, Scale

HELD_OUT = 0.1
"""Share of the ratings that is tested on."""
LIMIT = 4 * 1024 * files.MIB
SPLITS = ("auto", "all", "leave-one-out")
_SEPARATORS = ("::", "\t", ";", ",", "|")
_COLUMNS = {
    "user": ("user", "userid", "username", "reviewerid", "customerid", "visitorid"),
    "item": ("item", "itemid", "movie", "movieid", "productid", "bookid", "asin", "isbn", "title"),
    "rating": ("rating", "stars", "score", "overall", "bookrating", "value"),
    "timestamp": ("timestamp", "time", "date", "unixreviewtime", "ts"),
}
"""Names of columns in the first line, in lower case, without spaces and underscores."""
_FORM = "user,item[,rating[,timestamp]] in each line"


class OwnRatings(NamedTuple):
    """Ratings in memory; but for the last three, the fields of a `movielens.MovieLens`."""

    name: str
    source: str
    split: str
    description: str
    train: dict[str, np.ndarray]
    """"user" and "item" int32 [R]; where the file has them "rating" uint8 [R], 1 for the lowest
    of the scale, 2 for the next, and "timestamp" float64 [R]."""
    test: dict[str, np.ndarray]
    """As `train`; with "leave-one-out" also "negative" int32 [U, K], items that the user never
    rated. Empty with "all"."""
    titles: dict[int, str]
    """By number of the item; its id where no title is given."""
    genres: dict[int, tuple[str, ...]]
    users: dict[int, str]
    """The ids by number, as are those of `items`."""
    items: dict[int, str]
    scale: tuple[float, float, float]
    """As of `Scale`."""


def load(
    source: Path | str,
    titles: Path | str = "",
    split: str = "auto",
    scale: Sequence[float] = (),
    seed: int = 0,
) -> OwnRatings:
    """Ratings from a file of lines `user,item,rating,timestamp`, the last two if they are known.

    Columns are separated by a comma, semicolon, tab, bar or `::`, and may be in quotation marks. If
    the first line names the columns (`userId,movieId,rating` and similar), their order is free and
    others are passed over. Ids are any text.

    Args:
        source: The file; `.gz` and `.xz` are unpacked.
        titles: A file of lines `item,title[,genre|genre]`, or nothing.
        split: "auto" holds out a tenth of the ratings, drawn by `seed`, or, where there are no
            ratings but only pairs, as "leave-one-out": of each user the latest item, or one drawn
            by `seed` where there are no times, to be ranked among 99 that the user never rated, or
            a quarter of all if that is fewer. Users with a single item, or who have rated so many
            that fewer are left, are then left out. "all" holds out nothing.
        scale: Lowest and highest rating and the step between them, to which ratings are rounded.
            Empty: as found in the file, whose ratings then have at most 21 evenly spaced values.
        seed: Of what is drawn.

    Raises:
        DataError: At a malformed line, a pair for the second time, a rating outside the scale.
    """
    if split not in SPLITS:
        splits = ", ".join(SPLITS)
        raise DataError(f"got split {split} with ratings of your own, expected one of {splits}")
    path = files.expand(source).absolute()
    columns, lines = _table(path)
    users, user = _numbered(columns["user"])
    items, item = _numbered(columns["item"])
    ratings: dict[str, np.ndarray] = {"user": user, "item": item}
    _refuse_pairs(path, ratings, users, items, lines)
    found = Scale(*scale) if scale else Scale()
    if "rating" in columns:
        values = _floats(path, columns["rating"], lines, "a rating")
        found = found if scale else _scale_of(path, values)
        ratings["rating"] = _steps(path, values, found, lines)
    if "timestamp" in columns:
        ratings["timestamp"] = _floats(path, columns["timestamp"], lines, "a time, a number")
    names, genres = _read_titles(titles, items) if titles else (dict(items), {})
    if split == "auto":
        split = "holdout" if "rating" in ratings else "leave-one-out"
    train, test = _split(path, ratings, split, np.random.default_rng(seed))
    what = f"ratings from {found}" if "rating" in ratings else "pairs of user and item"
    return OwnRatings(
        path.name,
        "own",
        split,
        files.printable(f"{path.name}: {what}, {_counts(train, test)}"),
        train,
        test,
        names,
        {number: genres.get(number, ()) for number in items},
        users,
        items,
        (found.lowest, found.highest, found.step),
    )


def _counts(train: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> str:
    people, things = (len(np.unique(train[key])) for key in ("user", "item"))
    counts = f"{len(train['user']):,} to train on, {len(test.get('user', ())):,} to test on"
    return f"{people:,} users, {things:,} items, {counts}"


def _table(path: Path) -> tuple[dict[str, list[str]], np.ndarray]:
    """The file's columns by name, and the number of the line that each entry is from."""
    rows, numbers = _rows(path)
    plain = [name.strip().lower().replace("_", "").replace(" ", "") for name in rows[0]]
    known = {
        column: next((plain.index(name) for name in names if name in plain), None)
        for column, names in _COLUMNS.items()
    }
    at: dict[str, int]
    if known["user"] is not None and known["item"] is not None:
        at = {column: place for column, place in known.items() if place is not None}
        rows, numbers = rows[1:], numbers[1:]
    else:
        at = dict(zip(_COLUMNS, range(len(plain)), strict=False))
        if "rating" in at and not _is_number(rows[0][at["rating"]]):  # names that are not known
            rows, numbers = rows[1:], numbers[1:]
    if not rows:
        raise fault(path, "the end", "no line of ratings", _FORM)
    if len(at) < 2:
        raise fault(path, "line 1", f"{len(plain)} column", _FORM)
    return {name: [row[place].strip() for row in rows] for name, place in at.items()}, numbers


def _rows(path: Path) -> tuple[list[list[str]], np.ndarray]:
    """The lines of a table as lists of equal length, and their numbers; empty lines are left out.

    Raises:
        DataError: The text is not UTF-8 or latin-1, a line has another number of columns.
    """
    content = files.read_bytes(path, LIMIT, text=True)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    first = next(iter(text.splitlines()), "")
    plain = re.sub('"[^"]*"', "", first)  # a title may have any of them behind the first
    separator = min((s for s in _SEPARATORS if s in plain), key=plain.index, default=",")
    if "\0" in text or not first.strip():
        raise fault(path, "line 1", repr(first[:40]), f"{_FORM}, as text")
    if separator == "::":  # the csv module takes one character; a text seldom has this one
        text, separator = text.replace("::", "\x1f"), "\x1f"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    numbers = []
    try:
        for row in reader:
            if not any(row):
                continue
            if rows and len(row) != len(rows[0]):
                found, expected = f"{len(row)} columns", f"{len(rows[0])} as in the first line"
                raise fault(path, f"line {reader.line_num:,}", found, expected)
            rows.append(row)
            numbers.append(reader.line_num)
    except csv.Error as error:
        raise fault(path, f"line {reader.line_num:,}", str(error), _FORM) from error
    return rows, np.array(numbers)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _floats(path: Path, texts: Sequence[str], lines: np.ndarray, what: str) -> np.ndarray:
    """Float64 [R] of one column."""
    try:
        numbers = np.array(texts, np.float64)
    except ValueError:
        numbers = np.array([float(text) if _is_number(text) else np.nan for text in texts])
    if not (good := np.isfinite(numbers)).all():
        row = int(np.argmin(good))
        raise fault(path, f"line {lines[row]:,}", repr(texts[row][:40]), what)
    return numbers


def _numbered(ids: Sequence[str]) -> tuple[dict[int, str], np.ndarray]:
    """The ids by number, and the numbers of all entries, int32 [R]; see the module's docstring."""
    distinct, place = np.unique(np.array(ids), return_inverse=True)
    names = [str(name) for name in distinct]
    whole = all(name.isascii() and name.isdecimal() and not name.startswith("0") for name in names)
    numbers = [int(name) for name in names] if whole else list(range(1, len(names) + 1))
    if max(numbers) > LARGEST_ID:
        numbers = list(range(1, len(names) + 1))
    return dict(zip(numbers, names, strict=True)), np.array(numbers, np.int32)[place.ravel()]


def _refuse_pairs(
    path: Path,
    ratings: dict[str, np.ndarray],
    users: Mapping[int, str],
    items: Mapping[int, str],
    lines: np.ndarray,
) -> None:
    """Raise a `DataError` at an empty id, or at the first pair that stands there twice."""
    for what, names in (("user", users), ("item", items)):
        if empty := [number for number, name in names.items() if not name]:
            row = int(np.argmax(ratings[what] == empty[0]))
            raise fault(path, f"line {lines[row]:,}", f"no {what}", f"an id of the {what}")
    pairs = movielens.pairs_of(ratings)
    if (again := movielens.repeated(pairs)).any():
        row = int(np.argmax(again))
        before = lines[int(np.argmax(pairs == pairs[row]))]
        user, item = users[int(ratings["user"][row])], items[int(ratings["item"][row])]
        found = f"user {user!r} and item {item!r} a second time (first in line {before:,})"
        raise fault(path, f"line {lines[row]:,}", found, "each pair once")


def _scale_of(path: Path, values: np.ndarray) -> Scale:
    """The scale that the ratings are on."""
    distinct = np.unique(values)
    advice = "Name the scale, to which ratings are rounded: --rating-scale 1 10 1."
    if len(distinct) == 1:
        found = f"{distinct[0]:g} in every line"
        advice = "For pairs without a value train --recipe ranking, and leave the column out."
        raise fault(path, "the ratings", found, "at least two different ones", advice)
    scale = Scale(float(distinct[0]), float(distinct[-1]), float(np.diff(distinct).min()))
    at = (distinct - scale.lowest) / scale.step
    if scale.values > MOST_VALUES or not np.allclose(at, at.round(), atol=1e-3):
        found = f"{len(distinct):,} values from {scale.lowest:g} to {scale.highest:g}"
        expected = f"at most {MOST_VALUES}, evenly spaced"
        raise fault(path, "the ratings", found, expected, advice)
    return scale


def _steps(path: Path, values: np.ndarray, scale: Scale, lines: np.ndarray) -> np.ndarray:
    """The ratings as numbers of the scale's steps, from 1, uint8 [R]."""
    at = np.floor((values - scale.lowest) / scale.step + 0.5).astype(np.int64) + 1
    wrong = (at < 1) | (at > scale.values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise fault(path, f"line {lines[row]:,}", f"rating {values[row]:g}", f"{scale}")
    return at.astype(np.uint8)


def _read_titles(
    source: Path | str, items: Mapping[int, str]
) -> tuple[dict[int, str], dict[int, tuple[str, ...]]]:
    """Titles and genres by number of the item, its id where the file has no title for it."""
    path = files.expand(source).absolute()
    rows, _ = _rows(path)
    if len(rows[0]) < 2:
        raise fault(path, "line 1", f"{len(rows[0])} column", "item,title[,genre|genre] in a line")
    by_id = {row[0].strip(): row for row in rows}
    titles = {
        number: by_id[name][1].strip() if name in by_id else name for number, name in items.items()
    }
    if not any(name in by_id for name in items.values()):
        found, some = rows[-1][0], next(iter(items.values()))
        raise fault(path, "the first column", repr(found), f"ids of rated items, such as {some!r}")
    genres = {
        number: tuple(genre for genre in by_id[name][2].split("|") if genre)
        for number, name in items.items()
        if name in by_id and len(by_id[name]) > 2
    }
    return titles, genres


def _split(
    path: Path, ratings: dict[str, np.ndarray], split: str, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is trained on and what is tested on."""
    if split == "all":
        return ratings, {}
    if split == "leave-one-out":
        return _leave_one_out(path, ratings, rng)
    held = np.zeros(len(ratings["user"]), bool)
    held[rng.permutation(len(held))[: round(HELD_OUT * len(held))]] = True
    # What is left must have something of each user and item, or nothing is known of them.
    for key in ("user", "item"):
        alone = ~np.isin(ratings[key], ratings[key][~held])
        _, first = np.unique(np.where(alone, ratings[key], -1), return_index=True)
        held[first[alone[first]]] = False
    if not held.any():
        found = f"{len(held):,} ratings, none of which can be held out"
        raise fault(path, "the ratings", found, "more, or --split all")
    return ({k: v[~held] for k, v in ratings.items()}, {k: v[held] for k, v in ratings.items()})


def _leave_one_out(
    path: Path, ratings: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The latest item of each user, or a drawn one, to test on, among items to rank it with."""
    items = np.unique(ratings["item"])
    users, counts = np.unique(ratings["user"], return_counts=True)
    negatives = min(NEGATIVES, len(items) // 4)
    fit = (counts > 1) & (len(items) - counts >= negatives)
    kept = np.isin(ratings["user"], users[fit])
    if not kept.any() or not negatives:
        found = f"no user who has at least 2 of {len(items):,} items, and has not seen a quarter"
        raise fault(path, "the ratings", found, "one to hold out an item of, or --split all")
    ratings = {key: values[kept] for key, values in ratings.items()}
    when = ratings.get("timestamp", np.zeros(kept.sum()))
    order = np.lexsort((rng.permutation(len(when)), when, ratings["user"]))
    last = np.append(np.diff(ratings["user"][order]) > 0, True)
    held = order[last]  # in the order of the users
    test = {key: values[held] for key, values in ratings.items()}
    rows = np.split(ratings["item"][order], np.flatnonzero(last)[:-1] + 1)
    unseen = (np.setdiff1d(items, own, assume_unique=True) for own in rows)
    test["negative"] = np.stack([rng.permutation(one)[:negatives] for one in unseen])
    train = np.setdiff1d(np.arange(len(when)), held)
    return {key: values[train] for key, values in ratings.items()}, test
