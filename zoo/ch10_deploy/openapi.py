"""The schema of the predictions, made from the model's signatures, for FastAPI's /openapi.json."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from zoo.ch10_deploy import inputs
from zoo.ch10_deploy.export import Exported, Specs

_FILE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}
_REFUSALS = {
    400: "the body can't be taken apart",
    401: "no valid key",
    408: "the body did not come in time",
    413: "too many bytes or pixels",
    415: "a content type that is not known",
    422: "no picture, or arrays of another shape or type",
    429: "too many requests: come again after Retry-After",
    503: "the model is being compiled, or there was no answer in time",
}
_TOP = {
    "name": "top_k",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "default": 5},
    "description": "how many classes to list",
}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""In which ways a key is sent."""
PROBLEM = {
    "schema": {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    }
}
"""The content of a refusal, RFC 9457."""


def operation(model: Exported, name: str, keys: bool) -> dict[str, Any]:
    """What OpenAPI says of a prediction: its body, its answers, its refusals.

    Args:
      model: that is served.
      name: of the prediction.
      keys: whether callers need one.
    """
    signature, classifies = model.predictions[name], model.classifies(name)
    content = {"application/json": _json(signature.inputs, bool(signature.picture))}
    if signature.picture:
        pictures = {"image/*": _FILE, "application/octet-stream": _FILE}
        content = {**pictures, "multipart/form-data": {"schema": _FORM}, **content}
    answers = {"application/json": _answer(model, name)}
    if signature.drawn:
        answers["image/png"] = _FILE
    responses = {"200": {"description": _result(signature.outputs, classifies), "content": answers}}
    for status, text in _REFUSALS.items():
        responses[str(status)] = {"description": text, "content": {inputs.PROBLEM: PROBLEM}}
    return {
        "summary": signature.about,
        "operationId": f"predict_{name}",
        "parameters": [_TOP] if classifies else [],
        "requestBody": {"required": True, "content": content},
        "responses": responses,
        "security": [{"bearer": []}, {"header": []}] if keys else [],
    }


def about(found: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what a service says about itself."""
    kinds: dict[type, dict[str, Any]] = {
        str: {"type": "string"},
        bool: {"type": "boolean"},
        int: {"type": "integer"},
        list: {"type": "array"},
        dict: {"type": "object"},
    }
    return _object({name: kinds.get(type(value), {}) for name, value in found.items()})


def _json(specs: Specs, picture: bool) -> dict[str, Any]:
    # One of several: the arrays by name, or for pictures the two shorter forms.
    ways = [_object({"inputs": _object({n: _array(spec) for n, spec in specs.items()})})]
    if picture:
        base64 = {"type": "string", "description": "base64 of a picture file"}
        (spec,) = specs.values()
        ways += [_object({"image": base64}), _object({"pixels": _array(spec)})]
    described: dict[str, Any] = {"schema": ways[0] if len(ways) == 1 else {"oneOf": ways}}
    if sum(int(np.prod(spec.shape)) for spec in specs.values()) <= 64:  # else nobody would read it
        zeros = {n: np.zeros(spec.shape, spec.dtype).tolist() for n, spec in specs.items()}
        described["example"] = {"inputs": zeros}
    return described


def _answer(model: Exported, name: str) -> dict[str, Any]:
    model_id = {"type": "string", "description": "the first twelve digits of the model's SHA-256"}
    if not model.classifies(name):
        arrays = model.predictions[name].outputs
        outputs = _object({n: _array(spec, answer=True) for n, spec in arrays.items()})
        return {"schema": _object({"outputs": outputs, "model": model_id})}
    labels = [*model.classes, *model.classes][:2]
    rows = [{"label": x, "probability": p} for x, p in zip(labels, (0.971, 0.02), strict=True)]
    row = _object({"label": {"type": "string"}, "probability": {"type": "number"}})
    return {
        "schema": _object({"predictions": {"type": "array", "items": row}, "model": model_id}),
        "example": {"predictions": rows, "model": model.digest[:12]},
    }


def _result(specs: Specs, classifies: bool) -> str:
    if classifies:
        return "classes, the most probable first"
    return ", ".join(f"{name} {list(spec.shape)}" for name, spec in specs.items())


def _array(spec: jax.ShapeDtypeStruct, answer: bool = False) -> dict[str, Any]:
    # JSON has no infinity and no NaN: an answer has null in their place.
    kinds = {"b": "boolean", "f": ["number", "null"] if answer else "number"}
    schema: dict[str, Any] = {"type": kinds.get(np.dtype(spec.dtype).kind, "integer")}
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema, "minItems": size, "maxItems": size}
    return schema if answer else {**schema, "description": inputs.describe(spec)}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
