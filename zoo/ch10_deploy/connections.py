"""One connection of HTTP/1.1, as uvicorn's, with a deadline for every state that it can be in.

A connection waits for the head of a request, is answered, rests between requests, or is being
closed. No state lasts for ever, whatever the client sends or does not read. Where connections are
too many, the one that has waited longest is closed for a new one, never one whose request is whole.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from zoo.ch10_deploy.inputs import PROBLEM, Problem

MAX_HEADER_BYTES = 16 * 1024
LINGER_BYTES = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Deadlines:
    """Seconds that a connection may stay in a state, and how many connections there may be."""

    head: float = 10.0
    """for the head of a request, from the connection or its first byte"""
    idle: float = 30.0
    """between requests"""
    request: float = 15.0
    """from the head of a request to the last byte of its answer"""
    linger: float = 5.0
    """after an answer, for a client that still sends"""
    connections: int = 900  # many systems let a process open 1,024 files
    per_address: int = 450


class _Transport:
    """A transport whose `close` is the protocol's; all else is asyncio's."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]):
        self.real, self.close = transport, close
        self.leaving = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def is_closing(self) -> bool:
        return self.leaving or self.real.is_closing()


class LimitedProtocol(HttpToolsProtocol):
    """A connection that is closed when its client sends too much, too slowly or nothing."""

    transport: Any  # a `_Transport`

    def __init__(self, *args: Any, deadlines: Deadlines | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.deadlines = deadlines or Deadlines()
        self.since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = self._broken = False
        self._head_bytes = self._discarded = 0
        self._open = 0  # requests that are being answered or wait for their turn
        self._last_words: bytes | None = None  # to be written when what came before is answered

    # ---- asyncio's callbacks

    def connection_made(  # type: ignore[override]  # as uvicorn's
        self, transport: asyncio.Transport
    ) -> None:
        """Makes room where connections are too many, then waits for a head."""
        super().connection_made(_Transport(transport, self._close))  # type: ignore[arg-type]
        self.since = time.monotonic()
        if not self._make_room():
            transport.abort()  # an answer would cost what the limit is to save
            return
        self._arm(self.deadlines.head, self._no_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timer."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, and looks how far the head has come."""
        if self._broken or self.transport.is_closing():
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.transport.abort()
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if not self._head_too_large():
                self._refuse_rest(400, "this is no HTTP request")
            return
        self._head_too_large()

    # ---- the parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if not self._open:
            self._arm(self.deadlines.head, self._no_head)

    def on_headers_complete(self) -> None:
        """Its head is complete, perhaps all in one piece with what follows."""
        size = sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEADER_BYTES:
            self._head_bytes = size
            raise ValueError("too large")  # the parser's error says that a callback failed
        if self.parser.should_upgrade():
            return  # the parser raises `HttpParserUpgrade` next
        self._in_head = False
        super().on_headers_complete()  # raises where the address is none
        if not self._open:
            self._arm(self.deadlines.request, self.transport.abort)
        self._open += 1

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        if not self._in_head:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Its end; of one that wants to upgrade, the end of its head."""
        if not self._in_head:
            super().on_message_complete()

    # ---- uvicorn's callbacks

    def on_response_complete(self) -> None:
        """An answer is written: on to the next request, if the last one was whole."""
        self._open -= 1
        super().on_response_complete()
        self.since = time.monotonic()
        if self.transport.is_closing():
            return
        if self._open:
            self._arm(self.deadlines.request, self.transport.abort)
        elif self._last_words is not None:
            self.transport.write(self._last_words)
            self._linger()
        elif self.cycle.more_body:  # nobody reads the rest
            self._linger()
        elif self._in_head:
            self._arm(self.deadlines.head, self._no_head)
        else:
            self._arm(self.deadlines.idle, self._close)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers by itself."""
        self._refuse_rest(400, msg)

    # ---- states

    def _arm(self, seconds: float, act: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, act)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _whole(self) -> bool:
        """Whether a request that is being answered has come to its end."""
        return self._open > 1 or (self._open == 1 and not self.cycle.more_body)

    def _make_room(self) -> bool:
        """Closes the connections that have waited longest until there is room for this one."""
        everyone: Any = self.connections  # all of this class
        limits, others = self.deadlines, [one for one in everyone if one is not self]
        address = self.client[0] if self.client else None
        same = [one for one in others if one.client and one.client[0] == address]
        for crowd, most in ((same, limits.per_address), (others, limits.connections)):
            if len(crowd) < most:
                continue
            waiting = [one for one in crowd if not one._whole()]
            if not waiting:
                return False
            oldest = min(waiting, key=lambda one: one.since)
            oldest.transport.abort()
            self.connections.discard(oldest)
            if oldest in others:
                others.remove(oldest)
        return True

    def _head_too_large(self) -> bool:
        large = self._in_head and self._head_bytes > MAX_HEADER_BYTES
        if large:
            self._refuse_rest(431, f"the headers have more than {MAX_HEADER_BYTES:,} bytes")
        return large

    def _no_head(self) -> None:
        self._refuse_rest(408, f"no complete headers within {self.deadlines.head:g} s")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Reads a request that offers another protocol as if it did not; HTTP allows that."""
        kept = [(name, value) for name, value in self.headers if name != b"upgrade"]
        lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
        for name, value in kept:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                tokens = [token for token in tokens if token.lower() != b"upgrade"]
                value = b", ".join(tokens) or b"keep-alive"
            lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _refuse_rest(self, status: int, detail: str) -> None:
        """Answers what can't be read, behind the answers to what was read, and closes."""
        if self._broken or self.transport.is_closing():
            return
        self._broken = True
        content = Problem(status, detail).body()
        lines = (
            f"content-type: {PROBLEM}",
            f"content-length: {len(content)}",
            "connection: close",
        )
        head = "".join(f"{line}\r\n" for line in lines)
        words = STATUS_LINE[status] + head.encode() + b"\r\n" + content
        if self._open and self.cycle.more_body:  # it is this request that can't be read to its end
            if self._open == 1 and self.cycle.response_started:
                self.transport.abort()
                return
            if self.pipeline:
                self.pipeline.popleft()
            self._open -= 1
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._open:
            self._last_words = words
        else:
            self.transport.write(words)
            self._linger()

    def _close(self) -> None:
        """Closes; a client that still sends would lose the answer, so its rest is read first."""
        transport = self.transport
        if transport.is_closing():
            return
        if self._broken or self._in_head or (self.cycle is not None and self.cycle.more_body):
            self._linger()
        else:
            self._arm(self.deadlines.linger, transport.abort)  # if the answer is never read
            transport.real.close()

    def _linger(self) -> None:
        """Sends the end of the stream, and forgets what still comes, for a while."""
        transport = self.transport
        if transport.is_closing():
            return
        transport.leaving = True
        self._arm(self.deadlines.linger, transport.abort)
        self.flow.resume_reading()
        try:
            transport.write_eof()
        except (OSError, RuntimeError):
            transport.abort()
