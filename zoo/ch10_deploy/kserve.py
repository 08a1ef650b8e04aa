"""KServe's V2 protocol, the Open Inference Protocol, over HTTP: what its clients send and get.

From its specification of JSON over HTTP, and the binary tensor extension, by which tensors follow
the JSON in little-endian bytes. Each prediction is a model; the main one has the exported model's
name, the others that name and their own, `ch08_vae.encode`. Models have no versions.

Requests may hold several examples; N is their number, the first axis of every tensor.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pydantic_core

from zoo.ch10_deploy import inputs
from zoo.ch10_deploy.export import Arrays, Exported, Signature, Specs
from zoo.ch10_deploy.inputs import Problem

EXTENSION = "binary_tensor_data"
LENGTH = "inference-header-content-length"
_JSON, _BYTES = "application/json", "application/octet-stream"
_PREFIXES = {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FP"}


class Request(NamedTuple):
    """A request for a prediction."""

    arrays: Arrays  # [N, ...]
    examples: int  # N
    outputs: dict[str, bool]  # names, and whether in bytes
    id: str | None


def names(model: Exported) -> dict[str, str]:
    """The prediction behind each name of a model in the protocol."""
    base = model.manifest["model"].replace("/", ".")
    main, *others = model.predictions
    return {base: main} | {f"{base}.{other}": other for other in others}


def datatype(spec: jax.ShapeDtypeStruct) -> str:
    """The protocol's name of a type: UINT8, FP32, BOOL, ..."""
    dtype = np.dtype(spec.dtype)
    return _PREFIXES[dtype.kind] + ("" if dtype.kind == "b" else str(8 * dtype.itemsize))


def metadata(name: str, signature: Signature) -> dict[str, Any]:
    """What the protocol says of a model."""

    def tensors(specs: Specs) -> list[dict[str, Any]]:
        return [
            {"name": n, "datatype": datatype(spec), "shape": [-1, *spec.shape]}
            for n, spec in specs.items()
        ]

    about = {"inputs": tensors(signature.inputs), "outputs": tensors(signature.outputs)}
    return {"name": name, "platform": "jax", **about}


def parse(body: bytes, kind: str, length: str | None, signature: Signature, most: int) -> Request:
    """Takes a request apart; everything in it may be hostile.

    Args:
      body: of the request.
      kind: its content type.
      length: how many bytes of it are JSON, the others are tensors; None for all.
      signature: of the prediction.
      most: examples in a request.

    Raises:
      Problem: 400 or 415.
    """
    if kind.partition(";")[0].strip().lower() not in ("", _JSON, _BYTES):
        raise Problem(415, f"the content type must be {_JSON}, or {_BYTES} with tensors in bytes")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 12):
        raise Problem(400, f"{LENGTH} must be a whole number")
    size = len(body) if length is None else int(length)
    try:
        content = pydantic_core.from_json(body[:size])
    except ValueError as error:
        raise Problem(400, "the body is no JSON") from error
    if size > len(body) or not isinstance(content, dict):
        raise Problem(400, "the body is no JSON object, or shorter than its header says")
    identity = content.get("id")
    if not isinstance(identity, str | None):
        raise Problem(400, '"id" must be a text')
    given = _tensors(content.get("inputs"), "inputs")
    if set(given) != set(signature.inputs):
        raise Problem(400, f'"inputs" must be {", ".join(signature.inputs)}')
    arrays, rest = {}, memoryview(body)[size:]
    for name, tensor in given.items():
        spec = signature.inputs[name]
        count = _count(name, tensor, spec, most)
        taken = _parameters(tensor).get("binary_data_size")
        if taken is None:
            arrays[name] = _numbers(name, tensor.get("data"), count, spec)
        else:
            arrays[name], rest = _bytes(name, rest, taken, count, spec)
    if len(rest):
        raise Problem(400, f"{len(rest)} bytes behind the JSON are of no input")
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1:
        raise Problem(400, "the inputs differ in their number of examples")
    return Request(arrays, counts.pop(), _outputs(content, signature), identity)


def _tensors(given: Any, what: str) -> dict[str, dict[str, Any]]:
    """Tensors by their names."""
    if not isinstance(given, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in given
    ):
        raise Problem(400, f'"{what}" must be a list of objects with a name')
    found = {one["name"]: one for one in given}
    if len(found) < len(given):
        raise Problem(400, f'"{what}" has a name twice')
    return found


