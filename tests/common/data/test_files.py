import functools
import gzip
import lzma
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.common.data import DataError, cifar10, files, mnist, movielens, text
from zoo.common.data.registry import File

PACK = {".gz": gzip.compress, ".xz": lzma.compress, "": lambda content: content}
CONTENT = bytes(range(256)) * 8

# What every reader sees before its own format begins: name, bytes, words of the message.
BROKEN = {
    "an empty file": ("a.bin", b"", ["byte 0", "empty"]),
    "an empty gzip": ("a.bin.gz", gzip.compress(b""), ["byte 0", "empty"]),
    "an HTML page": ("a.bin", b"<!DOCTYPE html><html>503</html>", ["byte 0", "HTML"]),
    "an HTML page after a byte order mark": ("a", b"\xef\xbb\xbf\n<html>", ["byte 0", "HTML"]),
    "an HTML page as gzip": ("a.gz", b"<html><body>Not found", ["byte 0", "HTML"]),
    "an HTML page in a gzip": ("a.gz", gzip.compress(b"<html>"), ["byte 0", "HTML"]),
    "plain data named .gz": ("a.gz", CONTENT, ["byte 0", ".gz", "rename it to a"]),
    "plain data named .xz": ("a.xz", CONTENT, ["byte 0", ".xz"]),
    "gzip without .gz": ("a", gzip.compress(CONTENT), ["byte 0", "Rename it to a.gz"]),
    "xz without .xz": ("a", lzma.compress(CONTENT), ["byte 0", "Rename it to a.xz"]),
    "a cut-off gzip": ("a.gz", gzip.compress(CONTENT)[:-9], ["packed data", "ended before"]),
    "a cut-off xz": ("a.xz", lzma.compress(CONTENT)[:-9], ["packed data", "ended before"]),
    "garbage after a gzip": ("a.gz", gzip.compress(CONTENT) + b"more", ["packed data", "b'mo'"]),
    "an HTML comment": (
        "a",
        b"<!-- 503 -->",
        ["byte 0", "HTML or XML page, '<!-- 503", "error page"],
    ),
    "an XML answer": ("a.bin", b"<?xml version='1.0'?><Error/>", ["byte 0", "HTML or XML"]),
    "a zip archive": ("a", b"PK\x03\x04...", ["byte 0", "a zip archive"]),
    "a tar archive in a gzip": ("a.gz", gzip.compress(bytes(257) + b"ustar"), ["a tar archive"]),
    "a pickle": ("a", b"\x80\x04...", ["byte 0", "a pickle"]),
    "an array of NumPy": ("a.npy", b"\x93NUMPY", ["byte 0", "an array of NumPy"]),
    "a gzip with a wrong sum": (
        "a.gz",
        gzip.compress(CONTENT)[:-8] + b"\0" * 4 + gzip.compress(CONTENT)[-4:],
        ["packed data", "CRC check failed"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_rejected_by_name_and_place(name, tmp_path):
    file_name, content, words = BROKEN[name]
    path = tmp_path / file_name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        files.read_bytes(path)
    for word in [str(path), "expected", *words]:
        assert word in str(caught.value)


def test_a_directory_a_missing_file_and_a_pipe_are_rejected(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, word in [
        (tmp_path, "a directory"),
        (tmp_path / "none", "there is no such file"),
        (tmp_path / "pipe", "a pipe or a device, expected a regular file"),
        (tmp_path / "bad\0name", "null"),
    ]:
        with pytest.raises(DataError, match=word):
            files.read_bytes(path)


READERS = [
    mnist.read_images,
    mnist.read_labels,
    cifar10.read_batch,
    movielens.read_ratings,
    movielens.read_movies,
    text.read,
]


@pytest.mark.parametrize("read", READERS)
def test_every_reader_rejects_what_is_not_data_and_has_its_content_checked(read, tmp_path):
    path = tmp_path / "file.gz"
    with pytest.raises(DataError, match=f"{path}: there is no such file"):
        read(path)
    with pytest.raises(DataError, match=f"{tmp_path}: this is a directory"):
        read(tmp_path)
    for content, word in [
        (PACK[".gz"](CONTENT)[:-9], "ended before"),
        (PACK[".gz"](b"<html>503"), "an HTML or XML page, '<html>503', .*server's error page"),
        (PACK[".gz"](b""), "an empty file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{path}.*{word}"):
            read(path, lambda content: None)
    path.write_bytes(PACK[".gz"](CONTENT))
    with pytest.raises(DataError, match=rf"{path}: the whole file: found sha256 \w+, expected 00"):
        read(path, functools.partial(files.check_published, path, File("", 2048, "sha256:00")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_rejected(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"data")
    path.chmod(0)
    with pytest.raises(DataError, match="Permission"):
        files.read_bytes(path)


@pytest.mark.parametrize("suffix", PACK)
def test_plain_gzip_and_xz_give_the_same_bytes_and_have_them_checked_once(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACK[suffix](CONTENT))
    checked = []
    assert files.read_bytes(path, check=checked.append) == CONTENT
    assert checked == [CONTENT]


@pytest.mark.parametrize("algorithm", ["sha256", "git"])
def test_a_published_file_has_its_size_and_its_checksum(algorithm):
    known = File("a", len(CONTENT), f"{algorithm}:{files.checksum(CONTENT, algorithm)}")
    files.check_published("a", known, CONTENT)
    for content, word in (
        (CONTENT[:-1], "cut off"),
        (CONTENT + b"x", "1 more bytes"),
        (CONTENT[:-1] + b"x", f"the whole file: found {algorithm} "),
    ):
        with pytest.raises(DataError, match=word):
            files.check_published("a", known, content)


def test_checksums_are_those_of_sha256sum_md5sum_and_git():
    assert files.checksum(b"hello\n", "git") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert files.checksum(b"hello\n", "md5") == "b1946ac92492d2347c6235b4d2611184"
    assert files.checksum(b"", "sha256").startswith("e3b0c44298fc1c149afbf4c8996fb924")


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_several_streams_in_a_row_are_one_file_and_zeros_may_follow_gzip(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(
        PACK[suffix](b"one ") + PACK[suffix](b"two") + (b"\0" * 8 if suffix == ".gz" else b"")
    )
    assert files.read_bytes(path) == b"one two"


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_bomb_is_unpacked_no_further_than_the_limit(suffix, tmp_path):
    import tracemalloc

    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACK[suffix](bytes(64 << 20)))
    tracemalloc.start()
    with pytest.raises(DataError, match="more data"):
        files.read_bytes(path, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20  # xz keeps its dictionary of 8 MiB


def test_a_member_of_a_zip_archive_is_found_and_read(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("set/a.dat", CONTENT)
    found = files.find(archive, "b.dat", "a.dat")
    assert found == archive / "set" / "a.dat"
    assert files.read_bytes(found) == CONTENT
    assert files.find(archive, "b.dat") is None


def test_a_name_that_stands_twice_in_an_archive_is_rejected(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as zipped:
        zipped.writestr("one/a", b"1")
        zipped.writestr("two/a", b"2")
    with pytest.raises(DataError, match="2 members a"):
        files.find(tmp_path / "set.zip", "a")


def test_an_html_page_named_zip_is_called_one(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"<html>503</html>")
    with pytest.raises(DataError, match="an HTML or XML page"):
        files.find(tmp_path / "set.zip", "a")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), kind=st.sampled_from([".gz", ".xz", ".zip"]))
def test_a_mutated_packed_file_gives_the_right_bytes_or_a_data_error(data, kind, tmp_path, mutate):
    content = data.draw(st.binary(min_size=1, max_size=300))
    path = tmp_path / f"a{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("a", content)
        packed = path.read_bytes()
    else:
        packed = PACK[kind](content)
    path.write_bytes(mutate(data, packed))
    try:
        found = files.find(path, "a") if kind == ".zip" else path
        result = None if found is None else files.read_bytes(found)
    except DataError:
        return
    assert result in (content, None)  # None: the name of the member was changed


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a"
    files.write_bytes(path, b"one")
    assert path.read_bytes() == b"one"
    with pytest.raises(TypeError):
        files.write_bytes(path, "not bytes")
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["a"]


def test_a_new_file_is_not_written_over(tmp_path):
    path = tmp_path / "new" / "a"
    files.write_bytes(path, b"one", new=True)
    with pytest.raises(FileExistsError):
        files.write_bytes(path, b"two", new=True)
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["a"]


def test_without_links_a_new_file_is_taken_by_an_empty_one(tmp_path, monkeypatch):
    def refused(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    test_a_new_file_is_not_written_over(tmp_path)


WRITER = """
import sys, time
from pathlib import Path
from zoo.common.data import files
folder, name = Path(sys.argv[1]), sys.argv[2]
(folder / f"{name} is ready").touch()
while len(list(folder.glob("* is ready"))) < 3:
    time.sleep(0.001)
won = 0
for number in range(100):
    try:
        files.write_bytes(folder / "files" / str(number), 1000 * name.encode(), new=True)
    except FileExistsError:
        continue
    won += 1
print(won)
"""


def test_of_several_processes_that_write_a_new_file_one_succeeds(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    root = Path(files.__file__).parents[3]
    writers = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True, cwd=root)
        for name in "abc"
    ]
    won = {
        name: int(writer.communicate(timeout=60)[0])
        for name, writer in zip("abc", writers, strict=True)
    }
    contents = [path.read_bytes() for path in (tmp_path / "files").iterdir()]
    assert sum(won.values()) == len(contents) == 100
    for name, count in won.items():
        assert contents.count(1000 * name.encode()) == count
