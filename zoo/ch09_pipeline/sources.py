"""What program made something: digests of zoo's sources, its git commit, versions of packages."""

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
    "ch06_cnn/commands.py",
    "ch06_cnn/model.py",
    "ch06_cnn/train.py",
    "ch09_pipeline/params.py",
    "ch09_pipeline/predict.py",
    "ch09_pipeline/shards.py",
    "ch09_pipeline/stages.py",
)
"""The sources that bear on what the stages compute; when one changes, the stages run again."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(sources: Mapping[str, bytes]) -> str:
    """The SHA-256 over names and contents, in the order of the names."""
    state = hashlib.sha256()
    for name in sorted(sources):
        state.update(f"{name}\0{len(sources[name])}\0".encode() + sources[name])
    return state.hexdigest()


def stage_sources(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of zoo's sources that the stages run."""
    return {name: content for name, content in sources.items() if name.startswith(STAGES)}


def installed() -> dict[str, bytes]:
    """Zoo's Python sources by their path in the package."""
    return {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in sorted(ROOT.rglob("*.py"))}


def committed(commit: str | None) -> dict[str, bytes] | None:
    """Zoo's Python sources as they were at a commit, or None where no clone has it."""
    packed = _git("archive", "--format=tar", commit, "zoo") if commit else None
    if packed is None:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = [m for m in tar if m.isfile() and m.name.endswith(".py")]
        return {m.name.removeprefix("zoo/"): tar.extractfile(m).read() for m in members}


def _git(*arguments: str) -> bytes | None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(ROOT.parent), *arguments]
    try:
        done = subprocess.run(command, env=kept, capture_output=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def describe() -> dict[str, Any]:
    """The program that runs now, as the records have it.

    `stages` and `package` are digests over the sources that the stages run and over all of zoo's;
    `commit` is zoo's git commit, or None outside a clone; `changed` says that the sources are not
    those of the commit.
    """
    sources = installed()
    tracked = _git("ls-files", "--error-unmatch", "zoo/__init__.py") is not None
    commit = _git("rev-parse", "HEAD") if tracked else None
    return {
        "stages": digest(stage_sources(sources)),
        "package": digest(sources),
        "commit": commit.decode().strip() if commit else None,
        "changed": bool(_git("status", "--porcelain", "--", "zoo/*.py")) if commit else None,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that the results depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **found}
