"""MovieLens 1M and 100K: ratings of films.

Harper, Konstan, "The MovieLens Datasets", 2015. The book's restricted Boltzmann machine in chapter
3 reads the 1M set. In it a line of ratings.dat is `user::film::rating::time`, in 100K's u.data the
four stand between tabs; films are in movies.dat (`id::title::genre|genre`) and u.item, in latin-1.

1M is also read without its rating values: interactions.dat has lines `user::film`. The held-out
files of He et al., "Neural Collaborative Filtering", 2017, go with it.

Axes: R ratings, U users, K negatives (99). Ids are those of the files, from one.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.common.data import fetch, files, films, sample
from zoo.common.data.files import fault
from zoo.common.data.heldout import HeldOut, by_appearance, leave_one_out, read_held_out
from zoo.common.data.ratings import Ratings, arrays, dense, read_ratings
from zoo.common.data.registry import ML_1M, ML_1M_NCF, ML_100K

__all__ = [
    "FOLDS",
    "HeldOut",
    "MovieLens",
    "Ratings",
    "by_appearance",
    "dense",
    "leave_one_out",
    "load",
    "read_1m",
    "read_100k",
    "read_held_out",
    "read_ratings",
]

FOLDS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")


class MovieLens(NamedTuple):
    """A MovieLens set in memory; the first fields are those of a `Dataset`."""

    name: str
    source: str
    split: str
    description: str
    train: dict[str, np.ndarray]
    """"user", "item" and, where they are known, "rating" and "timestamp"; as in `Ratings`."""
    test: dict[str, np.ndarray]
    """As `train`; with "leave-one-out" also "negative" int32 [U, K]; empty with "all"."""
    titles: dict[int, str]
    """By film id; films that nobody rated are among them."""
    genres: dict[int, tuple[str, ...]]
    """By film id."""


def read_1m(
    path: Path | str, count: int | None = 1_000_209
) -> tuple[Ratings, dict[int, str], dict[int, tuple[str, ...]]]:
    """MovieLens 1M: ratings, titles by film id, genres by film id.

    Args:
        path: A folder or zip archive with movies.dat and ratings.dat, or interactions.dat when
            only the pairs are known.
        count: The number of ratings there must be; None takes any.

    Raises:
        DataError: As `read_ratings`, and when a film was rated that movies.dat does not have.
    """
    path = Path(path)
    titles, genres = films.read_dat(files.member(path, "movies.dat"))
    if full := files.find(path, "ratings.dat"):
        ratings, member = read_ratings(full, count=count), full
    else:
        member = files.member(path, "interactions.dat")
        ratings = read_ratings(member, columns=2, count=count)
    _check_known(member, ratings, titles)
    return ratings, titles, genres


def read_100k(
    path: Path | str, folds: tuple[str, ...] = FOLDS, count: int | None = 100_000
) -> tuple[
    Ratings,
    dict[str, tuple[Ratings, Ratings]],
    dict[int, str],
    dict[int, tuple[str, ...]],
]:
    """MovieLens 100K: ratings, folds (train and test) by name, titles and genres by film id.

    Args:
        path: A folder or zip archive with u.data, u.item and the folds' .base and .test files.
        folds: Those to read. u1 to u5 are five disjoint test sets; ua and ub hold ten ratings a
            user each.
        count: The number of ratings there must be; None takes any.

    Raises:
        DataError: As `read_ratings`, when a film was rated that u.item does not have, and when a
            fold's two files together are not u.data.
    """
    path = Path(path)
    titles, genres = films.read_item(files.member(path, "u.item"))
    member = files.member(path, "u.data")
    ratings = read_ratings(member, "\t", count=count)
    _check_known(member, ratings, titles)
    pairs = {}
    for fold in folds:
        base, test = (files.member(path, f"{fold}.{part}") for part in ("base", "test"))
        pairs[fold] = read_ratings(base, "\t"), read_ratings(test, "\t")
        _check_fold(base, ratings, *pairs[fold])
    return ratings, pairs, titles, genres


def load(
    name: str = "ml-100k",
    data: str = "auto",
    data_dir: Path | str | None = None,
    split: str = "auto",
) -> MovieLens:
    """A MovieLens set, split into ratings to train on and to test on.

    Args:
        name: "ml-100k" or "ml-1m".
        data: "auto", "real" or "sample", see `zoo.common.data.fetch.resolve`.
        data_dir: The folder to look in first.
        split: For 100K one of `FOLDS`; "auto" is u1. For 1M "leave-one-out" (He et al. 2017), as
            "auto" where those files are to be had. For both "all": everything to train on.

    Raises:
        DataError: When a file is not what it should be, or "real" data is not to be had.
    """
    if name == "ml-100k":
        return _load_100k(data, data_dir, "u1" if split == "auto" else split)
    if name == "ml-1m":
        return _load_1m(data, data_dir, split)
    raise ValueError(f"name is {name!r}, expected ml-100k or ml-1m")


def _load_100k(data: str, data_dir: Path | str | None, split: str) -> MovieLens:
    if split not in (*FOLDS, "all"):
        raise ValueError(f"split is {split!r}, expected auto, all or one of {', '.join(FOLDS)}")
    folds = () if split == "all" else (split,)
    found = fetch.resolve(ML_100K, data, data_dir)
    if found.source is not None:
        ratings, pairs, *about = read_100k(found.source, folds)
    else:
        with sample.folder("ml-100k") as source:
            ratings, pairs, *about = read_100k(source, folds, count=None)
    train, test = pairs[split] if folds else (ratings, None)
    return _described("MovieLens 100K", found, split, arrays(train), arrays(test), *about)


def _load_1m(data: str, data_dir: Path | str | None, split: str) -> MovieLens:
    if split not in ("auto", "leave-one-out", "all"):
        raise ValueError(f"split is {split!r}, expected auto, leave-one-out or all")
    found = fetch.resolve(ML_1M, data, data_dir)
    held = None
    if found.source is not None:
        ratings, *about = read_1m(found.source)
        if split != "all":
            held = _read_held_out_of(data_dir, required=split == "leave-one-out")
    else:
        with sample.folder("ml-1m") as source:
            ratings, *about = read_1m(source, count=None)
            if split != "all":
                held = _read_held_out_in(source)
    if held is None:
        return _described("MovieLens 1M", found, "all", arrays(ratings), {}, *about)
    train, test = leave_one_out(ratings, held)
    return _described("MovieLens 1M", found, "leave-one-out", train, test, *about)


def _read_held_out_of(data_dir: Path | str | None, required: bool) -> HeldOut | None:
    """The real held-out files; None where they are not to be had and not required."""
    found = fetch.resolve(ML_1M_NCF, "real" if required else "auto", data_dir)
    return None if found.source is None else _read_held_out_in(found.source)


def _read_held_out_in(source: Path) -> HeldOut:
    names = ("ml-1m.test.rating", "ml-1m.test.negative")
    return read_held_out(*(files.member(source, name) for name in names))


def _described(
    name: str, found: fetch.Found, split: str, train: dict, test: dict, titles: dict, genres: dict
) -> MovieLens:
    counts = f"{len(train['user']):,} to train on, {len(test.get('user', ())):,} to test on"
    what = "ratings" if "rating" in train else "pairs of user and film (no rating values)"
    description = f"{name}, split {split}: {what}, {counts}"
    if found.source is None:
        description = (
            f"built-in sample, not {name} ({found.reason}): ratings drawn from a latent-factor "
            f"model, split {split}, {counts}"
        )
    source = "sample" if found.source is None else "real"
    return MovieLens(name, source, split, description, train, test, titles, genres)


def _check_known(path: Path, ratings: Ratings, titles: dict[int, str]) -> None:
    unknown = ~np.isin(ratings.item, np.fromiter(titles, np.int32, len(titles)))
    if unknown.any():
        line = int(np.argmax(unknown))
        expected = "one of the set's list of films"
        raise fault(path, f"line {line + 1:,}", f"film {ratings.item[line]}", expected)


def _check_fold(path: Path, ratings: Ratings, base: Ratings, test: Ratings) -> None:
    """Raise unless base and test are the ratings, each once."""
    rows = [np.stack(part, axis=1) for part in (ratings, base, test)]
    both = np.concatenate(rows[1:])
    if len(both) != len(rows[0]) or (_sorted(both) != _sorted(rows[0])).any():
        found = f"{len(both):,} ratings with those of the .test file, not the same as u.data's"
        raise fault(path, "the whole file", found, f"the {len(rows[0]):,} ratings of u.data")


def _sorted(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T[:2])]