def _parameters(of: Mapping[str, Any]) -> dict[str, Any]:
    found = of.get("parameters", {})
    if not isinstance(found, dict):
        raise Problem(400, '"parameters" must be an object')
    return found


def _count(name: str, tensor: Mapping[str, Any], spec: jax.ShapeDtypeStruct, most: int) -> int:
    """The number of examples of an input, whose shape and type are checked."""
    if tensor.get("datatype") != datatype(spec):
        raise Problem(400, f'"{name}" must have the datatype {datatype(spec)}')
    shape, expected = tensor.get("shape"), [-1, *spec.shape]
    if (
        not isinstance(shape, list)
        or not all(type(size) is int for size in shape)
        or shape[1:] != expected[1:]
        or not 1 <= len(shape[:1]) <= shape[0] <= most
    ):
        raise Problem(400, f'"{name}" must have the shape {expected}, the first from 1 to {most}')
    return shape[0]


def _numbers(name: str, data: Any, count: int, spec: jax.ShapeDtypeStruct) -> np.ndarray:
    """JSON's numbers, in one list or nested, as an array [N, ...]."""
    flat = isinstance(data, list) and bool(data) and not isinstance(data[0], list)
    size = count * math.prod(spec.shape)
    try:
        shape = (None,) if flat else (None, *spec.shape)
        checked = inputs.validator(shape, np.dtype(spec.dtype).name).validate_python(data)
        if len(checked) != (size if flat else count):
            raise ValueError
    except ValueError as error:
        about = inputs.describe(jax.ShapeDtypeStruct((count, *spec.shape), spec.dtype))
        raise Problem(400, f'"{name}" must be {about}, or one list of all') from error
    return np.array(checked, spec.dtype).reshape(count, *spec.shape)


def _bytes(
    name: str, rest: memoryview, taken: Any, count: int, spec: jax.ShapeDtypeStruct
) -> tuple[np.ndarray, memoryview]:
    """The next bytes as an array [N, ...], and those behind them."""
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    size = count * math.prod(spec.shape) * dtype.itemsize
    if type(taken) is not int or taken != size or len(rest) < size:
        raise Problem(400, f'"{name}" must have {size} bytes behind the JSON')
    if dtype.kind == "b" and np.frombuffer(rest[:size], np.uint8).max(initial=0) > 1:
        raise Problem(400, f'"{name}" must have bytes of 0 or 1')
    array = np.frombuffer(rest[:size], dtype).reshape(count, *spec.shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise Problem(400, f'"{name}" must be finite numbers')
    return array, rest[size:]


def _outputs(content: Mapping[str, Any], signature: Signature) -> dict[str, bool]:
    """The outputs that are wanted, all if none is named, and whether in bytes."""
    default = _parameters(content).get("binary_data_output", False)
    asked = _tensors(content.get("outputs", []), "outputs") or {n: {} for n in signature.outputs}
    if unknown := [name for name in asked if name not in signature.outputs]:
        known = ", ".join(signature.outputs)
        raise Problem(400, f"there is no output {unknown[0]!r:.60}, expected {known}")
    found = {n: _parameters(one).get("binary_data", default) for n, one in asked.items()}
    if not all(isinstance(one, bool) for one in found.values()):
        raise Problem(400, '"binary_data" must be true or false')
    return found


def answer(
    name: str, request: Request, rows: Sequence[Arrays], signature: Signature
) -> tuple[bytes, str, dict[str, str]]:
    """The content of an answer, its type and headers.

    Args:
      name: of the model.
      request: that is answered.
      rows: the outputs of each example.
      signature: of the prediction.
    """
    described, behind = [], []
    for output, in_bytes in request.outputs.items():
        spec = signature.outputs[output]
        array = np.stack([row[output] for row in rows])
        about: dict[str, Any] = {
            "name": output,
            "datatype": datatype(spec),
            "shape": list(array.shape),
        }
        if in_bytes:
            behind.append(array.astype(array.dtype.newbyteorder("<")).tobytes())
            about["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            about["data"] = inputs.as_lists(array.ravel())
        described.append(about)
    identity = {} if request.id is None else {"id": request.id}
    content = json.dumps({"model_name": name, **identity, "outputs": described}).encode()
    if not behind:
        return content, _JSON, {}
    return b"".join([content, *behind]), _BYTES, {LENGTH: str(len(content))}
