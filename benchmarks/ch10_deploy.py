"""Chapter 10's server beside others, loaded by wrk (apt-get); extras `serve` and `bench`.

Chapter 6's network (recipe `modern`, weights as drawn) behind HTTP; 32 clients each send a PNG of
32x32 pixels as base64 in JSON, which all contenders take, wait for the answer and send the next.
`batching off` is the same server with --max-batch 1; `plain FastAPI` is what a tutorial would
write: an endpoint that unpacks the picture and calls the compiled function for it; `LitServe` is a
server of models that batches as zoo's does. wrk and the server share the machine's cores.
"""

import atexit
import base64
import io
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run
from zoo import ch06_cnn
from zoo.ch10_deploy import export, store

CLIENTS = 32
OFF, PLAIN, LIT = "batching off", "plain FastAPI", "LitServe"
NOTE = (
    f"wrk with {CLIENTS} connections beside the server, each with one request at a time; "
    "`compile s` is the time from the start until the server is ready."
)
TASK = ch06_cnn.TASKS[0]
READY = {LIT: "/health"}


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
    async def answer(content: dict[str, str]) -> dict[str, float]:
        file = io.BytesIO(base64.b64decode(content["image"]))
        image = PIL.Image.open(file).convert("RGB")
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
    elif name == LIT:
        command = [sys.executable, "-m", "benchmarks.ch10_litserve", str(folder), str(port)]
    else:
        command = [sys.executable, "-m", "zoo.ch10_deploy", "serve", str(folder), "--open"]
        command += ["--port", str(port), *(["--max-batch", "1"] if name == OFF else [])]
    began = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is ended, too
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    atexit.register(end, process)
    while process.poll() is None and time.perf_counter() - began < 120:
        try:
            url = f"http://127.0.0.1:{port}{READY.get(name, '/readyz')}"
            with urllib.request.urlopen(url, timeout=5):
                return port, time.perf_counter() - began
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server {name} did not get ready")


def end(process: subprocess.Popen) -> None:
    """Ends a server and the processes that it has started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def script(folder: Path, count: int = 64) -> Path:
    """What wrk runs: requests with drawn pictures, one after the other, always the same."""
    import PIL.Image

    rng, bodies = np.random.default_rng(0), []
    for _ in range(count):
        coarse = PIL.Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        file = io.BytesIO()
        coarse.resize((32, 32), PIL.Image.Resampling.BICUBIC).save(file, "PNG")
        content = {"image": base64.b64encode(file.getvalue()).decode()}
        bodies.append(f"'{json.dumps(content)}'")
    path = folder / "post.lua"
    path.write_text(
        f"bodies, n = {{{', '.join(bodies)}}}, 0\n"
        'headers = {["Content-Type"] = "application/json"}\n'
        "request = function()\n"
        "  n = n % #bodies + 1\n"
        '  return wrk.format("POST", "/v1/predict", headers, bodies[n])\n'
        "end\n"
    )
    return path


def load(port: int, seconds: float) -> int:
    """Puts the server under load; returns the number of predictions.

    Raises:
      RuntimeError: not every request got its prediction.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = ["wrk", "-t", "1", "-c", str(CLIENTS), "-d", f"{math.ceil(seconds)}s"]
        command += ["--timeout", "30s", "--latency", "-s", str(script(Path(folder)))]
        command.append(f"http://127.0.0.1:{port}")
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if failed := re.search(r"Non-2xx.*|Socket errors.*", said):
        raise RuntimeError(f"wrk: {failed[0]}")
    if seconds >= 1:
        shares = re.findall(r"^\s+(50|99)%\s+(\S+)", said, re.MULTILINE)
        print(*(f"{share} % within {time}" for share, time in shares), sep=", ", file=sys.stderr)
    return int(re.search(r"(\d+) requests in", said)[1])


def contend(name: str, task: str) -> tuple[Run, float]:
    """A server under load, and the seconds that its start took."""
    port, seconds = start(name)
    return lambda seconds: load(port, seconds), seconds


ROW = harness.Row(
    name="ch10_deploy",
    title=f"Chapter 10, {CLIENTS} clients",
    unit="predictions",
    base=OFF,
    contenders=(OFF, PLAIN, LIT),
    tasks=("serving",),
    contend=contend,
    note=NOTE,
    about=lambda: {"clients": CLIENTS, "max_batch": 32, "server_of_zoo": ZOO},
    needs=("fastapi", "litserve", "uvicorn"),
)

if __name__ == "__main__":
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    harness.main(ROW, __doc__)
