"""Predictions over HTTP: FastAPI on uvicorn, see README.md.

`make_app` puts a `Service` behind routes; `serve` runs it until SIGTERM: /readyz then says no,
what was accepted is answered, and the process ends with status 0.
"""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from zoo.ch10_deploy import openapi
from zoo.ch10_deploy.connections import Deadlines, LimitedProtocol
from zoo.ch10_deploy.inputs import PROBLEM, Problem
from zoo.ch10_deploy.keys import KeyRing
from zoo.ch10_deploy.service import Gone, Limits, Service
from zoo.common.data import DataError

__all__ = ["KeyRing", "Limits", "Server", "Service", "is_loopback", "make_app", "serve"]

PAGE = Path(__file__).parent / "page"
PREDICT = "/v1/predict"
SWITCH_SECONDS = 0.0005
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DETAILS = {
    404: "there is nothing at this address",
    405: "not with this method",
    500: "the server failed; its log has the reason",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def make_app(service: Service) -> FastAPI:
    """The routes of a service."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        async def start() -> None:
            try:
                await service.start()
            except Exception as error:
                service.failure = error  # raised by `serve`, once uvicorn has ended
                signal.raise_signal(signal.SIGTERM)

        starting = asyncio.create_task(start())  # the port answers while the model compiles
        yield
        starting.cancel()  # a signal while the model compiles: nobody waits for it
        await asyncio.wait([starting])
        await service.close()

    manifest = service.model.manifest
    app = FastAPI(
        title=f"zoo: {manifest['model']}",
        description=str(manifest.get("about", "")),
        version=str(manifest["versions"].get("zoo", "")),
        docs_url=None,  # FastAPI's page fetches its scripts from a CDN; /docs below does not
        redoc_url=None,
        redirect_slashes=False,  # clients would drop the body, or send it twice
        lifespan=lifespan,
    )
    _add_api(app, service)
    _add_pages(app, service)
    _add_refusals(app)
    _complete_schema(app, service)
    return app


def paths(service: Service) -> dict[str, str]:
    """The main prediction at /v1/predict, and each at /v1/predict/NAME."""
    names = list(service.model.predictions)
    return {PREDICT: names[0]} | {f"{PREDICT}/{name}": name for name in names}


def _complete_schema(app: FastAPI, service: Service) -> None:
    """Adds the predictions, which are no routes of FastAPI (see `Front`), to /openapi.json."""
    plain = app.openapi

    def schema() -> dict[str, Any]:
        made = plain()
        if service.keys is not None:
            made.setdefault("components", {})["securitySchemes"] = openapi.SECURITY
        for path, name in paths(service).items():
            described = openapi.operation(service.model, name, service.keys is not None)
            if path == PREDICT:
                described["operationId"] = "predict"
            made["paths"][path] = {"post": described}
        return made

    app.openapi = schema  # type: ignore[method-assign]  # as FastAPI's manual says


def _add_api(app: FastAPI, service: Service) -> None:
    def get(path: str, **about: Any) -> Callable[[Callable], Callable]:
        def add(answer: Callable) -> Callable:
            app.head(path, include_in_schema=False)(answer)
            return app.get(path, **about)(answer)

        return add

    about = {200: {"content": {"application/json": {"schema": openapi.about(service.about())}}}}

    @get("/v1/model", summary="Which model this is, its predictions, limits", responses=about)
    async def model() -> dict[str, Any]:
        return service.about()

    @get("/healthz", summary="200 while the process lives")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    refused = {503: {"description": "it compiles or ends", "content": {PROBLEM: openapi.PROBLEM}}}

    @get("/readyz", summary="200 while the server takes requests, else 503", responses=refused)
    async def ready() -> dict[str, str]:
        if not service.ready:
            raise Problem(503, "shutting down" if service.draining else "compiling")
        return {"status": "ready"}

    @get("/metrics", summary="Counts and times for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_pages(app: FastAPI, service: Service) -> None:
    main, signature = next(iter(service.model.predictions.items()))
    for_pictures = signature.picture and service.model.classifies(main)
    names = {"/": "classify.html" if for_pictures else "form.html", "/docs": "docs.html"}
    names |= {f"/page/{path.name}": path.name for path in PAGE.iterdir() if path.suffix != ".html"}

    def page(name: str) -> Any:
        content, kind = (PAGE / name).read_bytes(), _TYPES[Path(name).suffix]
        headers = {
            "content-security-policy": _POLICY,
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
        }

        async def answer() -> Response:
            return Response(content, headers=headers, media_type=kind)

        return answer

    for url, name in names.items():
        app.api_route(url, methods=["GET", "HEAD"], include_in_schema=False)(page(name))


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Problem) -> Response:
        return Response(problem.body(), problem.status, problem.headers, PROBLEM)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        detail = _DETAILS.get(error.status_code, "the request can't be answered")
        headers = dict(error.headers or {})
        if error.status_code == 405:  # FastAPI looks at the first route of a path alone
            here = [r for r in app.routes if isinstance(r, Route) and r.path == request.url.path]
            headers["allow"] = ", ".join(sorted({m for route in here for m in route.methods or ()}))
        return await refused(request, Problem(error.status_code, detail, headers))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:  # uvicorn logs its trace
        return await refused(request, Problem(500, _DETAILS[500]))


class Front:
    """The outermost layer, plain ASGI: counts and times requests, and answers predictions itself.

    Predictions could pass through FastAPI as the rest does, but its layers take longer than
    unpacking a picture of 32x32 pixels: 0.17 ms of 0.5 for each request.
    """

    def __init__(self, app: FastAPI, service: Service):
        self.app, self.service = app, service
        self.predictions = paths(service)
        routes = {route.path for route in app.routes if isinstance(route, Route)}
        self.paths = routes | set(self.predictions)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        service, began, status = self.service, time.perf_counter(), 500

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if service.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        service.accepted += 1
        try:
            hosts = [name for name, _ in scope["headers"] if name == b"host"]
            if len(hosts) != 1 and (hosts or scope["http_version"] == "1.1"):
                detail = f"a request must have one Host header, this has {len(hosts)}"
                await _respond(sending, Problem(400, detail))
            elif scope["path"] in self.predictions:
                await self._predict(scope, receive, sending)
            else:
                await self.app(scope, receive, sending)
        finally:
            service.answered += 1
            # Other paths share a name: callers must not be able to fill the metrics.
            path = scope["path"] if scope["path"] in self.paths else "other"
            service.metrics.answered(path, status, time.perf_counter() - began)

    async def _predict(self, scope: Any, receive: Any, send: Any) -> None:
        headers, service = dict(scope["headers"]), self.service
        try:
            if scope["method"] != "POST":
                raise Problem(405, _DETAILS[405], {"allow": "POST"})
            name, query = self.predictions[scope["path"]], scope["query_string"]
            address = (scope.get("client") or ("",))[0]
            content, kind = await service.predict(name, headers, query, receive, address)
        except Gone:
            await _send(send, 400, b"", {"content-type": "text/plain"})  # nobody reads it
        except Problem as problem:
            await _respond(send, problem)
        except Exception as error:  # its trace goes to the log; no answer holds one
            logging.getLogger("zoo.serve").error("a request failed", exc_info=error)
            await _respond(send, Problem(500, _DETAILS[500]))
        else:
            await _send(send, 200, content, {"content-type": kind})


async def _respond(send: Any, problem: Problem) -> None:
    headers = {"content-type": PROBLEM, **problem.headers}
    await _send(send, problem.status, problem.body(), headers)


async def _send(send: Any, status: int, content: bytes, headers: Mapping[str, str]) -> None:
    headers = {**headers, "content-length": str(len(content))}
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": content})


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
        Front(make_app(service), service),
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
