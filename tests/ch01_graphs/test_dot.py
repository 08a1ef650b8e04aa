"""DOT: valid, deterministic, escaped, fast. Graphviz itself parses it, from pygraphviz' wheel."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import ch01_graphs as graphs
from zoo.ch01_graphs import dot, examples, targets
from zoo.ch01_graphs.graph import Array, Graph, Node


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (examples.add, (1.0, 2.0)),
        (examples.matmul, (examples.WEIGHTS, examples.INPUT)),
        (examples.affine, (examples.WEIGHTS, examples.INPUT, examples.BIAS)),
        (examples.gonum, (examples.GONUM_A, examples.GONUM_B)),
    ],
)
def test_graphviz_parses_the_examples(assert_parses, function, arguments):
    assert_parses(graphs.trace(function, *arguments, values=True))


def test_graphviz_parses_every_construct(assert_parses, everywhere, arguments):
    graph = graphs.trace(everywhere, *arguments, gradients=True)
    for depth in (0, 1, 9):
        assert_parses(graphs.fold(graph, depth))
    assert_parses(graphs.trace(targets.gradient(everywhere), *arguments))


def test_the_parser_would_notice(parse):
    with pytest.raises(Exception, match="Invalid Input"):
        parse('digraph { n0 [label="a"b"] ; n0 -> }')


def one_node(name):
    return Graph((Node("input", name, (Array((), "float32"),)),), (), ())


@settings(max_examples=60, deadline=None)
@given(name=st.text(max_size=20))
def test_any_name_survives(name):
    import pygraphviz

    parsed = pygraphviz.AGraph(string=graphs.to_dot(one_node(name)))
    label = parsed.get_node("n0").attr["label"]
    parsed.close()
    # The parser takes the quotes off; the layout reads backslashes and entities later.
    shown = label.removesuffix("\\nfloat32").replace("\\\\", "\\").replace("&amp;", "&")
    printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name.strip())
    assert shown == printable


def test_entities_are_not_resolved_by_graphviz(parse):
    svg = parse(graphs.to_dot(one_node("a&lt;b \\N <i>"))).draw(format="svg", prog="dot").decode()
    assert "a&amp;lt;b \\N &lt;i&gt;" in svg.replace("&#160;", " ")


def test_the_same_function_gives_the_same_bytes(everywhere, arguments):
    first = graphs.to_dot(graphs.trace(everywhere, *arguments, gradients=True))
    jax.clear_caches()
    again = graphs.to_dot(graphs.trace(everywhere, *arguments, gradients=True))
    assert first == again
    assert " at 0x" not in first


def test_labels_say_name_shape_value_and_gradient():
    graph = graphs.trace(
        lambda w, x: (w @ x).sum(), examples.WEIGHTS, examples.INPUT, gradients=True
    )
    text = graphs.to_dot(graph)
    assert "w\\nfloat32[2, 2]\\nvalue [[0.9 0.7] [0.4 0.2]]\\ngradient [[5. 7.] [5. 7.]]" in text
    assert "dot_general\\nfloat32[2]\\nvalue [9.4 3.4]\\ngradient [1. 1.]\\n8 FLOP, 32 B" in text


def test_long_arrays_are_summed_up_and_counts_are_short():
    assert dot.numbers(np.arange(100.0)) == "0 to 99, mean 49.5"
    assert dot.numbers(np.array([True, False])) == "[ True False]"
    assert dot.numbers(np.zeros(0)) == "[]"
    counts = {0: "0 ", 999: "999 ", 1_000: "1 k", 57_056_926: "57.1 M", 10**19: "1e+04 P"}
    assert {count: dot.short(count) for count in counts} == counts


def test_ten_thousand_equations_are_traced_and_written_in_five_seconds(tmp_path):
    def chain(x):
        for _ in range(5_000):
            x = jnp.sin(x) + 1.0
        return x

    began = time.process_time()
    graph = graphs.trace(chain, 1.0)
    graphs.save(graph, tmp_path / "chain.dot")
    seconds = time.process_time() - began
    assert graph.equations == 10_000
    assert (tmp_path / "chain.dot").read_text().count(" -> ") == len(graph.edges) == 15_001
    assert seconds < 5.0
