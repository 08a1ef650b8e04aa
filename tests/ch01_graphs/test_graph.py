"""Folding and costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import ch01_graphs as graphs


def depth_of(graph, cluster):
    """How deep a cluster lies; 1 is the outermost."""
    return 0 if cluster is None else 1 + depth_of(graph, graph.clusters[cluster].parent)


def test_folding_everything_leaves_a_node_for_each_outermost_cluster(everywhere, arguments):
    graph = graphs.trace(everywhere, *arguments)
    folded = graphs.fold(graph, 0)
    assert not folded.clusters
    outermost = [c.name for c in graph.clusters if c.parent is None]
    outermost.remove("custom_vjp_call reversal")  # nothing happens in it
    assert [n.name for n in folded.nodes if n.kind == "folded"] == outermost
    counts = [int(n.detail.split()[0]) for n in folded.nodes if n.kind == "folded"]
    inside = [n for n in graph.nodes if n.cluster is not None and n.kind == "operation"]
    assert sum(counts) == len(inside)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_folding_keeps_cost_order_and_ends(everywhere, arguments, depth):
    graph = graphs.trace(everywhere, *arguments, values=True)
    folded = graphs.fold(graph, depth)
    assert all(depth_of(folded, i) <= depth for i in range(len(folded.clusters)))
    assert graphs.cost(folded) == graphs.cost(graph)
    assert all(edge.source < edge.target for edge in folded.edges)
    assert all(edge.output < len(folded.nodes[edge.source].arrays) for edge in folded.edges)
    for kind in ("input", "output"):
        names = [[n.name for n in g.nodes if n.kind == kind] for g in (graph, folded)]
        assert names[0] == names[1]
    assert graphs.fold(folded, depth) == folded
    assert graphs.fold(graph, 9) == graph


def test_a_folded_node_gives_what_its_cluster_gives():
    def pair(x):
        return jnp.sin(x), jnp.cos(x).sum()

    graph = graphs.trace(lambda x: jax.jit(pair)(x)[1] + 1.0, jnp.ones(3), values=True)
    (node,) = (n for n in graphs.fold(graph, 0).nodes if n.kind == "folded")
    assert [a.shape for a in node.arrays] == [(3,), ()][2 - len(node.arrays) :]
    assert node.arrays[-1].value == pytest.approx(3 * np.cos(1.0))


def test_edges_of_a_folded_node_are_its_operands_once_each():
    inner = jax.jit(lambda a, b: a * a + b * a)
    graph = graphs.fold(graphs.trace(lambda a, b: inner(a, b), 1.0, 2.0), 0)
    edges = [tuple(edge) for edge in graph.edges]
    assert edges == [(0, 0, 2, 0), (1, 0, 2, 1), (2, 0, 3, 0)]


def test_a_negative_depth_is_refused():
    with pytest.raises(ValueError, match="got depth -1, expected 0"):
        graphs.fold(graphs.trace(jnp.sin, 1.0), -1)


def flops(function, *arguments):
    return graphs.cost(graphs.trace(function, *arguments)).flops


def test_costs_by_hand():
    a, b, x = jnp.ones((3, 4)), jnp.ones((4, 5)), jnp.ones((6, 7))
    assert flops(jnp.matmul, a, b) == 2 * 3 * 4 * 5
    assert flops(jnp.sin, x) == 42
    assert flops(lambda x: x + 1.0, x) == 42
    assert flops(lambda x: x.sum(0), x) == 42
    assert flops(lambda x: x.T.reshape(-1), x) == 0
    assert flops(lambda x: x.at[0].add(1.0), x) == 7
    assert graphs.cost(graphs.trace(jnp.matmul, a, b)).bytes == 4 * (12 + 20 + 15)


def test_a_scan_costs_its_passes_and_a_branch_the_most_expensive_one():
    def loop(x):
        return jax.lax.scan(lambda c, _: (c * 2.0, None), x, length=10)[0]

    def branch(x):
        return jax.lax.cond(x[0] > 0, lambda v: v * 2.0 * 3.0, lambda v: v + 1.0, x)

    assert flops(loop, jnp.ones(5)) == 50

    def loops(x):
        return jax.lax.scan(lambda c, _: (loop(c), None), x, length=3)[0]

    assert flops(loops, jnp.ones(5)) == 150
    index = flops(lambda x: jnp.int32(x[0] > 0), jnp.ones(5))
    assert flops(branch, jnp.ones(5)) == 10 + index


@pytest.mark.parametrize("groups", [1, 2])
def test_products_and_convolutions_cost_what_xla_says(groups):
    def convolve(x, k):
        return jax.lax.conv_general_dilated(
            x,
            k,
            (2, 1),
            "VALID",
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def contract(a, b):
        return jnp.einsum("bij,bjk->bik", a, b)

    cases = (
        (convolve, jnp.ones((2, 9, 8, 4)), jnp.ones((3, 2, 4 // groups, 6))),
        (contract, jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))),
    )
    for function, *arguments in cases:
        analysis = jax.jit(function).lower(*arguments).compile().cost_analysis()
        assert flops(function, *arguments) == analysis["flops"]
