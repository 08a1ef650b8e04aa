"""Training states and weights on disk: one safetensors file each, whole and checked, or refused.

A file holds a leaf of the tree under its path, as in `params/conv/0/kernel`, and a JSON record in
its header: the leaves' dtypes and shapes, the generators of typed keys, notes, and a SHA-256 digest
over all of it. It is written under another name, flushed, read back and only then renamed, and it
is compared with what the caller expects, leaf by leaf, before a number is used. Nothing is ever
unpickled.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

KEPT = 2
"""So many of the newest checkpoints stay in a folder."""

_CAUSES = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would grow over the size limit",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "the disk failed to read or write",
}


class CheckpointError(ValueError):
    """A checkpoint or a file of weights cannot be written, or is not what was expected."""


def save(folder: Path, state: Any, notes: dict[str, Any]) -> Path:
    """Writes `folder/checkpoints/STEP.safetensors` whole or not at all, and keeps the newest two.

    The state is any pytree of arrays and typed keys with an attribute `step`; the notes, small and
    of JSON's types, are given back by `restore`.

    Raises:
      CheckpointError: it could not be written (no space, read-only ...), or `folder` holds a later
        step, thus another run; what was there before stays.
    """
    step, before = int(state.step), _checkpoints(folder)
    if before and _step(before[-1]) > step:
        raise CheckpointError(
            f"{before[-1]} is of a later step than {step}, which was to be saved: "
            "it belongs to another run; choose another folder, or resume that run"
        )
    path = Path(folder) / "checkpoints" / f"{step}.safetensors"
    last = f"the last good one, {before[-1]}, is still there" if before else "there is none yet"
    _remove(path.parent.glob(".*.safetensors.*.tmp"))  # left by a process that was killed
    _write(path, state, {"notes": notes}, "checkpoint", f"; {last}")
    _remove(_checkpoints(folder)[:-KEPT])
    return path


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of the run in `folder`, None if there is none."""
    return next(reversed(_checkpoints(folder)), None)


def restore(folder: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """The newest checkpoint as (state, notes), bit for bit what was saved.

    `like` is a state of the same tree; of its leaves, shapes and dtypes count, values do not.

    Raises:
      CheckpointError: there is none, it is of another model, or it is damaged.
    """
    found = _checkpoints(folder)
    if not found:
        raise CheckpointError(
            f"no checkpoint in {Path(folder) / 'checkpoints'}, expected a file named by its "
            "step: check the path, or start a new run"
        )
    *earlier, path = found
    advice = "there is no earlier one: start a new run"
    if earlier:
        advice = f"delete {path} to go back to {earlier[-1]}"
    state, record = _read(path, like, f"checkpoint {path}", advice)
    return state, record["notes"]


def save_weights(path: Path, params: Any, metadata: dict[str, str]) -> None:
    """Writes `params` as one safetensors file, whole or not at all.

    Equal parameters and metadata give equal bytes.

    Raises:
      CheckpointError: it could not be written (no space, read-only ...).
    """
    _write(Path(path), params, {"metadata": metadata}, "weights", "")


def load_weights(path: Path, like: Any) -> Any:
    """The parameters of `save_weights`, in the tree of `like`, whose values do not count.

    Raises:
      CheckpointError: there is no such file, it is of another model, or it is damaged.
    """
    path = Path(path)
    advice = "download or export it again"
    if not path.is_file():
        raise CheckpointError(f"no file of weights {path}: check the path, or {advice}")
    return _read(path, like, f"file of weights {path}", advice)[0]


def _write(path: Path, tree: Any, record: dict[str, Any], what: str, otherwise: str) -> None:
    import safetensors.numpy

    arrays, generators = _to_numpy(tree)
    record |= {"leaves": _describe(tree), "generators": generators}
    header = json.dumps({**record, "sha256": _digest(arrays, record)}, sort_keys=True)
    # One entry alone: the header would list several in any order.
    content = safetensors.numpy.save(arrays, {"record": header})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if temporary.read_bytes() != content:  # a full or failing disk need not raise
            raise OSError(errno.EIO, "what was read back differs from what was written")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise CheckpointError(f"cannot save {what} {path}: {_cause(error)}{otherwise}") from error


def _read(path: Path, like: Any, what: str, advice: str) -> tuple[Any, dict[str, Any]]:
    """The tree in a file and its record."""
    import safetensors

    here = _describe(like)
    try:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        record = json.loads(header["__metadata__"]["record"])
        leaves, expected = record["leaves"], record.pop("sha256")
        entries = safetensors.deserialize(content)
        arrays = {name: _array(leaves[name][0], entry) for name, entry in entries}
    except Exception as error:  # safetensors has its own exception, NumPy and JSON others
        raise _damaged(path, _cause(error), advice) from error
    found = _digest(arrays, record)
    if found != expected:
        raise _damaged(path, f"the digest is {found}, expected {expected}", advice)
    _compare(leaves, here, what)
    restored = {name: jnp.array(arrays[name]) for name in here}  # in the order of `like`
    for name, generator in record["generators"].items():
        restored[name] = jax.random.wrap_key_data(restored[name], impl=generator)
    return jax.tree.unflatten(jax.tree.structure(like), restored.values()), record


def _array(dtype: str, found: dict[str, Any]) -> np.ndarray:
    """An entry of a file; typed keys are saved as their words."""
    words = np.dtype(np.uint32 if dtype.startswith("key<") else jnp.dtype(dtype))
    return np.frombuffer(found["data"], words).reshape(found["shape"])


def _named(tree: Any) -> dict[str, Any]:
    """The leaves by name, in the tree's order."""
    pairs = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    ]
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two leaves are both named {twice}: rename one of them")
    return named


