"""What the server refuses, as RFC 9457's `application/problem+json`: no stack trace, no path."""

import http
import json

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that is refused: an HTTP status and what is wrong, in words for the caller."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


def busy(detail: str, seconds: float = 1.0) -> Problem:
    """Refused for now: status 429, and when to come again."""
    return Problem(429, detail, {"retry-after": str(max(1, int(-(-seconds // 1))))})


def body(status: int, detail: str) -> bytes:
    """The answer's content."""
    try:
        title = http.HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return json.dumps(content).encode()
