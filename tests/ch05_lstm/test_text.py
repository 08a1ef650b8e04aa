import codecs
import dataclasses
import gzip
import os

import numpy as np
import pytest

from zoo.ch05_lstm import model, text
from zoo.ch05_lstm.task import fill, lay_out
from zoo.common.data import DataError
from zoo.common.data import text as texts


def test_a_vocabulary_begins_with_the_marks_and_gives_back_what_it_is_given():
    words = text.make_vocabulary("to be\nor not")
    assert words.characters == ("\x02", "\x03", "\x04", "\n", " ", *"benort")
    ids = words.encode("not to be")
    assert ids.dtype == np.int32
    assert words.decode(ids) == "not to be"
    assert words.decode([text.START, *ids, text.END, text.BLANK]) == "not to be"


def test_unknown_characters_are_reported_not_dropped():
    words = text.make_vocabulary("abc")
    message = r"'ö' \(2 times, first at character 1\), '!' \(1 times, first at character 4\).*'abc'"
    with pytest.raises(DataError, match=message):
        words.encode("aöbö!")
    with pytest.raises(DataError, match=r"'\\x03' at character 2"):
        text.make_vocabulary("ab\x03c")


def test_streams_go_on_from_batch_to_batch():
    ids = np.arange(1_000, 1_053)
    rows = text.streams(ids, batch=3, steps=5)
    assert rows["input"].shape == (9, 5)  # 3 streams of 3 chunks; 8 characters are left out
    inputs = rows["input"].reshape(3, 3, 5)
    for stream in range(3):
        read = inputs[:, stream].ravel()
        np.testing.assert_array_equal(read, np.arange(15) + 1_000 + 15 * stream)
    np.testing.assert_array_equal(rows["target"], rows["input"] + 1)
    np.testing.assert_array_equal(rows["first"], [True] * 3 + [False] * 6)


@pytest.mark.parametrize(("length", "count"), [(1_000, 3), (1_025, 4), (300, 7), (20, 15)])
def test_windows_score_every_character_once(length, count):
    ids = np.arange(length)
    rows = text.windows(ids, count, warm_up=20)
    assert rows["input"].shape[1] % text.ROUND == 0
    assert set(np.unique(rows["weight"])) == {0, 1}
    np.testing.assert_array_equal(rows["target"], rows["input"] + 1)
    scored = np.sort(rows["target"][rows["weight"] > 0])
    np.testing.assert_array_equal(scored, np.arange(1, length))
    # Whatever is scored has at least the warm-up in front of it, or the text's beginning.
    for row, weight in zip(rows["target"], rows["weight"], strict=True):
        assert row[np.argmax(weight > 0)] - row[0] >= min(20, row[np.argmax(weight > 0)] - 1)
    # No row begins with a letter again and again.
    assert (np.diff(rows["input"][:, :2]) == 1).all()


def test_sentences_are_the_books():
    source = "Hail, thou!\n\n  ab \nlonger than eight\n"
    words = text.make_vocabulary(source)
    rows = text.sentences(source, words, 8)
    decoded = ["".join(words.characters[n] for n in row) for row in rows["target"]]
    assert decoded == ["Hail, th", "ab\x03\x04\x04\x04\x04\x04", "longer t"]
    assert rows["first"].all()
    assert (rows["input"][:, 0] == text.START).all()
    np.testing.assert_array_equal(rows["input"][:, 1:], rows["target"][:, :-1])


@pytest.mark.realdata
def test_the_books_text_has_606_lines_and_61_characters():
    source = texts.load("book-shakespeare", "auto")
    if source.source != "real":
        pytest.skip("the book's shakespeare.txt is not here (ZOO_DATA_DIR)")
    corpus = lay_out(model.RECIPES["book"], source)
    config = fill(model.RECIPES["book"], corpus)
    assert config.vocabulary == 64
    assert corpus.train["target"].shape == (606, 30)
    ended = (corpus.train["target"] == text.END).any(1)
    assert ended.sum() == 57


