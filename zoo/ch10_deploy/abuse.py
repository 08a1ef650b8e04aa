"""Requests that a server must refuse: malformed, oversized, unauthorised, cut off; in any order.

Each kind has the answers that are right for it. Memory is read from the server's own /metrics.
"""

import asyncio
import collections
import dataclasses
import json
import random
import struct
import time
import zlib
from collections.abc import Sequence

from zoo.ch10_deploy.loadtest import Target, pictures, request_bytes, target
from zoo.common.data import DataError

MAX_COUNT, MAX_CLIENTS = 100_000, 64
SECONDS = 30.0  # an answer that takes longer counts as hung
PATH = "/v1/predict"
CLOSED = 0  # the server may close the connection without an answer


@dataclasses.dataclass(frozen=True)
class Bad:
    """A bad request and the statuses that answer it rightly."""

    name: str
    content: bytes
    right: tuple[int, ...]


@dataclasses.dataclass
class Report:
    """What came of an attack."""

    seconds: float = 0.0
    memory: tuple[int, int] = (0, 0)  # resident bytes, a tenth into the attack and at its end
    answers: dict[str, collections.Counter] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)
    works: bool = False  # whether a good request is answered afterwards

    @property
    def growth(self) -> float:
        """Memory that was gained, in MiB."""
        return (self.memory[1] - self.memory[0]) / 2**20

    def lines(self) -> list[str]:
        """The report for the screen."""
        total = sum(sum(counter.values()) for counter in self.answers.values())
        server = sum(c[s] for c in self.answers.values() for s in c if s >= 500)
        out = [
            f"  {name:<34}" + ", ".join(f"{s or 'closed'}: {n:,}" for s, n in sorted(c.items()))
            for name, c in sorted(self.answers.items())
        ]
        out.append(
            f"{total:,} bad requests in {self.seconds:.1f} s: {server} answers of 5xx, "
            f"{len(self.faults)} answers other than expected"
        )
        before, after = (size / 2**20 for size in self.memory)
        out.append(f"memory of the server: {before:.1f} MiB, at the end {after:.1f} MiB")
        out.append(f"a good request afterwards: {'answered' if self.works else 'NOT answered'}")
        return out + self.faults[:10]


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


