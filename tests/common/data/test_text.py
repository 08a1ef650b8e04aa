import codecs
import gzip
import lzma

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.common.data import DataError, text

PACK = {".gz": gzip.compress, ".xz": lzma.compress, "": lambda content: content}

BAD = {
    "latin-1 called UTF-8": ("a\nMisérables".encode("latin-1"), "utf-8", ["byte 5", "line 2"]),
    "UTF-8 called ASCII": ("é".encode(), "ascii", ["byte 0", "line 1", "c3 a9"]),
    "a cut-off character": ("naïve €".encode()[:-1], "utf-8", ["byte 7"]),
    "a NUL character": (b"some\0thing", "utf-8", ["character 4", "NUL"]),
    "UTF-16 without a mark": ("ab".encode("utf-16-le"), "utf-8", ["character 1", "UTF-16LE"]),
    "half a UTF-16 character": ("ab".encode("utf-16")[:-1], "utf-8", ["byte 4", "utf-16 text"]),
    "a lone surrogate": (b"ab\xed\xa0\x80", "utf-8", ["byte 2", "ed a0 80"]),
    "cp1252": (b"a\n\x93b\x94", "utf-8", ["byte 2", "line 2", "iconv -f WINDOWS-1252 -t UTF-8"]),
    "a byte order mark alone": (codecs.BOM_UTF8, "utf-8", ["byte 0", "mark alone"]),
    "a zip archive": (b"PK\x03\x04\x14\0\xff", "utf-8", ["a zip archive"]),
    "a tar archive": (bytes(257) + b"ustar", "utf-8", ["a tar archive"]),
    "UTF-16 called latin-1": ("ab".encode("utf-16-le"), "latin-1", ["character 1", "NUL"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_rejected_by_name_and_place(name, tmp_path):
    content, encoding, words = BAD[name]
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        text.read(path, encoding=encoding)
    for word in [str(path), "expected", *words]:
        assert word in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1),
    suffix=st.sampled_from(sorted(PACK)),
)
def test_what_is_written_is_read_back_exactly(content, suffix, tmp_path):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACK[suffix](content.encode()))
    assert text.read(path) == content


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), content=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_a_mutated_text_is_the_mutated_text_or_a_data_error(data, content, tmp_path, mutate):
    changed = mutate(data, content.encode())
    path = tmp_path / "a.txt"
    path.write_bytes(changed)
    try:
        expected = changed.decode()
    except UnicodeDecodeError:
        expected = ""
    expected = expected.replace("\ufeff", "")
    if not expected or "\0" in expected:
        with pytest.raises(DataError, match=str(path)):
            text.read(path)
    else:
        assert text.read(path) == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding_and_is_no_character(encoding, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("naïve €".encode(encoding))
    assert text.read(path) == "naïve €"
    path.write_bytes(codecs.BOM_UTF16_BE + "naïve €".encode("utf-16-be"))
    assert text.read(path) == "naïve €"


def test_marks_between_joined_files_are_no_characters(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\r\n".encode("utf-8-sig") + "two".encode("utf-8-sig"))
    assert text.read(path) == "one\r\ntwo"


MARKUP = ("<?xml version='1.0'?>", "<html>", "<!-- a -->", "<head>", "<!DOCTYPE html>", "\n<HTML>")


@pytest.mark.parametrize("content", [*MARKUP, "%PDF", "BZh", "Rar! is no word"])
def test_a_text_may_begin_in_any_way(content, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(content)
    assert text.read(path) == content


@pytest.mark.parametrize("content", MARKUP)
def test_a_web_page_in_place_of_a_known_text_is_refused(content, tmp_path):
    path = tmp_path / "input.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"{path}: byte 0: found an HTML or XML page, .*If a serv"):
        text.load(data="auto", data_dir=tmp_path)


def test_the_sample_says_that_it_is_one(no_network, tmp_path):
    sample = text.load(data="auto", data_dir=tmp_path)
    assert sample.source == "sample"
    assert "built-in sample, not tiny-shakespeare" in sample.description
    assert len(sample.text) > 100_000
    assert sample.text == text.load("book-shakespeare", "sample").text


@pytest.mark.parametrize("data", ["auto", "real"])
def test_a_text_that_is_not_the_published_one_is_called_unknown(data, tmp_path):
    path = tmp_path / "tinyshakespeare.txt"
    path.write_bytes(b"First Citizen:\n")
    found = text.load(data=data, data_dir=tmp_path)
    assert found[:3] == ("unknown text", "real", "all")
    assert found.description == (
        f"unknown text, 15 characters; files that differ from the published ones: {path}"
    )
    path.write_bytes(b"First\0")
    with pytest.raises(DataError, match=f"{path}: character 5"):
        text.load(data=data, data_dir=tmp_path)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="tiny-shakespeare, book-shakespeare"):
        text.load("moby")


@pytest.mark.realdata
def test_the_real_texts_are_what_the_manifest_says(real):
    tiny = text.load("tiny-shakespeare", "real", real)
    assert len(tiny.text) == 1_115_394
    assert tiny.text.count("\n") == 40_000
    assert tiny.text.startswith("First Citizen:\nBefore we proceed")
    assert len(set(tiny.text)) == 65
    assert len(text.load("book-shakespeare", "real", real).text) == 99_989
