"""The manifest of an exported model: which files there are, their hashes, what the model is."""

import hashlib
import json
from pathlib import Path
from typing import Any

from zoo.common.data import DataError, files

FORMAT = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"
FUNCTION, MANIFEST = "model.jaxexport", "manifest.json"
LIMITS = {WEIGHTS: 4096 * files.MIB, CONFIG: files.MIB, FUNCTION: 256 * files.MIB}
"""the largest file in bytes that is read"""


class ExportError(DataError):
    """An exported model is damaged, of another format, or can't be made."""


def sha256_of(content: bytes) -> str:
    """The hash in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def as_json(content: Any) -> bytes:
    """Indented, the same for the same content."""
    return (json.dumps(content, indent=2) + "\n").encode()


def read_manifest(location: str | Path, raw: bytes) -> dict[str, Any]:
    """The manifest, checked as far as `load` and the server rely on it.

    Raises:
      ExportError: it is of another format, or no manifest.
    """
    try:
        manifest = json.loads(raw)
        format_, names = manifest["format"], set(manifest["files"])
        shape, classes = manifest["input"]["shape"], manifest["classes"]
        sound = (
            {WEIGHTS, CONFIG} <= names <= set(LIMITS)
            and isinstance(manifest["model"], str)
            and isinstance(manifest["versions"], dict)
            and isinstance(classes, list)
            and all(isinstance(name, str) for name in classes)
            and all(isinstance(size, int) and size > 0 for size in shape[1:])
            and all(
                isinstance(about["bytes"], int) and isinstance(about["sha256"], str)
                for about in manifest["files"].values()
            )
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{location}: manifest.json can't be read: {error!r}") from error
    if format_ != FORMAT:
        raise ExportError(f"{location} has format {format_!r}, this zoo reads {FORMAT}")
    if not sound:
        raise ExportError(f"{location}: manifest.json lacks files, classes or shapes")
    return manifest