def bad_requests(key: str | None, max_bytes: int, shape: Sequence[int]) -> list[Bad]:
    """Every kind of bad request, for a server with these limits."""
    good, kind = pictures("png", 1)[0]

    def post(body: bytes = good, content: str | None = kind, path: str = PATH, **more) -> bytes:
        return request_bytes(path, body, content, key, **more)

    def form(text: str, boundary: str = "xyz") -> bytes:
        body = text.replace("\n", "\r\n").encode()
        return post(body, f"multipart/form-data; boundary={boundary}")

    def pixels(value: object) -> bytes:
        return post(json.dumps({"pixels": value}).encode(), "application/json")

    def chunked(total: int) -> bytes:
        piece = b"10000\r\n" + bytes(65536) + b"\r\n"
        head = request_bytes(PATH, b"", kind, key, headers=["Transfer-Encoding: chunked"])
        head = head.replace(b"Content-Length: 0\r\n", b"")
        return head + piece * (total // 65536) + b"0\r\n\r\n"

    names = b'Content-Disposition: form-data; name="image"; filename="a.png"'
    deep = b"[" * 100_000
    right = [[[0] * shape[-1]] * shape[1]] * shape[0] if len(shape) == 3 else [[0] * 28] * 28
    keyless = (401,) if key else (200,)
    return [
        Bad("no key", request_bytes(PATH, good, kind), keyless),
        Bad("wrong key", request_bytes(PATH, good, kind, "zoo_" + 16 * "0" + "_" + 43 * "A"),
            keyless),
        Bad("key of garbage", request_bytes(PATH, good, kind, "\x7f\x80ÿ'\""), (400, *keyless)),
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
        Bad("unknown content type", post(good, "text/plain"), (415,)),
        Bad("no content type", post(good, None), (415,)),
        Bad("JSON cut off", post(b'{"image": "aGk', "application/json"), (400,)),
        Bad("JSON, deep", post(deep, "application/json"), (400,)),
        Bad("JSON, no UTF-8", post(b"\xff\xfe{}", "application/json"), (400, 422)),
        Bad("JSON of another form", post(b"[1, 2]", "application/json"), (422,)),
        Bad("JSON, both", post(b'{"image": "", "pixels": 1}', "application/json"), (422,)),
        Bad("base64 of nothing", post(b'{"image": "////"}', "application/json"), (422,)),
        Bad("no base64", post(b'{"image": "*?*"}', "application/json"), (422,)),
        Bad("image is a number", post(b'{"image": 7}', "application/json"), (422,)),
        Bad("pixels of another shape", pixels([[1, 2], [3]]), (422,)),
        Bad("pixels too large", pixels([[[1 << 70] * 3] * 32] * 32), (422,)),
        Bad("pixels of text", pixels("NaN"), (422,)),
        Bad("pixels, true", pixels(True), (422,)),
        Bad("pixels out of range", pixels(json.loads(json.dumps(right).replace("0", "256"))),
            (422,)),
        Bad("form without boundary", post(good, "multipart/form-data"), (400,)),
        Bad("form without file", form('--xyz\nContent-Disposition: form-data; name="a"\n\nb\n'
                                      "--xyz--\n"), (400,)),
        Bad("form cut off", form("--xyz\n" + names.decode() + "\n\nabc"), (400, 422)),
        Bad("form of 100 fields", form(("--xyz\n" + names.decode()[:-7] + 'b"\n\n\n') * 100
                                       + "--xyz--\n"), (400, 422)),
        Bad("top_k=0", post(path=PATH + "?top_k=0"), (422,)),
        Bad("top_k=-1", post(path=PATH + "?top_k=-1"), (422,)),
        Bad("top_k of 60 digits", post(path=PATH + "?top_k=" + 60 * "9"), (422,)),
        Bad("unknown path", post(path="/v1/../../etc/passwd"), (404,)),
        Bad("path with NUL", post(path="/%00%ff"), (404,)),
        Bad("wrong method", request_bytes(PATH, method="DELETE", key=key), (405,)),
        Bad("page by POST", post(path="/"), (405,)),
        Bad("body too large", post(bytes(max_bytes + 1)), (413,)),
        Bad("chunks too large", chunked(max_bytes + 131_072), (413,)),
        Bad("length of a terabyte", request_bytes(PATH, b"", kind, key).replace(
            b"Content-Length: 0", b"Content-Length: 1099511627776"), (413,)),
        Bad("length of nonsense", request_bytes(PATH, b"", kind, key).replace(
            b"Content-Length: 0", b"Content-Length: -5"), (400,)),
        Bad("two lengths", post(headers=["Content-Length: 3"]), (400,)),
        Bad("headers too large", post(headers=["X: " + "y" * 8000] * 8), (431, CLOSED)),
        Bad("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 3 + b"\r\n\r\n", (400,)),
        Bad("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", (400,)),
        Bad("upgrade", post(headers=["Connection: Upgrade", "Upgrade: websocket"]),
            (200, 400, 426)),
        Bad("gone in the headers", b"POST /v1/pre", (CLOSED, 400)),
        Bad("gone in the body", post()[:-100], (CLOSED, 400, 408)),
    ]  # fmt: skip


async def _exchange(place: Target, bad: Bad) -> int:
    """The status that answers a bad request, `CLOSED` if the connection just ends."""
    reader, writer = await asyncio.open_connection(*place)
    try:
        leaves = bad.name.startswith("gone")
        writer.write(bad.content)
        if leaves:  # hangs up without waiting
            await writer.drain()
            return CLOSED
        try:
            head = await reader.readuntil(b"\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return CLOSED
        parts = head.split()
        return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else -1
    except ConnectionError:
        return CLOSED
    finally:
        writer.transport.abort()


async def _get(place: Target, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(*place)
    writer.write(request_bytes(path, method="GET", headers=["Connection: close"]))
    content = await reader.read()
    writer.close()
    return content.partition(b"\r\n\r\n")[2]


async def _memory(place: Target) -> int:
    text = (await _get(place, "/metrics")).decode()
    found = [line for line in text.splitlines() if line.startswith("process_resident_memory_bytes")]
    return int(float(found[0].split()[1])) if found else 0


async def _attack(place: Target, key: str | None, count: int, clients: int) -> Report:
    about = json.loads(await _get(place, "/v1/model"))
    kinds = bad_requests(key, about["max_bytes"], about["image_shape"])
    order = [kinds[n % len(kinds)] for n in range(count)]
    random.Random(0).shuffle(order)
    report, began = Report(), time.perf_counter()
    report.answers = {bad.name: collections.Counter() for bad in kinds}

    async def work(waiting: collections.deque[Bad]) -> None:
        while waiting:
            bad = waiting.popleft()
            try:
                status = await asyncio.wait_for(_exchange(place, bad), SECONDS)
            except TimeoutError:
                report.faults.append(f"{bad.name}: no answer within {SECONDS:g} s")
                continue
            except OSError as error:
                report.faults.append(f"{bad.name}: {error}")
                continue
            report.answers[bad.name][status] += 1
            if status not in bad.right:
                report.faults.append(f"{bad.name}: {status}, expected {bad.right}")

    async def run(part: Sequence[Bad]) -> None:
        waiting = collections.deque(part)
        await asyncio.gather(*(work(waiting) for _ in range(clients)))

    # Buffers and pools fill up in the first tenth; after it memory must stay where it is.
    first = max(len(kinds), count // 10)
    await run(order[:first])
    before = await _memory(place)
    await run(order[first:])
    report.memory = before, await _memory(place)
    good = Bad("good", request_bytes(PATH, *pictures("png", 1)[0], key), (200,))
    report.works = await asyncio.wait_for(_exchange(place, good), SECONDS) == 200
    report.seconds = time.perf_counter() - began
    if not report.works:
        report.faults.append("a good request is not answered afterwards")
    return report


def attack(url: str, key: str | None, *, count: int = 10_000, clients: int = 16) -> Report:
    """Sends a server `count` bad requests in a shuffled order, and looks whether it still works.

    Raises:
      DataError: a bound is passed, or no server answers there.
    """
    if not (1 <= count <= MAX_COUNT and 1 <= clients <= MAX_CLIENTS):
        raise DataError(
            f"{count} requests by {clients} clients: use 1 to {MAX_COUNT:,} by 1 to {MAX_CLIENTS}"
        )
    try:
        return asyncio.run(_attack(target(url), key, count, clients))
    except (OSError, ValueError) as error:
        raise DataError(f"no server of zoo answers at {url}: {error}") from error
