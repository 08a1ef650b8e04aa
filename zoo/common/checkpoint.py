"""Training states and published weights on the disk: whole and checked, or refused with the reason.

A state is one folder, `checkpoints/STEP`, that Orbax writes under another name and renames at the
end; weights are one safetensors file. Both hold a SHA-256 digest, and both are compared with what
the caller expects, leaf by leaf, before a number is used. A leaf's name is its path in the tree,
as in `params/conv/0/kernel`.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

KEPT = 2  # complete checkpoints that stay in a folder

_CAUSES = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would grow over the size limit",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "the disk failed to read or write",
}
# The name a checkpoint has when it is whole; 120-2 is the second one saved at step 120.
_WHOLE = re.compile(r"(\d+)(?:-(\d+))?")
_OS_ERROR = re.compile(r"(?:OS error |os_error_code=')(\d+)")  # as tensorstore writes it
_LEFTOVER = re.compile(r"\d+(-\d+)?(\.orbax-checkpoint-tmp.*|\.removed)")


class CheckpointError(ValueError):
    """A checkpoint or a file of weights cannot be written, or is not what was expected."""


def save(folder: Path, state: Any, notes: dict) -> Path:
    """Writes `folder/checkpoints/STEP` whole or not at all, and keeps the newest two.

    Args:
      folder: of the run; made if need be.
      state: any pytree of arrays and typed keys with an attribute `step`.
      notes: small and of JSON's types, given back by `restore`.

    A second save at the same step becomes `STEP-2`, so that the first one stays until it is whole.

    Raises:
      CheckpointError: it could not be written (no space, read-only ...), or `folder` holds a later
        step, thus another run; what was there before is still there.
    """
    arrays, leaves = _to_numpy(state), _describe(state)
    about = {"step": int(state.step), "leaves": leaves, "impls": _impls(state), "notes": notes}
    about = json.loads(json.dumps(about))  # what will be read back: tuples become lists
    before = _whole(folder)
    if before and _order(before[-1])[0] > about["step"]:
        raise CheckpointError(
            f"{before[-1]} is of a later step than {about['step']}, which was to be saved: "
            "it belongs to another run; choose another folder, or resume that run"
        )
    path = _free_path(folder, about["step"])
    about["digest"] = _digest(arrays)
    about["about_digest"] = _digest({}, about)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)  # before writing: it may need the space
        with _orbax() as (ocp, checkpointer):
            filled = {name: array for name, array in arrays.items() if array.size}
            items = {"state": ocp.args.PyTreeSave(filled), "about": ocp.args.JsonSave(about)}
            checkpointer.save(path.absolute(), args=ocp.args.Composite(**items))
    except Exception as error:  # tensorstore raises the operating system's errors as ValueError
        _sweep(folder)
        if path in _whole(folder):
            before = [*before, path]
        last = f"the last good one, {before[-1]}, is still there" if before else "there is none yet"
        raise CheckpointError(f"cannot save checkpoint {path}: {_cause(error)}; {last}") from error
    for old in _whole(folder)[:-KEPT]:
        with suppress(OSError):  # renamed first: half a deleted one is never taken for a whole one
            old.rename(old.with_name(f"{old.name}.removed"))
    _sweep(folder)
    return path


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of the run in `folder`, None if there is none."""
    return next(reversed(_whole(folder)), None)


