"""Ratings from a file of one's own."""

import gzip

import numpy as np
import pytest

from zoo.common.data import DataError, own_ratings
from zoo.common.data.dataset import digest
from zoo.common.settings import Scale

USERS, ITEMS = ("ann", "bob", "cy", "dee"), ("Émile", "b, c", "10", "9")


def triples(seed=0):
    """All pairs but one in four, each with a rating from 0.5 to 3 in halves and a time."""
    rng = np.random.default_rng(seed)
    pairs = [(u, i) for u in USERS for i in ITEMS if rng.random() > 0.25]
    halves = [1, 6, 2, 3, *rng.integers(1, 7, len(pairs) - 4)]
    return [
        (*pair, half / 2, int(rng.integers(1000))) for pair, half in zip(pairs, halves, strict=True)
    ]


def write(path, rows, separator=",", header=""):
    def quoted(value):
        text = str(value)
        return f'"{text}"' if separator in text else text

    lines = [separator.join(map(quoted, row)) for row in rows]
    text = "\n".join(([header] if header else []) + lines) + "\n"
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def rated(found):
    """What was read as the file has it: (user, item, rating, time), sorted."""
    low, _, step = found.scale
    rows = []
    for part in (found.train, found.test):
        if part:
            ratings = low + (part["rating"].astype(float) - 1) * step
            columns = (part["user"], part["item"], ratings, part["timestamp"])
            rows += [
                (found.users[u], found.items[i], r, t) for u, i, r, t in zip(*columns, strict=True)
            ]
    return sorted(rows)


@pytest.mark.parametrize(
    ("name", "separator", "header"),
    [
        ("a.csv", ",", ""),
        ("a.csv", ",", "userId,movieId,rating,timestamp"),
        ("a.tsv", "\t", ""),
        ("a.csv", ";", "User_ID;Book-Title;Stars;When"),
        ("a.dat", "::", ""),
        ("a.txt", "|", ""),
        ("a.csv.gz", ",", "user,item,rating,timestamp"),
    ],
)
def test_a_table_is_read_as_it_stands_there(name, separator, header, tmp_path):
    path = write(tmp_path / name, triples(), separator, header)
    found = own_ratings.load(path, split="all")
    assert rated(found) == sorted(triples())
    assert found.scale == (0.5, 3.0, 0.5)
    assert not found.test
    assert found.source == "own"
    assert digest(found) == digest(own_ratings.load(path, split="all"))


def test_named_columns_may_come_in_any_order_with_others_between(tmp_path):
    rows = [(time, "x", rating, item, user) for user, item, rating, time in triples()]
    header = "unixReviewTime,verified,overall,asin,reviewerID"
    found = own_ratings.load(write(tmp_path / "a.csv", rows, ",", header), split="all")
    assert rated(found) == sorted(triples())


