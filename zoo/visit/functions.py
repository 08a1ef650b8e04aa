"""A function of numbers as a list of operations, which the page computes and differentiates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

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
    closed = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct((), np.float32) for _ in inputs))
    nodes: list[dict[str, Any]] = []

    def walk(jaxpr: Any, operands: Sequence[Any]) -> list[Any]:
        known: dict[Any, Any] = dict(zip(jaxpr.invars, operands, strict=True))

        def get(atom: Any) -> Any:
            return [float(atom.val)] if isinstance(atom, core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            name, given = equation.primitive.name, [get(atom) for atom in equation.invars]
            inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
            if inner is not None:
                results = walk(getattr(inner, "jaxpr", inner), given)
            elif name in ("convert_element_type", "copy"):
                results = given
            elif name in OPERATIONS and equation.outvars[0].aval.shape == ():
                power = {"power": equation.params["y"]} if name == "integer_pow" else {}
                nodes.append({"name": name, "operands": given, **power})
                results = [len(inputs) + len(nodes) - 1]
            else:
                known_names = ", ".join(OPERATIONS)
                raise ValueError(f"got {name}, expected operations on numbers: {known_names}")
            known |= dict(zip(equation.outvars, results, strict=True))
        return [get(atom) for atom in jaxpr.outvars]

    walk(closed.jaxpr, range(len(inputs)))
    return {"inputs": [[name, *ends] for name, ends in inputs.items()], "nodes": nodes}
