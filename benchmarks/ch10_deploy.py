"""Chapter 10's server beside others, with clients on the same machine: needs the extra `serve`.

Chapter 6's network (recipe `modern`, weights as drawn) behind HTTP; 32 clients each send a PNG of
32x32 pixels, wait for the answer and send the next. `batching off` is the same server with
--max-batch 1; `plain FastAPI` is what a tutorial would write: an endpoint that unpacks the picture
and calls the compiled function for it. Clients and server share the machine's cores.
"""

import asyncio
import atexit
import io
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run
from zoo import ch06_cnn
from zoo.ch10_deploy import export, store

CLIENTS = 32
OFF, PLAIN = "batching off", "plain FastAPI"
NOTE = (
    f"{CLIENTS} clients in one process beside the server, each with one request at a time over a "
    "connection that stays open; `compile s` is the time from the start until the server is ready."
)
TASK = ch06_cnn.TASKS[0]


def exported(folder: Path) -> Path:
    """The network as `export` would write it, with weights as they are drawn."""
    config = TASK.recipes["modern"]
    weights = TASK.weights(TASK.start(config, TASK.random(config, config.batch_size)))
    data = {"name": "none", "source": "none", "split": "none", "sha256": "", "classes": []}
    store.write_folder(folder / "model", export.build(TASK, config, weights, data))
    return folder / "model"


def plain_server(folder: str, port: int) -> None:
    """A server as short as it can be: every request calls the compiled function by itself."""
    import fastapi
    import PIL.Image
    import uvicorn

    loaded = export.load(folder)
    predict = loaded.compiled(next(iter(loaded.predictions)), 1)
    app = fastapi.FastAPI()

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    @app.post("/v1/predict")
    async def answer(request: fastapi.Request) -> dict[str, float]:
        image = PIL.Image.open(io.BytesIO(await request.body())).convert("RGB")
        values = predict({"image": np.asarray(image)[None]})["probabilities"][0]
        return dict(zip(loaded.classes, values.tolist(), strict=True))

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def start(name: str) -> tuple[int, float]:
    """Starts a server; returns its port and the seconds until it was ready."""
    place = tempfile.TemporaryDirectory()
    atexit.register(place.cleanup)
    folder = exported(Path(place.name))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if name == PLAIN:
        call = f"from benchmarks import ch10_deploy as b; b.plain_server({str(folder)!r}, {port})"
        command = [sys.executable, "-c", call]
    else:
        command = [sys.executable, "-m", "zoo.ch10_deploy", "serve", str(folder), "--open"]
        command += ["--port", str(port), *(["--max-batch", "1"] if name == OFF else [])]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    atexit.register(process.terminate)
    while process.poll() is None and time.perf_counter() - began < 120:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return port, time.perf_counter() - began
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server {name} did not get ready")


def requests(count: int = 64) -> list[bytes]:
    """Whole HTTP requests with drawn pictures, always the same."""
    import PIL.Image

    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        coarse = PIL.Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        file = io.BytesIO()
        coarse.resize((32, 32), PIL.Image.Resampling.BICUBIC).save(file, "PNG")
        body = file.getvalue()
        head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        made.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


class _Client(asyncio.Protocol):
    """A connection that sends a request, waits for the answer and sends the next.

    It speaks just enough HTTP/1.1 to cost little beside the server that it measures.
    """

    def __init__(self, requests: Sequence[bytes], first: int, until: float):
        self.requests, self.number, self.until = requests, first, until
        self.answers, self.buffer = 0, b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        """The next request, or none if the time is up."""
        if time.perf_counter() > self.until:
            self.done.set_result(self.answers)
            self.transport.close()
            return
        self.number += 1
        self.transport.write(self.requests[self.number % len(self.requests)])

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, complete, body = self.buffer.partition(b"\r\n\r\n")
        if not complete or len(body) < int(re.search(rb"(?i)content-length: *(\d+)", head)[1]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(f"a request failed: {self.buffer!r}"))
            self.transport.close()
            return
        self.answers, self.buffer = self.answers + 1, b""
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(f"the server closed a connection: {exc}"))


def load(port: int, seconds: float) -> int:
    """Puts the server under load; returns the number of predictions."""

    async def measure() -> int:
        loop, bodies = asyncio.get_running_loop(), requests()
        until = time.perf_counter() + seconds
        made = [
            (await loop.create_connection(lambda n=n: _Client(bodies, 7 * n, until), *place))[1]
            for n in range(CLIENTS)
        ]
        return sum(await asyncio.gather(*(client.done for client in made)))

    place = ("127.0.0.1", port)
    try:
        import uvloop  # faster, where it is installed
    except ImportError:
        return asyncio.run(measure())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure())


def contend(name: str, task: str) -> tuple[Run, float]:
    """A server under load, and the seconds that its start took."""
    port, seconds = start(name)
    return lambda seconds: load(port, seconds), seconds


ROW = harness.Row(
    name="ch10_deploy",
    title=f"Chapter 10, {CLIENTS} clients",
    unit="predictions",
    base=OFF,
    contenders=(OFF, PLAIN),
    tasks=("serving",),
    contend=contend,
    note=NOTE,
    about=lambda: {"clients": CLIENTS, "max_batch": 32, "server_of_zoo": ZOO},
    needs=("fastapi", "uvicorn"),
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
