"""Draws a graph as .svg, .png or .pdf with Graphviz, or writes it as .dot."""

import contextlib
from pathlib import Path

from zoo.ch01_graphs.dot import to_dot
from zoo.ch01_graphs.graph import Graph
from zoo.common.data import files

FORMATS = ("dot", "svg", "png", "pdf")
LARGEST = 1_500  # nodes: beyond, a layout takes minutes and nobody can read it


def render(graph: Graph, kind: str = "svg") -> bytes:
    """The bytes of a file with the graph, the same for the same graph (but for the date in a PDF).

    Args:
      graph: from `trace`.
      kind: dot, svg, png or pdf.

    Raises:
      ValueError: another kind, or a graph that has no nodes or too many for a picture.
    """
    if kind not in FORMATS:
        raise ValueError(f"got the format {kind!r}, expected one of {', '.join(FORMATS)}")
    if kind == "dot":
        return to_dot(graph).encode()
    if not 0 < len(graph.nodes) <= LARGEST:
        raise ValueError(
            f"the graph has {len(graph.nodes):,} nodes, expected 1 to {LARGEST:,} for a picture: "
            "fold it, or write .dot"
        )
    import pygraphviz

    with contextlib.closing(pygraphviz.AGraph(string=to_dot(graph))) as parsed:
        return parsed.draw(format=kind, prog="dot")


def save(graph: Graph, path: Path | str) -> Path:
    """Writes the graph in the format of the name's ending; the file appears whole or not at all.

    Args:
      graph: from `trace`.
      path: ends in .dot, .svg, .png or .pdf; its folder is made.

    Returns:
      The path.

    Raises:
      ValueError: another ending, or a graph that is too large for a picture.
      OSError: the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        expected = ", ".join(f".{known}" for known in FORMATS)
        raise ValueError(f"got the name {path}, expected one that ends in {expected}")
    files.write_bytes(path, render(graph, kind))
    return path
