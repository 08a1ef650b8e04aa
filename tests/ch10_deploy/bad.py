"""Requests that a server must refuse, each with the answers that are right for it."""

import io
import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

PATH = "/v1/predict"
CLOSED = 0  # the server may close the connection without an answer


class Bad(NamedTuple):
    """A bad request and the statuses that answer it rightly."""

    name: str
    content: bytes
    right: tuple[int, ...]


def request_bytes(
    path: str,
    body: bytes = b"",
    kind: str | None = None,
    key: str | None = None,
    method: str = "POST",
    headers: Sequence[str] = (),
) -> bytes:
    """A whole HTTP request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if kind is not None:
        lines.append(f"Content-Type: {kind}")
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def picture() -> bytes:
    """A PNG of 32x32 pixels."""
    coarse = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((32, 32), PIL.Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims `width` x `height` pixels, all of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(min(3 * width + 1, 1 << 16)) * min(height, 64))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _webp(width: int, height: int) -> bytes:
    """A WebP whose header claims `width` x `height` pixels, with nothing behind it."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    data = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    return b"RIFF" + struct.pack("<I", len(data)) + data


class _Maker:
    """Makes requests that are good but for what is changed in them."""

    def __init__(self, key: str | None):
        self.key = key
        self.good, self.kind = picture(), "image/png"

    def post(
        self, body: bytes | None = None, kind: str | None = "image/png", path: str = PATH, **more
    ) -> bytes:
        """A request with this body, the good picture if there is none."""
        body = self.good if body is None else body
        return request_bytes(path, body, kind, self.key, **more)

    def json(self, content: Any) -> bytes:
        """A request with bytes, or what is not bytes as JSON, said to be JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.post(body, "application/json")

    def form(self, text: str) -> bytes:
        """A request with a form whose boundary is xyz."""
        return self.post(text.replace("\n", "\r\n").encode(), "multipart/form-data; boundary=xyz")

    def of_length(self, length: int) -> bytes:
        """A request that announces a body of this length, and has none."""
        return self.post(b"").replace(b"Content-Length: 0", f"Content-Length: {length}".encode())

    def chunked(self, total: int) -> bytes:
        """A request whose body comes in chunks, its length not said."""
        piece = b"10000\r\n" + bytes(65536) + b"\r\n"
        head = self.post(b"", headers=["Transfer-Encoding: chunked"])
        head = head.replace(b"Content-Length: 0\r\n", b"")
        return head + piece * (total // 65536) + b"0\r\n\r\n"


def bad_requests(key: str | None, max_bytes: int, shape: Sequence[int]) -> list[Bad]:
    """Every kind of bad request, for a server with these limits."""
    make = _Maker(key)
    kinds = _strangers(make), _files(make), _json(make, shape), _forms(make), _http(make, max_bytes)
    return [bad for kind in kinds for bad in kind]


def _strangers(make: _Maker) -> list[Bad]:
    """Without a key, or with a bad one; where no key is needed, these are good requests."""
    right = (401,) if make.key else (200,)
    unknown, garbage = f"zoo_{16 * '0'}_{43 * 'A'}", "\x7f\x80ÿ'\""
    return [
        Bad("no key", request_bytes(PATH, make.good, make.kind), right),
        Bad("wrong key", request_bytes(PATH, make.good, make.kind, unknown), right),
        Bad("key of garbage", request_bytes(PATH, make.good, make.kind, garbage), (400, *right)),
    ]


def _files(make: _Maker) -> list[Bad]:
    post, good = make.post, make.good
    return [
        Bad("empty body", post(b""), (400,)),
        Bad("no picture", post(b"not a picture" * 9), (422,)),
        Bad("picture cut off", post(good[: len(good) // 2]), (422,)),
        Bad("picture with flipped bits", post(good[:60] + bytes(40) + good[100:]), (422,)),
        Bad("text as SVG", post(b"<svg onload='alert(1)'/>", "image/svg+xml"), (422,)),
        Bad("bomb: PNG of 900 megapixels", post(bomb(30_000, 30_000)), (413,)),
        Bad("bomb: PNG of 150 megapixels", post(bomb(15_000, 10_000)), (413,)),
        Bad("bomb: PNG of 4 gigapixels", post(bomb(65_535, 65_535)), (413,)),
        Bad("bomb: WebP of 268 megapixels", post(_webp(16_384, 16_384), "image/webp"), (413, 422)),
        Bad("size 0", post(bomb(0, 0)), (422,)),
        Bad("unknown content type", post(kind="text/plain"), (415,)),
        Bad("no content type", post(kind=None), (415,)),
    ]


def _json(make: _Maker, shape: Sequence[int]) -> list[Bad]:
    too_bright: Any = 256
    for size in reversed(shape):
        too_bright = [too_bright] * size
    return [
        Bad("JSON cut off", make.json(b'{"image": "aGk'), (400,)),
        Bad("JSON, deep", make.json(b"[" * 100_000), (400,)),
        Bad("JSON, no UTF-8", make.json(b"\xff\xfe{}"), (400, 422)),
        Bad("JSON of another form", make.json([1, 2]), (422,)),
        Bad("JSON, both", make.json({"image": "", "pixels": 1}), (422,)),
        Bad("base64 of nothing", make.json({"image": "////"}), (422,)),
        Bad("no base64", make.json({"image": "*?*"}), (422,)),
        Bad("image is a number", make.json({"image": 7}), (422,)),
        Bad("pixels of another shape", make.json({"pixels": [[1, 2], [3]]}), (422,)),
        Bad("pixels too large", make.json({"pixels": [[[1 << 70] * 3] * 32] * 32}), (422,)),
        Bad("inputs of text", make.json({"inputs": "x"}), (422,)),
        Bad("inputs, none", make.json({"inputs": {}}), (422,)),
        Bad("inputs of another name", make.json({"inputs": {"x": 1}}), (422,)),
        Bad("inputs of another shape", make.json({"inputs": {"image": [1.5]}}), (422,)),
        Bad("pixels of text", make.json({"pixels": "NaN"}), (422,)),
        Bad("pixels, true", make.json({"pixels": True}), (422,)),
        Bad("pixels out of range", make.json({"pixels": too_bright}), (422,)),
    ]


def _forms(make: _Maker) -> list[Bad]:
    field = '--xyz\nContent-Disposition: form-data; name="a"\n\nb\n'
    file = '--xyz\nContent-Disposition: form-data; name="image"; filename="a.png"\n\nabc'
    return [
        Bad("form without boundary", make.post(kind="multipart/form-data"), (400,)),
        Bad("form without file", make.form(field + "--xyz--\n"), (400,)),
        Bad("form cut off", make.form(file), (400, 422)),
        Bad("form of 100 fields", make.form(field * 100 + "--xyz--\n"), (400,)),
    ]


def _http(make: _Maker, max_bytes: int) -> list[Bad]:
    post = make.post
    upgrade = ["Connection: Upgrade", "Upgrade: websocket"]
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 3  # of TLS
    return [
        Bad("top_k=0", post(path=PATH + "?top_k=0"), (422,)),
        Bad("top_k=-1", post(path=PATH + "?top_k=-1"), (422,)),
        Bad("top_k of 60 digits", post(path=PATH + "?top_k=" + 60 * "9"), (422,)),
        Bad("unknown prediction", post(path=PATH + "/../secret"), (404,)),
        Bad("unknown path", post(path="/v1/../../etc/passwd"), (404,)),
        Bad("path with NUL", post(path="/%00%ff"), (404,)),
        Bad("wrong method", request_bytes(PATH, method="DELETE", key=make.key), (405,)),
        Bad("page by POST", post(path="/"), (405,)),
        Bad("body too large", post(bytes(max_bytes + 1)), (413,)),
        Bad("chunks too large", make.chunked(max_bytes + 131_072), (413,)),
        Bad("length of a terabyte", make.of_length(1 << 40), (413,)),
        Bad("length of nonsense", make.of_length(-5), (400,)),
        Bad("two lengths", post(headers=["Content-Length: 3"]), (400,)),
        Bad("headers too large", post(headers=["X: " + "y" * 8000] * 8), (431, CLOSED)),
        Bad("no HTTP", hello + b"\r\n\r\n", (400,)),
        Bad("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", (400,)),
        Bad("upgrade", post(headers=upgrade), (200, 400, 426)),
        Bad("gone in the headers", b"POST /v1/pre", (CLOSED,)),
        Bad("gone in the body", post()[:-100], (CLOSED,)),
    ]
