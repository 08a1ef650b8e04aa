"""A graph in the DOT language of Graphviz, the same bytes for the same graph.

Nodes are n0, n1 ... and clusters cluster_0, cluster_1 ... in the order of the graph. Names go into
quoted labels only, with everything escaped that DOT, its entities or a line of text would mangle.
"""

import collections
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from zoo.ch01_graphs.graph import Array, Graph, Node

FILL = {
    "input": "#CFE5F3",
    "constant": "#EEEEEE",
    "operation": "#FFFFFF",
    "output": "#FBE0C8",
    "port": "#F7F7F7",
    "folded": "#FFF3C9",
}
ARRAYS, NUMBERS = 4, 6  # the most that are written out in a label

_HEAD = """digraph {
  graph [compound=true, fontname="Helvetica", fontsize=10, labeljust=l, nodesep=0.2, ranksep=0.3]
  node [shape=box, style=filled, fontname="Helvetica", fontsize=9, margin="0.08,0.04", height=0.2]
  edge [color="#666666", arrowsize=0.5, fontname="Helvetica", fontsize=8]
"""


def to_dot(graph: Graph) -> str:
    """The graph in DOT, clusters as subgraphs."""
    members, children = collections.defaultdict(list), collections.defaultdict(list)
    for i, node in enumerate(graph.nodes):
        members[node.cluster].append(i)
    for i, cluster in enumerate(graph.clusters):
        children[cluster.parent].append(i)

    def inside(cluster: int | None, indent: str) -> Iterator[str]:
        for i in members[cluster]:
            node = graph.nodes[i]
            rounded = ', style="filled,rounded"' if node.kind in ("input", "output") else ""
            text = "\\n".join(map(escape, lines(node)))
            fill = FILL[node.kind]
            yield f'{indent}n{i} [label="{text}", fillcolor="{fill}"{rounded}]\n'
        for i in children[cluster]:
            name = escape(graph.clusters[i].name)
            yield f"{indent}subgraph cluster_{i} {{\n"
            yield f'{indent}  label="{name}" color="#999999"\n'
            yield from inside(i, indent + "  ")
            yield f"{indent}}}\n"

    parts = [_HEAD, *inside(None, "  ")]
    for edge in graph.edges:
        several = len(graph.nodes[edge.source].arrays) > 1
        label = f' [label="{edge.output}"]' if several else ""
        parts.append(f"  n{edge.source} -> n{edge.target}{label}\n")
    return "".join([*parts, "}\n"])


def escape(text: str) -> str:
    """The text as it must stand between the quotes of a DOT label."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")


def lines(node: Node) -> list[str]:
    """The text in a node's box: name, parameters, then each array with its value and gradient."""
    if node.kind == "constant" and node.name != "constant" and not node.shape:
        return [node.name]  # a scalar's name is its value
    beside = len(node.detail) <= 16 and node.kind != "folded"
    text = [f"{node.name} {node.detail}".strip()] if beside else [node.name, node.detail]
    several = len(node.arrays) > 1
    for number, array in enumerate(node.arrays[:ARRAYS]):
        text += _array_lines(f"{number}: " * several, array)
    if len(node.arrays) > ARRAYS:
        text.append(f"and {len(node.arrays) - ARRAYS} more")
    if node.flops:
        text.append(f"{short(node.flops)}FLOP, {short(node.bytes)}B")
    return text


def _array_lines(start: str, array: Array) -> Iterator[str]:
    yield f"{start}{array.dtype}{list(array.shape) if array.shape else ''}"
    if array.value is not None:
        yield f"value {numbers(array.value)}"
    if array.gradient is not None:
        yield f"gradient {numbers(array.gradient)}"


def numbers(array: np.ndarray) -> str:
    """The numbers of a short array; range and mean of a long one."""
    real = jnp.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array)
    if array.size <= NUMBERS or not real:
        text = np.array2string(array, precision=4, threshold=NUMBERS, separator=" ")
        return " ".join(text.split())
    return f"{array.min():.3g} to {array.max():.3g}, mean {array.mean(dtype=np.float64):.3g}"


def short(count: int) -> str:
    """A count with a prefix and a space before the unit: `1.2 M`."""
    size = float(count)
    for prefix in ("", "k", "M", "G", "T"):
        if size < 999.5:
            return f"{size:.3g} {prefix}"
        size /= 1000
    return f"{size:.3g} P"
