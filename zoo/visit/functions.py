"""A function of numbers as a list of operations, which the page computes and differentiates."""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from zoo.ch01_graphs import tracing

OPERATIONS = (
    *("add", "sub", "mul", "div", "neg", "exp", "log", "tanh", "logistic", "sin", "cos"),
    *("integer_pow", "square"),
)
"""What the page knows, by the names of JAX's primitives."""


def program(
    function: Callable[..., jax.Array], inputs: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """The operations of a function of scalars, in the order in which they are computed.

    Args:
      function: of numbers, gives a number.
      inputs: for each parameter where it begins, and its lowest and highest value.

    Returns:
      `inputs`: name, start, lowest and highest of each. `nodes`: of each operation its name, its
      operands and, for `integer_pow`, the exponent. An operand is a number's place among inputs and
      nodes, counted from 0, or a constant, `[value]`.

    Raises:
      ValueError: it has another operation, or other than scalars.
    """
    starts = [np.float32(start) for start, *_ in inputs.values()]
    graph = tracing.trace(function, *starts, values=True)
    sources = collections.defaultdict(list)
    for edge in sorted(graph.edges, key=lambda edge: edge.operand):
        sources[edge.target].append(edge.source)
    places: list[Any] = []  # of each node of the graph
    nodes: list[dict[str, Any]] = []
    for number, node in enumerate(graph.nodes):
        given = [places[source] for source in sources[number]]
        if node.kind == "input":
            places.append(number)
        elif node.kind == "constant" and node.arrays[0].value is not None:
            places.append([node.arrays[0].value.item()])
        elif node.kind == "output" or node.name in ("convert_element_type", "copy"):
            places.append(given[0])
        elif node.kind == "operation" and node.name in OPERATIONS and node.shape == ():
            places.append(len(inputs) + len(nodes))
            nodes.append({"name": node.name, "operands": given})
            if node.name == "integer_pow":
                nodes[-1]["power"] = int(node.detail.removeprefix("y="))
        else:
            known = ", ".join(OPERATIONS)
            raise ValueError(f"got {node.name}, expected operations on numbers: {known}")
    return {"inputs": [[name, *ends] for name, ends in inputs.items()], "nodes": nodes}
