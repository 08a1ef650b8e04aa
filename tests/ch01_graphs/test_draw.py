"""Pictures: each format, whole or not at all."""

import html
import subprocess
import sys

import jax.numpy as jnp
import pytest

from zoo import ch01_graphs as graphs
from zoo.ch01_graphs import examples
from zoo.ch01_graphs.dot import lines

MAGIC = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.fixture(scope="module")
def graph():
    return graphs.trace(
        examples.affine, examples.WEIGHTS, examples.INPUT, examples.BIAS, values=True
    )


@pytest.mark.parametrize("ending", MAGIC)
def test_graphviz_draws_each_format(graph, tmp_path, ending):
    path = graphs.save(graph, tmp_path / f"folder/graph{ending}")
    assert path.read_bytes().startswith(MAGIC[ending])


@pytest.mark.parametrize("kind", ["dot", "svg", "png"])
def test_the_same_graph_gives_the_same_bytes(graph, kind):
    assert graphs.render(graph, kind) == graphs.render(graph, kind)


def test_every_line_of_text_is_in_the_picture(graph):
    picture = html.unescape(graphs.render(graph).decode()).replace("\xa0", " ")
    for node in graph.nodes:
        for line in lines(node):
            assert f">{line}</text>" in picture


def test_other_formats_and_huge_or_empty_pictures_are_refused(graph, tmp_path):
    with pytest.raises(ValueError, match=r"graph.jpg, expected one that ends in .dot, .svg"):
        graphs.save(graph, tmp_path / "graph.jpg")
    with pytest.raises(ValueError, match="got the format 'jpg', expected one of dot, svg"):
        graphs.render(graph, "jpg")

    def chain(x):
        for _ in range(1_600):
            x = jnp.sin(x)
        return x

    huge = graphs.trace(chain, 1.0)
    with pytest.raises(ValueError, match=r"1,602 nodes, expected 1 to 1,500 .* fold it"):
        graphs.save(huge, tmp_path / "huge.png")
    with pytest.raises(ValueError, match="the graph has 0 nodes, expected 1 to 1,500"):
        graphs.save(graphs.Graph((), (), ()), tmp_path / "empty.svg")
    assert not list(tmp_path.iterdir())
    assert graphs.save(huge, tmp_path / "huge.dot").stat().st_size > 100_000


def test_the_chapter_loads_nothing_heavy():
    code = "import sys, zoo.ch01_graphs; print(*{n.partition('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "pygraphviz", "tyro"} & set(done.stdout.split())
