"""Chapter 10's server beside others, with clients on the same machine: needs the extra `serve`.

Chapter 6's network (recipe `modern`, weights as drawn) behind HTTP; 32 clients each send a PNG of
32x32 pixels, wait for the answer and send the next. `batching off` is the same server with
--max-batch 1; `plain FastAPI` is what a tutorial would write: an endpoint that unpacks the picture
and calls the compiled function for it. Clients and server share the machine's cores.
"""

import atexit
import io
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import jax
import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run
from zoo.ch06_cnn import model
from zoo.ch10_deploy import export, loadtest, store

CLIENTS = 32
OFF, PLAIN = "batching off", "plain FastAPI"
NOTE = (
    f"{CLIENTS} clients in one process beside the server, each with one request at a time over a "
    "connection that stays open; `compile s` is the time from the start until the server is ready."
)


def exported(folder: Path) -> Path:
    """The network as `export` would write it, with weights as they are drawn."""
    config = model.RECIPES["modern"]
    params = jax.jit(lambda: model.init(jax.random.key(0), config))()
    data = {"name": "none", "source": "none", "split": "none", "sha256": "", "classes": []}
    weights = {"params": params, "stats": model.init_stats(params)}
    store.write_folder(folder / "model", export.build("ch06_cnn", config, weights, {"data": data}))
    return folder / "model"


def plain_server(folder: str, port: int) -> None:
    """A server as short as it can be: every request calls the compiled function by itself."""
    import fastapi
    import PIL.Image
    import uvicorn

    loaded = export.load(folder)
    predict = loaded.compiled(1)
    app = fastapi.FastAPI()

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    @app.post("/v1/predict")
    async def answer(request: fastapi.Request) -> dict[str, float]:
        image = PIL.Image.open(io.BytesIO(await request.body())).convert("RGB")
        values = predict(np.asarray(image)[None])[0]
        return dict(zip(loaded.classes, values.tolist(), strict=True))

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def start(name: str) -> tuple[str, float]:
    """Starts a server; gives its URL and the seconds until it was ready."""
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
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None and time.perf_counter() - began < 120:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return url, time.perf_counter() - began
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server {name} did not get ready")


def contend(name: str, task: str) -> tuple[Run, float]:
    """A server under load, and the seconds that its start took."""
    url, seconds = start(name)

    def run(seconds: float) -> int:
        result = loadtest.measure(url, None, clients=CLIENTS, seconds=seconds, warmup=0.0)
        if result.failed:
            raise RuntimeError(f"{result.failed} requests failed: {result.summary()}")
        return len(result.latencies)

    return run, seconds


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
