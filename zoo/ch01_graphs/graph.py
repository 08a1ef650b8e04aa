"""What a traced function is made of: nodes, edges, clusters, and how to fold and cost them.

A graph is plain data: tuples that refer to each other by position, so that the same function
always gives the same graph. Cost counts follow `costs.py`.
"""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["input", "constant", "operation", "output", "port", "folded"]


class Array(NamedTuple):
    """One array that a node gives; random keys show their bits as value."""

    shape: tuple[int, ...]
    dtype: str
    value: np.ndarray | None = None
    gradient: np.ndarray | None = None  # of the function's scalar result with respect to this


class Node(NamedTuple):
    """A box of the graph.

    An `input` or `output` belongs to the function, a `port` to a loop or branch: what goes into
    its inner function or comes out of it. A `folded` node stands for a whole cluster.
    """

    kind: Kind
    name: str
    arrays: tuple[Array, ...]
    cluster: int | None = None  # the innermost one, by its position in `Graph.clusters`
    detail: str = ""  # parameters of the operation
    flops: int = 0  # of one execution, as `bytes`
    bytes: int = 0  # read and written

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first array."""
        return self.arrays[0].shape

    @property
    def dtype(self) -> str:
        """Of the first array."""
        return self.arrays[0].dtype


class Edge(NamedTuple):
    """Array number `output` of node `source` is operand number `operand` of node `target`."""

    source: int
    output: int
    target: int
    operand: int


class Cluster(NamedTuple):
    """An equation with functions inside (jit, scan, cond ...), or one of several such functions."""

    name: str
    parent: int | None
    primitive: str = ""  # of the equation; empty for one function of several
    repeats: int = 1  # how often it runs; 1 where that is not known (while)
    results: tuple[tuple[int, int], ...] = ()  # node and output of each result


class Graph(NamedTuple):
    """Nodes in the order of execution, and clusters with the outer before the inner."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...]

    @property
    def equations(self) -> int:
        """Number of equations that are shown; a folded cluster counts as one."""
        operations = sum(node.kind in ("operation", "folded") for node in self.nodes)
        return operations + sum(bool(cluster.primitive) for cluster in self.clusters)


class Cost(NamedTuple):
    """Floating-point operations, and bytes read and written if nothing is fused."""

    flops: int
    bytes: int


def depths(graph: Graph) -> list[int]:
    """How deep each cluster lies; 1 is the outermost."""
    found: list[int] = []
    for cluster in graph.clusters:
        found.append(1 if cluster.parent is None else found[cluster.parent] + 1)
    return found


def cost(graph: Graph) -> Cost:
    """Of one call of the whole function: scans by their length, of branches the dearest one."""
    return _costs(graph)[None]


def _costs(graph: Graph) -> dict[int | None, Cost]:
    """One cost for each cluster, all its repeats included, and the whole function's at None."""
    own: dict[int | None, list[Cost]] = collections.defaultdict(list)
    for node in graph.nodes:
        own[node.cluster].append(Cost(node.flops, node.bytes))
    inner: dict[int | None, list[Cost]] = collections.defaultdict(list)
    costs: dict[int | None, Cost] = {}
    outermost = Cluster("", None)
    for i, cluster in [*reversed([*enumerate(graph.clusters)]), (None, outermost)]:
        choose = _dearest if cluster.primitive == "cond" else _sum  # its branches, folded or not
        once = choose([*own[i], *inner[i]])
        costs[i] = Cost(cluster.repeats * once.flops, cluster.repeats * once.bytes)
        if i is not None:
            inner[cluster.parent].append(costs[i])
    return costs


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(sum(c.flops for c in costs), sum(c.bytes for c in costs))


def _dearest(costs: Sequence[Cost]) -> Cost:
    return max(costs, default=Cost(0, 0))


def fold(graph: Graph, depth: int) -> Graph:
    """The graph with every cluster deeper than `depth` shown as one node; 0 folds them all.

    A cluster without operations (a jitted identity) leaves no node.

    Raises:
      ValueError: the depth is negative.
    """
    if depth < 0:
        raise ValueError(f"got depth {depth}, expected 0 (fold all clusters) or more")
    around: dict[int | None, int | None] = {None: None}  # the outermost folded one around each
    for i, level in enumerate(depths(graph)):
        outer = around[graph.clusters[i].parent]
        around[i] = outer if outer is not None else i if level > depth else None
    members: dict[int, list[int]] = collections.defaultdict(list)
    for i, node in enumerate(graph.nodes):
        if (at := around[node.cluster]) is not None:
            members[at].append(i)
    results = {
        at: _made_in(graph.clusters[at].results, set(inside)) for at, inside in members.items()
    }
    kept = [i for i in range(len(graph.clusters)) if around[i] is None]
    renumbered: dict[int | None, int | None] = {None: None}
    renumbered |= {old: new for new, old in enumerate(kept)}

    costs = _costs(graph)
    nodes: list[Node] = []
    place: dict[int, int] = {}
    for i, node in enumerate(graph.nodes):
        at = around[node.cluster]
        if at is None:
            place[i] = len(nodes)
            nodes.append(node._replace(cluster=renumbered[node.cluster]))
        elif i == members[at][0]:
            place |= dict.fromkeys(members[at], len(nodes))
            parent = renumbered[graph.clusters[at].parent]
            nodes.append(_folded(graph, at, members[at], results[at], costs[at], parent))

    def moved(node: int, output: int) -> tuple[int, int]:
        at = around[graph.nodes[node].cluster]
        return place[node], output if at is None else results[at].index((node, output))

    clusters = (
        graph.clusters[i]._replace(
            parent=renumbered[graph.clusters[i].parent],
            results=tuple(moved(*result) for result in graph.clusters[i].results),
        )
        for i in kept
    )
    return Graph(tuple(nodes), _moved_edges(graph, around, place, moved), tuple(clusters))


def _made_in(results: Iterable[tuple[int, int]], inside: set[int]) -> list[tuple[int, int]]:
    """Those of a cluster's results that its own nodes give, each once; others pass through it."""
    return list(dict.fromkeys(result for result in results if result[0] in inside))


def _folded(
    graph: Graph,
    at: int,
    inside: Sequence[int],
    results: Sequence[tuple[int, int]],
    price: Cost,
    parent: int | None,
) -> Node:
    count = sum(graph.nodes[i].kind in ("operation", "folded") for i in inside)
    return Node(
        "folded",
        graph.clusters[at].name,
        tuple(graph.nodes[node].arrays[output] for node, output in results),
        parent,
        f"{count} operation{'s' * (count != 1)}",
        price.flops,
        price.bytes,
    )


def _moved_edges(
    graph: Graph,
    around: Mapping[int | None, int | None],
    place: Mapping[int, int],
    moved: Callable[[int, int], tuple[int, int]],
) -> tuple[Edge, ...]:
    """The edges between what is left; those into a folded node are its operands, each once."""
    edges: list[Edge] = []
    operands: dict[int, dict[tuple[int, int], int]] = collections.defaultdict(dict)
    for edge in graph.edges:
        target = place[edge.target]
        if target == place[edge.source]:
            continue
        source = moved(edge.source, edge.output)
        if around[graph.nodes[edge.target].cluster] is None:
            edges.append(Edge(*source, target, edge.operand))
        elif source not in operands[target]:
            number = operands[target].setdefault(source, len(operands[target]))
            edges.append(Edge(*source, target, number))
    return tuple(edges)
