"""The losses of all tasks, and their gradients: complete graphs that Graphviz reads."""

import functools

import numpy as np
import pytest

import zoo
from zoo import ch01_graphs as graphs
from zoo.ch01_graphs import targets

TASKS = zoo.tasks()
MODELS = [f"{task.model.__name__}:loss" for task in TASKS] + [task.name for task in TASKS]


@functools.cache
def traced(target):
    """The loss's arguments, and for it and its gradient: the function and its graph."""
    loss, arguments = targets.resolve(target)
    functions = loss, targets.gradient(loss)
    return arguments, [(f, graphs.trace(f, *arguments)) for f in functions]


@pytest.mark.parametrize("target", MODELS)
def test_every_equation_of_the_loss_and_its_gradient_appears_once(target, assert_complete):
    arguments, functions = traced(target)
    for function, graph in functions:
        assert_complete(graph, function, *arguments)


@pytest.mark.parametrize("target", MODELS)
def test_graphviz_parses_the_loss_and_its_gradient(target, assert_parses):
    for _, graph in traced(target)[1]:
        assert_parses(graph)
        assert_parses(graphs.fold(graph, 0))


def test_gradients_in_the_graph_of_a_loss_are_those_that_training_uses():
    (params, batch), functions = traced("zoo.ch06_cnn:loss")
    loss, gradient = functions[0][0], functions[1][0]
    graph = graphs.trace(loss, params, batch, gradients=True)
    expected = graphs.trace(gradient, params, batch, values=True)
    found = {n.name: n.arrays[0].gradient for n in graph.nodes if n.kind == "input"}
    results = {n.name: n.arrays[0].value for n in expected.nodes if n.kind == "output"}
    kernels = [name for name in found if name.startswith("params")]
    assert len(kernels) > 5
    for name in kernels:
        same = results[name.replace("params", "result[0]")]
        np.testing.assert_allclose(found[name], same, rtol=1e-4, atol=1e-6)
