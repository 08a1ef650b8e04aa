"""What an equation of a jaxpr holds: the functions inside, their wiring, its name and its cost.

Products and convolutions are counted by formula, a multiplication and an addition each as one.
Reductions count their inputs, moving data counts nothing, and everything else, a sine as much as a
sum, counts one for each number of the result. Bytes are all operands read and all results written,
as if nothing were fused; a compiler fuses much, so they are an upper bound.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

LOOPS = ("scan", "while")
CALLS = {
    *("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "composite"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vmap_call"),
}
DETAIL = 60  # characters
UNSHOWN = {
    *("dimension_numbers", "preferred_element_type", "weak_type", "sharding", "out_sharding"),
    *("unique_indices", "indices_are_sorted", "mode", "fill_value"),
}
REDUCTIONS = {
    *("argmax", "argmin", "reduce_max", "reduce_min", "reduce_sum", "reduce_prod", "reduce_and"),
    *("reduce_or", "reduce_xor", "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"),
}
MOVES = {
    *("bitcast_convert_type", "broadcast_in_dim", "concatenate", "convert_element_type", "copy"),
    *("copy_p", "device_put", "dynamic_slice", "dynamic_update_slice", "expand_dims", "gather"),
    *("iota", "optimization_barrier", "platform_index", "pad", "random_clone", "random_unwrap"),
    *("random_wrap", "reshape", "rev", "scatter", "sharding_constraint", "slice", "split"),
    *("squeeze", "stop_gradient", "transpose"),
}


class Function(NamedTuple):
    """A function inside an equation, named after the parameter that holds it."""

    name: str
    jaxpr: core.Jaxpr
    consts: Sequence[Any]


def functions(equation: core.JaxprEqn) -> list[Function]:
    """All functions inside: every jaxpr among the parameters, also within tuples and dicts."""

    def is_function(value: Any) -> bool:
        return isinstance(value, (core.ClosedJaxpr, core.Jaxpr))

    found = []
    for path, value in jax.tree.leaves_with_path(equation.params, is_leaf=is_function):
        if is_function(value):
            closed = isinstance(value, core.ClosedJaxpr)
            name = jax.tree_util.keystr(path, simple=True, separator=" ")
            jaxpr, consts = (value.jaxpr, value.consts) if closed else (value, [])
            found.append(Function(name, jaxpr, consts))
    return found


def is_call(equation: core.JaxprEqn, functions: Sequence[Function]) -> bool:
    """Whether it runs one function once, with the equation's operands and results as they are."""
    if len(functions) != 1 or equation.primitive.name not in CALLS:
        return False
    jaxpr = functions[0].jaxpr

    def kinds(atoms: Sequence[Any]) -> list[tuple[Any, Any]]:
        return [(getattr(a.aval, "shape", None), getattr(a.aval, "dtype", None)) for a in atoms]

    same_inputs = kinds(equation.invars) == kinds(jaxpr.invars)
    return same_inputs and kinds(equation.outvars) == kinds(jaxpr.outvars)


def inputs(equation: core.JaxprEqn, function: Function) -> list[tuple[str, int | None]]:
    """For each input of an inner function its name and the number of its operand, if it has one."""
    params, count = equation.params, len(function.jaxpr.invars)
    name = equation.primitive.name
    if name == "scan":
        consts, carry = scanned(params)
        groups = [("constant", 0, consts), ("carry", consts, carry)]
        groups.append(("x", consts + carry, count - consts - carry))
    elif name == "while":
        first, second = params["cond_nconsts"], params["body_nconsts"]
        start, own = (first, second) if function.name == "body_jaxpr" else (0, first)
        groups = [("constant", start, own), ("carry", first + second, count - own)]
    else:
        start = 1 if name == "cond" else 0  # the first operand of a cond chooses the branch
        if len(equation.invars) - start != count:
            return [(f"operand {i}", None) for i in range(count)]
        groups = [("operand", start, count)]
    return [(f"{label} {i}", at + i) for label, at, n in groups for i in range(n)]


def scanned(params: dict[str, Any]) -> tuple[int, int]:
    """How many operands of a scan are constants, and how many are carried from step to step."""
    if "ft_in" in params:  # since JAX 0.11
        consts, carry, _ = map(len, params["ft_in"].unpack())
        return consts, carry
    return params["num_consts"], params["num_carry"]


def returns_results(equation: core.JaxprEqn, function: Function) -> bool:
    """Whether the results of an inner function are, one by one, those of the equation."""
    is_test = equation.primitive.name == "while" and function.name == "cond_jaxpr"
    return len(function.jaxpr.outvars) == len(equation.outvars) and not is_test


def result_name(equation: core.JaxprEqn, i: int) -> str:
    """The name of the port of result number `i`."""
    if equation.primitive.name not in LOOPS:
        return f"result {i}"
    scan = equation.primitive.name == "scan"
    carry = scanned(equation.params)[1] if scan else len(equation.outvars)
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
    """The name of the cluster of one function of several, such as `branch 0` or `body`."""
    return function.name.replace("branches", "branch").removesuffix("_jaxpr")


def detail(equation: core.JaxprEqn) -> str:
    """The parameters that are short and mean something to a reader."""
    text = ""
    for name, value in sorted(equation.params.items()):
        plain = isinstance(value, (bool, int, float, str, tuple, np.dtype))
        if name in UNSHOWN or not plain or value is False or value == ():
            continue
        part = f" {name}={value if isinstance(value, np.dtype) else repr(value)}"
        # An address would differ from process to process.
        if len(text) + len(part) <= DETAIL and " at 0x" not in part:
            text += part
    return text.strip()


def flops(equation: core.JaxprEqn) -> int:
    """Operations of one execution of an equation without functions inside.

    A convolution counts its padding, and the zeros between dilated rows, as if they were numbers.
    """
    name, params = equation.primitive.name, equation.params
    results = sum(_size(atom) for atom in equation.outvars)
    if name == "dot_general":
        ((contracted, _), _) = params["dimension_numbers"]
        shape = _shape(equation.invars[0])
        return 2 * results * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        filters = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2 * results * math.prod(kernel) // filters
    if name.startswith("reduce_window"):
        return results * math.prod(params["window_dimensions"])
    if name in REDUCTIONS:
        return sum(_size(atom) for atom in equation.invars)
    return 0 if name in MOVES else results


def repeats(equation: core.JaxprEqn) -> int:
    """How often the function inside an equation runs; 1 for calls, and for while loops."""
    name = equation.primitive.name
    if name == "scan":
        return equation.params["length"]
    if name.startswith("scatter"):
        return _size(equation.invars[2])  # once for each number that is scattered
    if name == "reduce":
        return _size(equation.invars[0])
    if name == "reduce_window":
        return _size(equation.outvars[0]) * math.prod(equation.params["window_dimensions"])
    return 1


def moved_bytes(equation: core.JaxprEqn) -> int:
    """Bytes of all operands and results."""
    atoms = (*equation.invars, *equation.outvars)
    return sum(_size(a) * getattr(getattr(a.aval, "dtype", None), "itemsize", 0) for a in atoms)


def _shape(atom: core.Var | core.Literal) -> tuple[int, ...]:
    return getattr(atom.aval, "shape", ())


def _size(atom: core.Var | core.Literal) -> int:
    return math.prod(_shape(atom))
