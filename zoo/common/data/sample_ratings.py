"""The built-in sample of ratings: drawn from a latent-factor model, in MovieLens's two formats.

A rating is round(3.6 + b_u + b_i + p_u . q_i + noise), kept within 1 to 5, for users' and films'
leanings b and their vectors p and q of four factors. A film's genres follow its factors.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.common.data.films import GENRES
from zoo.common.data.heldout import by_appearance

USERS, FILMS, FACTORS, NEGATIVES = 300, 250, 4, 99
BEGIN = 978_300_000
"""Seconds since 1970 at the first rating, as in MovieLens 1M."""


class Draw(NamedTuple):
    """The sample before it is written."""

    rows: np.ndarray
    """int64 [R, 4]: user, film, rating, time; by user, and then by time."""
    genres: list[list[int]]
    """For each film, indices into GENRES."""


def draw() -> Draw:
    """About 16,000 ratings, the same on every machine; each user rates 25 to 90 films."""
    rng = np.random.default_rng(3)
    p, q = rng.normal(0, 0.5, (USERS, FACTORS)), rng.normal(0, 0.9, (FILMS, FACTORS))
    lean_user, lean_film = rng.normal(0, 0.3, USERS), rng.normal(0, 0.4, FILMS)
    popular = rng.permutation(1 / np.arange(5, FILMS + 5))
    rows = []
    for user in range(USERS):
        # The Gumbel trick: without replacement, popular and well-liked films more often.
        score = np.log(popular) + 0.5 * (q @ p[user]) + rng.gumbel(size=FILMS)
        seen = np.argsort(-score)[: rng.integers(25, 91)]
        value = 3.6 + lean_user[user] + lean_film[seen] + q[seen] @ p[user]
        value = np.clip(np.rint(value + rng.normal(0, 0.5, len(seen))), 1, 5)
        time = BEGIN + user * 9_000 + np.cumsum(rng.integers(1, 90, len(seen)))
        rows.append(np.stack([np.full(len(seen), user + 1), seen + 1, value, time], axis=1))
    genres = [sorted({1 + int(np.argmax(f)) * 4, 2 + int(np.argmin(f)) * 4}) for f in q]
    return Draw(np.concatenate(rows).astype(np.int64), genres)


def write_1m(path: Path) -> None:
    """Write ratings.dat, movies.dat and the leave-one-out files of He et al. 2017."""
    rows, genres = draw()
    _write_rows(path / "ratings.dat", rows, "::")
    names = ["|".join(GENRES[g] for g in film) for film in genres]
    lines = [f"{i}::{_title(i)}::{name}\n" for i, name in enumerate(names, start=1)]
    (path / "movies.dat").write_bytes("".join(lines).encode("latin-1"))

    rng = np.random.default_rng(31)
    number = np.zeros(FILMS + 1, np.int64)
    films = by_appearance(rows[:, 1])
    number[films] = np.arange(len(films))
    held, negatives = [], []
    for user in range(USERS):
        own = rows[rows[:, 0] == user + 1]
        last = own[-1]
        held.append([user, number[last[1]], last[2], last[3]])
        unseen = np.setdiff1d(np.arange(len(films)), number[own[:, 1]])
        others = rng.permutation(unseen)[:NEGATIVES]
        negatives.append(f"({user},{number[last[1]]})\t" + "\t".join(map(str, others)) + "\n")
    _write_rows(path / "ml-1m.test.rating", np.array(held), "\t")
    (path / "ml-1m.test.negative").write_text("".join(negatives), newline="\n")


def write_100k(path: Path) -> None:
    """Write u.data, u.item and the folds u1 to u5, ua and ub."""
    rows, genres = draw()
    rng = np.random.default_rng(100)
    rows = rng.permutation(rows)
    _write_rows(path / "u.data", rows, "\t")
    lines = []
    for i, film in enumerate(genres, start=1):
        flags = "|".join(str(int(g in film)) for g in range(len(GENRES)))
        lines.append(f"{i}|{_title(i)}|01-Jan-{_year(i)}|||{flags}\n")
    (path / "u.item").write_bytes("".join(lines).encode("latin-1"))
    fifth = np.arange(len(rows)) % 5
    order = np.lexsort([rows[:, 0]])  # stable: within a user the order of u.data
    begins = np.searchsorted(rows[order, 0], rows[order, 0])
    nth = np.empty(len(rows), np.int64)
    nth[order] = np.arange(len(rows)) - begins  # a user's first rating, second, and so on
    tests = {f"u{k + 1}": fifth == k for k in range(5)}
    tests |= {"ua": nth < 10, "ub": (nth >= 10) & (nth < 20)}
    for fold, test in tests.items():
        _write_rows(path / f"{fold}.base", rows[~test], "\t")
        _write_rows(path / f"{fold}.test", rows[test], "\t")


def _write_rows(path: Path, rows: np.ndarray, separator: str) -> None:
    lines = [separator.join(map(str, row)) + "\n" for row in rows.tolist()]
    path.write_bytes("".join(lines).encode("ascii"))


def _title(film: int) -> str:
    return f"Sample Film {film:03} ({_year(film)})"


def _year(film: int) -> int:
    return 1950 + film % 50
