"""Pictures: each format by each engine, whole or not at all; the layout of the matplotlib one."""

import os
import shutil
import subprocess
import sys

import jax.numpy as jnp
import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyBboxPatch

from zoo import ch01_graphs as graphs
from zoo.ch01_graphs import draw, examples, figures
from zoo.ch01_graphs.dot import lines

MAGIC = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.fixture(scope="module")
def graph():
    return graphs.trace(
        examples.affine, examples.WEIGHTS, examples.INPUT, examples.BIAS, values=True
    )


@pytest.mark.parametrize("ending", MAGIC)
def test_matplotlib_draws_each_format_with_the_same_bytes(graph, tmp_path, ending):
    first = draw.save(graph, tmp_path / f"folder/first{ending}", "matplotlib").read_bytes()
    assert first.startswith(MAGIC[ending])
    assert draw.save(graph, tmp_path / f"second{ending}", "matplotlib").read_bytes() == first
    assert not plt.get_fignums()


@pytest.mark.parametrize("ending", MAGIC)
def test_graphviz_draws_each_format(graph, tmp_path, ending):
    pytest.importorskip("pygraphviz", reason="Graphviz is not installed")
    content = draw.save(graph, tmp_path / f"graph{ending}", "pygraphviz").read_bytes()
    assert content.startswith(MAGIC[ending])


def test_the_program_dot_is_used_where_it_is(graph, tmp_path, monkeypatch):
    fake = tmp_path / "dot"
    fake.write_text('#!/bin/sh\necho "$1"\ncat\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert draw.engine() == "dot"
    written = graphs.save(graph, tmp_path / "graph.svg").read_text()
    assert written == "-Tsvg\n" + graphs.to_dot(graph)
    fake.write_text("#!/bin/sh\necho no such font >&2\nexit 3\n")
    with pytest.raises(OSError, match="dot failed with status 3: no such font"):
        graphs.save(graph, tmp_path / "other.svg")
    assert not (tmp_path / "other.svg").exists()


def test_without_graphviz_matplotlib_draws(graph, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(draw.importlib.util, "find_spec", lambda name: None)
    assert draw.engine() == "matplotlib"
    assert graphs.save(graph, tmp_path / "a.png").read_bytes().startswith(MAGIC[".png"])


def test_other_endings_and_huge_pictures_are_refused(graph, tmp_path):
    with pytest.raises(ValueError, match=r"graph.jpg, expected one that ends in .dot, .svg"):
        graphs.save(graph, tmp_path / "graph.jpg")

    def chain(x, length):
        for _ in range(length):
            x = jnp.sin(x)
        return x

    huge = graphs.trace(lambda x: chain(x, 1_600), 1.0)
    with pytest.raises(ValueError, match=r"1,602 nodes, expected at most 1,500 .* fold it"):
        graphs.save(huge, tmp_path / "huge.png")
    tall = graphs.trace(lambda x: chain(x, 500), 1.0)
    with pytest.raises(ValueError, match=r"pixels on a side, expected at most 30,000"):
        draw.save(tall, tmp_path / "tall.png", "matplotlib")
    assert not list(tmp_path.iterdir())


def rectangles(figure):
    """Corners of all boxes, those of clusters first, as the figure draws them."""
    boxes = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    return [(b.get_x(), b.get_y(), b.get_width(), b.get_height()) for b in boxes]


def apart(a, b):
    return a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]


def within(a, b):
    return (
        a[0] >= b[0] and a[1] >= b[1] and a[0] + a[2] <= b[0] + b[2] and a[1] + a[3] <= b[1] + b[3]
    )


def test_boxes_stay_apart_and_inside_their_clusters(everywhere, arguments):
    graph = graphs.trace(everywhere, *arguments, gradients=True)
    figure = figures.drawing(graph)
    found = rectangles(figure)
    count = len(graph.clusters)
    assert len(found) == count + len(graph.nodes)
    nodes = found[count:]
    for i, a in enumerate(nodes):
        assert all(apart(a, b) for b in nodes[:i])
        if (cluster := graph.nodes[i].cluster) is not None:
            assert within(a, found[cluster])
    axes = figure.axes[0]
    texts = {text.get_text() for text in axes.texts}
    assert {line for node in graph.nodes for line in lines(node)} <= texts
    assert {cluster.name for cluster in graph.clusters} <= texts


def test_texts_fit_into_their_boxes(graph):
    figure = figures.drawing(graph)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [p for p in axes.patches if isinstance(p, FancyBboxPatch)]
    for text in axes.texts:
        extent = text.get_window_extent()
        assert any(
            extent.x0 >= box.x0 and extent.x1 <= box.x1 and extent.y0 >= box.y0 - 1
            and extent.y1 <= box.y1 + 1
            for box in (b.get_window_extent() for b in boxes)
        )  # fmt: skip


def test_an_empty_graph_is_refused():
    with pytest.raises(ValueError, match="no nodes, expected at least one"):
        figures.drawing(graphs.Graph((), (), ()))


def test_the_chapter_loads_nothing_heavy():
    code = "import sys, zoo.ch01_graphs; print(*{n.partition('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "graphlay", "pygraphviz", "tyro"} & set(done.stdout.split())