def test_whole_numbers_stay_the_ids_and_other_ids_are_numbered_in_order(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("7,100,1\n7,20,2\n3,20,3\n")
    found = own_ratings.load(path, split="all")
    assert found.users == {3: "3", 7: "7"}
    assert found.items == {20: "20", 100: "100"}
    path.write_text("7,100,1\n7,020,2\n3,5000000000,3\n")
    assert own_ratings.load(path, split="all").items == {1: "020", 2: "100", 3: "5000000000"}


def test_a_tenth_is_held_out_and_everyone_is_left_with_something(tmp_path):
    rng = np.random.default_rng(0)
    grid = [(u, i, int(rng.integers(1, 6))) for u in range(1, 21) for i in range(1, 16)]
    grid.append((99, 1, 3))  # one rating alone
    path = write(tmp_path / "a.csv", grid)
    found = own_ratings.load(path)
    assert found.split == "holdout"
    assert len(found.test["user"]) == 30
    for key in ("user", "item"):
        assert set(found.test[key]) <= set(found.train[key])
    assert 99 in found.train["user"]
    again, other = own_ratings.load(path), own_ratings.load(path, seed=1)
    assert digest(again) == digest(found) != digest(other)


def test_the_latest_item_of_each_is_held_out_among_some_never_rated(tmp_path):
    rng = np.random.default_rng(0)
    grid = [(u, i, int(rng.integers(10**6))) for u in range(1, 9) for i in range(1, 31)]
    grid = [row for row in grid if rng.random() < 0.3]
    grid += [(50, 1, 1)]  # one pair alone
    grid += [(60, i, i) for i in range(1, 31)]  # has seen all
    path = write(tmp_path / "a.csv", grid, ",", "user,item,time")
    found = own_ratings.load(path)
    assert found.split == "leave-one-out"
    assert "rating" not in found.train
    assert found.test["negative"].shape == (8, 7)
    columns = (found.test[key] for key in ("user", "item", "negative"))
    for user, item, negative in zip(*columns, strict=True):
        own = {i: t for u, i, t in grid if u == user}
        assert item == max(own, key=lambda i: own[i])
        assert len(set(negative)) == 7
        assert not set(negative) & set(own)
    assert set(found.train["user"]) == set(found.test["user"]) == set(range(1, 9))


def test_ratings_are_rounded_to_a_scale_that_is_given(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,1.24\na,c,3.75\nb,c,-0.2\n")
    found = own_ratings.load(path, split="all", scale=(0, 4, 0.5))
    assert found.train["rating"].tolist() == [3, 9, 1]  # 1, 4 and 0
    assert str(Scale(*found.scale)) == "0 to 4 in steps of 0.5"
    assert Scale(*found.scale).values == 9


def test_titles_are_found_by_id_and_others_are_called_by_it(tmp_path):
    path = write(tmp_path / "a.csv", triples())
    titles = tmp_path / "titles.csv"
    titles.write_text('item,title,genres\n9,"Nine, the",Drama|War\n"b, c",Bee,\n77,none rated\n')
    with pytest.raises(DataError, match=r"line 4: found 2 columns, expected 3"):
        own_ratings.load(path, titles)
    titles.write_text('item,title,genres\n9,"Nine, the",Drama|War\n"b, c",Bee,\n')
    found = own_ratings.load(path, titles)
    named = {found.items[number]: title for number, title in found.titles.items()}
    assert named == {"9": "Nine, the", "b, c": "Bee", "10": "10", "Émile": "Émile"}
    kinds = {found.items[number]: genres for number, genres in found.genres.items()}
    assert kinds == {"9": ("Drama", "War"), "b, c": (), "10": (), "Émile": ()}
    titles.write_text('"b, c",Bee; or not: a|b::c\n9,Nine\n')  # the first separator is the one
    found = own_ratings.load(path, titles)
    assert {"Bee; or not: a|b::c", "Nine"} < set(found.titles.values())
    titles.write_text("other,title\n1,One\n")
    with pytest.raises(DataError, match=r"found '1', expected ids of rated items, such as '10'"):
        own_ratings.load(path, titles)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("a\nb\n", "line 1: found 1 column, expected user,item"),
        ("user,item,rating\n", "no line of ratings"),
        ("a,b,3\na,c,x\n", "line 2: found 'x', expected a rating"),
        ("a,b,3\na,c,inf\n", "line 2: found 'inf', expected a rating"),
        ("a,b,3\n\n,c,4\n", "line 3: found no user, expected an id of the user"),
        ("a,b,3\na,c\n", "line 2: found 2 columns, expected 3 as in the first line"),
        ("a,b,3\na,c,4\nb,c,5\na,b,5\n", r"line 4: found user 'a' and item 'b' a second time \(fi"),
        ("a,b,3\na,c,3\n", "found 3 in every line, expected at least two different ones.*ranking"),
        ("a,b,1\na,c,1.31\nb,c,4\n", "3 values from 1 to 4, expected at most 21.*--rating-scale"),
        ("a,b,1\na,c,2\n", "none of which can be held out, expected more, or --split all"),
        ("a,b\na,c\n", "found no user who has at least 2 of 2 items, and has not seen a quarter"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_line(text, message, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        own_ratings.load(path)
    assert "mine.csv" in str(error.value)


def test_what_is_outside_of_the_scale_or_no_split_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,1\na,c,7\nb,c,2\n")
    with pytest.raises(DataError, match=r"line 2: found rating 7, expected 1 to 5"):
        own_ratings.load(path, scale=(1, 5, 1))
    with pytest.raises(DataError, match=r"got split u1 .* expected one of auto, all, leave-one"):
        own_ratings.load(path, split="u1")
