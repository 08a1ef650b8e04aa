"""git and DVC, the engines of the pipeline, as processes; and the lock of a workspace.

DVC (https://dvc.org) keeps data versions and runs what has changed, git keeps the history. Both are
started so that the user's settings, hooks and surroundings change nothing in what they do.
"""

import contextlib
import fcntl
import importlib.util
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

import zoo
from zoo.common.run import RunError

_GIT = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "core.quotePath=false",
)
_WHO = {"NAME": "zoo pipeline", "EMAIL": "zoo@localhost"}


def require() -> None:
    """Checks that git and DVC are there.

    Raises:
        RunError: says which one is missing and how to get it.
    """
    if shutil.which("git") is None:
        raise RunError("no git here, which keeps a workspace's history: install git")
    if importlib.util.find_spec("dvc") is None:
        raise RunError("no DVC here, which keeps data versions: pip install -e '.[pipeline]'")


def environment(folder: Path) -> dict[str, str]:
    """What git and DVC and the stages find in their environment.

    `python` in dvc.yaml is the interpreter that runs now, `zoo` the package that runs now. What a
    surrounding git command has set is taken away: it would lead into another repository.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    package = str(Path(zoo.__file__).parent.parent)
    for name, value in _WHO.items():  # only where the user's own settings give none
        if not _configured(f"user.{name.lower()}", folder, kept):
            kept |= {f"GIT_AUTHOR_{name}": value, f"GIT_COMMITTER_{name}": value}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [package, kept.get("PYTHONPATH")]))
    kept["DVC_NO_ANALYTICS"] = "1"
    # Each stage is a process: also what compiles within a second is worth keeping.
    kept.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if (folder / ".dvc" / "config").exists():  # `dvc init` wants no folder .dvc
        kept["PATH"] = os.pathsep.join([str(_python(folder)), kept.get("PATH", "")])
        kept["DVC_SITE_CACHE_DIR"] = str(folder.resolve() / ".dvc" / "tmp" / "site")
    return kept


def _configured(name: str, folder: Path, env: dict[str, str]) -> bool:
    done = subprocess.run(["git", "config", name], cwd=folder, env=env, capture_output=True)
    return bool(done.stdout.strip())


def _python(folder: Path) -> Path:
    """A folder with a command `python` that is this interpreter, whatever its own name."""
    place = folder.resolve() / ".dvc" / "tmp" / "bin"
    script = place / "python"
    text = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'
    if not script.exists() or script.read_text() != text:
        place.mkdir(parents=True, exist_ok=True)
        fresh = script.with_name(f".python.{os.getpid()}")
        fresh.write_text(text)
        fresh.chmod(0o755)
        fresh.replace(script)
    return place


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """What a git command prints, without the last line's end; empty where it fails unchecked.

    Raises:
        RunError: git failed; gives its words.
    """
    command = ["git", *_GIT, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    if check and done.returncode:
        raise RunError(f"git {' '.join(arguments)} failed in {folder}: {done.stderr.strip()}")
    return "" if done.returncode else done.stdout.removesuffix("\n")


def commit(folder: Path, message: str, *names: str) -> str:
    """Commits those of the files that are there and have changed; gives the newest commit."""
    there = [name for name in names if (folder / name).exists()]
    git(folder, "add", "--force", "--", *there)
    if git(folder, "diff", "--cached", "--name-only", "--", *there):
        git(folder, "commit", "--quiet", "--message", message, "--", *there)
    return git(folder, "rev-parse", "HEAD")


def dvc(folder: Path, *arguments: str, quiet: bool = True, lock: int | None = None) -> None:
    """Runs a DVC command; Ctrl-C and SIGTERM reach all that it has started, and are waited for.

    Args:
        folder: the workspace.
        *arguments: of `dvc`.
        quiet: show its output only in the error.
        lock: an open file that the process keeps open as well, so that a workspace whose `run` was
            killed stays locked as long as DVC is at work in it.

    Raises:
        RunError: DVC failed.
    """
    output = subprocess.PIPE if quiet else None
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        pass_fds=() if lock is None else (lock,),
    )
    said = _wait(process)
    if process.returncode:
        command = f"dvc {' '.join(arguments)}"
        reason = said.strip() or "its reason stands above"
        raise RunError(f"{command} ended with {process.returncode} in {folder}: {reason}")


def _wait(process: subprocess.Popen) -> str:
    """The output of a process, which is waited for also when this one is told to stop."""

    def stop(number, frame):
        _terminate(process.pid)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main else None
    stopped = False
    try:
        while True:
            try:
                said = process.communicate()[0] or ""
                break
            except KeyboardInterrupt:  # the terminal has told the process too
                stopped = True
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
    if stopped:
        raise KeyboardInterrupt
    return said


def _terminate(pid: int) -> None:
    """SIGTERM to all processes below one, which save what they have; it then ends by itself.

    Where there are none below it, it is told itself.
    """
    import psutil  # DVC needs it too

    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        for process in top.children(recursive=True)[::-1] or [top]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[int]:
    """Holds the workspace for one command that changes it; gives the open lock file's number.

    Raises:
        RunError: another command holds it; says which.
    """
    path = folder / ".dvc" / "tmp" / "zoo.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = file.read().strip() or "just begun"
            raise RunError(
                f"{folder.resolve()} is in use by another command ({other}): "
                "wait until it is done, or end it"
            ) from None
        file.truncate(0)
        file.write(f"{what}, process {os.getpid()}, since {time.strftime('%H:%M:%S')}\n")
        file.flush()
        _mend(folder)
        yield file.fileno()


def _mend(folder: Path) -> None:
    """Takes away or back what a killed command may have left half-done; the lock must be held."""
    for left in (folder / ".dvc" / "tmp").glob("put-*"):
        shutil.rmtree(left, ignore_errors=True)
    rwlock = folder / ".dvc" / "tmp" / "rwlock"
    if rwlock.exists() and not _held(rwlock):
        rwlock.unlink()
    for name in ("dvc.lock", "data.dvc"):
        path = folder / name
        if path.exists() and not _parses(path, yaml.safe_load):
            before = git(folder, "show", f"HEAD:{name}", check=False)
            path.unlink()
            if before:
                path.write_text(before + "\n", encoding="utf-8")


def _held(rwlock: Path) -> bool:
    """Whether one of the processes that DVC's own lock names is at work.

    DVC takes one that was killed for alive until its parent has taken note of its end.
    """
    import psutil  # DVC needs it too

    if not _parses(rwlock, json.loads):
        return False
    content = json.loads(rwlock.read_text(encoding="utf-8"))
    holders = [
        *content.get("write", {}).values(),
        *itertools.chain(*content.get("read", {}).values()),
    ]
    for holder in holders:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(holder["pid"]).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _parses(path: Path, parse) -> bool:
    try:
        return isinstance(parse(path.read_text(encoding="utf-8")), dict)
    except (ValueError, yaml.YAMLError):
        return False
