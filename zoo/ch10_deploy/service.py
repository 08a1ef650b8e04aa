"""What a request for a prediction passes: key, rate, body, picture, batch, answer."""

import asyncio
import gc
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from zoo.ch10_deploy import batching, images, problems
from zoo.ch10_deploy.export import Exported
from zoo.ch10_deploy.keys import KeyRing
from zoo.ch10_deploy.limits import Limits
from zoo.ch10_deploy.metrics import Metrics
from zoo.ch10_deploy.problems import Problem

SMALL_FILE = 16 * 1024  # smaller pictures are unpacked at once, without another thread
Headers = Mapping[bytes, bytes]
Receive = Callable[[], Awaitable[Any]]


class Gone(Exception):
    """The client closed the connection before its request was through."""


class Service:
    """A model behind keys, limits and a batcher; lives in one event loop."""

    def __init__(self, model: Exported, limits: Limits, keys: KeyRing | None):
        self.model, self.limits, self.keys = model, limits, keys
        self.sizes = batching.sizes_up_to(limits.max_batch)
        self.batcher: batching.Batcher | None = None
        self.metrics = Metrics(self.sizes, lambda: len(self.batcher or ()))
        self.under_way = self.accepted = self.answered = 0
        self.draining = False
        self.failure: Exception | None = None  # of `start`
        self._threads = ThreadPoolExecutor(2, "pictures")
        self._labels = [json.dumps(name) for name in model.classes]
        self._tail = f'],"model":{json.dumps(model.digest[:12])}}}'

    @property
    def ready(self) -> bool:
        """Whether new requests should come here."""
        return self.batcher is not None and not self.draining

    async def start(self) -> None:
        """Compiles every size of a batch; the service is ready when this returns."""
        began = time.monotonic()
        compiled, seconds = await asyncio.to_thread(self._compile)
        self.batcher = batching.Batcher(
            lambda images: compiled[len(images)](images),
            seconds=seconds,
            delay=self.limits.max_delay / 1000.0,
            limit=self.limits.max_queue,
            observe=self.metrics.batch,
        )
        gc.collect()
        gc.freeze()  # JAX's many objects stay; looking through them would hold up requests
        self.metrics.ready.set(not self.draining)
        times = ", ".join(f"{size}: {1e3 * second:.2g}" for size, second in seconds.items())
        took = time.monotonic() - began
        print(f"ready after {took:.1f} s; milliseconds of a batch of {times}", flush=True)

    def _compile(self) -> tuple[dict[int, Callable], dict[int, float]]:
        """The compiled function and the time it takes, by size."""
        compiled = {size: self.model.compiled(size) for size in self.sizes}
        seconds = {}
        for size, call in compiled.items():
            images = np.zeros((size, *self.model.shape), np.uint8)
            call(images)  # the first one warms up
            times = []
            for _ in range(7):
                began = time.perf_counter()
                call(images)
                times.append(time.perf_counter() - began)
            seconds[size] = min(times)  # whatever else runs here only adds to it
        return compiled, seconds

    async def close(self) -> None:
        """Answers what was taken, and ends the threads."""
        if self.batcher is not None:
            await self.batcher.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def predict(self, headers: Headers, query: bytes, receive: Receive) -> bytes:
        """The answer to a request for a prediction, as JSON.

        Args:
          headers: of the request, names in lower case.
          query: what stands behind the question mark.
          receive: ASGI's, for the body.

        Raises:
          Problem: it is refused.
          Gone: nobody waits for the answer.
        """
        self._check_key(headers)
        if self.batcher is None:
            raise Problem(503, "the model is being compiled", {"retry-after": "5"})
        if self.under_way >= self.limits.max_queue:
            self.metrics.refused("busy")
            raise problems.busy("too many requests are under way")
        top = _top(query, len(self.model.classes))
        read = False
        self.under_way += 1
        try:
            async with asyncio.timeout(self.limits.timeout):
                body = await self._body(headers, receive)
                read = True
                pixels = await self._pixels(body, headers.get(b"content-type", b""))
                return self._answer(await self.batcher.submit(pixels), top)
        except TimeoutError as error:
            self.metrics.refused("time")
            if read:
                raise Problem(503, "no answer in time", {"retry-after": "5"}) from error
            raise Problem(408, "the body did not come in time", {"connection": "close"}) from error
        except (batching.Busy, batching.Closed) as error:
            self.metrics.refused("busy")
            raise problems.busy("too many images wait") from error
        finally:
            self.under_way -= 1

    def _check_key(self, headers: Headers) -> None:
        if self.keys is None:
            return
        given = headers.get(b"x-api-key")
        if given is None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            given = given.strip() if scheme.lower() == b"bearer" else b""
        key = self.keys.find(given.decode("latin-1"))
        if key is None:
            self.metrics.refused("key")
            raise Problem(
                401,
                "a valid API key is needed, as Authorization: Bearer KEY or X-API-Key: KEY",
                {"www-authenticate": "Bearer"},
            )
        if wait := key.bucket.wait():
            self.metrics.refused("rate")
            raise problems.busy(f"this key may make {key.bucket.rate:g} requests a second", wait)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The body, which is never held beyond the limit; a little more is read and forgotten."""
        limit, length = self.limits.max_bytes, headers.get(b"content-length", b"")
        too_large = Problem(413, f"the body has more than {limit:,} bytes", {"connection": "close"})
        if length.isdigit() and int(length[:20]) > 4 * limit:
            self.metrics.refused("size")
            raise too_large
        parts, size, more = [], 0, True
        while more and size <= 4 * limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            more = message.get("more_body", False)
            part = message.get("body", b"")
            size += len(part)
            if size <= limit:
                parts.append(part)
            else:  # read on: a client that still sends would not see the answer
                parts.clear()
        if size > limit:
            self.metrics.refused("size")
            raise too_large
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _pixels(self, body: bytes, kind: bytes) -> np.ndarray:
        if len(body) <= SMALL_FILE:
            return self._read(body, kind)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._read, body, kind)

    def _read(self, body: bytes, kind: bytes) -> np.ndarray:
        shape = self.model.shape
        parsed = images.parse(body, kind.decode("latin-1"), shape)
        if parsed.pixels is not None:
            return parsed.pixels
        return images.decode(parsed.file, shape, self.limits.max_pixels)

    def _answer(self, probabilities: np.ndarray, top: int) -> bytes:
        best = np.argsort(-probabilities, kind="stable")[:top].tolist()
        values = probabilities.tolist()
        rows = ",".join(
            f'{{"label":{self._labels[n]},"probability":{values[n]:.6f}}}' for n in best
        )
        return f'{{"predictions":[{rows}{self._tail}'.encode()

    def log(self, error: Exception) -> None:
        """Writes a fault's trace to the log; no answer holds one."""
        logging.getLogger("zoo.serve").error("a request failed", exc_info=error)

    def about(self) -> dict[str, Any]:
        """What callers may know of the model and the limits."""
        manifest = self.model.manifest
        return {
            "model": manifest["model"],
            "digest": self.model.digest,
            "recipe": manifest.get("recipe"),
            "classes": list(self.model.classes),
            "image_shape": list(self.model.shape),
            "data": manifest.get("data"),
            "formats": list(images.FORMATS),
            "max_bytes": self.limits.max_bytes,
            "max_pixels": self.limits.max_pixels,
            "key_needed": self.keys is not None,
        }


def _top(query: bytes, classes: int) -> int:
    """The number in `top_k=3`, at most `classes`; 5 if it is not given."""
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name == b"top_k":
            if not (value.isdigit() and len(value) < 6 and int(value)):
                raise Problem(422, "top_k must be a whole number of at least 1")
            return min(int(value), classes)
    return min(5, classes)
