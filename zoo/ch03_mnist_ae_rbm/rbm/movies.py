"""Movies for someone: the best of what is not rated yet, and titles that somebody typed."""

import difflib
import re
from collections.abc import Mapping

import numpy as np

from zoo.ch03_mnist_ae_rbm.rbm import ratings
from zoo.ch03_mnist_ae_rbm.rbm.ratings import Ratings, Table
from zoo.ch03_mnist_ae_rbm.rbm.task import predict_newcomers
from zoo.common.data import DataError, movielens
from zoo.common.settings import Scale
from zoo.common.trained import Trained

BOOKS_MOVIE = "Erin Brockovich (2000)"
NEAREST = 5
ALIKE = 0.8
"""A title is taken for another from this likeness on, 1 being the same."""

_ARTICLE = re.compile(r"^(.*), (the|a|an)$")
_YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)$")


def best(
    scores: np.ndarray, table: Table, known: np.ndarray, count: int
) -> list[tuple[int, float]]:
    """Ids and scores of the best movies for one person.

    Args:
      scores: of every movie [M].
      table: whose movies the columns are.
      known: bool [M], what is not to be recommended.
      count: how many, or all that are left.
    """
    order = np.argsort(np.where(known, np.inf, -scores), kind="stable")[: (~known).sum()]
    return [(int(table.movies[column]), float(scores[column])) for column in order[:count]]


def print_as_the_book(trained: Trained, dataset: Ratings) -> None:
    """Prints ten movies for someone who likes one, the book's where the data have it."""
    table, titles = dataset.table, dataset.titles
    column = int((table.train > 0).sum(0).argmax())
    wanted = [movie for movie, title in titles.items() if title == BOOKS_MOVIE]
    if wanted and wanted[0] in table.movies:
        column = int(movielens.dense(np.array(wanted), table.movies)[0])
    likes = np.zeros((1, len(table.movies)), np.uint8)
    likes[0, column] = trained.config.scale_of_ratings.values
    scores = predict_newcomers(trained.config, trained.params, table.train, likes)[0]
    print(f"for someone who likes {titles[int(table.movies[column])]}:")
    for movie, _ in best(scores, table, likes[0] > 0, 10):
        print(f"  {movie:>5}  {titles[movie]}")


def split_rating(text: str, scale: Scale = ratings.MOVIELENS) -> tuple[str, int]:
    """("Heat (1995)", 2) of `Heat (1995)=2`; without a rating it is the highest, 5.

    Ratings are given back counted from 1, the lowest of the scale.

    Raises:
      DataError: there is no title, or the rating is not one of the scale.
    """
    title, sign, rating = text.rpartition("=")
    if not sign:
        title, rating = text, f"{scale.highest:g}"
    numbers = {f"{ratings.on_scale(n, scale):g}": n for n in range(1, scale.values + 1)}
    try:
        number = numbers.get(f"{float(rating):g}")
    except ValueError:
        number = None
    if number is None or not title.strip():
        example = f"'Heat (1995)={scale.highest:g}'"
        raise DataError(f"got {text!r}, expected a title and a rating from {scale}: {example}")
    return title.strip(), number


def find(text: str, titles: Mapping[int, str]) -> int:
    """The id of the movie that is meant by `text`: its title or nearly so, with or without a year.

    Case, punctuation and the place of an article do not matter ("the matrix" is "Matrix, The
    (1999)"). A part of a title will do if it is in one title alone; a slip of the pen is forgiven.

    Args:
      text: what was typed.
      titles: titles by id; of equal titles the first one is taken.

    Raises:
      DataError: no title or more than one is meant; lists the nearest ones.
    """
    name, year = _plain(text)
    plain = {movie: _plain(title) for movie, title in titles.items()}
    same_year = {movie: n for movie, (n, y) in plain.items() if not year or y == year}
    alike = [movie for movie, other in same_year.items() if other == name]
    alike = alike or [movie for movie, other in same_year.items() if f" {name} " in f" {other} "]
    if not alike:
        score = {m: difflib.SequenceMatcher(None, name, n).ratio() for m, (n, _) in plain.items()}
        closest = max((score[movie] for movie in same_year), default=0.0)
        alike = [movie for movie in same_year if score[movie] == closest >= ALIKE]
    if not alike:
        nearest = sorted(score, key=lambda movie: score[movie], reverse=True)
        raise DataError(f"no movie {text!r}; the nearest are {_listed(nearest, titles)}")
    if len({titles[movie] for movie in alike}) > 1:
        raise DataError(f"{text!r} may be {_listed(alike, titles)}: give the whole title")
    return alike[0]


def _listed(movies: list[int], titles: Mapping[int, str]) -> str:
    return ", ".join(repr(titles[movie]) for movie in movies[:NEAREST])


def _plain(title: str) -> tuple[str, str]:
    """Letters and digits of a title in lower case, its article in front; and its year, or ""."""
    title, year = title.strip().lower(), ""
    if found := _YEAR.match(title):
        title, year = found[1], found[2]
    title = re.sub(r"\s*\(.*?\)", "", title) or title  # the title in another language
    if found := _ARTICLE.match(title):
        title = f"{found[2]} {found[1]}"
    return " ".join(re.findall(r"\w+", title.replace("'", ""))), year
