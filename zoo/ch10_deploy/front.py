"""The layer in front of FastAPI: counts and times requests, and answers predictions itself."""

import time
from typing import Any

from fastapi import FastAPI

from zoo.ch10_deploy import problems
from zoo.ch10_deploy.problems import Problem
from zoo.ch10_deploy.service import Gone, Service

PREDICT = "/v1/predict"


class Front:
    """The outermost layer, plain ASGI.

    Predictions could pass through FastAPI as the rest does; its layers cost as much time as
    unpacking the picture.
    """

    def __init__(self, app: FastAPI, service: Service):
        self.app, self.service = app, service
        self.paths = {route.path for route in app.routes}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes a request on, or answers it."""
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
            if scope["path"] == PREDICT and scope["method"] == "POST":
                await self._predict(scope, receive, sending)
            else:
                await self.app(scope, receive, sending)
        finally:
            service.answered += 1
            path = scope["path"] if scope["path"] in self.paths else "other"
            service.metrics.answered(path, status, time.perf_counter() - began)

    async def _predict(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            headers = dict(scope["headers"])
            content = await self.service.predict(headers, scope["query_string"], receive)
            status, kind, more = 200, b"application/json", ()
        except Problem as problem:
            content = problems.body(problem.status, problem.detail)
            status, kind = problem.status, problems.MEDIA_TYPE.encode()
            more = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
        except Gone:
            status, content, kind, more = 400, b"", b"text/plain", ()  # nobody reads it
        except Exception as error:
            self.service.log(error)
            content = problems.body(500, "the server failed; its log says how")
            status, kind, more = 500, problems.MEDIA_TYPE.encode(), ()
        length = str(len(content)).encode()
        lines = [(b"content-type", kind), (b"content-length", length), *more]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": content})
