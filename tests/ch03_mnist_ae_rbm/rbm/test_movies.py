import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm.rbm import movies, ratings
from zoo.common.data import DataError
from zoo.common.settings import Scale

TITLES = {
    1: "Toy Story (1995)",
    6: "Heat (1995)",
    2571: "Matrix, The (1999)",
    3114: "Toy Story 2 (1999)",
    28: "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
    246: "Chasing Amy (1997)",
    268: "Chasing Amy (1997)",
    5: "Sabrina (1954)",
    7: "Sabrina (1995)",
    9: "Schindler's List (1993)",
}


@pytest.mark.parametrize(
    ("text", "movie"),
    [
        ("Toy Story (1995)", 1),
        ("toy story", 1),
        ("TOY STORY 2", 3114),
        ("The Matrix", 2571),
        ("matrix, the (1999)", 2571),
        ("matrix", 2571),
        ("The City of Lost Children (1995)", 28),
        ("schindlers list", 9),
        ("Schindler's Lst", 9),
        ("Chasing Amy", 246),
        ("Sabrina (1995)", 7),
    ],
)
def test_a_movie_is_found_by_what_people_type(text, movie):
    assert movies.find(text, TITLES) == movie


def test_an_unknown_title_lists_the_nearest():
    with pytest.raises(DataError, match=r"no movie 'Toy Soldiers'; .*'Toy Story \(1995\)'"):
        movies.find("Toy Soldiers", TITLES)
    with pytest.raises(
        DataError, match=r"no movie 'Heat \(1996\)'; the nearest are 'Heat \(1995\)'"
    ):
        movies.find("Heat (1996)", TITLES)


def test_a_title_of_two_movies_is_not_guessed():
    with pytest.raises(DataError, match=r"may be 'Sabrina \(1954\)', 'Sabrina \(1995\)'"):
        movies.find("Sabrina", TITLES)


def test_ratings_stand_behind_the_last_equals_sign():
    assert movies.split_rating("Heat (1995)=2") == ("Heat (1995)", 2)
    assert movies.split_rating("E=mc2 = 4") == ("E=mc2", 4)
    assert movies.split_rating("Heat") == ("Heat", 5)
    for bad in ("Heat=6", "Heat=", "=3", "Heat=2.5"):
        with pytest.raises(DataError, match="expected a title and a rating from 1 to 5"):
            movies.split_rating(bad)
    halves = Scale(0.5, 5, 0.5)
    assert movies.split_rating("Heat=2.5", halves) == ("Heat", 5)
    assert movies.split_rating("Heat", halves) == ("Heat", 10)
    with pytest.raises(DataError, match=r"rating from 0.5 to 5 in steps of 0.5: 'Heat \(1995\)=5'"):
        movies.split_rating("Heat=0", halves)


def test_the_best_movies_are_those_of_the_highest_scores_that_are_not_known():
    table = ratings.Table(*[np.zeros((2, 4), np.uint8)] * 2, np.arange(2), np.arange(4) + 10)
    known = np.array([True, False, False, False])
    found = movies.best(np.array([0.9, 0.8, 0.1, 0.7], np.float32), table, known, 2)
    assert [movie for movie, _ in found] == [11, 13]
    np.testing.assert_allclose([score for _, score in found], [0.8, 0.7])
    found = movies.best(np.array([0.1, 0.2, 0.3, 0.4]), table, known, 99)
    assert [movie for movie, _ in found] == [13, 12, 11]
