"""uvicorn's HTTP/1.1 with the limits that it lacks: on headers, on their time, on connections."""

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from zoo.ch10_deploy import problems

MAX_HEADER_BYTES = 16 * 1024
HEADER_SECONDS = 10.0
MAX_CONNECTIONS = 900  # many systems let a process open 1,024 files


class LimitedProtocol(HttpToolsProtocol):
    """One connection, closed when its client sends too much or nothing."""

    _header_bytes = 0
    _in_headers = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Refuses a connection beyond the limit, else waits for headers."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, and looks how far the headers have come."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if not self._in_headers:
            self._stop_timer()
        elif self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(431, f"the headers have more than {MAX_HEADER_BYTES:,} bytes")
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers, self._header_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Its headers are there, perhaps all in one piece with what follows."""
        self._in_headers = False
        if self._too_large():
            raise ValueError("too large")  # ends in send_400_response
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What can't be parsed at all, or not within the limits."""
        if self._too_large():
            self._refuse(431, f"the headers have more than {MAX_HEADER_BYTES:,} bytes")
        else:
            self._refuse(400, msg)

    def _too_large(self) -> bool:
        pairs = self.headers or ()
        return sum(len(name) + len(value) for name, value in pairs) > MAX_HEADER_BYTES

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(408, f"no complete headers within {HEADER_SECONDS:g} s")

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:  # else it is being answered
            content = problems.body(status, detail)
            lines = (
                f"content-type: {problems.MEDIA_TYPE}",
                f"content-length: {len(content)}",
                "connection: close",
            )
            head = "".join(f"{line}\r\n" for line in lines)
            self.transport.write(STATUS_LINE[status] + head.encode() + b"\r\n" + content)
        self.transport.close()
