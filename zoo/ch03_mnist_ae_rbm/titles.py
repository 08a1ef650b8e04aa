"""Finding a film by a title that somebody typed (chapter 3)."""

import difflib
import re
from collections.abc import Mapping

from zoo.common.data import DataError

NEAREST = 5
ALIKE = 0.8
"""A title is taken for another from this likeness on, 1 being the same."""

_ARTICLE = re.compile(r"^(.*), (the|a|an)$")
_YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)$")


def split_rating(text: str) -> tuple[str, int]:
    """("Heat (1995)", 2) of `Heat (1995)=2`; without a rating it is 5.

    Raises:
      DataError: there is no title, or the rating is not a whole number from 1 to 5.
    """
    title, sign, rating = text.rpartition("=")
    if not sign:
        title, rating = text, "5"
    if not re.fullmatch(r"\s*[1-5]\s*", rating) or not title.strip():
        raise DataError(f"got {text!r}, expected a title and a rating from 1 to 5: 'Heat (1995)=2'")
    return title.strip(), int(rating)


def find(text: str, titles: Mapping[int, str]) -> int:
    """The id of the film that is meant by `text`: its title or nearly so, with or without a year.

    Case, punctuation and the place of an article do not matter ("the matrix" is "Matrix, The
    (1999)"). A part of a title will do if it is in one title alone; a slip of the pen is forgiven.

    Args:
      text: what was typed.
      titles: titles by id; of equal titles the first is meant.

    Raises:
      DataError: no title or more than one is meant; lists the nearest ones.
    """
    name, year = _plain(text)
    plain = {film: _plain(title) for film, title in titles.items()}
    same_year = {film: n for film, (n, y) in plain.items() if not year or y == year}
    alike = [film for film, other in same_year.items() if other == name]
    alike = alike or [film for film, other in same_year.items() if f" {name} " in f" {other} "]
    if not alike:
        score = {f: difflib.SequenceMatcher(None, name, n).ratio() for f, n in same_year.items()}
        best = max(score.values(), default=0.0)
        alike = [film for film, value in score.items() if value == best >= ALIKE]
    if len({titles[film] for film in alike}) == 1:
        return alike[0]
    if alike:
        raise DataError(f"{text!r} may be {_listed(alike, titles)}: give the whole title")
    score = {f: difflib.SequenceMatcher(None, name, n).ratio() for f, (n, _) in plain.items()}
    nearest = sorted(score, key=score.get, reverse=True)
    raise DataError(f"there is no film {text!r}; the nearest are {_listed(nearest, titles)}")


def _listed(films: list[int], titles: Mapping[int, str]) -> str:
    return ", ".join(repr(titles[film]) for film in films[:NEAREST])


def _plain(title: str) -> tuple[str, str]:
    """Letters and digits of a title in lower case, its article in front; and its year, or ""."""
    title, year = title.strip().lower(), ""
    if found := _YEAR.match(title):
        title, year = found[1], found[2]
    title = re.sub(r"\s*\(.*?\)", "", title) or title  # the title in another language
    if found := _ARTICLE.match(title):
        title = f"{found[2]} {found[1]}"
    return " ".join(re.findall(r"\w+", title.replace("'", ""))), year
