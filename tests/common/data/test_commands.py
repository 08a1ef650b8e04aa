import shutil

import pytest

from zoo.common.data import commands, registry
from zoo.common.data.registry import ENTRIES


@pytest.fixture
def shakespeare(tmp_path, monkeypatch):
    """A folder with a file that the registry knows, here with the checksum of a short text."""
    (tmp_path / "input.txt").write_bytes(b"hello\n")
    digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    files = (registry.File("input.txt", 6, digest),)
    entry = ENTRIES["tiny-shakespeare"]._replace(files=files)
    monkeypatch.setitem(ENTRIES, entry.name, entry)
    return tmp_path


def test_list_says_what_each_set_is_where_it_is_and_its_licence(shakespeare, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    commands.list_data(shakespeare)
    lines = capsys.readouterr().out.splitlines()
    for name, entry in ENTRIES.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert entry.title in line
        assert entry.licence in line
        assert (str(shakespeare) if name == "tiny-shakespeare" else "not here") in line


def test_verify_says_ok_differs_or_missing_for_each_file(shakespeare, capsys):
    path = shakespeare / "input.txt"
    commands.verify_data(("tiny-shakespeare",), shakespeare)
    assert capsys.readouterr().out == f"tiny-shakespeare: {path}: ok\n"
    path.write_bytes(b"hellO\n")
    with pytest.raises(SystemExit) as caught:
        commands.verify_data(("tiny-shakespeare",), shakespeare)
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert f"{path}: differs: the whole file: found sha256 " in out
    assert "expected 5891b5b5" in out
    path.write_bytes(b"hell")
    with pytest.raises(SystemExit):
        commands.verify_data(("tiny-shakespeare",), shakespeare)
    assert "cut off" in capsys.readouterr().out
    path.unlink()
    commands.verify_data(("tiny-shakespeare",), shakespeare)
    assert capsys.readouterr().out == "tiny-shakespeare: input.txt: missing\n"


def test_fetch_takes_what_is_here_and_fails_without_a_server(shakespeare, capsys, no_network):
    commands.fetch_data(("tiny-shakespeare",), shakespeare)
    assert f"already in {shakespeare}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        commands.fetch_data(("mnist", "tiny-shakespeare"), shakespeare)
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert "mnist: failed: " in out
    assert f"already in {shakespeare}" in out


@pytest.mark.parametrize("command", [commands.fetch_data, commands.verify_data])
def test_an_unknown_name_is_answered_with_the_known_ones(command):
    with pytest.raises(SystemExit, match=r"'mnits'; there are mnist, cifar10"):
        command(("mnits",))


def test_fetch_without_a_name_fetches_nothing():
    with pytest.raises(SystemExit, match="name the data sets to fetch: mnist"):
        commands.fetch_data(())


@pytest.mark.realdata
def test_verify_finds_the_real_files_whole_and_a_changed_one_not(real, tmp_path, capsys):
    names = tuple(name for name in ENTRIES if name != "cifar10")  # its .xz take seconds
    commands.verify_data(names, real)
    out = capsys.readouterr().out
    assert out.count(": ok\n") == 4 + 2 + 2 + 16 + 1 + 1
    assert "ml-1m: ratings.dat: missing" in out
    shutil.copytree(real / "shakespeare", tmp_path / "shakespeare")
    path = tmp_path / "shakespeare" / "input.txt"
    path.chmod(0o600)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"First", b"Fjrst", 1))
    with pytest.raises(SystemExit):
        commands.verify_data(("tiny-shakespeare",), tmp_path)


@pytest.mark.realdata
@pytest.mark.slow
def test_verify_finds_the_real_cifar10_files_whole(real, capsys):
    commands.verify_data(("cifar10",), real)
    out = capsys.readouterr().out
    assert out.count(": ok\n") == 7
    assert "test_batch.bin: missing" in out
