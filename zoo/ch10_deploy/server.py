"""Predictions over HTTP, plain ASGI on uvicorn, see README.md.

`App` puts a `Service` behind addresses; `serve` runs it until SIGTERM: /readyz then says no, what
was accepted is answered, and the process ends with status 0.
"""

import asyncio
import contextlib
import functools
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from zoo.ch10_deploy import kserve, openapi
from zoo.ch10_deploy.connections import Deadlines, LimitedProtocol
from zoo.ch10_deploy.inputs import PROBLEM, Problem
from zoo.ch10_deploy.keys import KeyRing
from zoo.ch10_deploy.service import Gone, Limits, Service
from zoo.common.data import DataError

__all__ = ["App", "KeyRing", "Limits", "Server", "Service", "is_loopback", "serve"]

PAGE = Path(__file__).parent / "page"
PREDICT, V2 = "/v1/predict", "/v2"
SWITCH_SECONDS = 0.0005
_JSON = "application/json"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


class Answer(NamedTuple):
    """Of a request."""

    content: bytes
    kind: str
    headers: Mapping[str, str] = {}
    status: int = 200


Handler = Callable[[Any, Any], Awaitable[Answer]]
"""ASGI's scope and `receive` to an answer; raises a `Problem` or `Gone`."""


class App:
    """The addresses of a service: a table of handlers, by path and method.

    Every request is counted and timed, and every refusal made here; nothing else knows HTTP.
    """

    def __init__(self, service: Service):
        self.service = service
        gets = {**_api(service), **_protocol(service), **_pages(service)}
        posts = {**_predictions(service), **_inferences(service)}
        self.handlers = {path: {"GET": answer, "HEAD": answer} for path, answer in gets.items()}
        self.handlers |= {path: {"POST": answer} for path, answer in posts.items()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request, or starts and ends the service."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        service, began, path = self.service, time.perf_counter(), scope["path"]
        service.accepted += 1
        status = 500
        try:
            answer = await self._answer(scope, receive)
            status = answer.status
            await _send(send, answer, service.draining)
        finally:
            service.answered += 1
            # Other paths share a name: callers must not be able to fill the metrics.
            known = path if path in self.handlers else "other"
            service.metrics.answered(known, status, time.perf_counter() - began)

    async def _answer(self, scope: Any, receive: Any) -> Answer:
        try:
            hosts = [name for name, _ in scope["headers"] if name == b"host"]
            if len(hosts) != 1 and (hosts or scope["http_version"] == "1.1"):
                detail = f"a request must have one Host header, this has {len(hosts)}"
                raise Problem(400, detail)
            methods = self.handlers.get(scope["path"])
            if methods is None:
                raise Problem(404, "there is nothing at this address")
            if scope["method"] not in methods:
                raise Problem(405, "not with this method", {"allow": ", ".join(methods)})
            return await methods[scope["method"]](scope, receive)
        except Gone:
            return Answer(b"", "text/plain", status=400)  # nobody reads it
        except Problem as problem:
            return _refusal(scope["path"], problem)
        except Exception as error:  # its trace goes to the log; no answer holds one
            logging.getLogger("zoo.serve").error("a request failed", exc_info=error)
            return _refusal(
                scope["path"], Problem(500, "the server failed; its log has the reason")
            )

    async def _live(self, receive: Any, send: Any) -> None:
        """ASGI's lifespan: the port answers while the model compiles."""
        service = self.service

        async def start() -> None:
            try:
                await service.start()
            except Exception as error:
                service.failure = error  # raised by `serve`, once uvicorn has ended
                signal.raise_signal(signal.SIGTERM)

        await receive()  # lifespan.startup
        starting = asyncio.create_task(start())
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        starting.cancel()  # a signal while the model compiles: nobody waits for it
        await asyncio.wait([starting])
        await service.close()
        await send({"type": "lifespan.shutdown.complete"})


def _refusal(path: str, problem: Problem) -> Answer:
    """As RFC 9457 has it, or under /v2 as that protocol has it."""
    if path == V2 or path.startswith(f"{V2}/"):
        content = json.dumps({"error": problem.detail}).encode()
        return Answer(content, _JSON, problem.headers, problem.status)
    return Answer(problem.body(), PROBLEM, problem.headers, problem.status)


async def _send(send: Any, answer: Answer, last: bool) -> None:
    headers = {"content-type": answer.kind, **answer.headers}
    headers["content-length"] = str(len(answer.content))
    if last:
        headers["connection"] = "close"
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    await send({"type": "http.response.body", "body": answer.content})


def _json(make: Callable[[], Any]) -> Handler:
    """Answers with what a function returns, as JSON."""

    async def handle(scope: Any, receive: Any) -> Answer:
        return Answer(json.dumps(make()).encode(), _JSON)

    return handle


def _ready(service: Service, about: Mapping[str, Any]) -> Handler:
    def make() -> Any:
        if not service.ready:
            raise Problem(503, "shutting down" if service.draining else "compiling")
        return about

    return _json(make)


def _api(service: Service) -> dict[str, Handler]:
    schema = openapi.document(service.model, service.about(), paths(service))

    async def metrics(scope: Any, receive: Any) -> Answer:
        return Answer(service.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")

    return {
        "/v1/model": _json(service.about),
        "/healthz": _json(lambda: {"status": "alive"}),
        "/readyz": _ready(service, {"status": "ready"}),
        "/metrics": metrics,
        "/openapi.json": _json(lambda: schema),
    }


def _pages(service: Service) -> dict[str, Handler]:
    main, signature = next(iter(service.model.predictions.items()))
    for_pictures = signature.picture and service.model.classifies(main)
    names = {"/": "classify.html" if for_pictures else "form.html", "/docs": "docs.html"}
    names |= {f"/page/{path.name}": path.name for path in PAGE.iterdir() if path.suffix != ".html"}
    headers = {
        "content-security-policy": _POLICY,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }

    def page(name: str) -> Handler:
        answer = Answer((PAGE / name).read_bytes(), _TYPES[Path(name).suffix], headers)

        async def handle(scope: Any, receive: Any) -> Answer:
            return answer

        return handle

    return {url: page(name) for url, name in names.items()}


def paths(service: Service) -> dict[str, str]:
    """The main prediction at /v1/predict, and each at /v1/predict/NAME."""
    names = list(service.model.predictions)
    return {PREDICT: names[0]} | {f"{PREDICT}/{name}": name for name in names}


def _predictions(service: Service) -> dict[str, Handler]:
    def handler(name: str) -> Handler:
        async def handle(scope: Any, receive: Any) -> Answer:
            given = dict(scope["headers"]), scope["query_string"], receive, _address(scope)
            return Answer(*await service.predict(name, *given))

        return handle

    return {path: handler(name) for path, name in paths(service).items()}


def _protocol(service: Service) -> dict[str, Handler]:
    """What KServe's V2 protocol tells of the server and its models."""
    version = str(service.model.manifest["versions"].get("zoo", ""))
    server = {"name": "zoo", "version": version, "extensions": [kserve.EXTENSION]}
    made = {
        V2: _json(lambda: server),
        f"{V2}/health/live": _json(lambda: {"live": True}),
        f"{V2}/health/ready": _ready(service, {"ready": True}),
    }
    for shown, name in kserve.names(service.model).items():
        about = kserve.metadata(shown, service.model.predictions[name])
        made[f"{V2}/models/{shown}"] = _json(lambda about=about: about)  # type: ignore[misc]
        made[f"{V2}/models/{shown}/ready"] = _ready(service, {"name": shown, "ready": True})
    return made


def _inferences(service: Service) -> dict[str, Handler]:
    def handler(shown: str, name: str) -> Handler:
        async def handle(scope: Any, receive: Any) -> Answer:
            given = dict(scope["headers"]), receive, _address(scope)
            return Answer(*await service.infer(name, shown, *given))

        return handle

    names = kserve.names(service.model)
    return {f"{V2}/models/{shown}/infer": handler(shown, name) for shown, name in names.items()}


def _address(scope: Any) -> str:
    return (scope.get("client") or ("",))[0]


class Server(uvicorn.Server):
    """uvicorn, ended gently: drain, close the door, answer what is under way, exit with 0."""

    def __init__(self, config: uvicorn.Config, service: Service, listener: socket.socket):
        super().__init__(config)
        self.service, self.listener = service, listener
        self._entering: list[asyncio.Task] = []

    def handle_exit(self, sig: int, frame: Any) -> None:
        """The first signal begins the end; Ctrl-C a second time makes it quick."""
        if self.service.draining:
            if sig == signal.SIGINT:
                self.should_exit = self.force_exit = True
            return
        self.service.draining = True  # /readyz now says 503, so balancers send no more
        self.service.metrics.ready.set(0)
        try:
            asyncio.get_running_loop().call_soon_threadsafe(self._begin_drain)
        except RuntimeError:  # before the loop runs
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which leaves the service's own end out where it was forced."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    def _begin_drain(self) -> None:
        self._drainer = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        print(f"shutting down within {self.service.limits.drain:g} s", flush=True)
        await asyncio.sleep(self.service.limits.drain)
        last = self.listener.dup()  # closing the others keeps what the system has queued
        for server in getattr(self, "servers", ()):
            server.close()
        self.listener.close()
        loop, state = asyncio.get_running_loop(), self.lifespan.state
        made = self.config.http_protocol_class
        protocol: Any = functools.partial(made, self.config, self.server_state, state)  # type: ignore[call-arg]
        for connection in _accepted(last):
            entering = loop.connect_accepted_socket(protocol, connection)
            self._entering.append(loop.create_task(entering))
        # Answers now close their connections; one that was just accepted gets time to send.
        until = time.monotonic() + 0.5
        while self.server_state.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        self.should_exit = True


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that the system has made already, which closing would reset."""
    listener.setblocking(False)
    with contextlib.closing(listener), contextlib.suppress(BlockingIOError):
        while True:
            yield listener.accept()[0]


def is_loopback(host: str) -> bool:
    """Whether a host means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(service: Service, host: str, port: int) -> None:
    """Serves until a signal; port 0 takes a free one.

    Raises:
      OSError: the port is taken.
      DataError: the model can't be compiled here.
    """
    deadlines = Deadlines(request=service.limits.timeout + 5)  # the service's own comes first
    sys.setswitchinterval(SWITCH_SECONDS)  # else the batch's thread waits 5 ms for the interpreter
    config = uvicorn.Config(
        App(service),
        http=functools.partial(LimitedProtocol, deadlines=deadlines),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        headers=[("x-content-type-options", "nosniff")],
        timeout_keep_alive=30,
        # Each request ends by itself within its own limit.
        timeout_graceful_shutdown=int(service.limits.timeout) + 1,
        backlog=1024,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Opened here, not by uvicorn: a taken port is an error at once, and port 0 can be printed.
    with socket.create_server((host, port), family=family, backlog=1024) as listener:
        server = Server(config, service, listener)
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn does so a moment later
            signal.signal(number, server.handle_exit)
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        print(f"serving {service.model.manifest['model']} on http://{shown}:{port}", flush=True)
        server.run(sockets=[listener])
    if service.failure is not None:
        raise DataError(f"the model can't be compiled: {service.failure}") from service.failure
    counts = f"{service.answered:,} of {service.accepted:,}"
    print(f"ended: {counts} accepted requests answered", flush=True)
    if not service.batchers:  # a thread still compiles, and can't be stopped in any other way
        sys.stderr.flush()
        os._exit(0)
