"""The chapter's commands, as a user has them."""

import importlib.util

import pytest

from zoo.ch10_deploy import commands, keys
from zoo.ch10_deploy.service import Limits
from zoo.common.data import DataError

CHAPTER = "ch10_deploy"


def test_help_teaches_and_names_every_command(zoo):
    out = zoo(CHAPTER, "--help").stdout
    for command in ("export", "serve", "keys", "launch", "batch"):
        assert command in out
    assert "--max-batch" in zoo(CHAPTER, "serve", "--help").stdout


def test_keys_are_made_listed_and_revoked(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    commands.keys_add("anna", rate=5)
    commands.keys_add("ben", rate=0)
    out, err = capsys.readouterr()
    key = out.splitlines()[0]
    assert "shown once" in err
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
        ({}, "choose who may call"),
        ({"open": True, "keys": "keys.json"}, "choose who may call"),
        ({"open": True, "host": "0.0.0.0"}, "so not on 0.0.0.0"),
        ({"open": True, "host": "example.org"}, "so not on example.org"),
        ({"keys": "nowhere.json"}, "no file of keys nowhere.json"),
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
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    with pytest.raises(DataError, match=r"needs uvicorn,.*pip install -e '\.\[serve\]'"):
        commands.serve("model", Limits(), open=True)


def test_a_published_model_is_exported_by_its_name(zoo, tmp_path):
    done = zoo(CHAPTER, "export", "ch08_vae", "--out", tmp_path / "vae")
    assert done.returncode == 0, done.stderr
    assert f"serve {tmp_path / 'vae'} --open" in done.stdout
    again = zoo("ch08_vae", "export", "--out", tmp_path / "vae")
    assert "unchanged, it was exported before" in again.stdout
    done = zoo(CHAPTER, "export", "ch08_nothing")
    assert done.returncode == 1
    assert "ch08_nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_an_error_in_a_line(zoo, exported, server):
    port = server.url.rsplit(":", 1)[1]
    done = zoo(CHAPTER, "serve", exported, "--open", "--port", port, "--max-batch", 1)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_runs_folder_is_exported_and_served(command, place, monkeypatch):
    flags = "--data sample --filters 2 2 2 --hidden 4 --epochs 1 --batch-size 500 --device cpu"
    assert command("ch06_cnn", "train", *flags.split(), "--out", place / "served").status == 0
    served = []
    monkeypatch.setattr(
        "zoo.ch10_deploy.server.serve", lambda service, *where: served.append(service)
    )
    commands.serve(str(place / "served"), Limits(), open=True)
    (service,) = served
    assert service.model.manifest["model"] == "ch06_cnn"
    assert (place / "served" / "export" / "manifest.json").exists()