def restore(folder: Path, like: Any) -> tuple[Any, dict]:
    """The newest complete checkpoint as (state, notes), bit for bit what was saved.

    Args:
      folder: of the run.
      like: a state of the same tree; of its leaves, shapes and dtypes count, values do not.

    Raises:
      CheckpointError: there is none, it is of another model, or it is damaged.
    """
    there = _whole(folder)
    if not there:
        raise CheckpointError(
            f"no checkpoint in {Path(folder) / 'checkpoints'}, expected a folder named by its "
            "step: check the path, or start a new run"
        )
    path, earlier = there[-1], there[:-1]
    advice = (
        f"delete {path} to go back to {earlier[-1]}"
        if earlier
        else "there is no earlier one: start a new run"
    )
    here = _describe(like)
    try:
        about = _read_about(path)
    except Exception as error:  # whatever Orbax makes of a garbled file
        raise _damaged(path, _cause(error), advice) from error
    _compare(about["leaves"], here, f"checkpoint {path}")
    try:
        with _orbax() as (ocp, checkpointer):
            filled = [name for name, (_, shape) in here.items() if 0 not in shape]
            as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
            args = ocp.args.PyTreeRestore(
                item=dict.fromkeys(filled, 0), restore_args=dict.fromkeys(filled, as_numpy)
            )
            restored = checkpointer.restore(path.absolute(), args=ocp.args.Composite(state=args))
        # Orbax does not store empty arrays.
        arrays = {n: np.zeros(shape, dtype) for n, (dtype, shape) in here.items() if 0 in shape}
        arrays |= {name: np.asarray(restored["state"][name]) for name in filled}
        found = _digest(arrays)
    except Exception as error:
        raise _damaged(path, _cause(error), advice) from error
    if found != about["digest"]:
        raise _damaged(path, f"the digest is {found}, expected {about['digest']}", advice)
    leaves = [
        jax.random.wrap_key_data(jnp.array(array), impl=about["impls"][name])
        if name in about["impls"]
        else jnp.array(array)
        for name, array in ((name, arrays[name]) for name in here)
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), about["notes"]


def save_weights(path: Path, params: Any, metadata: dict[str, str]) -> None:
    """Writes `params` as one safetensors file, whole or not at all; a leaf is named by its path.

    `metadata` goes into the file's header, with the digest of everything under `sha256`.

    Raises:
      CheckpointError: it could not be written (no space, read-only ...).
    """
    import safetensors.numpy

    path, arrays = Path(path), _to_numpy(params)
    sha256 = _digest(arrays, {"leaves": _describe(params), "metadata": metadata})
    content = safetensors.numpy.save(arrays, metadata | {"sha256": sha256})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise CheckpointError(f"cannot save weights {path}: {_cause(error)}") from error


