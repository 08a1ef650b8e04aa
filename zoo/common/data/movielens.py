"""MovieLens 1M and 100K: ratings of movies.

Harper, Konstan, "The MovieLens Datasets", 2015. The book's restricted Boltzmann machine in chapter
3 reads the 1M set. In it a line of ratings.dat is `user::movie::rating::time`, in 100K's u.data the
four stand between tabs; movies are in movies.dat (`id::title::genre|genre`) and u.item, in latin-1
as published, in UTF-8 as people convert them.

1M is also read without its rating values: interactions.dat has lines `user::movie`. With it goes
the leave-one-out test set of He et al., "Neural Collaborative Filtering", 2017: of each user the
latest movie is held out and ranked against 99 others.

Axes: R ratings, U users, K negatives (99). Ids are those of the files, from one.
"""

import codecs
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo.common.data import dataset, files
from zoo.common.data.fetch import Found
from zoo.common.data.files import Check, DataError, fault
from zoo.common.data.registry import ML_1M, ML_1M_NCF, ML_100K

FOLDS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")
NEGATIVES = 99
LARGEST_ID = 2**31 - 1

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""In the order of u.genre and of the flags in u.item; movies.dat has all but "unknown"."""

# Lines of other releases, under the names of the files that are read here.
_RELEASES = {
    rb"[0-9]+::[0-9]+::[0-9]\.5::.*": "MovieLens 10M, with half stars",
    rb"[0-9]+::[0-9]+::[0-9]::.*": "MovieLens 1M",
    rb"[0-9]+\t[0-9]+\t[0-9]\t.*": "MovieLens 100K",
    rb"userId,movieId,.*|[0-9]+,[0-9]+,[0-9.]+,.*": "a release in CSV, from 2014 on",
}
# Control characters do not belong in a title.
_MOVIE = re.compile(r"0*([1-9][0-9]{0,8})::([^\x00-\x1f\x7f-\x9f]+)::([^:]+)")
_ITEM = re.compile(r"0*([1-9][0-9]{0,8})\|([^|\x00-\x1f\x7f-\x9f]+)(?:\|[^|]*){3}((?:\|[01]){19})")


class MovieLens(NamedTuple):
    """A MovieLens set in memory; the first fields are those of a `Dataset`."""

    name: str
    source: str
    split: str
    description: str
    train: dict[str, np.ndarray]
    """As of `read_ratings`."""
    test: dict[str, np.ndarray]
    """As `train`; with "leave-one-out" also "negative" int32 [U, K], movies that the user never
    rated; of the real file's 597,960 there are 156 that are the held-out movie itself: a metric
    must not count those as movies ranked above it. Empty with "all"."""
    titles: dict[int, str]
    """By movie id; movies that nobody rated are among them."""
    genres: dict[int, tuple[str, ...]]
    """By movie id."""


def load(
    name: str = "ml-100k",
    data: str = "auto",
    data_dir: Path | str | None = None,
    split: str = "auto",
) -> MovieLens:
    """A MovieLens set, split into ratings to train on and to test on.

    Other files of these names are "unknown ratings in MovieLens 1M's format", or 100K's.

    Args:
        name: "ml-100k" or "ml-1m".
        data: "auto", "real" or "sample", see `zoo.common.data.fetch.resolve`.
        data_dir: The folder to look in first.
        split: For 100K one of `FOLDS`; "auto" is u1. For 1M "leave-one-out" (He et al. 2017), as
            "auto" where those files are available. For both "all": everything to train on.

    Raises:
        DataError: When a file is not what it should be, or "real" data is not available.
    """
    if name not in ("ml-100k", "ml-1m"):
        raise ValueError(f"name is {name!r}, expected ml-100k or ml-1m")
    small = name == "ml-100k"
    splits = ("auto", "all", *(FOLDS if small else ("leave-one-out",)))
    if split not in splits:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(splits)}")
    title = "MovieLens 100K" if small else "MovieLens 1M"
    with dataset.opened(ML_100K if small else ML_1M, data, data_dir) as found:
        read = _read_100k if small else _read_1m
        split, train, test = read(found, split, data_dir)
        path, check = found.at("u.item" if small else "movies.dat")
        titles, genres = read_movies(path, check)
    rated = np.concatenate([train["item"], test.get("item", train["item"][:0])])
    if untitled := set(np.unique(rated).tolist()) - set(titles):
        absent = f"no movie {min(untitled)}"
        raise fault(path, "the list of movies", absent, "every movie that was rated")
    name = f"unknown ratings in {title}'s format" if found.unknown else title
    counts = f"{len(train['user']):,} to train on, {len(test.get('user', ())):,} to test on"
    what = "ratings" if "rating" in train else "pairs of user and movie (no rating values)"
    description = found.describe(
        name,
        f"{name}, split {split}: {what}, {counts}",
        f"ratings drawn from a latent-factor model, split {split}, {counts}",
    )
    return MovieLens(name, found.kind, split, description, train, test, titles, genres)


def read_ratings(
    path: Path | str, check: Check | None = None, line: str = "N::N::N::N"
) -> dict[str, np.ndarray]:
    r"""The ratings in one file, in its order.

    Args:
        path: For example ratings.dat, plain, .gz or .xz.
        check: Called with the file's content, unpacked.
        line: The form of a line, N for a number: user, movie and, if they are known, rating and
            time. "N\tN\tN\tN" in 100K's files, "N::N" in interactions.dat.

    Returns:
        "user" int32 [R], "item" int32 [R] and, where they are known, "rating" uint8 [R], 1 to 5,
        and "timestamp" int64 [R], seconds since 1970 (UTC).

    Raises:
        DataError: At a malformed line, an id below one, a rating outside 1 to 5, or a pair of user
            and movie for the second time.
    """
    table = _read_table(path, check, line)
    ids = table[:, :2]
    wrong = ((ids < 1) | (ids > LARGEST_ID)).any(axis=1)
    _refuse(path, wrong, f"ids from 1 to {LARGEST_ID:,}", "user {} and movie {}", ids)
    ratings = _columns(path, table)
    again = repeated(pairs_of(ratings))
    _refuse(path, again, "each user and movie once", "({}, {}) a second time", ids)
    return ratings


def read_movies(
    path: Path | str, check: Check | None = None
) -> tuple[dict[int, str], dict[int, tuple[str, ...]]]:
    """Titles and genres by movie id from movies.dat or u.item.

    A line of u.item has 24 fields between bars: id, title, date, video date, address, 19 flags of
    genres.

    Args:
        path: The file, plain, .gz or .xz.
        check: As in `read_ratings`.

    Raises:
        DataError: At a malformed line, an id for the second time, an unknown genre, or bytes that
            are not UTF-8 in a file that else is.
    """
    titles, genres = {}, {}
    for number, line in enumerate(_lines(path, check), start=1):
        if match := _MOVIE.fullmatch(line):
            names = tuple(match[3].split("|"))
        elif match := _ITEM.fullmatch(line):
            flags = match[3].replace("|", "")
            names = tuple(g for g, flag in zip(GENRES, flags, strict=True) if flag == "1")
        else:
            expected = "'id::title::genre|genre' or the 24 fields of u.item"
            raise fault(path, f"line {number:,}", repr(line[:60]), expected)
        if not names or not set(names) <= set(GENRES) or len(set(names)) < len(names):
            advice = "MovieLens 10M has other genres than 1M." if "::" in line else ""
            found, expected = f"genres {names}", "known genres, each once"
            raise fault(path, f"line {number:,}", found, expected, advice)
        if (movie := int(match[1])) in titles:
            raise fault(path, f"line {number:,}", f"movie {movie} a second time", "each once")
        titles[movie], genres[movie] = match[2], names
    return titles, genres


def by_appearance(ids: np.ndarray) -> np.ndarray:
    """The distinct ids in the order in which they first appear; `result[n]` is number n's id."""
    distinct, first = np.unique(ids, return_index=True)
    return distinct[np.argsort(first)]