@pytest.mark.realdata
def test_tiny_shakespeare_is_split_as_nanogpt_does():
    source = texts.load("tiny-shakespeare", "auto")
    if source.source != "real":
        pytest.skip("tiny Shakespeare is not here (ZOO_DATA_DIR)")
    corpus = lay_out(model.RECIPES["modern"], source)
    config = fill(model.RECIPES["modern"], corpus)
    assert config.vocabulary == 68
    assert int(corpus.test["weight"].sum()) == 111_540


def test_a_text_that_cannot_be_trained_on_is_refused_by_name(tmp_path):
    config = model.RECIPES["modern"]
    cases = {
        "empty.txt": (b"", "empty"),
        "latin.txt": ("Käse".encode("latin-1"), "utf-8"),
        "short.txt": (b"to be or not to be", "18|16"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            lay_out(config, text.load(path=str(path)))
        assert name in str(caught.value)
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        text.load(path=str(tmp_path / "nowhere.txt"))


def test_control_characters_that_are_marks_are_refused_by_the_texts_name(tmp_path):
    path = tmp_path / "odd.txt"
    path.write_text("to be\x04" * 2_000)
    for recipe in ("modern", "book"):
        config = dataclasses.replace(model.RECIPES[recipe], text=str(path))
        message = rf"{path} has the control character '\\x04' at character 5, .*tr -d"
        with pytest.raises(DataError, match=message):
            lay_out(config, text.load(path=config.text))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(newline):
    assert text.lines(newline.join([" to be ", "", "or\x0bnot"])) == ["to be", "or\x0bnot"]


def test_ones_own_text_may_be_markup_have_a_byte_order_mark_and_other_newlines(tmp_path):
    path = tmp_path / "own.xml"
    path.write_bytes(codecs.BOM_UTF8 + b"<?xml?>\r\n<a/>\r\n")
    found = text.load(path=str(path))
    assert found.text == "<?xml?>\r\n<a/>\r\n"
    assert found.description == r"own.xml, 15 characters, lines end in \r\n"
    assert text.make_vocabulary(found.text).characters[3:] == tuple("\n\r/<>?almx")
    (tmp_path / "own.txt.gz").write_bytes(gzip.compress(b"to be"))
    assert text.load(path=str(tmp_path / "own.txt.gz")).text == "to be"


def test_a_text_that_was_moved_is_found_in_the_data_folder(tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "own.txt").write_text("to be")
    gone = tmp_path / "own.txt"
    with pytest.raises(DataError, match=f"{gone}: there is no such file. .*by --data-dir"):
        text.load(path=str(gone))
    assert text.load(path=str(gone), data_dir=tmp_path / "new").text == "to be"
    with pytest.raises(DataError, match=f"{tmp_path}/own.txt: there is no such file"):
        text.load(path=str(gone), data_dir=tmp_path)


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path, "this is a directory"), (tmp_path / "pipe", "this is a pipe")):
        with pytest.raises(DataError, match=f"{path}: {words}"):
            text.load(path=str(path))


def test_the_path_of_a_text_becomes_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.txt").write_text("to be or not to be")
    os.symlink("own.txt", tmp_path / "link.txt")
    config = dataclasses.replace(model.RECIPES["book"], chunk=4)
    for name in ("own.txt", "~/own.txt", "./sub/../own.txt", "link.txt"):
        given = dataclasses.replace(config, text=name)
        filled = fill(given, lay_out(given, text.load(path=name)))
        assert filled.text == str(tmp_path / os.path.basename(name))
        monkeypatch.chdir("/")
        assert text.load(path=filled.text).text == "to be or not to be"
        monkeypatch.chdir(tmp_path)
    assert fill(config, lay_out(config, text.load(path="own.txt"))).text == ""
    with open(tmp_path / "own.txt") as file:  # as `--text /dev/stdin < own.txt`
        found = text.load(path=f"/dev/fd/{file.fileno()}")
        assert text.absolute(f"/dev/fd/{file.fileno()}") == str(tmp_path / "own.txt")
    assert (found.name, found.text) == ("own.txt", "to be or not to be")
