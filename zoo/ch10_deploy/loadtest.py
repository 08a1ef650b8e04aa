"""A bounded load generator for a server on this machine: closed loops, one request at a time each.

It speaks just enough HTTP/1.1 to cost little beside the server that it measures.
"""

import asyncio
import base64
import collections
import dataclasses
import functools
import io
import ipaddress
import json
import socket
import statistics
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from zoo.common.data import DataError

MAX_CLIENTS, MAX_SECONDS = 512, 600.0
_PICTURES = 64


class Target(NamedTuple):
    """Where a server listens, on this machine."""

    host: str
    port: int


def target(url: str) -> Target:
    """The address in a URL.

    Raises:
      DataError: it is not on this machine's loopback.
    """
    parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise DataError(f"{url!r} is no address of a server, expected http://127.0.0.1:8000")
    try:
        port = parts.port or 80
        host = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0][4][0]
    except (OSError, ValueError) as error:
        raise DataError(f"{url!r} is no address of a server: {error}") from error
    if not ipaddress.ip_address(host).is_loopback:
        raise DataError(f"{url} is on another machine ({host}): only loopback is put under load")
    return Target(str(host), port)


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


def pictures(send: str, count: int = _PICTURES) -> list[tuple[bytes, str]]:
    """Bodies and content types of drawn pictures, 32x32 pixels, always the same."""
    import PIL.Image

    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        image = PIL.Image.fromarray(coarse).resize((32, 32), PIL.Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "JPEG" if send == "jpeg" else "PNG")
        if send == "json":
            text = json.dumps({"image": base64.b64encode(file.getvalue()).decode()})
            made.append((text.encode(), "application/json"))
        else:
            made.append((file.getvalue(), f"image/{send}"))
    return made


@dataclasses.dataclass
class Result:
    """What clients saw."""

    clients: int
    send: str
    seconds: float = 0.0
    latencies: list[float] = dataclasses.field(default_factory=list)
    """seconds of each request that was answered with 200"""
    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    lost: int = 0
    """requests sent whose connection ended before an answer"""
    refused: int = 0
    """connections that could not be made"""

    @property
    def failed(self) -> int:
        """Requests that were not answered with 200."""
        others = sum(count for status, count in self.statuses.items() if status != 200)
        return others + self.lost + self.refused

    @property
    def rate(self) -> float:
        """Predictions per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def summary(self) -> dict[str, Any]:
        """Everything as JSON's types, times in milliseconds."""
        cuts = [0.0] * 100
        if len(self.latencies) > 1:
            cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
        milliseconds = {f"p{n}_ms": round(1e3 * cuts[n - 1], 2) for n in (50, 95, 99)}
        milliseconds["max_ms"] = round(1e3 * max(self.latencies, default=0.0), 2)
        return {
            "predictions_per_second": round(self.rate, 1),
            "clients": self.clients,
            "send": self.send,
            "seconds": round(self.seconds, 2),
            "predictions": len(self.latencies),
            **milliseconds,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "lost": self.lost,
            "refused": self.refused,
            "errors": self.failed,
        }


def describe(result: Result) -> list[str]:
    """The result in lines for the screen."""
    summary = result.summary()
    return [
        f"{summary['predictions']:,} predictions in {summary['seconds']} s from "
        f"{result.clients} clients ({result.send}): {summary['predictions_per_second']:,} a second",
        f"latency: median {summary['p50_ms']} ms, p95 {summary['p95_ms']} ms, "
        f"p99 {summary['p99_ms']} ms, longest {summary['max_ms']} ms",
        f"errors: {summary['errors']} (answers by status {summary['statuses']}, "
        f"lost {result.lost}, refused {result.refused})",
    ]


class _Load:
    """What the clients of one measurement share."""

    def __init__(self, place: Target, requests: Sequence[bytes], result: Result, leave: bool):
        self.place, self.requests, self.result, self.leave = place, requests, result, leave
        self.counting = self.ending = False

    async def client(self, number: int) -> None:
        """One closed loop; connects again when the server has closed the connection."""
        loop = asyncio.get_running_loop()
        while not self.ending:
            done = loop.create_future()
            try:
                make = functools.partial(_Client, self, number, done)
                await loop.create_connection(make, *self.place)
            except OSError:
                self.result.refused += self.counting
                if self.leave:
                    return
                await asyncio.sleep(0.05)
                continue
            number, lost = await done
            self.result.lost += lost


class _Client(asyncio.Protocol):
    """A connection of a closed loop."""

    def __init__(self, load: _Load, number: int, done: asyncio.Future):
        self.load, self.number, self.done = load, number, done
        self.buffer, self.need, self.status = bytearray(), 0, 0
        self.sent, self.waiting, self.last = 0.0, False, False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Sends the next request."""
        self.number += 1
        self.waiting, self.need = True, 0
        self.sent = time.perf_counter()
        self.transport.write(self.load.requests[self.number % len(self.load.requests)])

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.need:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self.need, self.status = end + 4 + length, int(head[9:12])
            self.last = b"\r\nconnection: close" in head
        if len(self.buffer) < self.need:
            return
        self.buffer.clear()
        self.waiting = False
        if self.load.counting:
            self.load.result.statuses[self.status] += 1
            if self.status == 200:
                self.load.result.latencies.append(time.perf_counter() - self.sent)
        if self.last or self.load.ending:
            self.transport.close()
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result((self.number, self.waiting))


def measure(
    url: str,
    key: str | None,
    *,
    clients: int,
    seconds: float,
    warmup: float = 2.0,
    send: str = "png",
    leave: bool = False,
) -> Result:
    """Puts a server under load.

    Args:
      url: of the server, on this machine.
      key: API key, if it needs one.
      clients: closed loops at a time, at most 512.
      seconds: to measure for, at most 600.
      warmup: seconds before that, not counted.
      send: `png`, `jpeg` or `json`.
      leave: a client ends when its connection is refused; for servers that shut down.

    Raises:
      DataError: a bound is passed, or no server answers there.
    """
    if not (1 <= clients <= MAX_CLIENTS and 0 < seconds <= MAX_SECONDS and 0 <= warmup <= 60):
        raise DataError(
            f"{clients} clients for {seconds:g} s: use 1 to {MAX_CLIENTS} clients and at most "
            f"{MAX_SECONDS:g} s, with at most 60 s of warm-up"
        )
    place = target(url)
    requests = [request_bytes("/v1/predict", *picture, key) for picture in pictures(send)]
    result = Result(clients, send)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_measure(_Load(place, requests, result, leave), seconds, warmup))
    if not result.statuses and not leave:
        raise DataError(f"no server answers at {url}: start it with `serve`")
    return result


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop where it is installed: clients should cost little beside the server."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _measure(load: _Load, seconds: float, warmup: float) -> None:
    result = load.result
    tasks = {asyncio.create_task(load.client(7 * number)) for number in range(result.clients)}
    await asyncio.wait(tasks, timeout=warmup)
    load.counting, began = True, time.perf_counter()
    await asyncio.wait(tasks, timeout=seconds)
    result.seconds = time.perf_counter() - began
    load.counting, load.ending = False, True  # what is under way ends, uncounted
    _, stuck = await asyncio.wait(tasks, timeout=15.0)
    for task in stuck:
        task.cancel()
    result.lost += len(stuck)