def dense(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each of `ids` its position in `known`, int32; what an embedding is indexed with.

    Args:
        ids: Any shape.
        known: [V] distinct, in any order.

    Raises:
        ValueError: When one of the ids is not known.
    """
    order = np.argsort(known)  # sorted search: an id may be far larger than the number of ids
    at = np.searchsorted(known, ids, sorter=order)
    index = order[np.minimum(at, len(known) - 1)]
    if (known[index] != ids).any():
        stray = np.asarray(ids)[known[index] != ids].flat[0]
        raise ValueError(f"id {stray} is not among the {len(known):,} known ones")
    return index.astype(np.int32)


def _read_100k(found: Found, split: str, _: object) -> tuple[str, dict, dict]:
    line = "N\tN\tN\tN"
    if split == "all":
        return split, read_ratings(*found.at("u.data"), line), {}
    split = "u1" if split == "auto" else split
    train = read_ratings(*found.at(f"{split}.base"), line)
    path, check = found.at(f"{split}.test")
    test = read_ratings(path, check, line)
    wrong, ids = _among(pairs_of(test), pairs_of(train)), np.stack([test["user"], test["item"]], 1)
    _refuse(path, wrong, f"none of {split}.base", "user {} and movie {}", ids)
    return split, train, test


def _read_1m(found: Found, split: str, data_dir: Path | str | None) -> tuple[str, dict, dict]:
    name = found.names[1]
    line = "N::N" if name == "interactions.dat" else "N::N::N::N"
    ratings = read_ratings(*found.at(name), line)
    if split == "all":
        return split, ratings, {}
    data = "real" if split == "leave-one-out" else "auto"
    data = "sample" if found.kind == "sample" else data
    with dataset.opened(ML_1M_NCF, data, data_dir) as held:
        if held.kind != found.kind:  # real ratings, and their test set is not available
            return "all", ratings, {}
        try:
            parts = _leave_one_out(ratings, held)
        except DataError:
            # The published test set need not belong to ratings that are not the published ones.
            if found.unknown and split == "auto" and not held.unknown:
                return "all", ratings, {}
            raise
        found.unknown.extend(held.unknown)
        return "leave-one-out", *parts


def _leave_one_out(ratings: dict[str, np.ndarray], found: Found) -> tuple[dict, dict]:
    """The ratings without the held-out ones, and those with their negatives.

    The files of He et al. number from zero: users in the order of their ids, movies in the order
    in which they first appear in ratings.dat. Here they get the ids of the other files.

    Raises:
        DataError: When the files do not belong together.
    """
    (path, check), (other, check_other) = map(found.at, ML_1M_NCF.usable[0])
    table = _read_table(path, check, "N\tN\tN\tN")
    listed = _read_table(other, check_other, "(N,N)" + "\tN" * NEGATIVES)
    if len(listed) != len(table):
        raise fault(other, "the end", f"{len(listed):,} lines", f"{len(table):,} as in {path}")
    wrong = (listed[:, :2] != table[:, :2]).any(axis=1)
    _refuse(other, wrong, f"the pair in {path}", "user {} and movie {}", listed)
    users, items = np.unique(ratings["user"]), by_appearance(ratings["item"])
    wrong = (listed[:, 0] >= len(users)) | (listed[:, 1:] >= len(items)).any(axis=1)
    expected = f"numbers of {len(users):,} users and {len(items):,} movies, from zero"
    _refuse(other, wrong, expected, "user {}, movie {} or {} ...", listed)
    if len(table) != len(users):
        expected = f"one for each of {len(users):,} users"
        raise fault(path, "the end", f"{len(table):,} lines", expected)
    wrong = table[:, 0] != np.arange(len(users))
    _refuse(path, wrong, "the users in their order, from zero", "user {}", table)
    test = _columns(path, table)
    test["user"], test["item"] = users[test["user"]], items[test["item"]]
    test["negative"] = items[listed[:, 2:]]
    pairs, held = pairs_of(ratings), pairs_of(test)
    wrong = ~_among(held, pairs)
    _refuse(path, wrong, "a pair that was rated", "user {} and movie {}", table)
    # Rows are dropped by their pair, as the held-out file is not in the order of ratings.dat.
    kept = ~_among(pairs, held)
    if not kept.any():
        raise fault(path, "the end", "all ratings held out", "some to train on")
    ranked = pairs_of({"user": test["user"][:, None], "item": test["negative"]})
    wrong = _among(ranked, pairs[kept]).any(axis=1)
    _refuse(other, wrong, "movies that the user never rated", "user {} and rated ones", table)
    return {key: values[kept] for key, values in ratings.items()}, test


def _refuse(path: Path | str, wrong: Any, expected: str, found: str, rows: np.ndarray) -> None:
    """Raise a `DataError` at the first line, if any, that is wrong; `found` formats its row."""
    if wrong.any():
        line = int(np.argmax(wrong))
        raise fault(path, f"line {line + 1:,}", found.format(*rows[line]), expected)


def _read_table(path: Path | str, check: Check | None, line: str) -> np.ndarray:
    """The numbers of a file of lines like `line`, int64 [L, C]; N has one to ten digits.

    A regular expression finds the first line of another form, and numpy parses the numbers, which
    would pass over much that is wrong: one million ratings take half a second.
    """
    content = _read(path, check)
    # Possessive (*+): without it the engine would keep a way back for each of a million lines.
    pattern = re.escape(line).replace("N", "[0-9]{1,10}") + "\n"
    good = re.match(f"(?:{pattern})*+".encode(), content)
    end = good.end() if good else 0
    if end < len(content):
        number = content.count(b"\n", 0, end) + 1
        bad, newline, _ = content[end:].partition(b"\n")
        releases = (what for form, what in _RELEASES.items() if re.fullmatch(form, bad))
        other = next(releases, "")
        advice = f"This is a line of {other}." if other else ""
        advice = advice if newline else "The file is cut off."
        expected = f"{line.replace('N', 'number')!r} and a newline"
        raise fault(path, f"line {number:,}", repr(bad[:60])[1:], expected, advice)
    digits = bytes(byte if chr(byte).isdecimal() else ord(" ") for byte in range(256))
    numbers = np.fromstring(content.translate(digits), np.int64, sep=" ")
    return numbers.reshape(content.count(b"\n"), -1)


def _read(path: Path | str, check: Check | None, limit: int = 1024 * files.MIB) -> bytes:
    """The content of a text, without a byte order mark and with plain newlines."""
    content = files.read_bytes(path, limit, check)
    content = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    if not content:
        raise fault(path, "byte 0", "a byte order mark alone", "lines")
    return content


def _columns(path: Path | str, table: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a table of ratings by name, see `read_ratings`."""
    user, item, *rest = table.T
    columns = {"user": user.astype(np.int32), "item": item.astype(np.int32)}
    if not rest:
        return columns
    rating, timestamp = rest
    _refuse(path, (rating < 1) | (rating > 5), "1 to 5", "rating {2}", table)
    return {**columns, "rating": rating.astype(np.uint8), "timestamp": timestamp.copy()}


def pairs_of(columns: dict[str, np.ndarray]) -> np.ndarray:
    """One int64 for each pair of user and movie."""
    return columns["user"].astype(np.int64) << 32 | columns["item"].astype(np.int64)


def repeated(values: np.ndarray) -> np.ndarray:
    """Where a value stands that stood before, bool [N]."""
    order = np.argsort(values, kind="stable")  # of equal ones the first in the file comes first
    again = np.zeros(len(values), bool)
    again[order[1:]] = values[order[1:]] == values[order[:-1]]
    return again


def _among(pairs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which pairs are among the others; `np.isin`, whose hash table takes seconds for these."""
    others = np.sort(np.append(others, np.iinfo(np.int64).max))  # none is beyond the last
    return others[np.searchsorted(others, pairs)] == pairs


def _lines(path: Path | str, check: Check | None) -> list[str]:
    """The lines of a text, UTF-8 or latin-1; the last one must end in a newline too."""
    content = _read(path, check, 16 * files.MIB)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        # Latin-1 hardly ever has what in UTF-8 is a character: this is UTF-8 with a fault in it.
        if not content.decode(errors="ignore").isascii():
            line = content.count(b"\n", 0, error.start) + 1
            found = content[error.start : error.start + 4].hex(" ")
            raise fault(path, f"line {line:,}", found, "UTF-8 as before") from error
        text = content.decode("latin-1")
    # Not splitlines(): it would also break at a character such as U+0085.
    *lines, rest = text.split("\n")
    if rest:
        place = f"line {len(lines) + 1:,} (the end)"
        raise fault(path, place, "no newline", "one", "The file is cut off.")
    return lines
