"""What FastAPI can't read off the code: how a prediction is asked for and answered."""

from typing import Any

from fastapi import FastAPI

from zoo.ch10_deploy import problems

_FILE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}
_JSON = {
    "type": "object",
    "properties": {
        "image": {"type": "string", "description": "base64 of a picture file"},
        "pixels": {"type": "array", "description": "nested numbers 0 to 255, of the model's shape"},
    },
}
_ANSWER = {
    "predictions": [{"label": "cat", "probability": 0.971}, {"label": "dog", "probability": 0.02}],
    "model": "6d8e10a88edc",
}
_REFUSALS = {
    400: "the body can't be taken apart",
    401: "no valid key",
    408: "the body did not come in time",
    413: "too many bytes or pixels",
    415: "a content type that is not known",
    422: "no picture, or pixels of another shape",
    429: "too many requests: come again after Retry-After",
    503: "the model is being compiled, or there was no answer in time",
}
_RESPONSES: dict[int | str, Any] = {
    200: {"description": "classes, the likeliest first", "content": {"application/json": {
        "example": _ANSWER}}},
} | {
    status: {"description": text, "content": {problems.MEDIA_TYPE: {}}}
    for status, text in _REFUSALS.items()
}  # fmt: skip
_TOP = {
    "name": "top_k",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "default": 5},
    "description": "how many classes to list",
}

PREDICT: dict[str, Any] = {
    "summary": "What is in a picture",
    "responses": _RESPONSES,
    "openapi_extra": {
        "parameters": [_TOP],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": _FILE,
                "application/octet-stream": _FILE,
                "multipart/form-data": {"schema": _FORM},
                "application/json": {"schema": _JSON},
            },
        },
        "security": [{"bearer": []}, {"header": []}, {}],
    },
}
"""Keywords for the route's decorator."""


def complete(app: FastAPI) -> None:
    """Adds to an app's schema in which ways a key is sent."""
    plain = app.openapi

    def schema() -> dict[str, Any]:
        made = plain()
        made.setdefault("components", {})["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        return made

    app.openapi = schema
