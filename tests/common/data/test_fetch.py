import gzip
import hashlib
import http.server
import io
import os
import pwd
import socket
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import pytest

from zoo.common.data import DataError, fetch, files, sample
from zoo.common.data.registry import ENTRIES, Entry, File

CONTENT = b"data " * 1000
HTML = b"<!DOCTYPE html><html>Service unavailable</html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """/good/NAME, /html/NAME, /short/NAME (less than promised), /cut/NAME, /slow/NAME; else 404."""

    def do_GET(self):
        self.server.asked.append(self.path)
        kind, _, name = self.path[1:].partition("/")
        content = self.server.files.get(name)
        if content is None or kind not in ("good", "html", "short", "cut", "slow", "long"):
            self.send_error(404)
            return
        body = {"html": HTML, "cut": content[:-1], "long": content * 4000}.get(kind, content)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            if kind == "short":
                self.wfile.write(body[:-10])
            elif kind == "slow":
                for i in range(len(body)):
                    self.wfile.write(body[i : i + 1])
                    time.sleep(0.1)
            else:
                self.wfile.write(body)
        except OSError:
            pass  # the client gave up

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files = {"a.txt": CONTENT}
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.daemon_threads = True
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A fresh cache for each test."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def entry(*urls, content=CONTENT, name="a.txt"):
    return Entry(
        name="test",
        title="a test",
        licence="none",
        files=(File("a.txt", len(CONTENT), sha256(CONTENT)),),
        downloads=(File(name, len(content), sha256(content), urls=urls),),
        usable=(("a.txt",),),
        places=("", "sub"),
        home="sub",
        sample="text",
    )


def test_a_download_is_checked_kept_in_the_cache_and_not_repeated(server, cache):
    wanted = entry(f"{server.url}/good/a.txt")
    found = fetch.resolve(wanted, "real")
    assert found.source == cache / "sub"
    assert (cache / "sub" / "a.txt").read_bytes() == CONTENT
    assert fetch.resolve(wanted, "real") == found
    fetch.download(wanted)
    assert server.asked == ["/good/a.txt"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("none", ["404"]),
        ("html", ["an HTML or XML page"]),
        ("short", ["IncompleteRead"]),
        ("cut", ["hash"]),
        ("long", ["more than the file's 5,000 bytes"]),
    ],
)
def test_a_bad_answer_is_named_leaves_nothing_and_the_mirror_is_asked(kind, words, server, cache):
    bad = f"{server.url}/{kind}/a.txt"
    with pytest.raises(DataError) as caught:
        fetch.resolve(entry(bad), "real")
    for word in [*words, bad, "python -m zoo data fetch test", str(cache)]:
        assert word in str(caught.value)
    assert not list((cache / "sub").iterdir())
    assert "could not be downloaded" in fetch.resolve(entry(bad), "auto")
    assert fetch.resolve(entry(bad, f"{server.url}/good/a.txt"), "real").source == cache / "sub"
    assert (cache / "sub" / "a.txt").read_bytes() == CONTENT


def test_without_a_network_auto_gives_up_in_seconds(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = free.getsockname()[1]
        start = time.monotonic()
        found = fetch.resolve(entry(f"http://127.0.0.1:{port}/a.txt", f"http://127.0.0.1:{port}/b"))
        assert time.monotonic() - start < 20
    assert "could not be downloaded" in found


def test_a_server_that_never_answers_and_a_name_that_is_never_found_are_given_up(monkeypatch):
    monkeypatch.setattr(fetch, "ANSWER_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # accepts and says nothing
        with pytest.raises(DataError, match=r"no answer within 0\.3 s|[Tt]imed out"):
            fetch.download(entry(f"http://127.0.0.1:{silent.getsockname()[1]}/a.txt"))
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: over.wait(60))
    with pytest.raises(DataError, match=r"no answer within 0\.3 s"):
        fetch.download(entry("http://host.invalid/a.txt"))
    over.set()


def test_a_download_that_only_drips_is_given_up(server, monkeypatch):
    real = time.monotonic
    began = real()
    monkeypatch.setattr(fetch.time, "monotonic", lambda: began + (real() - began) * 100)
    server.files["a.txt"] = CONTENT[:20]
    monkeypatch.setattr(fetch, "SLOWEST", 1e9)
    with pytest.raises(DataError, match="too slow"):
        fetch.download(entry(f"{server.url}/slow/a.txt"))


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_an_archive_is_unpacked_into_the_files_that_are_known_and_no_others(server, cache):
    packed = tar_of({"x/a.txt": CONTENT, "../evil": b"1", "x/readme.html": HTML})
    server.files["set.tar.gz"] = packed
    wanted = entry(f"{server.url}/good/set.tar.gz", content=packed, name="set.tar.gz")
    fetch.download(wanted)
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["a.txt"]


def test_a_file_in_an_archive_is_checked_by_its_own_checksum(server, cache):
    packed = tar_of({"x/a.txt": CONTENT[:-1] + b"!"})
    server.files["set.tar.gz"] = packed
    wanted = entry(f"{server.url}/good/set.tar.gz", content=packed, name="set.tar.gz")
    with pytest.raises(DataError, match=r"x/a\.txt"):
        fetch.download(wanted)
    assert not (cache / "sub" / "a.txt").exists()


def test_the_order_is_data_dir_then_variable_then_cache(tmp_path, monkeypatch):
    places = [tmp_path / "named", tmp_path / "variable" / "sub", tmp_path / "cache" / "sub"]
    for place in places:
        place.mkdir(parents=True)
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "variable"))
    for place in reversed(places):
        (place / "a.txt.gz").write_bytes(gzip.compress(CONTENT))
        assert fetch.resolve(entry(), "real", tmp_path / "named").source == place
    assert fetch.resolve(entry()).at("a.txt")[0] == places[1] / "a.txt.gz"


def read(found):
    where, check = found.at("a.txt")
    return files.read_bytes(where, check=check)


def test_a_file_that_differs_is_noted_in_a_folder_and_refused_in_the_cache(tmp_path, cache):
    for home in (tmp_path / "named", cache / "sub"):
        home.mkdir(parents=True)
        (home / "a.txt").write_bytes(CONTENT)
        assert read(found := fetch.resolve(entry(), "real", home)) == CONTENT
        assert found.unknown == []
        assert found.describe("it", "the set", "") == "the set"
        (home / "a.txt").write_bytes(CONTENT[:-1] + b"!")
    path = tmp_path / "named" / "a.txt"
    assert read(found := fetch.resolve(entry(), "real", path.parent)) == CONTENT[:-1] + b"!"
    assert found.unknown == [path]
    assert found.describe("it", "the set", "") == (
        f"the set; files that differ from the published ones: {path}"
    )
    with pytest.raises(DataError, match=r"sub/a\.txt.*remove it and fetch it again"):
        read(fetch.resolve(entry(), "real"))


def test_the_sample_is_never_looked_for(monkeypatch):
    monkeypatch.setattr(fetch, "locate", None)
    monkeypatch.setattr(fetch, "download", None)
    found = fetch.resolve(entry(), "sample")
    assert found == "asked for"


def test_a_named_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        fetch.resolve(entry(), "auto", tmp_path / "none")
    with pytest.raises(ValueError, match="auto, real, sample"):
        fetch.resolve(entry(), "reel")


def test_a_cache_that_cannot_be_written_is_an_error_and_auto_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "cache"))
    assert isinstance(fetch.resolve(entry("http://127.0.0.1:9/a.txt"), "auto"), str)
    with pytest.raises(DataError, match=r"file/cache/sub: the cache: .*another folder .*ZOO_CACHE"):
        fetch.resolve(entry("http://127.0.0.1:9/a.txt"), "real")
    with sample.folder("text") as folder:  # then in a temporary folder
        assert (folder / "input.txt").is_file()
        assert not folder.is_relative_to(tmp_path / "file")


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_folder_that_the_variable_names_and_that_is_none_is_an_error(kind, tmp_path, monkeypatch):
    path = tmp_path / kind
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ZOO_DATA_DIR", str(path))
    found = {"missing": "no such folder", "file": "a file"}[kind]
    with pytest.raises(DataError, match=f"{path}: the folder of ZOO_DATA_DIR: found {found}"):
        fetch.resolve(entry(), "auto")
    with pytest.raises(DataError, match=f"{path}: the data folder: found {found}"):
        fetch.resolve(entry(), "auto", path)


def test_a_tilde_that_no_shell_expanded_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE", "~/c")
    monkeypatch.setenv("ZOO_DATA_DIR", "~/v")
    for name in "dv":
        (tmp_path / name).mkdir()
    assert fetch.roots("~/d") == [tmp_path / "d", tmp_path / "v", tmp_path / "c"]
    with pytest.raises(DataError, match="~nobody-has-this-name/x: ~: found no home folder"):
        fetch.roots("~nobody-has-this-name/x")


def test_without_a_home_the_cache_is_a_folder_of_ones_own_among_the_temporary_ones(
    tmp_path, monkeypatch
):
    def unknown(_):
        raise KeyError("getpwuid(): uid not found: 54321")

    for name in ("HOME", "XDG_CACHE_HOME", "ZOO_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert fetch.cache() == tmp_path / f"zoo-{os.getuid()}"
    assert fetch.cache().stat().st_mode & 0o777 == 0o700
    others = os.getuid() + 1
    (tmp_path / f"zoo-{others}").mkdir()  # of another user than the one that `getuid` names
    monkeypatch.setattr(os, "getuid", lambda: others)
    assert not fetch.cache().exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert not fetch.cache().exists()  # and no error, as nothing may need it


def test_nothing_needs_chmod_or_hard_links(server, cache, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    for name in ("chmod", "fchmod", "link"):
        monkeypatch.setattr(os, name, refused)
    monkeypatch.setattr(Path, "chmod", refused)
    fetch.download(entry(f"{server.url}/good/a.txt"))
    assert (cache / "sub" / "a.txt").read_bytes() == CONTENT
    with sample.folder("ml-1m") as folder:
        assert folder.is_relative_to(cache)
    files.write_bytes(cache / "new", b"1", new=True)
    assert (cache / "new").read_bytes() == b"1"


SIMILAR = [
    ("cifar10", "cifar-10-binary-1.tar.gz", "not a name or place that is looked for"),
    ("cifar10", "a/b/cifar-10-binary.tar.gz", "not a name or place that is looked for"),
    ("cifar10", "cifar-10-python-2.tar.gz", "not a name or place that is looked for"),
    ("cifar10", "cifar-100-binary/train.bin", "CIFAR-100, another data set"),
    ("cifar10", "data_batch_1 (1).bin", "not a name that is looked for"),
    ("cifar10", "archive/trainLabels.csv", "of Kaggle's pictures: train on its folder by --images"),
    ("cifar10", "train/airplane", "pictures of a class: train on the folder around all classes by"),
    ("mnist", "mnist.npz", "Keras's archive"),
    ("mnist", "mnist_train.csv", "a table of pixels: train on it by --images"),
    ("mnist", "train-images-idx3-ubyte.zip", "not a name that is looked for"),
    ("ml-1m", "ml-10M100K/ratings.dat", "MovieLens 10M, whose ratings have half stars"),
    ("ml-1m", "ml-25m.zip", "a newer release of MovieLens"),
    ("ml-1m", "ratings.csv", "a file of a newer release"),
    ("ml-100k", "ml-latest-small/ratings.csv", "a newer release of MovieLens"),
    ("ml-100k", "down/ml-100k.zip", "not a name or place that is looked for"),
    ("tiny-shakespeare", "Shakespeare.TXT", "not a name that is looked for"),
]


@pytest.mark.parametrize(("name", "file", "words"), SIMILAR)
def test_what_is_like_the_data_set_is_named_where_the_sample_stands_in(
    name, file, words, tmp_path, no_network, monkeypatch
):
    home = tmp_path / "data"
    (home / file).parent.mkdir(parents=True)
    (home / file).write_bytes(b"1")
    wanted = ENTRIES[name]
    monkeypatch.setenv("ZOO_DATA_DIR", str(home))
    reason = fetch.resolve(wanted)
    shown = home / (file.split("/")[0] if words.startswith(("CIF", "Mov", "a newer")) else file)
    shown = shown if "batches-py" not in file else shown.parent
    assert f"; found {shown}, {words}" in reason
    with pytest.raises(DataError, match="; found "):
        fetch.resolve(wanted, "real")


def test_what_was_looked_for_and_what_is_not_complete_is_said(tmp_path, no_network):
    home = tmp_path / "data"
    (home / "deep" / "er").mkdir(parents=True)
    mnist = ENTRIES["mnist"]
    with sample.folder("mnist"):
        pass
    assert "/sample" not in fetch.resolve(mnist, "auto", home)  # nor is that one to be named
    expected = "; train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and 1"
    assert expected in fetch.resolve(mnist, "auto", home)
    name = "t10k-labels-idx1-ubyte"
    (home / f"{name}.gz").write_bytes(b"1")
    assert f"not found beside {name} in {home}" in fetch.resolve(mnist, "auto", home)
    (home / f"{name}.gz").rename(home / "deep" / "er" / name)
    expected = f"found {home}/deep/er, which has {name}: name this folder by --data-dir"
    assert expected in fetch.resolve(mnist, "auto", home)


def test_a_name_that_is_not_utf_8_can_be_printed_wherever_it_is_said(tmp_path, no_network):
    home = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9\n"))
    home.mkdir()
    reason = fetch.resolve(ENTRIES["mnist"], "auto", home)
    found = fetch.Found(ENTRIES["mnist"], home, reason=reason)
    assert r"/caf\udce9\n, " in found.describe("it", "", "")
    (home / "input.txt").write_bytes(b"1")
    with pytest.raises(DataError, match="no such folder") as caught:
        fetch.roots(home / "none")
    unknown = fetch.Found(ENTRIES["mnist"], home, unknown=[home / "a"])
    for line in (found.describe("it", "", ""), unknown.describe("it", "", ""), str(caught.value)):
        assert line.encode().decode().isprintable()


def test_the_registry_is_consistent():
    lengths = {"sha256": 64, "md5": 32, "git": 40}
    for name, known in ENTRIES.items():
        assert known.name == name
        assert known.home in known.places or known.home == "movielens"
        names = {file.name for file in known.files}
        assert known.file(known.files[-1].name) == known.files[-1]
        assert all(set(usable) <= names for usable in known.usable)
        assert known.licence
        for checked in (*known.files, *known.downloads):
            algorithm, digest = checked.checksum.split(":")
            assert len(digest) == lengths[algorithm]
            assert int(digest, 16) > 0
        for download in known.downloads:
            assert all(url.startswith("https://") for url in download.urls)


@pytest.mark.realdata
def test_every_real_set_is_found(real):
    assert all(fetch.locate(entry, real) for entry in ENTRIES.values())
    assert fetch.locate(ENTRIES["mnist"], real).source == real / "mnist"


@pytest.mark.parametrize("outer", ["", "ml-100k", "movielens/ml-100k"])
def test_a_folder_in_one_of_its_own_name_is_found(outer, tmp_path):
    """As where an archive that has a folder is unpacked into one."""
    home = tmp_path / outer / "ml-100k" if outer else tmp_path / "ml-100k"
    home.mkdir(parents=True)
    for file in ENTRIES["ml-100k"].files:
        (home / file.name).write_bytes(b"1")
    found = fetch.locate(ENTRIES["ml-100k"], tmp_path)
    assert found is not None
    assert found.source == home


def test_an_earlier_folder_counts_for_more_than_a_fuller_set(tmp_path, cache):
    names = ("a.txt", "b.txt")
    of_names = tuple(File(name, len(CONTENT), sha256(CONTENT)) for name in names)
    both = entry()._replace(files=of_names, usable=(names, names[:1]))
    (cache / "sub").mkdir(parents=True)
    for name in names:
        (cache / "sub" / name).write_bytes(CONTENT)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.txt").write_bytes(CONTENT)
    found = fetch.locate(both, tmp_path / "own")
    assert (found.source, found.names) == (tmp_path / "own", ("a.txt",))
    assert fetch.locate(both).names == names
