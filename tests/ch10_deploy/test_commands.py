"""The serving half's commands, as a user has them."""

import builtins
import json

import pytest

from zoo.ch10_deploy import commands, keys, loadtest
from zoo.ch10_deploy.limits import Limits
from zoo.common.data import DataError

CHAPTER = "ch10_deploy"


def test_help_teaches_and_names_every_command(zoo):
    out = zoo(CHAPTER, "--help").stdout
    for command in ("export", "serve", "keys", "load-test", "abuse", "launch", "batch", "cost"):
        assert command in out
    assert "--max-batch" in zoo(CHAPTER, "serve", "--help").stdout


def test_keys_are_made_listed_and_revoked(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    commands.keys_add("anna", rate=5)
    commands.keys_add("ben", rate=0)
    out, err = capsys.readouterr()
    key = out.splitlines()[0]
    assert "shown this once" in err
    assert keys.KeyRing(place / "keys.json").find(key).name == "anna"
    commands.keys_list()
    listed = capsys.readouterr().out
    assert "5 requests/s" in listed
    assert "any rate" in listed
    assert key not in listed
    commands.keys_revoke("anna")
    assert keys.KeyRing(place / "keys.json").find(key) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "say who may call"),
        ({"open": True, "keys": "keys.json"}, "say who may call"),
        ({"open": True, "host": "0.0.0.0"}, "so not on 0.0.0.0"),
        ({"open": True, "host": "example.org"}, "so not on example.org"),
        ({"keys": "nowhere.json"}, "no file of keys nowhere.json"),
        ({"open": True, "limits": Limits(max_batch=0)}, "--max-batch 0: use a positive number"),
        ({"open": True, "port": 99999}, "--port 99999: use 1 to 65535"),
        ({"open": True, "limits": Limits(timeout=-1.0)}, "--timeout -1.0"),
        ({"open": True}, "nomodel/manifest.json: No such file"),
    ],
)
def test_a_server_that_makes_no_sense_is_not_started(tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    if "keys" in flags:
        flags = {**flags, "keys": tmp_path.joinpath(flags["keys"]).relative_to(tmp_path)}
    with pytest.raises(DataError, match=message):
        commands.serve("nomodel", **{"limits": Limits(), **flags})


def test_without_the_extra_the_error_names_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **keywords):
        if name.partition(".")[0] == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *args, **keywords)

    for name in ("server", "protocol"):
        monkeypatch.delitem(__import__("sys").modules, f"zoo.ch10_deploy.{name}", raising=False)
        monkeypatch.delattr(f"zoo.ch10_deploy.{name}", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(DataError, match=r"needs uvicorn.*pip install -e '\.\[serve\]'"):
        commands.serve("model", Limits(), open=True)


def test_a_taken_port_is_an_error_in_a_line(zoo, exported, server):
    port = server.url.rsplit(":", 1)[1]
    done = zoo(CHAPTER, "serve", exported, "--open", "--port", port, "--max-batch", 1)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_load_and_abuse_stay_on_this_machine_and_within_bounds():
    for url in ("http://192.0.2.1:80", "https://127.0.0.1:8000", "http://", "http://127.0.0.1:x"):
        with pytest.raises(DataError, match=r"another machine|no address of a server"):
            loadtest.target(url)
    with pytest.raises(DataError, match="1 to 512 clients"):
        commands.load_test("127.0.0.1:9", clients=1000)
    with pytest.raises(DataError, match="at most 600 s"):
        commands.load_test("127.0.0.1:9", seconds=1e6)
    with pytest.raises(DataError, match="100,000"):
        commands.abuse("127.0.0.1:9", count=10**9)
    with pytest.raises(DataError, match="no server answers"):
        commands.load_test("127.0.0.1:9", clients=1, seconds=0.2, warmup=0)
    commands.load_test("127.0.0.1:9", clients=1, seconds=0.2, warmup=0, leave=True)
    with pytest.raises(DataError, match="no server of zoo answers"):
        commands.abuse("127.0.0.1:9", count=1)


def test_a_load_test_says_and_writes_what_it_measured(server, keyfile, tmp_path, capsys):
    found = tmp_path / "load.json"
    for send in ("png", "jpeg", "json"):
        commands.load_test(
            server.url, keyfile[1], clients=4, seconds=0.5, warmup=0.1, send=send, json=found
        )
    out = capsys.readouterr().out
    assert "errors: 0" in out
    result = json.loads(found.read_text())
    assert result["predictions_per_second"] > 0
    assert result["p50_ms"] <= result["p99_ms"] <= result["max_ms"]
    with pytest.raises(DataError, match="not answered as they should"):
        commands.load_test(server.url, "wrong", clients=1, seconds=0.2, warmup=0)
    assert "'401'" in capsys.readouterr().out
