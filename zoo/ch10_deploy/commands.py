"""What the chapter does on the command line: export, serve, keys."""

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zoo.ch10_deploy import export as exporting
from zoo.ch10_deploy import keys as keyfiles
from zoo.ch10_deploy.service import Limits, Service
from zoo.common import checkpoint, cli, trained
from zoo.common import commands as common
from zoo.common import device as devices
from zoo.common.data import DataError, files
from zoo.common.settings import Bounds, NotNegative

Positional = tyro.conf.Positional
_KEYS = Path("keys.json")
_SERVING = ("uvicorn", "httptools", "pydantic_core", "python_multipart", "prometheus_client")


def export(
    model: Annotated[str, Positional],
    which: cli.TrainedModel,
    out: str | None = None,
    format: Literal["jax", "onnx"] = "jax",
) -> None:
    """Write a trained model as files: weights, functions, manifest with their hashes; or as ONNX.

    Args:
        model: name of the model, as in runs/NAME: ch06_cnn, ch08_vae/conv
        which: which run
        out: folder or URL (s3://bucket/model) to write to; RUN/export if not given, RUN/onnx for
            ONNX
        format: jax can be served here; onnx is a file PREDICTION.onnx for other runtimes
    """
    chosen = trained.choose(trained.find(model), which)
    if format == "jax":
        common.export(chosen, out)
        return
    from zoo.ch10_deploy import onnx, store

    place = str(chosen.folder / "onnx") if out is None else out
    place = place if store.is_url(place) else str(files.expand(place))
    contents = onnx.files(chosen)
    store.write_folder(place, contents)
    checks = importlib.util.find_spec("onnxruntime") is not None
    for prediction, (file, content) in zip(
        chosen.predictions.values(), contents.items(), strict=True
    ):
        line = f"{store.join(place, file)}: {len(content):,} bytes"
        if checks:
            apart = onnx.difference(content, prediction, chosen.weights, onnx.example(prediction))
            line += f", onnxruntime within {apart:.0e} of JAX"
        print(line)
    if not checks:
        print("not compared with JAX: that needs onnxruntime, pip install -e '.[onnx]'")


def serve(
    model: Annotated[str, Positional],
    limits: Limits,
    host: str = "127.0.0.1",
    port: Annotated[int, Bounds(0, 65535)] = 8000,
    keys: Path | None = None,
    open: bool = False,
    digest: str | None = None,
    device: devices.Name = "auto",
) -> None:
    """Serve an exported model, or that of a run, over HTTP, with a page at / to try it.

    Args:
        model: folder or URL (s3://bucket/model) of an exported model, or a run's folder, whose
            model is exported to RUN/export
        limits: what the server takes
        host: address to listen on; 0.0.0.0 for all of this machine's
        port: 0 for any free one
        keys: file of API keys, see `keys add`
        open: let everyone in without a key; only on this machine's own address
        digest: SHA-256 that the model's manifest must have
        device: where to compute
    """
    missing = [name for name in _SERVING if importlib.util.find_spec(name) is None]
    if missing:
        raise DataError(
            f"serving needs {', '.join(missing)}, not installed: pip install -e '.[serve]'"
        )
    from zoo.ch10_deploy import server

    if open == (keys is not None):
        raise DataError(
            "choose who may call: --keys FILE (make one with `python -m zoo.ch10_deploy keys add "
            "NAME`), or --open for everyone on this machine"
        )
    if open and not server.is_loopback(host):
        raise DataError(f"--open lets everyone in, so not on {host}: use --keys FILE")
    devices.use(device)
    ring = None if keys is None else keyfiles.KeyRing(keys)
    if checkpoint.latest(folder := files.expand(model)) is not None:  # a run
        model = exporting.export_run(trained.load(folder)).location
    loaded = exporting.load(model, digest)
    where = f"{loaded.source} on {devices.describe(devices.current())}"
    print(f"{loaded.manifest['model']} {loaded.digest[:12]} from {model}, run by the {where}")
    warnings.filterwarnings("ignore", module=r"PIL\b")  # pictures are read in threads
    server.serve(Service(loaded, limits, ring), host, port)


def keys_add(
    name: Annotated[str, Positional], file: Path = _KEYS, rate: NotNegative = 1000.0
) -> None:
    """Make an API key; it is printed once, and only its hash is kept.

    Args:
        name: to revoke it by
        file: of the keys, made if it does not exist
        rate: requests per second that it may make to each server process, as servers do not share
            their counts; 0 for any number
    """
    print(keyfiles.add(file, name, rate))
    print(f"this is shown once: {file} has only its hash", file=sys.stderr)


def keys_list(file: Path = _KEYS) -> None:
    """List the keys of a file: name, rate, time of making.

    Args:
        file: of the keys
    """
    for entry in keyfiles.read(file):
        rate = f"{entry['rate']:g} requests/s" if entry["rate"] else "any rate"
        print(f"{entry['name']:<24}{rate:<20}made {entry['made']}")


def keys_revoke(name: Annotated[str, Positional], file: Path = _KEYS) -> None:
    """Make a key invalid; a running server refuses it within a second.

    Args:
        name: of the key
        file: of the keys
    """
    keyfiles.revoke(file, name)
    print(f"{name} is revoked in {file}")
