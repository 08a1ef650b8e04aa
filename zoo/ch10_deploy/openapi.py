"""/openapi.json: what the server does at each address, made from the model's signatures."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from zoo.ch10_deploy import inputs, kserve
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


_ERROR = {
    "schema": {
        "type": "object",
        "properties": {"error": {"type": "string"}},
        "required": ["error"],
    }
}


def document(model: Exported, about: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """The whole document.

    Args:
      model: that is served.
      about: what the service says about itself.
      paths: the prediction at each address.
    """
    manifest, keys = model.manifest, about["key_needed"]
    made = {path: {"get": one} for path, one in {**_server(about), **_protocol(model)}.items()}
    for path, name in paths.items():
        described = operation(model, name, keys)
        if path == next(iter(paths)):
            described["operationId"] = "predict"
        made[path] = {"post": described}
    for shown, name in kserve.names(model).items():
        made[f"/v2/models/{shown}/infer"] = {"post": _inference(model, shown, name, keys)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"zoo: {manifest['model']}",
            "description": str(manifest.get("about", "")),
            "version": str(manifest["versions"].get("zoo", "")),
        },
        "paths": made,
        **({"components": {"securitySchemes": SECURITY}} if keys else {}),
    }


def _get(summary: str, schema: dict[str, Any], refusal: dict[str, Any] | None = None) -> Any:
    """An operation that answers with JSON, or with 503 while the server is not ready."""
    responses = {"200": {"description": "yes", "content": {"application/json": {"schema": schema}}}}
    if refusal:
        responses["503"] = {"description": "it compiles or ends", "content": refusal}
    return {"summary": summary, "responses": responses}


def _server(about: Mapping[str, Any]) -> dict[str, Any]:
    status = _object({"status": {"type": "string"}})
    text = {"schema": {"type": "string"}}
    counts = {"200": {"description": "in Prometheus's format", "content": {"text/plain": text}}}
    refusal = {inputs.PROBLEM: PROBLEM}
    return {
        "/v1/model": _get("Which model this is, its predictions, limits", _described(about)),
        "/healthz": _get("200 while the process lives", status),
        "/readyz": _get("200 while the server takes requests, else 503", status, refusal),
        "/metrics": {"summary": "Counts and times for Prometheus", "responses": counts},
    }


def _protocol(model: Exported) -> dict[str, Any]:
    """KServe's V2 protocol, but for inference."""
    text, true = {"type": "string"}, {"type": "boolean"}
    texts, numbers = ({"type": "array", "items": {"type": kind}} for kind in ("string", "integer"))
    tensor = _object({"name": text, "datatype": text, "shape": numbers})
    tensors = {"type": "array", "items": tensor}
    server = _object({"name": text, "version": text, "extensions": texts})
    one = _object({"name": text, "platform": text, "inputs": tensors, "outputs": tensors})
    refusal = {"application/json": _ERROR}
    made = {
        "/v2": _get("KServe V2: the server and its extensions", server),
        "/v2/health/live": _get("KServe V2: liveness", _object({"live": true})),
        "/v2/health/ready": _get("KServe V2: readiness", _object({"ready": true}), refusal),
    }
    for name in kserve.names(model):
        ready = _object({"name": text, "ready": true})
        made[f"/v2/models/{name}"] = _get("KServe V2: inputs and outputs", one)
        made[f"/v2/models/{name}/ready"] = _get("KServe V2: a model's readiness", ready, refusal)
    return made


def _inference(model: Exported, shown: str, name: str, keys: bool) -> dict[str, Any]:
    signature = model.predictions[name]
    text, free = {"type": "string"}, {"type": "object"}

    def tensors(specs: Specs, answer: bool) -> dict[str, Any]:
        ways = []
        for tensor, spec in specs.items():
            # One list, or nested; that it is as long as the shape says, no schema can tell.
            data: dict[str, Any] = {"type": "array"}
            if answer:
                data["items"] = _array(jax.ShapeDtypeStruct((), spec.dtype), answer)
            else:
                one_value = inputs.describe(jax.ShapeDtypeStruct((), spec.dtype))
                data["description"] = f"each {one_value}, in one list or nested"
            size = {"type": "integer", "minimum": 1}
            axes = 1 + len(spec.shape)
            shape = {"type": "array", "items": size, "minItems": axes, "maxItems": axes}
            shape["description"] = f"{[-1, *spec.shape]}, the first the number of examples"
            fields = {
                "name": {"const": tensor},
                "datatype": {"const": kserve.datatype(spec)},
                "shape": shape,
                "data": data,
            }
            one = _object(fields)
            one["properties"]["parameters"] = free
            ways.append(one)
        return {"type": "array", "items": ways[0] if len(ways) == 1 else {"anyOf": ways}}

    asked = _object({"name": {"enum": list(signature.outputs)}})
    request = _object({"inputs": tensors(signature.inputs, answer=False)})
    request["properties"] |= {"id": text, "outputs": {"type": "array", "items": asked}}
    found = _object({"model_name": text, "outputs": tensors(signature.outputs, answer=True)})
    found["properties"] |= {"id": text}
    answers = {"application/json": {"schema": found}, "application/octet-stream": _FILE}
    responses = {"200": {"description": "tensors, one row each example", "content": answers}}
    for status, said in _REFUSALS.items():
        if status != 422:
            responses[str(status)] = {"description": said, "content": {"application/json": _ERROR}}
    return {
        "summary": f"KServe V2: {signature.about}",
        "operationId": f"infer_{shown.replace('.', '_')}",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": responses,
        "security": [{"bearer": []}, {"header": []}] if keys else [],
    }


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


def _described(found: Mapping[str, Any]) -> dict[str, Any]:
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
