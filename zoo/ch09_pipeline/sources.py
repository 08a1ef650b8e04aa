"""Which program made something: digests of zoo's sources, its git commit, versions of packages."""

import hashlib
import importlib.metadata
import io
import os
import platform
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zoo

ROOT = Path(zoo.__file__).parent
PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax", "safetensors")
STAGES = (
    *(f"common/{name}.py" for name in ("checkpoint", "device", "fit", "ops", "run", "solvers")),
    *(f"common/data/{name}.py" for name in ("cifar10", "dataset", "files")),
    *(f"ch06_cnn/{name}.py" for name in ("commands", "model", "train")),
    *(f"ch09_pipeline/{name}.py" for name in ("params", "stages")),
)
"""The sources that affect what the stages compute; when one changes, the stages run again."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(sources: Mapping[str, bytes]) -> str:
    """The SHA-256 over names and contents, in the order of the names."""
    state = hashlib.sha256()
    for name in sorted(sources):
        # With its length, content can't pass for the name of the next one.
        state.update(f"{name}\0{len(sources[name])}\0".encode() + sources[name])
    return state.hexdigest()


def installed() -> dict[str, bytes]:
    """Zoo's Python sources by their path in the package."""
    return {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in sorted(ROOT.rglob("*.py"))}


def committed(commit: str) -> dict[str, bytes] | None:
    """Zoo's Python sources as they were at a commit, or None where no clone has it."""
    packed = _git("archive", "--format=tar", commit, "zoo") if commit else None
    if packed is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = [m for m in tar if m.isfile() and m.name.endswith(".py")]
        return {m.name.removeprefix("zoo/"): tar.extractfile(m).read() for m in members}


def _git(*arguments: str) -> bytes | None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(ROOT.parent), *arguments]
    try:
        done = subprocess.run(command, env=env, capture_output=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def describe() -> dict[str, Any]:
    """The program that runs now, as the records have it.

    `stages` and `package` are digests of the sources that the stages run and of all of zoo's;
    `commit` is zoo's git commit, empty outside a clone; `changed` tells whether the sources
    differ from those of the commit; `versions` are of Python and of the packages in use.
    """
    sources = installed()
    tracked = _git("ls-files", "--error-unmatch", "zoo/__init__.py") is not None
    commit = (_git("rev-parse", "HEAD") or b"").decode().strip() if tracked else ""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "stages": digest({name: sources[name] for name in STAGES}),
        "package": digest(sources),
        "commit": commit,
        "changed": bool(_git("status", "--porcelain", "--", "zoo/*.py")) if commit else None,
        "versions": {"python": platform.python_version(), **versions},
    }