def _describe(tree: Any) -> dict[str, list]:
    """[dtype, shape] of every leaf by name, as JAX sees it (a Python float is float32)."""
    shapes = jax.eval_shape(lambda tree: tree, tree)
    return {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in _named(shapes).items()}


def _to_numpy(tree: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The leaves by name, typed keys as their words; and each key's generator by name."""
    leaves = {name: jnp.asarray(leaf) for name, leaf in _named(tree).items()}
    typed = jax.dtypes.prng_key
    keys = {n: leaf for n, leaf in leaves.items() if jax.dtypes.issubdtype(leaf.dtype, typed)}
    words = {name: jax.random.key_data(key) for name, key in keys.items()}
    return jax.device_get(leaves | words), {n: str(jax.random.key_impl(k)) for n, k in keys.items()}


def _digest(arrays: dict[str, np.ndarray], record: dict[str, Any]) -> str:
    """SHA-256 over the record as JSON and the name, dtype, shape and bytes of every array."""
    sha256 = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha256.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return sha256.hexdigest()


def _compare(saved: dict[str, list], here: dict[str, list], what: str) -> None:
    """Refuses leaves that differ in name, dtype or shape, with the first few differences."""
    differences = []
    for name in sorted(saved.keys() | here.keys()):
        left, right = saved.get(name), here.get(name)
        if left != right:
            differences.append(f"{name} is {_leaf(left)} there, {_leaf(right)} here")
    if differences[3:]:
        differences[3:] = [f"and {len(differences) - 3} more"]
    if differences:
        raise CheckpointError(
            f"{what} is of another model: {'; '.join(differences)}. "
            "Give the configuration that it was trained with"
        )


def _leaf(description: list | None) -> str:
    if description is None:
        return "missing"
    dtype, shape = description
    return f"{dtype} ({','.join(map(str, shape))})"


def _step(path: Path) -> int:
    return int(path.stem)


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest last."""
    parent = Path(folder) / "checkpoints"
    try:
        found = [p for p in parent.iterdir() if p.suffix == ".safetensors" and p.stem.isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"cannot read {parent}: {_cause(error)}") from error
    return sorted(found, key=_step)


def _cause(error: BaseException) -> str:
    """What happened, in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return _CAUSES.get(error.errno, f"{os.strerror(error.errno)}: {error.filename}")
    if isinstance(error, KeyError):
        return f"its record has no {error}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _damaged(path: Path, cause: str, advice: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({cause}): {advice}")
