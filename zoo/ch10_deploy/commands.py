"""What the serving half of the chapter does on the command line: export, serve, keys, load."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from zoo.ch10_deploy import export as exporting
from zoo.ch10_deploy.limits import Limits
from zoo.common import cli, device, run
from zoo.common.data import DataError
from zoo.common.device import Name as DeviceName

Positional = tyro.conf.Positional


def export(
    model: Annotated[Literal["ch06_cnn", "ch03_feedforward"], Positional],
    trained: cli.Trained,
    out: str | None = None,
) -> None:
    """Write a trained model as files: weights, function, manifest with their hashes.

    Args:
        model: of which kind the run is
        trained: which run
        out: folder or URL (s3://bucket/model) to write to; RUN/export if not given
    """
    written = exporting.export_run(model, trained, out)
    there = "is there already, unchanged" if written.was_there else "written"
    print(f"{written.location}: {there}")
    print(f"digest {written.digest}")
    print(f"serve it: python -m zoo.ch10_deploy serve {written.location} --open")


def serve(
    model: Annotated[str, Positional],
    limits: Limits,
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Path | None = None,
    open: bool = False,
    digest: str | None = None,
    device_name: Annotated[DeviceName, tyro.conf.arg(name="device")] = "auto",
) -> None:
    """Serve an exported model over HTTP; a page to try it stands at /.

    Args:
        model: folder or URL (s3://bucket/model) of an exported model
        limits: what the server takes
        host: address to listen on; 0.0.0.0 for all of this machine's
        port: 0 for any free one
        keys: file of API keys, see `keys add`
        open: let everyone in without a key; only on this machine's own address
        digest: SHA-256 that the model's manifest must have
        device_name: what computes
    """
    server = _server()
    if open == (keys is not None):
        raise DataError(
            "say who may call: --keys FILE (make one with `python -m zoo.ch10_deploy keys add "
            "NAME`), or --open for everyone on this machine"
        )
    if open and not server.is_loopback(host):
        raise DataError(f"--open lets everyone in, so not on {host}: use --keys FILE")
    if not 0 <= port <= 65535:
        raise DataError(f"--port {port}: use 1 to 65535, or 0 for any free one")
    limits.check()
    device.use(device_name)
    ring = None if keys is None else server.KeyRing(keys)
    loaded = exporting.load(model, digest)
    print(f"{loaded.manifest['model']} {loaded.digest[:12]} from {model}, run by the "
          f"{loaded.source} on {device.describe(device.current())}", flush=True)  # fmt: skip
    server.serve(server.Service(loaded, limits, ring), host, port)


def _server():
    """The module of the server, or an error that names the extra."""
    try:
        from zoo.ch10_deploy import server
    except ImportError as error:
        if (error.name or "").startswith("zoo"):
            raise
        raise DataError(
            f"serving needs {error.name}, which is not installed: pip install -e '.[serve]'"
        ) from error
    return server


_KEYS = Path("keys.json")


def keys_add(name: Annotated[str, Positional], file: Path = _KEYS, rate: float = 1000.0) -> None:
    """Make an API key; it is printed once and kept as a hash alone.

    Args:
        name: to revoke it by
        file: of the keys, made if it is not there
        rate: requests per second that it may make; 0 for any number
    """
    from zoo.ch10_deploy import keys

    key = keys.add(file, name, rate)
    print(key)
    print(f"shown this once: {file} has only its hash", file=sys.stderr)


def keys_list(file: Path = _KEYS) -> None:
    """List the keys of a file: name, rate, time of making.

    Args:
        file: of the keys
    """
    from zoo.ch10_deploy import keys

    for entry in keys.read(file):
        rate = f"{entry['rate']:g} requests/s" if entry["rate"] else "any rate"
        print(f"{entry['name']:<24}{rate:<20}made {entry['made']}")


def keys_revoke(name: Annotated[str, Positional], file: Path = _KEYS) -> None:
    """Make a key invalid; a running server refuses it within a second.

    Args:
        name: of the key
        file: of the keys
    """
    from zoo.ch10_deploy import keys

    keys.revoke(file, name)
    print(f"{name} is revoked in {file}")


def load_test(
    url: Annotated[str, Positional],
    key: str | None = None,
    clients: int = 32,
    seconds: float = 60.0,
    warmup: float = 2.0,
    send: Literal["png", "jpeg", "json"] = "png",
    leave: bool = False,
    json: Path | None = None,
) -> None:
    """Measure a server on this machine: clients that each wait for an answer, then ask again.

    Args:
        url: of the server, http://127.0.0.1:8000
        key: API key, or in the environment as ZOO_API_KEY
        clients: at a time
        seconds: to measure for
        warmup: seconds before that, not counted
        send: as what each picture of 32x32 pixels is sent
        leave: end when connections are refused, to see a server shut down; that is no error then
        json: file to write the result to
    """
    from zoo.ch10_deploy import loadtest

    result = loadtest.measure(
        url, _key(key), clients=clients, seconds=seconds, warmup=warmup, send=send, leave=leave
    )
    for line in loadtest.describe(result):
        print(line)
    if json is not None:
        run.write_json(json, result.summary())
    if result.failed - (result.refused if leave else 0):
        raise DataError(f"{result.failed} requests were not answered as they should")


def abuse(
    url: Annotated[str, Positional],
    key: str | None = None,
    count: int = 10_000,
    clients: int = 16,
) -> None:
    """Send a server on this machine requests that it must refuse, and watch its memory.

    Args:
        url: of the server, http://127.0.0.1:8000
        key: API key, or in the environment as ZOO_API_KEY
        count: of requests
        clients: at a time
    """
    from zoo.ch10_deploy import abuse as abusing

    report = abusing.attack(url, _key(key), count=count, clients=clients)
    for line in report.lines():
        print(line)
    if report.faults:
        raise DataError(f"{len(report.faults)} answers were not as expected")


def _key(given: str | None) -> str | None:
    return given or os.environ.get("ZOO_API_KEY") or None
