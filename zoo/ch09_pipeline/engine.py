"""git and DVC, the engines of the pipeline, as processes; and the lock of a workspace.

DVC (https://dvc.org) keeps data versions and runs what has changed, git keeps the history. Both are
started so that the user's settings, hooks and environment do not change what they do.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import yaml

import zoo
from zoo.common import run
from zoo.common.run import RunError

INTENT = "intent.json"
"""In a folder of staged files: what a `put` has decided to do with them."""
_SETTINGS = ("core.hooksPath=/dev/null", "commit.gpgsign=false", "core.quotePath=false")
_AUTHOR = {"user.name": "zoo pipeline", "user.email": "zoo@localhost"}


def require() -> None:
    """Checks that git and DVC are installed.

    Raises:
        RunError: one of them is missing; says how to get it.
    """
    if shutil.which("git") is None:
        raise RunError("git, which keeps a workspace's history, is missing: install git")
    if importlib.util.find_spec("dvc") is None:
        raise RunError("DVC, which keeps data versions, is missing: pip install -e '.[pipeline]'")


def environment(folder: Path) -> dict[str, str]:
    """The environment variables for git, DVC and the stages.

    `python` in dvc.yaml is the interpreter that runs now, `zoo` the package that runs now. What a
    surrounding git command has set is removed: it would lead into another repository.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    first = {"PATH": Path(sys.executable).parent, "PYTHONPATH": Path(zoo.__file__).parent.parent}
    for name, path in first.items():
        env[name] = os.pathsep.join(filter(None, [str(path), env.get(name)]))
    env["DVC_NO_ANALYTICS"] = "1"
    # Each stage is a process of its own: caching pays even for what compiles within a second.
    env.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if (folder / ".dvc" / "config").exists():  # `dvc init` refuses an existing .dvc
        env["DVC_SITE_CACHE_DIR"] = str(folder.resolve() / ".dvc" / "tmp" / "site")
    return env


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """What a git command prints, without the last newline; empty where it fails unchecked.

    Raises:
        RunError: git failed; has git's message.
    """
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    done = subprocess.run(
        ["git", *settings, *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    if check and done.returncode:
        raise RunError(f"git {' '.join(arguments)} failed in {folder}: {done.stderr.strip()}")
    return "" if done.returncode else done.stdout.removesuffix("\n")


def commit(folder: Path, message: str, *names: str) -> str:
    """Commits those of the files that exist and have changed; returns the newest commit."""
    found = [name for name in names if (folder / name).exists()]
    git(folder, "add", "--force", "--", *found)
    if git(folder, "diff", "--cached", "--name-only", "--", *found):
        author = []  # only where the user's own settings give none
        for field, value in _AUTHOR.items():
            if not git(folder, "config", field, check=False):
                author += ["-c", f"{field}={value}"]
        git(folder, *author, "commit", "--quiet", "--message", message, "--", *found)
    return git(folder, "rev-parse", "HEAD")


def dvc(folder: Path, *arguments: str, quiet: bool = True, lock: int | None = None) -> str:
    """Runs a DVC command; Ctrl-C and SIGTERM reach all that it has started, and are waited for.

    Returns what it printed, if that is not shown.

    Args:
        folder: the workspace.
        *arguments: of `dvc`.
        quiet: show its output only in the error.
        lock: an open file that the process keeps open as well, so that a workspace whose `run` was
            killed stays locked as long as DVC works in it.

    Raises:
        RunError: DVC failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        pass_fds=() if lock is None else (lock,),
    )
    output = _wait(process)
    if process.returncode:
        command = f"dvc {' '.join(arguments)}"
        reason = output.strip() or "the reason stands above"
        raise RunError(f"{command} ended with {process.returncode} in {folder}: {reason}")
    return output


def cache(folder: Path) -> Path:
    """Where DVC keeps the content of files, by their MD5."""
    return Path(folder, dvc(folder, "cache", "dir").strip().splitlines()[-1], "files", "md5")


def _wait(process: subprocess.Popen) -> str:
    """The output of a process, which is waited for even when this one is told to stop."""

    def stop(number, frame):
        _terminate(process.pid)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main else None
    stopped = False
    try:
        while True:
            try:
                output = process.communicate()[0] or ""
                break
            except KeyboardInterrupt:  # the terminal has told the process too
                stopped = True
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
    if stopped:
        raise KeyboardInterrupt
    return output


def _terminate(pid: int) -> None:
    """SIGTERM to all processes below one, which save what they have; it then ends by itself.

    Where there are none below it, it gets the signal itself.
    """
    import psutil  # DVC depends on it

    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        for process in top.children(recursive=True)[::-1] or [top]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[int]:
    """Holds the workspace for one command that changes it; yields the open lock file's number.

    Raises:
        RunError: another command holds it; says which.
    """
    with run.locked(folder / ".dvc" / "tmp" / "zoo.lock", folder, what) as file:
        _repair(folder)
        yield file.fileno()


def _repair(folder: Path) -> None:
    """Removes or restores what a killed command may have left half-done; the lock must be held."""
    for left in (folder / ".dvc" / "tmp").glob("put-*"):
        if not (left / INTENT).exists():  # else the next command ends what it began
            shutil.rmtree(left, ignore_errors=True)
    rwlock = folder / ".dvc" / "tmp" / "rwlock"
    if rwlock.exists() and not _held(rwlock):
        rwlock.unlink()
    for name in ("dvc.lock", "data.dvc"):
        path = folder / name
        if path.exists() and not _parse(path):
            before = git(folder, "show", f"HEAD:{name}", check=False)
            path.unlink()
            if before:
                path.write_text(before + "\n", encoding="utf-8")


def _held(rwlock: Path) -> bool:
    """Whether one of the processes that DVC's own lock names is running.

    DVC takes one that was killed for alive until its parent has taken note of its end.
    """
    import psutil  # DVC depends on it

    content = _parse(rwlock)
    holders = list(content.get("write", {}).values())
    holders += [holder for readers in content.get("read", {}).values() for holder in readers]
    for holder in holders:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(holder["pid"]).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _parse(path: Path) -> dict:
    """The mapping in a YAML or JSON file; empty if the file was cut off while it was written."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
