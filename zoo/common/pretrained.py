"""Trained models that come with zoo: two files each, `NAME.safetensors` and its card `NAME.json`.

The weights are stored as float16, and are float32 again once they are loaded. A chapter that has
such models keeps them in its package `pretrained`, with two functions: `pretrained(...)` loads one,
and `take(run)` gives what is to be published of a run: (name, configuration, weights).
"""

import dataclasses
import datetime
import hashlib
import importlib
import json
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo.common import checkpoint

LIMIT = 3_000_000
"""No published file of weights is larger, in bytes."""
_PRIVATE = ("--out", "--data-dir", "--resume")  # flags that mean nothing on another machine


class PretrainedError(checkpoint.CheckpointError):
    """A published model is damaged or absent, or a run can't be published."""


class Pretrained(NamedTuple):
    """A trained model."""

    config: Any  # the chapter's configuration that it was trained with
    weights: Any  # float32 arrays, in the tree that the chapter's `pretrained` describes
    card: dict[str, Any]  # data, command, commit, seed, metrics, machine


def load(folder: Path, name: str, config_type: type, like: Callable[[Any], Any]) -> Pretrained:
    """The published model `name` in `folder`.

    Args:
      folder: of the chapter's package `pretrained`.
      name: of the files, without an ending.
      config_type: the class of the configuration.
      like: gives, for a configuration, weights of the same tree; they are not computed.

    Raises:
      PretrainedError: a file is absent, or is not the one that the card describes.
    """
    path = folder / f"{name}.safetensors"
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        raise PretrainedError(
            f"no published model {path}: {error}; install zoo again, or train one"
        ) from error
    if found != card["sha256"]:
        raise PretrainedError(
            f"{path} has the sha256 {found}, expected {card['sha256']}: install zoo again"
        )
    fields = card["config"].items()
    config = config_type(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields})
    shapes = jax.eval_shape(lambda: like(config))
    halves = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float16), shapes)
    weights = checkpoint.load_weights(path, halves)
    return Pretrained(config, jax.tree.map(lambda a: a.astype(jnp.float32), weights), card)


def publish(run: Path, folder: Path | None = None) -> Path:
    """Makes the model of a run folder the published one of its chapter; gives the weights' file.

    The card takes what the run's config.json, summary.json and evaluation.json say.

    Args:
      run: the run's folder.
      folder: where to write, if not into the chapter's package.

    Raises:
      PretrainedError: it is no run, its chapter publishes none, or the weights are too large.
    """
    content = _read(run / "config.json")
    chapter = content.get("chapter", "")
    try:
        module = importlib.import_module(f"zoo.{chapter.partition('/')[0]}.pretrained")
    except ImportError as error:
        raise PretrainedError(
            f"{run} is a run of {chapter or 'no chapter'}, which publishes no models"
        ) from error
    name, config, weights = module.take(run)
    halves = jax.tree.map(lambda a: jnp.asarray(a, jnp.float16), weights)
    leaves = jax.tree.leaves(halves)
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in leaves):
        raise PretrainedError(f"weights of {run} don't fit into float16: they are not finite there")
    size = sum(leaf.nbytes for leaf in leaves)
    if size > LIMIT:
        raise PretrainedError(
            f"the weights of {run} take {size:,} bytes as float16, expected at most {LIMIT:,}: "
            "train a smaller model"
        )
    path = (folder or Path(module.__file__).parent) / f"{name}.safetensors"
    checkpoint.save_weights(path, halves, {"chapter": chapter})
    card = {
        "chapter": chapter,
        "parameters": sum(leaf.size for leaf in leaves),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "config": dataclasses.asdict(config),
        "data": content["data"],
        "command": _command(chapter, content["command"]),
        "commit": _commit(),
        "seed": config.seed,
        "metrics": _metrics(run),
        "machine": content["device"],
        "versions": content["versions"],
        "trained": content["started"],
        "published": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "licence": "Apache-2.0 (the weights; the data have terms of their own)",
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PretrainedError(f"{path} can't be read: {error}; name the folder of a run") from error


def _metrics(run: Path) -> dict[str, Any]:
    """What the run's last epoch and its evaluations found."""
    summary = _read(run / "summary.json")
    kept = {k: v for k, v in summary.items() if k.startswith("test_")}
    for path in sorted(run.glob("evaluation*.json")):
        kept[path.stem] = _read(path)
    return kept


def _command(chapter: str, arguments: Sequence[str]) -> str:
    """The command as a reader would type it: without the paths of the machine that ran it."""
    kept, skip = [], False
    for argument in map(str, arguments[1:]):
        flag, _, value = argument.partition("=")
        if not skip and flag.replace("_", "-") not in _PRIVATE:
            kept.append(argument)
        skip = not skip and flag.replace("_", "-") in _PRIVATE and not value
    return f"python -m zoo.{chapter.partition('/')[0]} {shlex.join(kept)}"


def _commit() -> str:
    """Of the source at the time of publication; `unknown` outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
