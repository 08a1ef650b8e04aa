"""What stands in an equation of a jaxpr: the functions inside, how it is wired, what it is called.

Whatever parameter holds a jaxpr, also within tuples and dicts, is a function inside.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core

LOOPS = ("scan", "while")
DETAIL = 60  # characters
UNSHOWN = {
    *("dimension_numbers", "preferred_element_type", "weak_type", "sharding", "out_sharding"),
    *("unique_indices", "indices_are_sorted", "mode", "fill_value"),
}


class Function(NamedTuple):
    """A function inside of an equation, by the name of the parameter that holds it."""

    name: str
    jaxpr: core.Jaxpr
    consts: Sequence[Any]


def functions(params: Mapping[str, Any]) -> Iterator[Function]:
    """All functions inside, in the order of the parameters' names."""
    for name in sorted(params):
        yield from _functions_in(name, params[name])


def _functions_in(name: str, value: Any) -> Iterator[Function]:
    if isinstance(value, core.ClosedJaxpr):
        yield Function(name, value.jaxpr, value.consts)
    elif isinstance(value, core.Jaxpr):
        yield Function(name, value, [])
    elif isinstance(value, Mapping):
        for key in value:
            yield from _functions_in(f"{name} {key}", value[key])
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from _functions_in(f"{name} {i}", item)


def is_call(equation: core.JaxprEqn, functions: Sequence[Function]) -> bool:
    """Whether it runs one function once, on its operands as they are, and gives what that gives."""
    if len(functions) != 1 or equation.primitive.name in LOOPS:
        return False
    jaxpr = functions[0].jaxpr

    def kinds(atoms: Sequence[Any]) -> list[tuple[Any, Any]]:
        return [(getattr(a.aval, "shape", None), getattr(a.aval, "dtype", None)) for a in atoms]

    return kinds(equation.invars) == kinds(jaxpr.invars) and kinds(equation.outvars) == kinds(
        jaxpr.outvars
    )


def inputs(equation: core.JaxprEqn, function: Function) -> list[tuple[str, int | None]]:
    """For each input of an inner function its name and the number of its operand, if one is it."""
    params, count = equation.params, len(function.jaxpr.invars)
    name = equation.primitive.name
    if name == "scan":
        consts, carry = params["num_consts"], params["num_carry"]
        groups = (("constant", 0, consts), ("carry", consts, carry))
        rest = ("x", consts + carry, count - consts - carry)
    elif name == "while":
        first, second = params["cond_nconsts"], params["body_nconsts"]
        of_body = function.name == "body_jaxpr"
        groups = (("constant", first if of_body else 0, second if of_body else first),)
        rest = ("carry", first + second, count - groups[0][2])
    else:
        start = 1 if name == "cond" else 0
        fits = len(equation.invars) - start == count
        groups, rest = (), ("operand", start, count)
        if not fits:
            return [(f"operand {i}", None) for i in range(count)]
    return [(f"{label} {i}", at + i) for label, at, n in (*groups, rest) for i in range(n)]


def gives_results(equation: core.JaxprEqn, function: Function) -> bool:
    """Whether what an inner function gives is, one by one, what the equation gives."""
    is_test = equation.primitive.name == "while" and function.name == "cond_jaxpr"
    return len(function.jaxpr.outvars) == len(equation.outvars) and not is_test


def result_name(equation: core.JaxprEqn, i: int) -> str:
    """The name of the port that gives result number `i`."""
    carry = equation.params.get("num_carry", len(equation.outvars))
    if equation.primitive.name not in LOOPS:
        return f"result {i}"
    return f"carry {i}" if i < carry else f"y {i - carry}"


def title(equation: core.JaxprEqn, functions: Sequence[Function]) -> str:
    """The name of the cluster: the primitive, and the function's name or the number of passes."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return f"scan, {params['length']} times"
    info = getattr(functions[0].jaxpr, "debug_info", None)
    inner = params.get("name") or getattr(info, "func_name", "")
    return f"{name} {inner}" if inner and name not in ("while", "cond") else name


def inner_title(function: Function) -> str:
    """The name of the cluster of one function of several, as `branch 0` or `body`."""
    return function.name.replace("branches", "branch").removesuffix("_jaxpr")


def detail(params: Mapping[str, Any]) -> str:
    """The parameters that are short and mean something to a reader."""
    text = ""
    for name in sorted(set(params) - UNSHOWN):
        value = params[name]
        shown = str(value) if isinstance(value, np.dtype) else repr(value)
        plain = isinstance(value, (bool, int, float, str, tuple, np.dtype))
        part = f" {name}={shown}"
        fits = len(text) + len(part) <= DETAIL and " at 0x" not in part
        text += part if plain and fits and value is not False and value != () else ""
    return text.strip()
