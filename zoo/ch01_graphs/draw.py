"""Writes a graph as .dot, .svg, .png or .pdf: by Graphviz where it is, else by matplotlib."""

import contextlib
import importlib.util
import io
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from zoo.ch01_graphs.dot import to_dot
from zoo.ch01_graphs.graph import Graph
from zoo.common.data import files

Engine = Literal["auto", "dot", "pygraphviz", "matplotlib"]
FORMATS = (".dot", ".svg", ".png", ".pdf")
LARGEST = 1_500  # nodes: beyond, a layout takes minutes and nobody can read it
SECONDS = 120  # for the program dot
PIXELS = 30_000  # of a PNG's longer side; matplotlib's own limit is 65,535


def engine() -> Engine:
    """What draws: the program `dot`, or Graphviz's libraries in pygraphviz, or else matplotlib."""
    if shutil.which("dot"):
        return "dot"
    return "pygraphviz" if importlib.util.find_spec("pygraphviz") else "matplotlib"


def save(graph: Graph, path: Path | str, engine_name: Engine = "auto") -> Path:
    """Writes the graph in the format that the name's ending tells; the file appears whole or not.

    Args:
      graph: from `trace`.
      path: ends in .dot, .svg, .png or .pdf; its folder is made.
      engine_name: who lays the picture out; `auto` is what `engine()` says.

    Returns:
      The path.

    Raises:
      ValueError: another ending, or a graph that is too large for a picture.
      OSError: the file cannot be written, or Graphviz fails.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise ValueError(f"got the name {path}, expected one that ends in {', '.join(FORMATS)}")
    if kind == ".dot":
        content = to_dot(graph).encode()
    else:
        if len(graph.nodes) > LARGEST:
            raise ValueError(
                f"the graph has {len(graph.nodes):,} nodes, expected at most {LARGEST:,} for a "
                "picture: fold it, or write .dot"
            )
        content = _picture(graph, kind[1:], engine() if engine_name == "auto" else engine_name)
    files.write_bytes(path, content)
    return path


def _picture(graph: Graph, kind: str, engine_name: Engine) -> bytes:
    if engine_name == "dot":
        return _by_program(to_dot(graph), kind)
    if engine_name == "pygraphviz":
        return _by_library(to_dot(graph), kind)
    return _by_matplotlib(graph, kind)


def _by_program(dot: str, kind: str) -> bytes:
    try:
        done = subprocess.run(
            ["dot", f"-T{kind}"], input=dot.encode(), capture_output=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"dot needs more than {SECONDS} s for this graph: fold it") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise OSError(f"dot failed with status {done.returncode}: {reason}")
    return done.stdout


def _by_library(dot: str, kind: str) -> bytes:
    import pygraphviz

    with contextlib.closing(pygraphviz.AGraph(string=dot)) as parsed:
        return parsed.draw(format=kind, prog="dot")


def _by_matplotlib(graph: Graph, kind: str) -> bytes:
    import matplotlib

    from zoo.ch01_graphs import figures

    figure = figures.drawing(graph)
    side = max(figure.get_size_inches())
    if kind == "png" and side * figure.dpi > PIXELS:
        raise ValueError(
            f"the picture would have {side * figure.dpi:,.0f} pixels on a side, expected at most "
            f"{PIXELS:,}: fold the graph, or write .svg, .pdf or .dot"
        )
    content = io.BytesIO()
    # Without dates and random ids the same graph gives the same bytes.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with matplotlib.rc_context({"svg.hashsalt": "zoo", "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, metadata=metadata)
    return content.getvalue()
