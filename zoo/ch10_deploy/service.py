"""What a request for a prediction passes: key, rate, body, inputs, batch, answer."""

import asyncio
import collections
import contextlib
import dataclasses
import functools
import gc
import io
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
import PIL.Image

from zoo.ch10_deploy import batcher, inputs, kserve
from zoo.ch10_deploy.export import Arrays, Exported
from zoo.ch10_deploy.inputs import Problem
from zoo.ch10_deploy.keys import Key, KeyRing
from zoo.common import settings
from zoo.common.settings import Bounds

SMALL_BODY = 16 * 1024  # smaller ones are taken apart at once: another thread would take longer
SMALL_PICTURE = 256 * 256  # pixels of one that is unpacked at once
BODIES = 256 * 1024 * 1024  # bytes of all bodies that are being read
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LENGTH = kserve.LENGTH.encode()
Wait = Annotated[float, Bounds(0, ceiling=1e6)]
Headers = Mapping[bytes, bytes]
Receive = Callable[[], Awaitable[Any]]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server takes; the fields are flags of `serve`."""

    max_batch: Annotated[int, Bounds(1, 1024)] = 32
    """most examples in a compiled call; 1 switches batching off"""
    max_delay: Wait = 2.0
    """milliseconds that an example waits for others at the most, if nothing is computed"""
    max_queue: Annotated[int, Bounds(1, 2**16)] = 128
    """requests whose body has come and whose answer has not; more get 429"""
    max_client: Annotated[int, Bounds(1, 2**16)] = 64
    """requests under way from one key or, without keys, from one address; more get 429"""
    max_bytes: Annotated[int, Bounds(1, 2**28)] = 4 * 1024 * 1024
    """of a request's body"""
    max_pixels: Annotated[int, Bounds(1, 2**28)] = 4_000_000
    """of a picture that are unpacked, a JPEG's after it was shrunk; its header tells"""
    timeout: Annotated[float, Bounds(above=0, most=3600)] = 10.0
    """seconds for a request, from its headers to its answer"""
    drain: Wait = 1.0
    """seconds after SIGTERM in which new requests are still taken, while /readyz says 503"""


class Gone(Exception):
    """The client closed the connection before its request was through."""


