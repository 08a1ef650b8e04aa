"""Connections that send too much, too slowly, or are too many."""

import asyncio
import time

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="the server needs uvicorn")
from zoo.ch10_deploy import server as protocol  # noqa: E402


async def answer(scope, receive, send):
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


def converse(scenario):
    """Runs a scenario with the port of a server that answers "ok" to everything."""

    async def main():
        options = {"ws": "none", "lifespan": "off", "log_level": "critical", "port": 0}
        config = uvicorn.Config(answer, http=protocol.LimitedProtocol, **options)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            return await asyncio.wait_for(scenario(port), 10)
        finally:
            server.should_exit = server.force_exit = True
            await serving

    return asyncio.run(main())


async def exchange(port, *pieces, pause=0.02):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        reading = asyncio.create_task(reader.read(4096))  # an answer may come before the end
        for piece in pieces:
            if not reading.done():
                writer.write(piece)
                await asyncio.sleep(pause)
        return await reading
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


def test_headers_in_any_number_of_pieces_are_understood():
    for pieces in ([HEAD + b"\r\n"], [HEAD[:5], HEAD[5:20], HEAD[20:], b"\r\n"]):
        assert converse(lambda port, p=pieces: exchange(port, *p)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("pieces", [1, 40])
def test_headers_have_a_limit_however_they_come(pieces):
    long = [HEAD, *[b"X: " + b"y" * (40_000 // pieces) + b"\r\n"] * pieces, b"\r\n"]
    parts = [b"".join(long)] if pieces == 1 else long
    assert converse(lambda port: exchange(port, *parts, pause=0.001)).startswith(b"HTTP/1.1 431")
    endless = [b"GET / HTTP/1.1\r\nX: ", *[b"y" * 1000] * 40]
    found = converse(lambda port: exchange(port, *endless, pause=0.001))
    assert found.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("start", [b"", b"GET / HT", HEAD])
def test_a_client_that_says_nothing_more_is_sent_away(monkeypatch, start):
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)
    began = time.monotonic()
    assert converse(lambda port: exchange(port, start)).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 5


def test_dripping_headers_do_not_win_time(monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)
    drops = [HEAD, *[b"X: y\r\n"] * 200]
    assert converse(lambda port: exchange(port, *drops)).startswith(b"HTTP/1.1 408")


def test_connections_have_a_limit(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 3)

    async def scenario(port):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.05)
        refused = await exchange(port, HEAD + b"\r\n")
        for _, writer in idle:
            writer.transport.abort()
        await asyncio.sleep(0.05)
        return refused, await exchange(port, HEAD + b"\r\n")

    refused, served = converse(scenario)
    assert refused == b""
    assert served.startswith(b"HTTP/1.1 200")


def test_what_is_no_http_gets_a_problem():
    assert b"application/problem+json" in converse(
        lambda port: exchange(port, b"\x16\x03\x01\r\n\r\n")
    )