def load_weights(path: Path, like: Any) -> Any:
    """The parameters of `save_weights`, in the tree of `like`; of its leaves no value counts.

    Raises:
      CheckpointError: there is no such file, it is of another model, or it is damaged.
    """
    import safetensors

    path, here = Path(path), _describe(like)
    advice = "fetch or export it again"
    if not path.is_file():
        raise CheckpointError(f"no file of weights {path}: check the path, or {advice}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        there = _describe(arrays)
    except Exception as error:  # safetensors has its own exception, NumPy others
        raise _damaged(path, _cause(error), advice) from error
    _compare(there, here, f"file of weights {path}")
    expected = metadata.pop("sha256", "none")
    arrays = {name: arrays[name] for name in here}
    found = _digest(arrays, {"leaves": here, "metadata": metadata})
    if found != expected:
        raise _damaged(path, f"the digest is {found}, expected {expected}", advice)
    leaves = [jnp.array(array) for array in arrays.values()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


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


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(tree: Any) -> dict[str, list]:
    """[dtype, shape] of every leaf by name, as JAX sees it (a Python float is float32)."""
    shapes = jax.eval_shape(lambda tree: tree, tree)
    return {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in _named(shapes).items()}


def _impls(tree: Any) -> dict[str, str]:
    """The generator of every typed key, by name."""
    leaves = {name: jnp.asarray(leaf) for name, leaf in _named(tree).items()}
    return {n: str(jax.random.key_impl(leaf)) for n, leaf in leaves.items() if _is_key(leaf)}


def _to_numpy(tree: Any) -> dict[str, np.ndarray]:
    """The leaves by name, typed keys as their words."""
    leaves = {name: jnp.asarray(leaf) for name, leaf in _named(tree).items()}
    leaves = {n: jax.random.key_data(leaf) if _is_key(leaf) else leaf for n, leaf in leaves.items()}
    return jax.device_get(leaves)


def _digest(arrays: dict[str, np.ndarray], about: dict | None = None) -> str:
    """SHA-256 over `about` as JSON and the name, dtype, shape and bytes of every array."""
    sha256 = hashlib.sha256(json.dumps(about, sort_keys=True).encode() if about else b"")
    for name in sorted(arrays):
        array = arrays[name]
        sha256.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return sha256.hexdigest()


def _compare(there: dict[str, list], here: dict[str, list], what: str) -> None:
    """Refuses leaves that differ in name, dtype or shape, with the first few differences."""
    if there == here:
        return
    differences = []
    for name in sorted(there.keys() | here.keys()):
        left, right = there.get(name), here.get(name)
        if left != right:
            differences.append(f"{name} is {_leaf(left)} there, {_leaf(right)} here")
    shown, more = "; ".join(differences[:3]), len(differences) - 3
    raise CheckpointError(
        f"{what} is of another model: {shown}{f'; and {more} more' if more > 0 else ''}. "
        "Give the configuration that it was trained with"
    )


def _leaf(description: list | None) -> str:
    if description is None:
        return "missing"
    dtype, shape = description
    return f"{dtype} ({','.join(map(str, shape))})"


def _order(path: Path) -> tuple[int, int]:
    step, count = _WHOLE.fullmatch(path.name).groups()
    return int(step), int(count or 1)


def _whole(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, the newest last."""
    parent = Path(folder) / "checkpoints"
    try:
        there = [p for p in parent.iterdir() if _WHOLE.fullmatch(p.name) and p.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"cannot read {parent}: {_cause(error)}") from error
    return sorted(there, key=_order)


def _free_path(folder: Path, step: int) -> Path:
    counts = [_order(path)[1] for path in _whole(folder) if _order(path)[0] == step]
    name = f"{step}-{max(counts) + 1}" if counts else str(step)
    return Path(folder) / "checkpoints" / name


def _sweep(folder: Path) -> None:
    """Removes what an unfinished save or removal left, as far as possible."""
    with suppress(OSError):
        for path in (Path(folder) / "checkpoints").iterdir():
            if _LEFTOVER.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)


def _read_about(path: Path) -> dict:
    with _orbax() as (ocp, checkpointer):
        args = ocp.args.Composite(about=ocp.args.JsonRestore())
        about = checkpointer.restore(path.absolute(), args=args)["about"]
    expected = about.pop("about_digest", None) if isinstance(about, dict) else None
    if expected is None or expected != _digest({}, about):
        raise ValueError("its metadata was changed")
    return about


@contextmanager
def _orbax() -> Iterator[tuple[Any, Any]]:
    """(orbax.checkpoint, a checkpointer), without what they would print on the terminal."""
    logger = logging.getLogger("absl")
    level, hook = logger.level, sys.unraisablehook

    def quieter(event):
        if str(event.exc_value) != "Event loop is closed":
            hook(event)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import orbax.checkpoint as ocp

        logger.setLevel(logging.CRITICAL)
        sys.unraisablehook = quieter
        try:
            with _checkpointer(ocp) as checkpointer:
                yield ocp, checkpointer
        except BaseException:
            # After one failed write tensorstore ends the others, and each prints a traceback.
            time.sleep(0.1)
            raise
        finally:
            logger.setLevel(level)
            sys.unraisablehook = hook


def _checkpointer(ocp: Any) -> Any:
    if jax.process_count() == 1:
        return ocp.Checkpointer(ocp.CompositeCheckpointHandler())
    # Of several processes the first writes and each one reads: none may wait for the others.
    own = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process {own}"
    )
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=options),
        state=ocp.PyTreeCheckpointHandler(multiprocessing_options=options),
        about=ocp.JsonCheckpointHandler(multiprocessing_options=options),
    )
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _cause(error: BaseException) -> str:
    """What happened, in words: the operating system's error if one is at the bottom of it."""
    chain, waiting = [], [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and one not in chain:
            chain.append(one)
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    for one in chain:
        number = one.errno if isinstance(one, OSError) else None
        if number is None and (match := _OS_ERROR.search(str(one))):
            number = int(match[1])
        if number is not None:
            return _CAUSES.get(number, f"{os.strerror(number)}: {getattr(one, 'filename', None)}")
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def _damaged(path: Path, cause: str, advice: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({cause}): {advice}")
