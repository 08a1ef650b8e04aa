import collections

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

from zoo import ch01_graphs as graphs


@jax.custom_vjp
def sevenfold(x):
    """The identity times two, whose derivative is said to be seven."""
    return 2.0 * x


sevenfold.defvjp(lambda x: (2.0 * x, None), lambda _, g: (7.0 * g,))


@jax.custom_vjp
def reversal(x):
    """The identity, whose derivative is said to be minus one; nothing happens inside."""
    return x


reversal.defvjp(lambda x: (x, None), lambda _, g: (-g,))


def everything(params, x, flag):
    """Each construct that holds functions, some of them nested; a scalar."""
    x = jax.nn.relu(params["w"] @ x + params["b"])  # custom_jvp around jit
    x, seen = jax.lax.scan(lambda c, a: (jnp.tanh(c + a), c.sum()), x, jnp.ones((3, 2)))
    x = jax.lax.cond(flag > 0, jnp.sin, lambda v: jax.jit(jnp.cos)(v) * 2.0, x)
    x = jax.lax.fori_loop(0, 4, lambda i, c: c + params["b"] * i, x)
    x = jax.checkpoint(lambda v: jnp.exp(-v) * v)(x)
    x = sevenfold(x) + reversal(x)
    twice = jax.jit(lambda v: v * v + 1.0)
    return (twice(twice(x)) * seen[-1]).sum()


@pytest.fixture
def arguments():
    w = jnp.array([[0.9, 0.7], [0.4, -0.2]])
    return {"w": w, "b": jnp.array([0.1, -0.2])}, jnp.array([0.5, 0.7]), 1


@pytest.fixture
def everywhere():
    return everything


def primitives(jaxpr):
    """Each primitive and how often it stands in a jaxpr, counted by JAX's own list of functions."""
    counts = collections.Counter(equation.primitive.name for equation in jaxpr.eqns)
    for equation in jaxpr.eqns:
        for inner in core.jaxprs_in_params(equation.params):
            counts += primitives(inner)
    return counts


def shown(graph):
    """The same of a graph: an operation, or a cluster, is one equation."""
    operations = [node.name for node in graph.nodes if node.kind == "operation"]
    clusters = [cluster.primitive for cluster in graph.clusters if cluster.primitive]
    return collections.Counter(operations + clusters)


@pytest.fixture(scope="session")
def assert_complete():
    """Fails unless a graph shows every equation of its function once, each after what it needs."""

    def check(graph, function, *arguments):
        assert shown(graph) == primitives(jax.make_jaxpr(function)(*arguments).jaxpr)
        assert all(edge.source < edge.target for edge in graph.edges)

    return check


@pytest.fixture(scope="session")
def parse():
    """Graphviz' parser: text -> AGraph; what is wrong in the text raises."""
    import pygraphviz

    return lambda text: pygraphviz.AGraph(string=text)


@pytest.fixture(scope="session")
def assert_parses(parse):
    """Fails unless Graphviz finds all nodes, edges and clusters in a graph's DOT."""

    def clusters(parent):
        return sum(1 + clusters(inner) for inner in parent.subgraphs())

    def check(graph):
        parsed = parse(graphs.to_dot(graph))
        assert parsed.number_of_nodes() == len(graph.nodes)
        assert parsed.number_of_edges() == len(graph.edges)
        assert clusters(parsed) == len(graph.clusters)
        parsed.close()

    return check
