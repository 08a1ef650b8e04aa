"""The lock of a workspace, and what a killed command has left in it."""

import json
import os
import subprocess
import sys
import time

import pytest

from zoo.ch09_pipeline import engine
from zoo.common.run import RunError

psutil = pytest.importorskip("psutil", reason="comes with the extra `pipeline`")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    return tmp_path


def holds(pid):
    return json.dumps({"write": {"model": {"pid": pid, "cmd": "dvc repro"}}, "read": {}})


@pytest.fixture
def zombie():
    """A process that was killed and whose parent has not taken note."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    yield process.pid
    process.wait()


def test_one_command_at_a_time_holds_a_workspace(folder):
    with (
        engine.locked(folder, "put"),
        pytest.raises(RunError, match=rf"\(put, process {os.getpid()}, since \d\d:\d\d:\d\d\)"),
        engine.locked(folder, "run"),
    ):
        pass
    with engine.locked(folder, "run"):
        pass


def test_the_lock_lasts_as_long_as_a_process_that_was_given_it(folder):
    with engine.locked(folder, "run") as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            pass_fds=(lock,),
            stdin=subprocess.PIPE,
        )
    with pytest.raises(RunError, match="in use"), engine.locked(folder, "run"):
        pass
    child.communicate()
    with engine.locked(folder, "run"):
        pass


def test_dvcs_lock_of_a_killed_process_is_taken_away(folder, zombie):
    rwlock = folder / ".dvc/tmp/rwlock"
    for left in ("", "{", holds(zombie), holds(2**22 + 1)):
        rwlock.write_text(left)
        with engine.locked(folder, "run"):
            assert not rwlock.exists()
    rwlock.write_text(holds(os.getpid()))
    with engine.locked(folder, "run"):
        assert rwlock.read_text() == holds(os.getpid())


def test_half_copied_files_of_a_killed_put_go(folder):
    (folder / ".dvc/tmp/put-abc/train").mkdir(parents=True)
    with engine.locked(folder, "run"):
        assert not list((folder / ".dvc/tmp").glob("put-*"))


def test_a_half_written_lock_of_dvc_is_the_committed_one_again(folder):
    engine.git(folder, "init", "--quiet")
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    engine.commit(folder, "A run", "dvc.lock")
    (folder / "dvc.lock").write_text("schema: '2.0\nsta")
    with engine.locked(folder, "run"):
        assert (folder / "dvc.lock").read_text() == "schema: '2.0'\n"


def test_an_error_of_git_or_dvc_is_given_in_its_words(folder):
    with pytest.raises(RunError, match=r"git frobnicate failed in .*: git: 'frob"):
        engine.git(folder, "frobnicate")
    pytest.importorskip("dvc")
    with pytest.raises(RunError, match=r"dvc repro ended with 255 in .*ERROR: "):
        engine.dvc(folder, "repro")


def test_a_surrounding_git_does_not_lead_astray(folder, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    engine.git(folder, "init", "--quiet")
    (folder / "a").write_text("a")
    assert len(engine.commit(folder, "One", "a", "not there")) == 40
