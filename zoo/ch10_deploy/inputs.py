"""From the body of a request to the arrays that a prediction takes; everything may be hostile.

What is refused becomes a `Problem`, RFC 9457's `application/problem+json`: no trace, no path.
"""

import base64
import binascii
import functools
import http
import json
import logging
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pydantic_core

from zoo.ch10_deploy.export import Arrays, Signature
from zoo.common import images
from zoo.common.data import DataError

PROBLEM = "application/problem+json"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_ADVICE = f"send one of {', '.join(FORMATS)}"

# Its warnings would let anyone fill the log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class Problem(Exception):
    """A request that is refused: an HTTP status and what is wrong, in words for the caller."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    def body(self) -> bytes:
        """The answer's content."""
        title = http.HTTPStatus(self.status).phrase
        about = {"type": "about:blank", "title": title, "status": self.status}
        return json.dumps({**about, "detail": self.detail}).encode()


def pixels(file: bytes) -> int:
    """How many pixels a picture says that it has; 0 if it can't be read."""
    return images.pixels(file, FORMATS)


def parse(body: bytes, content_type: str, signature: Signature) -> bytes | Arrays:
    """Takes a body apart: the arrays in its JSON, or a picture file, alone, in a form or in JSON.

    Raises:
      Problem: 400, 415 or 422.
    """
    kind = content_type.partition(";")[0].strip().lower()
    advice = _ADVICE if signature.picture else 'send {"inputs": {...}} as application/json'
    if not body:
        raise Problem(400, f"the body is empty: {advice}")
    if kind == "application/json":
        return _from_json(body, signature)
    if signature.picture is None:
        raise Problem(415, f"the content type must be application/json: {advice}")
    if kind.startswith("image/") or kind == "application/octet-stream":
        return body
    if kind == "multipart/form-data":
        return _form_file(body, content_type)
    raise Problem(
        415,
        "the content type must be image/*, application/octet-stream, multipart/form-data or "
        "application/json",
    )


def _form_file(body: bytes, content_type: str) -> bytes:
    """The first file of a form, or its field `image`."""
    from python_multipart import multipart

    parts: list[Any] = []

    def keep(part: Any) -> None:
        if len(parts) == 16:
            raise ValueError("the form has too many fields")
        parts.append(part)

    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body)}  # else a large file would go to the disk
    try:
        header = {"Content-Type": content_type.encode("latin-1")}
        parser = multipart.create_form_parser(header, keep, keep, in_memory)
        parser.write(body)
        parser.finalize()
    except Exception as error:  # a broken form makes the parser raise nearly anything
        raise Problem(
            400, "the form can't be read: no boundary, cut off, malformed or more than 16 fields"
        ) from error
    for part in parts:
        if isinstance(part, multipart.File):
            part.file_object.seek(0)
            return part.file_object.read()
        if part.field_name == b"image":
            return part.value or b""
    raise Problem(400, 'the form has no file: send it as the field "image"')


def _from_json(body: bytes, signature: Signature) -> bytes | Arrays:
    try:
        content = pydantic_core.from_json(body)  # NaN is refused where it stands
    except ValueError as error:
        raise Problem(400, "the body is no JSON") from error
    ways, expected = {"inputs"}, '{"inputs": {NAME: [[...]], ...}}'
    if signature.picture:
        ways |= {"image", "pixels"}
        expected += ', {"image": BASE64 of a picture file} or {"pixels": [[...]]}'
    given = content.keys() & ways if isinstance(content, dict) else ()
    if len(given) != 1:
        raise Problem(422, f"expected {expected}")
    if "inputs" in given:
        return _arrays(content["inputs"], signature.inputs)
    if "pixels" in given:
        (name,) = signature.inputs
        return {name: _array(content["pixels"], "pixels", signature.inputs[name])}
    try:
        return base64.b64decode(content["image"], validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Problem(422, '"image" is not base64') from error


def _arrays(content: Any, specs: Mapping[str, jax.ShapeDtypeStruct]) -> Arrays:
    if not isinstance(content, dict) or set(content) != set(specs):
        raise Problem(422, f'"inputs" must have exactly {", ".join(specs)}')
    return {name: _array(content[name], name, spec) for name, spec in specs.items()}


def _array(content: Any, name: str, spec: jax.ShapeDtypeStruct) -> np.ndarray:
    """Nested lists as an array, if they have its shape and values that its type can hold.

    They are validated before NumPy sees them: it would turn text into numbers, true into 1, 1.5
    into 1, and one long text among a thousand numbers into a thousand texts of that length.
    """
    dtype = np.dtype(spec.dtype)
    try:
        checked = validator(spec.shape, dtype.name).validate_python(content)
    except ValueError as error:
        raise Problem(422, f'"{name}" must be {describe(spec)}') from error
    return np.array(checked, dtype).reshape(spec.shape)


@functools.cache
def validator(shape: tuple[int | None, ...], dtype: str) -> pydantic_core.SchemaValidator:
    """What checks nested lists of a shape, strictly: numbers of one kind within bounds.

    Where a size is None, a list may have any length.
    """
    schema, (low, high) = pydantic_core.core_schema, _bounds(np.dtype(dtype))
    kind = np.dtype(dtype).kind
    made: Any
    if kind == "b":
        made = schema.bool_schema(strict=True)
    elif kind == "f":
        made = schema.float_schema(strict=True, ge=float(low), le=float(high), allow_inf_nan=False)
    else:
        made = schema.int_schema(strict=True, ge=int(low), le=int(high))
    for size in reversed(shape):
        made = schema.list_schema(
            made, strict=True, min_length=size, max_length=size, fail_fast=True
        )
    return pydantic_core.SchemaValidator(made)


def _bounds(dtype: np.dtype) -> tuple[float, float]:
    if dtype.kind == "b":
        return False, True
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return limits.min, limits.max


def describe(spec: jax.ShapeDtypeStruct) -> str:
    """What an array must hold, in words."""
    dtype = np.dtype(spec.dtype)
    low, high = _bounds(dtype)
    kinds = {"b": "true or false", "f": "finite numbers"}
    values = kinds.get(dtype.kind, f"whole numbers from {low} to {high}")
    return f"{values}, nested as {list(spec.shape)}" if spec.shape else f"one of {values}"


def decode(file: bytes, shape: tuple[int, ...], max_pixels: int, own: bool = False) -> np.ndarray:
    """A picture file as the model takes it: the middle square in colour, or one digit in grey.

    Args:
      file: its content.
      shape: of the picture; [28, 28] is read as MNIST's digits were made, unless it is `own`.
      max_pixels: more are refused before they are unpacked.
      own: whether the model was trained on a user's own pictures, which are shrunk alone.

    Raises:
      Problem: 413 for too many pixels, 422 for what is no picture.
    """
    try:
        return images.read_for(file, shape, own, formats=FORMATS, max_pixels=max_pixels)
    except images.PixelsError as error:
        raise Problem(413, str(error)) from error
    except DataError as error:
        raise Problem(422, f"this can't be read as a picture, or is blank: {_ADVICE}") from error


def as_lists(array: np.ndarray) -> Any:
    """Nested lists; JSON has no infinity and no NaN, so these become null."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        values = np.array(array, object)
        values[~np.isfinite(array)] = None
        return values.tolist()
    return array.tolist()
