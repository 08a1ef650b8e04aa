"""What a traced function is made of: nodes, edges and clusters; folding and costing them.

A graph is plain data: tuples that refer to each other by position, so that the same function
always gives the same graph. Costs are counted by `equations.py`.
"""

import collections
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["input", "constant", "operation", "output", "port", "folded"]
Place = tuple[int, int]  # a node, and the number of one of its arrays


class Array(NamedTuple):
    """One array that a node returns; random keys show their bits as value."""

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
    repeats: int = 1  # how often it runs; 1 where that is unknown (while)
    results: tuple[Place, ...] = ()


class Graph(NamedTuple):
    """Nodes in the order of execution, and clusters with the outer before the inner."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...]

    @property
    def equations(self) -> int:
        """Number of equations shown; a folded cluster counts as one."""
        operations = sum(node.kind in ("operation", "folded") for node in self.nodes)
        return operations + sum(bool(cluster.primitive) for cluster in self.clusters)


class Cost(NamedTuple):
    """Floating-point operations, and bytes read and written if nothing is fused."""

    flops: int
    bytes: int


def cost(graph: Graph) -> Cost:
    """Cost of one call: a scan counts all its passes, a cond its most expensive branch."""
    return _costs(graph)[None]


def _costs(graph: Graph) -> dict[int | None, Cost]:
    """The cost of each cluster, all its repeats included, and the whole function's at None."""
    parts: dict[int | None, list[Cost]] = collections.defaultdict(list)
    for node in graph.nodes:
        parts[node.cluster].append(Cost(node.flops, node.bytes))
    costs: dict[int | None, Cost] = {}
    for i, cluster in reversed([*enumerate(graph.clusters)]):  # the inner before the outer
        if cluster.primitive == "cond":
            costs[i] = max(parts[i], default=Cost(0, 0))
        else:
            costs[i] = _sum(parts[i], cluster.repeats)
        parts[cluster.parent].append(costs[i])
    return costs | {None: _sum(parts[None])}


def _sum(costs: Sequence[Cost], repeats: int = 1) -> Cost:
    return Cost(repeats * sum(c.flops for c in costs), repeats * sum(c.bytes for c in costs))


def fold(graph: Graph, depth: int) -> Graph:
    """The graph with every cluster deeper than `depth` shown as one node; 0 folds them all.

    A cluster without operations (a jitted identity) leaves no node.

    Raises:
      ValueError: the depth is negative.
    """
    if depth < 0:
        raise ValueError(f"got depth {depth}, expected 0 (fold all clusters) or more")
    level: dict[int | None, int] = {None: 0}
    around: dict[int | None, int | None] = {None: None}  # the outermost folded one around each
    for i, cluster in enumerate(graph.clusters):
        level[i] = level[cluster.parent] + 1
        outer = around[cluster.parent]
        around[i] = i if outer is None and level[i] > depth else outer
    kept = [i for i in range(len(graph.clusters)) if around[i] is None]
    number: dict[int | None, int | None] = {None: None} | {old: i for i, old in enumerate(kept)}
    members: dict[int | None, list[int]] = collections.defaultdict(list)
    for i, node in enumerate(graph.nodes):
        members[around[node.cluster]].append(i)

    costs, nodes, new_node = _costs(graph), list[Node](), dict[int, int]()
    new_place: dict[Place, Place] = {}
    for i, node in enumerate(graph.nodes):
        at = around[node.cluster]
        if at is None:
            inside, results = [i], [(i, output) for output in range(len(node.arrays))]
            new, parent = node, node.cluster
        elif i == members[at][0]:
            inside, parent = members[at], graph.clusters[at].parent
            results = _results(graph, at, inside)
            new = _folded(graph, at, inside, results, costs[at])
        else:
            continue
        new_node |= dict.fromkeys(inside, len(nodes))
        new_place |= {place: (len(nodes), output) for output, place in enumerate(results)}
        nodes.append(new._replace(cluster=number[parent]))

    edges: list[Edge] = []
    operands: dict[int, list[Place]] = collections.defaultdict(list)
    for edge in graph.edges:
        target = new_node[edge.target]
        if new_node[edge.source] == target:
            continue
        source, operand = new_place[edge.source, edge.output], edge.operand
        if around[graph.nodes[edge.target].cluster] is not None:
            if source in operands[target]:  # each operand of a folded node is shown once
                continue
            operand = len(operands[target])
            operands[target].append(source)
        edges.append(Edge(*source, target, operand))
    clusters = (
        graph.clusters[i]._replace(
            parent=number[graph.clusters[i].parent],
            results=tuple(new_place[place] for place in graph.clusters[i].results),
        )
        for i in kept
    )
    return Graph(tuple(nodes), tuple(edges), tuple(clusters))


def _results(graph: Graph, at: int, inside: Sequence[int]) -> list[Place]:
    """The results of a cluster that its own nodes compute, each once; others pass through it."""
    own = set(inside)
    return list(dict.fromkeys(place for place in graph.clusters[at].results if place[0] in own))


def _folded(
    graph: Graph, at: int, inside: Sequence[int], results: Sequence[Place], cost: Cost
) -> Node:
    count = sum(graph.nodes[i].kind in ("operation", "folded") for i in inside)
    arrays = tuple(graph.nodes[node].arrays[output] for node, output in results)
    detail = f"{count} operation{'s' * (count != 1)}"
    return Node("folded", graph.clusters[at].name, arrays, None, detail, *cost)
