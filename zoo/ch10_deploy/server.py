"""Image recognition over HTTP: FastAPI on uvicorn, see README.md.

`make_app` puts a `Service` behind routes; `serve` runs it until SIGTERM: /readyz then says no,
what was accepted is answered, and the process ends with status 0.
"""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from zoo.ch10_deploy import openapi, problems
from zoo.ch10_deploy.front import PREDICT, Front
from zoo.ch10_deploy.keys import KeyRing
from zoo.ch10_deploy.problems import Problem
from zoo.ch10_deploy.protocol import LimitedProtocol
from zoo.ch10_deploy.service import Service
from zoo.common.data import DataError

__all__ = ["KeyRing", "Server", "Service", "is_loopback", "make_app", "serve"]

PAGE = Path(__file__).parent / "page"
SWITCH_SECONDS = 0.0005
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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
                service.failure = error
                signal.raise_signal(signal.SIGTERM)

        starting = asyncio.create_task(start())  # the port answers while the model compiles
        yield
        await asyncio.wait([starting])
        await service.close()

    app = FastAPI(
        title="zoo: image recognition",
        description="What is in a picture, and how likely.",
        version=str(service.model.manifest["versions"].get("zoo", "")),
        docs_url=None,  # FastAPI's page fetches its scripts from a CDN; /docs below does not
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    _add_api(app, service)
    _add_pages(app)
    _add_refusals(app)
    openapi.complete(app)
    return app


def _add_api(app: FastAPI, service: Service) -> None:
    @app.post(PREDICT, response_class=Response, **openapi.PREDICT)
    async def predict(request: Request) -> Response:
        scope = request.scope
        content = await service.predict(
            dict(scope["headers"]), scope["query_string"], request.receive
        )
        return Response(content, media_type="application/json")

    @app.get("/v1/model", summary="Which model this is, its classes and the limits")
    async def model() -> dict[str, Any]:
        return service.about()

    @app.get("/healthz", summary="200 while the process lives")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="200 while the server takes requests, else 503")
    async def ready() -> dict[str, str]:
        if not service.ready:
            raise Problem(503, "shutting down" if service.draining else "compiling")
        return {"status": "ready"}

    @app.get("/metrics", summary="Counts and times for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_pages(app: FastAPI) -> None:
    names = {"/": "index.html", "/docs": "docs.html"}
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
        app.get(url, include_in_schema=False)(page(name))


def _add_refusals(app: FastAPI) -> None:
    def refusal(problem: Problem) -> Response:
        content = problems.body(problem.status, problem.detail)
        return Response(content, problem.status, problem.headers, problems.MEDIA_TYPE)

    @app.exception_handler(Problem)
    async def refused(request: Request, error: Problem) -> Response:
        return refusal(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        details = {404: "there is nothing at this address", 405: "not with this method"}
        detail = details.get(error.status_code, "the request can't be answered")
        return refusal(Problem(error.status_code, detail, dict(error.headers or {})))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:  # its trace goes to the log
        return refusal(Problem(500, "the server failed; its log says how"))


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
        self.service.draining = True
        self.service.metrics.ready.set(0)
        try:
            asyncio.get_running_loop().call_soon_threadsafe(self._begin_drain)
        except RuntimeError:  # before the loop runs
            self.should_exit = True

    def _begin_drain(self) -> None:
        self._drainer = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        print(f"shutting down within {self.service.limits.drain:g} s", flush=True)
        await asyncio.sleep(self.service.limits.drain)
        last = self.listener.dup()
        for server in getattr(self, "servers", ()):
            server.close()
        self.listener.close()
        self._let_in(last)
        # Answers now close their connections; one that was just accepted gets time to ask.
        until = time.monotonic() + 0.5
        while self.server_state.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        self.should_exit = True

    def _let_in(self, listener: socket.socket) -> None:
        """Takes the connections that the system has made already, which closing would reset."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        with contextlib.closing(listener), contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                protocol = self.config.http_protocol_class(
                    config=self.config,
                    server_state=self.server_state,
                    app_state=self.lifespan.state,
                )
                entering = loop.connect_accepted_socket(lambda p=protocol: p, connection)
                self._entering.append(loop.create_task(entering))


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
    sys.setswitchinterval(SWITCH_SECONDS)  # else the batch's thread waits 5 ms for the interpreter
    config = uvicorn.Config(
        Front(make_app(service), service),
        http=LimitedProtocol,
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        headers=[("x-content-type-options", "nosniff")],
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(service.limits.timeout) + 1,
        backlog=1024,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=1024) as listener:
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        print(f"serving {service.model.manifest['model']} on http://{shown}:{port}", flush=True)
        Server(config, service, listener).run(sockets=[listener])
    if service.failure is not None:
        raise DataError(f"the model can't be compiled: {service.failure}") from service.failure
    counts = f"{service.answered:,} of {service.accepted:,}"
    print(f"ended: {counts} accepted requests answered", flush=True)
