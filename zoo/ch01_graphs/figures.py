"""A graph as a matplotlib figure, where there is no Graphviz; graphlay lays it out in layers.

graphlay knows the size of each box and that clusters hold boxes, routes the edges, and always gives
the same layout for the same graph (https://github.com/aarkue/graphlay).
"""

import functools
from collections.abc import Sequence
from typing import Any

import graphlay
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

from zoo.ch01_graphs.dot import FILL, lines
from zoo.ch01_graphs.graph import Graph, Node
from zoo.common.figures import DPI, GREY, INK, PALE

POINTS = 8.0  # size of the text
LINE = 1.3 * POINTS
PAD = 0.6 * POINTS
MARGIN = 6.0  # points around the drawing
_OPTIONS = {
    "direction": "topbottom",
    "spacing": {
        "layer_gap": 20.0,
        "node_gap": 14.0,
        "dummy_gap": 8.0,
        "port_gap": 8.0,
        "compound_padding": 6.0,
        "compound_header": 6.0,
    },
}


def drawing(graph: Graph) -> Figure:
    """The whole graph, one inch to 72 points, read from top to bottom.

    Raises:
      ValueError: there is no node to draw.
    """
    if not graph.nodes:
        raise ValueError(
            "the graph has no nodes, expected at least one: trace a function of arrays"
        )
    layout = _layout(graph)
    low, high = layout.bounds["min"], layout.bounds["max"]
    width = high["x"] - low["x"] + 2 * MARGIN
    height = high["y"] - low["y"] + 2 * MARGIN
    figure = Figure((width / 72, height / 72), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(low["x"] - MARGIN, high["x"] + MARGIN)
    axes.set_ylim(high["y"] + MARGIN, low["y"] - MARGIN)
    boxes = layout.nodes
    for i, cluster in enumerate(graph.clusters):
        _draw_cluster(axes, boxes[i], cluster.name, i)
    for edge, route in zip(graph.edges, layout.edges, strict=True):
        several = len(graph.nodes[edge.source].arrays) > 1
        _draw_edge(axes, route["points"], str(edge.output) if several else "")
    for node, box in zip(graph.nodes, boxes[len(graph.clusters) :], strict=True):
        _draw_node(axes, node, box)
    return figure


def _layout(graph: Graph) -> graphlay.Layout:
    """Clusters come first, then nodes, so that a parent's number is known."""
    plan = graphlay.Graph()
    for i, cluster in enumerate(graph.clusters):
        wide = _width([cluster.name]) + 2 * PAD
        parent = {} if cluster.parent is None else {"parent": cluster.parent}
        plan.node(f"cluster {i}", width=wide, height=LINE, **parent)
    for i, node in enumerate(graph.nodes):
        told = lines(node)
        parent = {} if node.cluster is None else {"parent": node.cluster}
        plan.node(i, width=_width(told) + 2 * PAD, height=LINE * len(told) + PAD, **parent)
    for edge in graph.edges:
        plan.edge(edge.source, edge.target)
    return graphlay.layout(plan, options=_OPTIONS)


def _draw_cluster(axes: Axes, box: dict[str, Any], name: str, order: int) -> None:
    x, y, width, height = _rectangle(box)
    patch = FancyBboxPatch(
        (x, y), width, height, boxstyle="square,pad=0", fc="none", ec=GREY, lw=0.6, ls=(0, (4, 2))
    )
    axes.add_patch(patch)
    axes.text(
        x + PAD, y + 0.6 * LINE, name, size=POINTS, color=GREY, va="center", parse_math=False,
        zorder=5, bbox={"fc": "white", "ec": "none", "pad": 0.5},
    )  # fmt: skip


def _draw_edge(axes: Axes, points: Sequence[dict[str, float]], label: str) -> None:
    corners = [(point["x"], point["y"]) for point in points]
    axes.add_patch(
        FancyArrowPatch(
            path=Path(corners), arrowstyle="-|>", mutation_scale=5, lw=0.6, color=GREY, zorder=2,
            shrinkA=0, shrinkB=0, joinstyle="round",
        )
    )  # fmt: skip
    if label:
        x, y = corners[0]
        axes.text(x + 2, y + 0.5 * LINE, label, size=POINTS - 2, color=GREY, parse_math=False)


def _draw_node(axes: Axes, node: Node, box: dict[str, Any]) -> None:
    x, y, width, height = _rectangle(box)
    style = "round,pad=0,rounding_size=4" if node.kind in ("input", "output") else "square,pad=0"
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle=style, fc=FILL[node.kind], zorder=3, lw=0.6,
            ec=PALE if node.kind in ("constant", "port") else INK,
        )
    )  # fmt: skip
    told = lines(node)
    for number, text in enumerate(told):
        axes.text(
            x + width / 2, y + PAD / 2 + LINE * (number + 0.5), text, size=POINTS, zorder=4,
            ha="center", va="center", parse_math=False, color=GREY if number else INK,
            weight="bold" if number == 0 and node.kind in ("operation", "folded") else "normal",
        )  # fmt: skip


def _rectangle(box: dict[str, Any]) -> tuple[float, float, float, float]:
    width, height = box["size"]["width"], box["size"]["height"]
    return box["center"]["x"] - width / 2, box["center"]["y"] - height / 2, width, height


def _width(texts: Sequence[str]) -> float:
    return max(map(_text_width, texts))


@functools.lru_cache(maxsize=10_000)
def _text_width(text: str) -> float:
    font = FontProperties(size=POINTS, weight="bold")
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
