"""Connections that send too much, too slowly, or are too many."""

import asyncio
import contextlib
import functools
import time

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="the server needs uvicorn")
from zoo.ch10_deploy.connections import Deadlines, LimitedProtocol  # noqa: E402


async def answer(scope, receive, send):
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


def converse(scenario, app=None, seconds=10, **deadlines):
    """Runs a scenario with the port of a server that answers "ok" to everything."""

    async def main():
        options = {"ws": "none", "lifespan": "off", "log_level": "critical", "port": 0}
        http = functools.partial(LimitedProtocol, deadlines=Deadlines(**deadlines))
        config = uvicorn.Config(app or answer, http=http, **options)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            return await asyncio.wait_for(scenario(port), seconds)
        finally:
            server.should_exit = server.force_exit = True
            await serving

    return asyncio.run(main())


async def exchange(port, *pieces, pause=0.02):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        reading = asyncio.create_task(reader.read())  # an answer may come before the end
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
def test_a_client_that_says_nothing_more_is_sent_away(start):
    began = time.monotonic()
    found = converse(lambda port: exchange(port, start), head=0.3)
    assert found.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 5


def test_dripping_headers_do_not_win_time():
    drops = [HEAD, *[b"X: y\r\n"] * 200]
    assert converse(lambda port: exchange(port, *drops), head=0.3).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("limits", [{"connections": 3}, {"per_address": 3}])
def test_of_too_many_connections_the_one_that_waited_longest_makes_room(limits):
    async def scenario(port):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.05)
        served = await exchange(port, HEAD + b"\r\n")
        await asyncio.sleep(0.05)
        ended = [reader.at_eof() for reader, _ in idle]
        for _, writer in idle:
            writer.transport.abort()
        return served, ended

    served, ended = converse(scenario, **limits)
    assert served.startswith(b"HTTP/1.1 200")
    assert ended == [True, False, False]


def test_a_request_that_is_whole_never_makes_room():
    release = asyncio.Event()

    async def slow(scope, receive, send):
        await release.wait()
        await answer(scope, receive, send)

    async def scenario(port):
        whole = [asyncio.create_task(exchange(port, HEAD + b"\r\n")) for _ in range(3)]
        await asyncio.sleep(0.1)
        refused = await exchange(port, HEAD + b"\r\n")
        release.set()
        return refused, await asyncio.gather(*whole)

    refused, found = converse(scenario, slow, connections=3)
    assert refused == b""
    assert all(one.startswith(b"HTTP/1.1 200") for one in found)


KEPT = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


async def ignoring(scope, receive, send):
    """Answers without reading the body."""
    await send(
        {"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"no"})


async def reading(scope, receive, send):
    """Answers when the body is whole."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = f"{scope['method']} {size}".encode()
    lines = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": lines})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("start", "drop", "app"),
    [
        (b"", b"\r\n", answer),  # before a request has begun
        (KEPT, b"\r\n", answer),  # after an answer
        (KEPT, b"G", answer),
        (BODY, b"x", ignoring),  # a body that was refused
        (BODY, b"x", reading),  # one that never ends
        (BODY, b"", reading),
    ],
)
def test_no_way_to_send_a_byte_now_and_then_keeps_a_connection(start, drop, app):
    async def scenario(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(start)
        began = time.monotonic()
        reading = asyncio.create_task(reader.read())
        while not reading.done() and time.monotonic() - began < 30:
            writer.write(drop)
            await asyncio.sleep(0.05)
        writer.transport.abort()
        return time.monotonic() - began

    limits = {"head": 0.3, "idle": 0.4, "request": 0.5, "linger": 0.3}
    assert converse(scenario, app, **limits) < 15


def test_after_an_answer_so_much_of_a_refused_body_is_read_and_no_more(monkeypatch):
    monkeypatch.setattr("zoo.ch10_deploy.connections.LINGER_BYTES", 300_000)

    async def scenario(port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(BODY.replace(b"1000000", b"1000000000"))
        sent = 0
        with contextlib.suppress(ConnectionError):
            for _ in range(2000):
                writer.write(bytes(50_000))
                await writer.drain()
                sent += 50_000
        return sent

    assert converse(scenario, ignoring, linger=5) < 20_000_000


def test_a_client_that_still_sends_gets_the_refusal():
    async def scenario(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(BODY)
        for _ in range(20):
            writer.write(bytes(50_000))
            await asyncio.sleep(0.005)
        return await reader.read()

    assert converse(scenario, ignoring).startswith(b"HTTP/1.1 401")


def test_an_answer_that_nobody_reads_ends_the_connection():
    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": bytes(10**6), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def scenario(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**10)
        writer.write(KEPT)
        await asyncio.sleep(1.5)
        received = 0
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(2**20):
                received += len(part)
        return received

    assert converse(scenario, large, request=0.5) < 10**8


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.2"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_offer_to_upgrade_is_passed_over(protocol, method):
    head = method.encode() + b" / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    head += b"Upgrade: " + protocol + b"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    body = b"12345" if method == "POST" else b""
    length = f"Content-Length: {len(body)}\r\n\r\n".encode()
    whole = head + length + body
    last = HEAD + b"\r\n"  # goes on as HTTP/1.1
    for pieces in ([whole + last], [head, length + body, last], [head + length, body, last]):
        found = converse(lambda port, p=pieces: exchange(port, *p), reading)
        assert found.count(b"HTTP/1.1 200") == 2
        assert f"{method} {len(body)}".encode() in found


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_what_cannot_be_read_is_refused_behind_the_answers_to_what_could(delay):
    async def late(scope, receive, send):
        await asyncio.sleep(delay)
        await reading(scope, receive, send)

    good = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
    chunks = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabXX\r\n"
    for bad in (chunks, b"\x16\x03\x01\r\n\r\n"):
        for pieces in ([good + bad], [good, bad], [bad]):
            found = converse(lambda port, p=pieces: exchange(port, *p, pause=0.05), late)
            assert found.count(b"HTTP/1.1 200") == (pieces != [bad])
            assert found.count(b"HTTP/1.1 400") == 1
            assert found.endswith(b"}")


def test_what_is_no_http_gets_a_problem():
    for start in (b"\x16\x03\x01\r\n\r\n", b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n"):
        for before, count in ((b"", 0), (KEPT, 1)):
            found = converse(lambda port, s=before + start: exchange(port, s))
            assert b"HTTP/1.1 400" in found
            assert b"application/problem+json" in found
            assert found.count(b"HTTP/1.1 200") == count
