"""Writes the page as files, or serves it: `python -m zoo visit`."""

import functools
import http.server
import tempfile
import webbrowser
from pathlib import Path

from zoo.common.data import DataError, files
from zoo.visit import build


def visit(out: Path | None, port: int, browser: bool) -> None:
    """Writes the page to the folder `out`; or serves it on a port until Ctrl-C, and opens it."""
    if out is not None:
        contents = write(out)
        size = sum(map(len, contents.values()))
        print(f"{out}: {len(contents)} files, {size:,} bytes; open it through any web server:")
        print(f"python -m http.server --bind 127.0.0.1 --directory {out}")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "visit"
        write(folder)
        with server(folder, port) as made:
            address = f"http://127.0.0.1:{made.server_address[1]}/"
            print(f"the zoo is open at {address}; Ctrl-C closes it", flush=True)
            if browser:
                webbrowser.open(address)
            made.serve_forever()


def write(folder: Path) -> dict[str, bytes]:
    """Writes the page's files to a new or empty folder, and returns them.

    Raises:
      DataError: there is something in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty: choose a new folder by --out")
    contents = build.build()
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, content)
    return contents


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each on the screen."""

    extensions_map = {  # noqa: RUF012  # as its parent has it
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        # Some machines register another type, and browsers then refuse modules.
        ".js": "text/javascript",
        ".svg": "image/svg+xml",
        ".onnx": "application/octet-stream",
    }

    def log_message(self, format: str, *args: object) -> None:
        pass


def server(folder: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of the folder's files on 127.0.0.1."""
    handler = functools.partial(_Quiet, directory=str(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
