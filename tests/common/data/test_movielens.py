import codecs
import gzip
import lzma
import os
import re
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.common.data import DataError, movielens, sample

PACK = {".gz": gzip.compress, ".xz": lzma.compress, "": lambda content: content}
GOOD = b"1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n"

BAD = {
    "rating zero": (GOOD + b"2::661::0::1\n", ["line 4", "rating 0", "1 to 5"]),
    "rating six": (b"1::1::6::1\n", ["line 1", "rating 6", "1 to 5"]),
    "half a star": (GOOD + b"2::661::3.5::1\n", ["line 4", "2::661::3.5::1", "MovieLens 10M"]),
    "the CSV of newer releases": (b"userId,movieId,rating,timestamp\n1,2,4.0,9\n", ["in CSV"]),
    "such a CSV without a heading": (b"1,2,4.0,9\n", ["line 1", "in CSV"]),
    "a byte order mark alone": (b"\xef\xbb\xbf", ["byte 0", "mark alone"]),
    "a negative rating": (b"1::1::-1::1\n", ["line 1", "1::1::-1::1"]),
    "a missing field": (GOOD + b"2::661::3\n" + GOOD, ["line 4", "2::661::3"]),
    "a field too many": (GOOD + b"2::661::3::1::1\n", ["line 4"]),
    "an empty field": (GOOD + b"2::::3::1\n", ["line 4", "2::::3::1"]),
    "an empty line": (GOOD + b"\n" + GOOD, ["line 4"]),
    "tabs": (b"1\t1193\t5\t978300760\n", ["line 1", "a line of MovieLens 100K"]),
    "one colon": (b"1:1193:5:978300760\n", ["line 1"]),
    "colons apart": (b"1:1:193::5:9:78300760\n", ["line 1"]),
    "a space": (b"1:: 1193::5::978300760\n", ["line 1"]),
    "a letter": (GOOD.replace(b"661", b"66l"), ["line 2", "66l"]),
    "a fullwidth digit": (GOOD + "２::1::1::1\n".encode(), ["line 4"]),
    "a number of eleven digits": (b"1::1::1::12345678901\n", ["line 1", "12345678901"]),
    "user zero": (GOOD + b"0::661::3::1\n", ["line 4", "user 0"]),
    "a movie beyond 31 bits": (b"1::2147483648::3::1\n", ["line 1", "2147483648"]),
    "a pair a second time": (GOOD + b"1::661::4::1\n", ["line 4", "(1, 661) a second time"]),
    "no last newline": (GOOD[:-1], ["line 3", "cut off"]),
    "a lone carriage return": (GOOD + b"2::661\r::3::1\n", ["line 4"]),
    "NUL bytes": (GOOD + bytes(8) + b"\n", ["line 4"]),
    "UTF-16": (GOOD.decode().encode("utf-16"), ["line 1"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_rejected_by_name_and_line(name, tmp_path):
    content, words = BAD[name]
    path = tmp_path / "ratings.dat"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        movielens.read_ratings(path)
    for word in [str(path), "expected", *words]:
        assert word in str(caught.value)


def test_the_line_is_the_right_one_far_into_a_large_file(tmp_path):
    path = tmp_path / "ratings.dat"
    lines = [f"{i}::1::5::978300760" for i in range(1, 150_001)]
    lines[123_455] = "123456::1::x::978300760"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"line 123,456: found '123456::1::x::978300760'"):
        movielens.read_ratings(path)


def ids():
    return st.integers(1, 2**31 - 1)


def rows():
    row = st.tuples(ids(), ids(), st.integers(1, 5), st.integers(0, 10**10 - 1))
    return st.lists(row, min_size=1, max_size=20, unique_by=lambda row: row[:2])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=rows(),
    separator=st.sampled_from(["::", "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    columns=st.sampled_from([2, 4]),
    suffix=st.sampled_from(sorted(PACK)),
)
def test_what_is_written_is_read_back(rows, separator, newline, columns, suffix, tmp_path):
    lines = [separator.join(map(str, row[:columns])) + newline for row in rows]
    path = tmp_path / f"ratings{suffix}"
    path.write_bytes(PACK[suffix]("".join(lines).encode()))
    ratings = movielens.read_ratings(path, line=separator.join("N" * columns))
    actual = [part.tolist() for part in ratings.values()]
    assert list(zip(*actual, strict=True)) == [row[:columns] for row in rows]
    dtypes = {"user": np.int32, "item": np.int32, "rating": np.uint8, "timestamp": np.int64}
    assert {key: part.dtype for key, part in ratings.items()} == dict(
        list(dtypes.items())[:columns]
    )


def by_the_book(content):
    """The rows of a ratings file, read slowly by another way; None where it is not one."""
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    form = re.compile(rb"(\d{1,10})::(\d{1,10})::(\d{1,10})::(\d{1,10})")
    found = [form.fullmatch(line) for line in lines[:-1]]
    if lines[-1] or not found or None in found:
        return None
    rows = [tuple(int(number) for number in match.groups()) for match in found]
    good = all(0 < u < 2**31 and 0 < i < 2**31 and 1 <= r <= 5 for u, i, r, _ in rows)
    return rows if good and len({row[:2] for row in rows}) == len(rows) else None


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rows=rows())
def test_a_mutated_file_is_the_mutated_ratings_or_a_data_error(data, rows, tmp_path, mutate):
    content = "".join("::".join(map(str, row)) + "\n" for row in rows).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        content = mutate(data, content)
    path = tmp_path / "ratings.dat"
    path.write_bytes(content)
    expected = by_the_book(content)
    if expected is None:
        with pytest.raises(DataError, match=str(path)):
            movielens.read_ratings(path)
    else:
        actual = [part.tolist() for part in movielens.read_ratings(path).values()]
        assert list(zip(*actual, strict=True)) == expected


MOVIES = "1::Toy Story (1995)::Animation|Comedy\n73::Misérables, Les (1995)::Drama\n"

BAD_MOVIES = {
    "UTF-8 with a fault": (MOVIES.encode() + b"2::\xe9::Drama\n", ["line 3", "e9", "UTF-8 as"]),
    "a byte order mark alone": (b"\xef\xbb\xbf", ["byte 0", "mark alone"]),
    "a genre of MovieLens 10M": (b"1::X::IMAX\n", ["line 1", "IMAX", "MovieLens 10M"]),
    "a control byte of cp1252": (MOVIES.encode("latin-1") + b"2::\x93X\x94::Drama\n", [r"\x93"]),
    "a NUL byte": (b"1::a\0b::Drama\n", ["line 1", r"a\x00b"]),
    "no last newline": (MOVIES.encode("latin-1")[:-1], ["line 2", "cut off"]),
    "two fields": (MOVIES.encode("latin-1") + b"2::X\n", ["line 3", "id::title"]),
    "an empty title": (b"1::::Drama\n", ["line 1", "title"]),
    "an unknown genre": (b"1::X::Drama|Polka\n", ["line 1", "Polka"]),
    "a genre twice": (b"1::X::Drama|Drama\n", ["line 1", "Drama"]),
    "no genre": (b"1::X::\n", ["line 1", "genre"]),
    "an id twice": (b"1::X::Drama\n1::Y::Drama\n", ["line 2", "movie 1 a second time"]),
    "a word as id": (b"one::X::Drama\n", ["line 1", "one"]),
}


@pytest.mark.parametrize("name", BAD_MOVIES)
def test_a_bad_list_of_movies_is_rejected_by_name_and_place(name, tmp_path):
    content, words = BAD_MOVIES[name]
    path = tmp_path / "movies.dat"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        movielens.read_movies(path)
    for word in [str(path), "expected", *words]:
        assert word in str(caught.value)


ITEM = "1|Amélie|01-Jan-2001||http://x|" + "|".join("0000010010000000000") + "\n"
BAD_ITEMS = {
    "a field short": (ITEM[:-3] + "\n", "24 fields"),
    "a field too many": (ITEM[:-1] + "|0\n", "24 fields"),
    "a flag of two": (ITEM.replace("|1|", "|2|", 1), "24 fields"),
    "no genre at all": (ITEM.replace("|1|", "|0|"), "genres"),
    "an empty title": (ITEM.replace("Amélie", ""), "24 fields"),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_a_bad_u_item_is_rejected_by_line(name, tmp_path):
    content, word = BAD_ITEMS[name]
    path = tmp_path / "u.item"
    path.write_bytes((ITEM.replace("1|", "7|", 1) + content).encode("latin-1"))
    with pytest.raises(DataError, match=f"line 2.*{word}"):
        movielens.read_movies(path)
    path.write_bytes(ITEM.encode("latin-1"))
    assert movielens.read_movies(path) == ({1: "Amélie"}, {1: ("Comedy", "Drama")})


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_titles_are_read_in_either_encoding(encoding, newline, tmp_path):
    for content, title in ((MOVIES, "Misérables, Les (1995)"), (ITEM, "Amélie")):
        path = tmp_path / "movies"
        path.write_bytes(content.replace("\n", newline).encode(encoding))
        titles, genres = movielens.read_movies(path)
        assert list(titles.values())[-1] == title
        assert list(genres.values())[-1][-1] == "Drama"
    path.write_bytes(codecs.BOM_UTF8 + GOOD)
    assert movielens.read_ratings(path)["item"].tolist() == [1193, 661, 1193]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mutated_list_of_movies_is_the_mutated_movies_or_a_data_error(data, tmp_path, mutate):
    content = mutate(data, MOVIES.encode("latin-1"))
    path = tmp_path / "movies.dat"
    path.write_bytes(content)
    try:
        titles, genres = movielens.read_movies(path)
    except DataError:
        return
    again = [f"{i}::{titles[i]}::{'|'.join(genres[i])}\n" for i in titles]
    normal = re.sub(rb"^0+", b"", content.replace(b"\r\n", b"\n"), flags=re.MULTILINE)
    assert "".join(again).encode("latin-1") == normal


@pytest.fixture
def folder(tmp_path, published):
    """A small MovieLens 1M: the built-in sample as if it were the published set."""
    sample.write("ml-1m", tmp_path)
    for name in ("ML_1M", "ML_1M_NCF"):
        published(movielens, name, tmp_path)
    return tmp_path


def test_pairs_only_are_read_where_there_are_no_rating_values(folder, published):
    full = movielens.load("ml-1m", "real", folder)
    lines = (folder / "ratings.dat").read_text().splitlines()
    (folder / "ratings.dat").unlink()
    pairs = "".join("::".join(line.split("::")[:2]) + "\n" for line in lines)
    (folder / "interactions.dat").write_text(pairs)
    published(movielens, "ML_1M", folder)
    ratings = movielens.load("ml-1m", "real", folder)
    assert list(ratings.train) == ["user", "item"]
    for key, values in ratings.train.items():
        np.testing.assert_array_equal(values, full.train[key])
    np.testing.assert_equal(ratings.test, full.test)
    assert ratings[-2:] == full[-2:]
    assert "no rating values" in ratings.description


def test_a_zip_archive_is_read_like_a_folder(folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("zip")
    archive = home / "ml-1m.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in folder.iterdir():
            zipped.write(path, f"ml-1m/{path.name}")
    np.testing.assert_equal(
        movielens.load("ml-1m", "real", home, "all"), movielens.load("ml-1m", "real", folder, "all")
    )
    with zipfile.ZipFile(archive) as zipped:
        at = zipped.getinfo("ml-1m/ratings.dat").header_offset + 2000
    content = bytearray(archive.read_bytes())
    content[at] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DataError, match=str(archive)):
        movielens.load("ml-1m", "real", home)


def edit(path, old, new):
    """Replaces the first occurrence in a file."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


@pytest.mark.parametrize("data", ["auto", "real"])
@pytest.mark.parametrize("name", ["ratings.dat", "movies.dat", "ml-1m.test.rating"])
def test_a_file_with_other_newlines_makes_the_set_unknown(name, data, folder):
    before = movielens.load("ml-1m", data, folder)
    assert before.name == "MovieLens 1M"
    assert before.description.startswith("MovieLens 1M, split leave-one-out: ratings, ")
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    after = movielens.load("ml-1m", data, folder)
    assert after.name == "unknown ratings in MovieLens 1M's format"
    assert after.description.startswith(f"{after.name}, split leave-one-out: ratings, ")
    assert after.description.endswith(f"; files that differ from the published ones: {path}")
    np.testing.assert_equal(after[4:], before[4:])


@pytest.mark.parametrize("name", ["ratings.dat", "movies.dat", "ml-1m.test.rating"])
def test_a_cut_off_file_is_refused(name, folder):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"{path}: line .*The file is cut off\."):
        movielens.load("ml-1m", "auto", folder)


def test_other_ratings_need_not_have_the_test_set_of_the_published_ones(folder):
    path = folder / "ratings.dat"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if not line.startswith(b"300::")))
    dataset = movielens.load("ml-1m", "real", folder)
    assert dataset.split == "all"
    assert dataset.name == "unknown ratings in MovieLens 1M's format"
    with pytest.raises(DataError, match=r"line 300: found user 299.*299 users"):
        movielens.load("ml-1m", "real", folder, "leave-one-out")


def test_movies_that_were_rated_and_are_not_listed_are_refused(folder):
    path = folder / "movies.dat"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(DataError, match=f"{path}: the list of movies: found no movie 249"):
        movielens.load("ml-1m", "real", folder, "all")


def test_a_test_set_that_does_not_fit_the_ratings_is_refused(folder):
    held, listed = folder / "ml-1m.test.rating", folder / "ml-1m.test.negative"
    whole = [path.read_bytes() for path in (held, listed)]
    user, movie, negative = re.match(rb"\((\d+),(\d+)\)\t(\d+)", whole[1]).groups()
    pair, other = b"(%s,%s)" % (user, movie), b"(%s,%s)" % (user, negative)
    for path, old, new, words in [
        (listed, pair, other, f"{listed}: line 1: .*the pair in {held}"),
        (listed, whole[1].splitlines(keepends=True)[-1], b"", f"{listed}: the end: found 299 l"),
        (listed, b"\t%s\t" % negative, b"\t250\t", f"{listed}: line 1.*250 .* 250 movies"),
        (listed, b"\t%s\t" % negative, b"\t0\t", f"{listed}: line 1: .*user 0 .*never rated"),
    ]:
        edit(path, old, new)
        with pytest.raises(DataError, match=words):
            movielens.load("ml-1m", "real", folder)
        for kept, content in zip((held, listed), whole, strict=True):
            kept.write_bytes(content)
    edit(listed, pair, other)
    edit(held, pair[1:-1].replace(b",", b"\t"), other[1:-1].replace(b",", b"\t"))
    with pytest.raises(DataError, match=f"{held}: line 1: found user 0 and .*that was rated"):
        movielens.load("ml-1m", "real", folder)


def test_a_test_set_that_is_not_one_movie_of_each_user_is_refused(folder):
    paths = folder / "ml-1m.test.rating", folder / "ml-1m.test.negative"
    lines = [path.read_bytes().splitlines(keepends=True) for path in paths]
    for order, words in (
        (slice(-1), "the end: found 299 lines, .*300 users"),
        (slice(None, None, -1), "line 1: found user 299, expected the users in"),
    ):
        for path, kept in zip(paths, lines, strict=True):
            path.write_bytes(b"".join(kept[order]))
        with pytest.raises(DataError, match=f"{paths[0]}: {words}"):
            movielens.load("ml-1m", "real", folder)


def test_an_edited_100k_is_unknown_and_a_pair_in_both_files_of_a_fold_is_refused(tmp_path):
    sample.write("ml-100k", tmp_path)
    dataset = movielens.load("ml-100k", "auto", tmp_path, "u3")
    assert dataset.name == "unknown ratings in MovieLens 100K's format"
    assert dataset.description.endswith(f"{tmp_path / 'u.item'} and 2 more")
    path = tmp_path / "u3.test"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + (tmp_path / "u3.base").read_bytes().split(b"\n")[7] + b"\n")
    with pytest.raises(DataError, match=rf"{path}: line 2: .*none of u3\.base"):
        movielens.load("ml-100k", "auto", tmp_path, "u3")
    path.write_bytes(b"".join(lines)[:-3])
    with pytest.raises(DataError, match="cut off"):
        movielens.load("ml-100k", "real", tmp_path, "u3")


def test_without_its_held_out_files_all_of_1m_is_to_train_on(folder, no_network):
    (folder / "ml-1m.test.rating").unlink()
    assert movielens.load("ml-1m", "real", folder).split == "all"
    with pytest.raises(DataError, match=r"ml-1m-ncf: ml-1m\.test\.rating"):
        movielens.load("ml-1m", "real", folder, "leave-one-out")


def test_the_folds_of_the_sample_are_the_whole_set_each():
    def rows(*parts):
        return sorted(row for part in parts for row in zip(*map(list, part.values()), strict=True))

    everything = rows(movielens.load("ml-100k", "sample", split="all").train)
    for fold in movielens.FOLDS:
        dataset = movielens.load("ml-100k", "sample", split=fold)
        assert rows(dataset.train, dataset.test) == everything


def test_leave_one_out_takes_the_held_out_pairs_out_of_the_training_set():
    dataset = movielens.load("ml-1m", "sample", split="leave-one-out")
    train, test = dataset.train, dataset.test
    pairs = set(zip(train["user"].tolist(), train["item"].tolist(), strict=True))
    held = set(zip(test["user"].tolist(), test["item"].tolist(), strict=True))
    assert len(held) == len(test["user"]) == len(np.unique(train["user"])) == 300
    assert not pairs & held
    everything = movielens.load("ml-1m", "sample", split="all")
    assert len(pairs) + len(held) == len(everything.train["user"])
    for user, negatives in zip(test["user"].tolist(), test["negative"].tolist(), strict=True):
        assert len(negatives) == 99
        assert not any((user, item) in pairs for item in negatives)


def test_dense_numbers_are_positions_among_the_known_ids():
    item = np.array([30, 10, 30, 20])
    known = movielens.by_appearance(item)
    assert known.tolist() == [30, 10, 20]
    assert movielens.dense(item, known).tolist() == [0, 1, 0, 2]
    with pytest.raises(ValueError, match="id 40 is not among the 3"):
        movielens.dense(np.array([10, 40]), known)


@pytest.mark.parametrize("name", ["ml-100k", "ml-1m"])
def test_the_sample_says_that_it_is_one_and_looks_like_the_real_set(name, no_network, tmp_path):
    dataset = movielens.load(name, "auto", tmp_path)
    assert dataset.source == "sample"
    assert "built-in sample, not MovieLens" in dataset.description
    assert set(dataset.train["item"].tolist()) <= set(dataset.titles) == set(dataset.genres)
    counts = np.bincount(dataset.train["rating"], minlength=6)
    assert counts[0] == 0
    assert counts[1:].min() > 100
    assert 3.3 < dataset.train["rating"].mean() < 3.9


def test_the_ratings_of_the_sample_can_be_predicted_better_than_by_their_mean():
    dataset = movielens.load("ml-100k", "sample")
    table = np.full((301, 251), np.nan)
    table[dataset.train["user"], dataset.train["item"]] = dataset.train["rating"]
    mean = np.nanmean(table)
    with np.errstate(all="ignore"):
        filled = table - mean
        filled -= np.nan_to_num(np.nansum(filled, 1) / 40)[:, None]
    u, s, v = np.linalg.svd(np.nan_to_num(filled))
    guess = (u[:, :4] * s[:4]) @ v[:4]
    test = dataset.test
    error = test["rating"] - mean
    assert np.corrcoef(guess[test["user"], test["item"]], error)[0, 1] > 0.3


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """A ratings file of MovieLens 1M's size: 1,000,209 lines, 24.6 MB."""
    path = tmp_path_factory.mktemp("million") / "ratings.dat"
    rng = np.random.default_rng(1)
    pairs = rng.choice(6040 * 3952, 1_000_209, replace=False)
    pairs.sort()
    values = rng.integers(1, 6, len(pairs))
    when = rng.integers(956_703_932, 1_046_454_590, len(pairs))
    columns = ((pairs // 3952 + 1).tolist(), (pairs % 3952 + 1).tolist(), values.tolist())
    path.write_text(
        "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in zip(*columns, when.tolist(), strict=True))
    )
    yield path, pairs, values
    path.unlink()


def test_a_million_ratings_are_read_in_under_three_seconds(million):
    path, pairs, values = million
    times = []
    for _ in range(3):
        start = time.process_time()
        ratings = movielens.read_ratings(path)
        times.append(time.process_time() - start)
    assert min(times) < 3, times
    np.testing.assert_array_equal((ratings["user"] - 1) * 3952 + ratings["item"] - 1, pairs)
    np.testing.assert_array_equal(ratings["rating"], values)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_reading_a_million_ratings_takes_less_than_400_mb(million):
    # The peak of the whole process. Not getrusage: its peak is handed on from the parent process.
    code = (
        "import re, sys; from zoo.common.data import movielens;"
        "movielens.read_ratings(sys.argv[1]);"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(million[0])], capture_output=True, text=True, check=True
    )
    assert 50e6 < int(done.stdout) * 1024 < 400e6


@pytest.mark.realdata
def test_the_real_100k_set_is_what_the_manifest_says(real):
    folds = {fold: movielens.load("ml-100k", "real", real, fold) for fold in movielens.FOLDS}
    _, _, _, _, ratings, _, titles, genres = movielens.load("ml-100k", "real", real, "all")
    assert len(ratings["user"]) == 100_000
    assert len(np.unique(ratings["user"])) == 943
    assert len(titles) == len(np.unique(ratings["item"])) == 1682
    assert round(ratings["rating"].mean(), 5) == 3.52986
    assert np.bincount(ratings["rating"]).tolist() == [0, 6110, 11370, 27145, 34174, 21201]
    assert [part[0] for part in ratings.values()] == [196, 242, 3, 881250949]
    assert titles[1] == "Toy Story (1995)"
    assert genres[1] == ("Animation", "Children's", "Comedy")
    tests = [folds[f"u{k}"].test for k in range(1, 6)]
    pairs = np.concatenate([np.stack([test["user"], test["item"]]) for test in tests], axis=1)
    assert len(np.unique(pairs, axis=1).T) == 100_000  # the five test sets are disjoint
    assert [len(folds[k].test["user"]) for k in ("u1", "ua", "ub")] == [20_000, 9_430, 9_430]


@pytest.mark.realdata
def test_the_real_1m_pairs_are_what_the_manifest_says(real):
    dataset = movielens.load("ml-1m", "real", real)
    assert dataset.split == "leave-one-out"
    assert "no rating values" in dataset.description
    assert len(dataset.train["user"]) == 1_000_209 - 6_040
    assert dataset.test["negative"].shape == (6_040, 99)
    assert (dataset.test["user"][0], dataset.test["timestamp"][0]) == (1, 978824351)
    users = np.concatenate([dataset.train["user"], dataset.test["user"]])
    items = np.concatenate([dataset.train["item"], dataset.test["item"]])
    assert np.unique(users).tolist() == list(range(1, 6_041))
    assert len(np.unique(items)) == 3_706
    assert np.bincount(users)[1:].min() == 20
    assert len(dataset.titles) == 3_883
    assert dataset.titles[73] == "Misérables, Les (1995)"
    assert dataset.genres[73] == ("Drama", "Musical")