def busy(detail: str, seconds: float = 1.0) -> Problem:
    """Refused for now: status 429, and when to come again."""
    return Problem(429, detail, {"retry-after": str(max(1, int(-(-seconds // 1))))})


class Metrics:
    """What a server counts, as Prometheus reads it; the measures of one server, none global."""

    def __init__(self, sizes: Sequence[int], queue: Callable[[], int]):
        """Registers them.

        Args:
          sizes: that a batch may have.
          queue: returns the number of examples that wait.
        """
        import prometheus_client as prometheus  # so that `Limits` needs no extra package

        # Of its own: the global registry would refuse a second server in one process.
        self.registry = registry = prometheus.CollectorRegistry()

        def histogram(name: str, about: str, buckets: Sequence[float], *labels: str) -> Any:
            return prometheus.Histogram(name, about, labels, buckets=buckets, registry=registry)

        def counter(name: str, about: str, *labels: str) -> Any:
            return prometheus.Counter(name, about, labels, registry=registry)

        prometheus.ProcessCollector(registry=registry)
        self._requests = counter("zoo_requests", "Requests answered", "path", "status")
        about = "From a request's headers to its answer"
        self._seconds = histogram("zoo_request_seconds", about, SECONDS, "path")
        self._refused = counter("zoo_refused", "Requests refused, by reason", "reason")
        self._images = histogram("zoo_batch_images", "Examples in a batch, padding apart", sizes)
        self._padding = counter("zoo_padding_images", "Places in batches that padding filled")
        self._batch_seconds = histogram("zoo_batch_seconds", "Time of a compiled call", SECONDS)
        about = "1 while the server takes requests"
        self.ready = prometheus.Gauge("zoo_ready", about, registry=registry)
        waiting = prometheus.Gauge("zoo_waiting_images", "Examples that wait", registry=registry)
        waiting.set_function(queue)
        self._children: dict[tuple[str, int], tuple] = {}

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts a request; `path` must be one of few."""
        children = self._children.get((path, status))  # `labels` takes ten times as long
        if children is None:
            children = self._requests.labels(path, status), self._seconds.labels(path)
            self._children[path, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def refused(self, reason: str) -> None:
        """Counts a refusal."""
        self._refused.labels(reason).inc()

    def batch(self, examples: int, size: int, seconds: float) -> None:
        """Counts a compiled call."""
        self._images.observe(examples)
        self._padding.inc(size - examples)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        import prometheus_client as prometheus

        return prometheus.generate_latest(self.registry)


class Service:
    """A model behind keys, limits and batchers; lives in one event loop."""

    def __init__(self, model: Exported, limits: Limits, keys: KeyRing | None):
        settings.check(limits)
        self.model, self.limits, self.keys = model, limits, keys
        self.sizes = batcher.sizes_up_to(limits.max_batch)
        self.batchers: dict[str, batcher.Batcher] = {}  # one for each prediction
        self.metrics = Metrics(self.sizes, lambda: sum(map(len, self.batchers.values())))
        self.under_way = self.accepted = self.answered = self.reading = 0
        self.clients: collections.Counter[str] = collections.Counter()  # requests under way
        self.draining = False
        self.failure: Exception | None = None  # of `start`
        self._threads = ThreadPoolExecutor(2, "bodies")
        self._labels = [json.dumps(name) for name in model.classes]
        self._tail = f'"model":{json.dumps(model.digest[:12])}}}'

    @property
    def ready(self) -> bool:
        """Whether new requests should come here."""
        return bool(self.batchers) and not self.draining

    async def start(self) -> None:
        """Compiles every size of a batch; the service is ready when this returns."""
        began, made = time.monotonic(), {}
        for name in self.model.predictions:
            compiled, seconds = await _in_daemon(functools.partial(self._compile, name))
            made[name] = batcher.Batcher(
                functools.partial(_call, compiled),
                seconds=seconds,
                delay=self.limits.max_delay / 1000.0,
                limit=self.limits.max_queue,
                observe=self.metrics.batch,
            )
            times = ", ".join(f"{size}: {1e3 * second:.2g}" for size, second in seconds.items())
            print(f"{name}: milliseconds of a batch of {times}", flush=True)
        self.batchers = made
        gc.collect()
        gc.freeze()  # JAX's many objects stay; looking through them would hold up requests
        self.metrics.ready.set(not self.draining)
        print(f"ready after {time.monotonic() - began:.1f} s", flush=True)

    def _compile(self, name: str) -> tuple[dict[int, Callable], dict[int, float]]:
        """The compiled prediction and the time it takes, by size."""
        compiled = {size: self.model.compiled(name, size) for size in self.sizes}
        specs, seconds = self.model.predictions[name].inputs, {}
        for size, call in compiled.items():
            arrays = {n: np.zeros((size, *spec.shape), spec.dtype) for n, spec in specs.items()}
            call(arrays)  # the first one warms up
            times = []  # from these the batcher chooses its sizes
            for _ in range(7):
                began = time.perf_counter()
                call(arrays)
                times.append(time.perf_counter() - began)
            seconds[size] = min(times)  # whatever else runs here only adds to it
        return compiled, seconds

    async def close(self) -> None:
        """Answers what was taken, and ends the threads."""
        for one in self.batchers.values():
            await one.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def predict(
        self, name: str, headers: Headers, query: bytes, receive: Receive, address: str = ""
    ) -> tuple[bytes, str]:
        """The answer to a request for a prediction, and its media type.

        Args:
          name: of the prediction.
          headers: of the request, names in lower case.
          query: what stands behind the question mark.
          receive: ASGI's, for the body.
          address: of the client.

        Raises:
          Problem: it is refused.
          Gone: nobody waits for the answer.
        """

        async def work(body: bytes) -> tuple[bytes, str]:
            top = _top(query)
            example = await self._inputs(name, body, headers.get(b"content-type", b""))
            outputs = await self.batchers[name].submit(example)
            return self._answer(name, outputs, top, headers.get(b"accept", b""))

        return await self._admit(headers, receive, address, work)

    async def infer(
        self, name: str, shown: str, headers: Headers, receive: Receive, address: str = ""
    ) -> tuple[bytes, str, dict[str, str]]:
        """The answer to a request of KServe's V2 protocol, its media type and headers.

        Its examples wait in the same queue as all others, each by itself.

        Args:
          name: of the prediction.
          shown: of the model in the protocol.
          headers: of the request, names in lower case.
          receive: ASGI's, for the body.
          address: of the client.

        Raises:
          Problem: it is refused.
          Gone: nobody waits for the answer.
        """
        signature = self.model.predictions[name]

        async def work(body: bytes) -> tuple[bytes, str, dict[str, str]]:
            kind, length = (
                headers.get(field, b"").decode("latin-1") for field in (b"content-type", LENGTH)
            )
            given = body, kind, length or None, signature, self.limits.max_queue
            request = await self._in_thread(len(body), kserve.parse, *given)
            futures: list[asyncio.Future] = []
            try:
                for row in range(request.examples):
                    example = {n: array[row] for n, array in request.arrays.items()}
                    futures.append(self.batchers[name].submit(example))
                rows = await asyncio.gather(*futures)
            finally:
                for future in futures:
                    future.cancel()  # those behind one that found no place, or was too late
            size = len(rows) * sum(array.nbytes for array in rows[0].values())
            return await self._in_thread(size, kserve.answer, shown, request, rows, signature)

        return await self._admit(headers, receive, address, work)

    async def _admit(
        self,
        headers: Headers,
        receive: Receive,
        address: str,
        work: Callable[[bytes], Awaitable[Any]],
    ) -> Any:
        """What `work` makes of a body, for a caller that may have it, within all limits."""
        key = self._check_key(headers)  # first: strangers cost no memory
        if not self.batchers:
            raise Problem(503, "the model is being compiled", {"retry-after": "5"})
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Problem(415, "send the body as it is", {"accept-encoding": "identity"})
        client = address if key is None else key.name
        if self.clients[client] >= self.limits.max_client:
            self.metrics.refused("client")
            whose = "this address" if key is None else "this key"
            raise busy(f"{whose} has {self.limits.max_client} requests under way")
        read = False
        self.clients[client] += 1
        try:
            async with asyncio.timeout(self.limits.timeout):
                body = await self._body(headers, receive)
                read = True
                return await self._compute(body, work)
        except TimeoutError as error:
            self.metrics.refused("time")
            if read:
                raise Problem(503, "no answer in time", {"retry-after": "5"}) from error
            raise Problem(408, "the body did not come in time", {"connection": "close"}) from error
        finally:
            self.clients[client] -= 1
            if not self.clients[client]:
                del self.clients[client]  # else every address ever seen would stay

    async def _compute(self, body: bytes, work: Callable[[bytes], Awaitable[Any]]) -> Any:
        """The answer to a body that has come whole."""
        if self.under_way >= self.limits.max_queue:  # slow bodies take no place
            self.metrics.refused("busy")
            raise busy("too many requests are under way")
        self.under_way += 1
        try:
            return await work(body)
        except (batcher.Busy, batcher.Closed) as error:
            self.metrics.refused("busy")
            raise busy("too many examples wait") from error
        finally:
            self.under_way -= 1

    def _check_key(self, headers: Headers) -> Key | None:
        if self.keys is None:
            return None
        given = [headers[b"x-api-key"]] if b"x-api-key" in headers else []
        if b"authorization" in headers:
            scheme, _, token = headers[b"authorization"].partition(b" ")
            given.append(token.strip() if scheme.lower() == b"bearer" else b"")
        # Of two that differ, neither counts.
        key = self.keys.find(given[0].decode("latin-1")) if len(set(given)) == 1 else None
        if key is None:
            self.metrics.refused("key")
            raise Problem(
                401,
                "a valid API key is needed, as Authorization: Bearer KEY or X-API-Key: KEY",
                {"www-authenticate": "Bearer"},
            )
        if wait := key.bucket.wait():
            self.metrics.refused("rate")
            raise busy(f"this key may make {key.bucket.rate:g} requests a second", wait)
        return key

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The body, which is never held beyond the limit, nor all bodies beyond `BODIES`."""
        limit, length = self.limits.max_bytes, headers.get(b"content-length", b"")
        # `int` of a million digits would take long.
        large = length.isdigit() and int(length[:20]) > limit
        parts, size, more = [], 0, not large
        try:
            while more and size <= limit:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone  # before it is computed for nobody
                more = message.get("more_body", False)
                part = message.get("body", b"")
                size += len(part)
                self.reading += len(part)
                if self.reading > BODIES:
                    self.metrics.refused("busy")
                    raise busy("too many bodies are being read")
                parts.append(part)
        finally:
            self.reading -= size
        if large or size > limit:
            self.metrics.refused("size")
            detail = f"the body has more than {limit:,} bytes"
            raise Problem(413, detail, {"connection": "close"})  # the connection reads the rest
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _inputs(self, name: str, body: bytes, kind: bytes) -> Arrays:
        signature = self.model.predictions[name]
        given = body, kind.decode("latin-1"), signature
        found = await self._in_thread(len(body), inputs.parse, *given)
        if isinstance(found, dict):
            return found
        ((only, spec),) = signature.inputs.items()  # the picture alone
        own = self.model.manifest["data"]["source"] == "own"
        # A few bytes may hold millions of pixels, so their number decides.
        large = len(body) > SMALL_BODY or inputs.pixels(found) > SMALL_PICTURE
        size = SMALL_BODY + 1 if large else 0
        picture = found, spec.shape, self.limits.max_pixels, own
        return {only: await self._in_thread(size, inputs.decode, *picture)}

    async def _in_thread(self, size: int, function: Callable[..., Any], *given: Any) -> Any:
        """What a function returns: at once if it has little to do, else from another thread."""
        if size <= SMALL_BODY:
            return function(*given)
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *given)

    def _answer(self, name: str, outputs: Arrays, top: int, accept: bytes) -> tuple[bytes, str]:
        """Labels for a classifier, a PNG where one is wanted and can be had, else all outputs."""
        if b"image/png" in accept and (drawn := self.model.predictions[name].drawn):
            return _png(outputs[drawn]), "image/png"
        if self.model.classifies(name):
            # By hand, as `json.dumps` takes several times as long.
            probabilities = outputs["probabilities"]
            best = np.argsort(-probabilities, kind="stable")[:top].tolist()
            values = probabilities.tolist()
            rows = ",".join(
                f'{{"label":{self._labels[n]},"probability":{values[n]:.6f}}}' for n in best
            )
            return f'{{"predictions":[{rows}],{self._tail}'.encode(), "application/json"
        lists = json.dumps({n: inputs.as_lists(array) for n, array in outputs.items()})
        return f'{{"outputs":{lists},{self._tail}'.encode(), "application/json"

    def about(self) -> dict[str, Any]:
        """What callers may know of the model and the limits."""
        manifest, predictions = self.model.manifest, self.model.predictions
        main, signature = next(iter(predictions.items()))
        return {
            "model": manifest["model"],
            "about": manifest.get("about"),
            "digest": self.model.digest,
            "recipe": manifest.get("recipe"),
            "classes": list(self.model.classes),
            "classifies": self.model.classifies(main),
            "image_shape": list(signature.picture or ()),
            "predictions": {
                name: {
                    **manifest["predictions"][name],
                    "takes_picture": one.picture is not None,
                    "picture": one.drawn,
                }
                for name, one in predictions.items()
            },
            "data": manifest.get("data"),
            "formats": list(inputs.FORMATS),
            "max_bytes": self.limits.max_bytes,
            "max_pixels": self.limits.max_pixels,
            "key_needed": self.keys is not None,
        }


async def _in_daemon(function: Callable[[], Any]) -> Any:
    """What a function returns, from a thread that does not hold up the end of the process."""
    loop, future = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(set_result: Callable[[Any], None], result: Any) -> None:
        if not future.done():
            set_result(result)

    def run() -> None:
        try:
            done: tuple[Any, Any] = future.set_result, function()
        except Exception as error:
            done = future.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, *done)

    threading.Thread(target=run, name="compilation", daemon=True).start()
    return await future


def _call(compiled: Mapping[int, Callable[[Arrays], Arrays]], arrays: Arrays) -> Arrays:
    """What is compiled for so many examples, on them; every input has that length."""
    return compiled[len(next(iter(arrays.values())))](arrays)


def _top(query: bytes) -> int:
    """The number in `top_k=3`; 5 if it is not given."""
    try:
        fields = urllib.parse.parse_qs(query.decode(), keep_blank_values=True, max_num_fields=16)
    except ValueError as error:
        raise Problem(422, "the query is no UTF-8, or has more than 16 fields") from error
    given = fields.get("top_k", ["5"])
    if len(given) > 1 or not re.fullmatch("0*[1-9][0-9]{0,4}", given[0], re.ASCII):
        raise Problem(422, "top_k must be one whole number from 1 to 99999")
    return int(given[0])


def _png(pixels: np.ndarray) -> bytes:
    """Grey or colour values in [0, 1] as a file."""
    file = io.BytesIO()
    grey = np.rint(255 * np.clip(np.nan_to_num(pixels), 0, 1)).astype(np.uint8)
    PIL.Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()
