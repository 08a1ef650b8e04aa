"""The reference of `right_numbers`: what a function gives if its own program computes in float64.

The program is the function's jaxpr in float32. Each of its equations is run with all real numbers
widened; random draws alone stay as they are, since a draw of another width would be another number.
So functions that draw, and those that zoo writes for float32 alone, have a reference as well.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from zoo.ch01_graphs import equations
from zoo.common import device

DRAWS = {"normal", "normal_real", "uniform", "bernoulli", "gumbel", "randint", "truncated_normal"}
SCATTERS = {"scatter": lax.scatter, "scatter-add": lax.scatter_add, "scatter_add": lax.scatter_add}
NARROW = (jnp.dtype(np.float16), jnp.dtype(jnp.bfloat16), jnp.dtype(np.float32))


def in_float64(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, arrays of JAX in and out, with each equation in float64."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    with jax.enable_x64(True), jax.debug_key_reuse(False):  # draws are looked into
        compiled = device.jit(functools.partial(_compute, closed.jaxpr, closed.consts))
        found = compiled([_wide(leaf) for leaf in jax.tree.leaves(args)])
    return jax.tree.unflatten(jax.tree.structure(shapes), found)


def _wide(value: Any) -> Any:
    return value.astype(np.float64) if value.dtype in NARROW else value


def _compute(jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    known = {variable: _wide(value) for variable, value in known.items()}

    def read(atom: Any) -> Any:
        if isinstance(atom, core.Literal):
            return _wide(np.asarray(atom.val, atom.aval.dtype))
        return known[atom]

    for equation in jaxpr.eqns:
        found = _run(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _run(equation: core.JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    inner = equations.functions(equation)
    if name == "scan":
        return _scan(params, values)
    if name == "while":
        return _while(params, values)
    if name == "cond":
        return _cond(params["branches"], *values)
    if name == "platform_index":
        of_cpu = [platforms is None or "cpu" in platforms for platforms in params["platforms"]]
        return [np.int32(of_cpu.index(True))]
    if name in equations.CALLS and str(params.get("name", "")).strip("_") in DRAWS:
        return _narrowed(core.jaxpr_as_fun(params["jaxpr"]), equation, values)
    if name == "bitcast_convert_type":
        bind = functools.partial(equation.primitive.bind, **params)
        return _narrowed(lambda value: [bind(value)], equation, values)
    if name in equations.CALLS and len(inner) == 1:
        return _compute(inner[0].jaxpr, inner[0].consts, values)
    if name in SCATTERS:
        names = ("indices_are_sorted", "unique_indices", "mode")
        options = {option: params[option] for option in names}
        return [SCATTERS[name](*values, params["dimension_numbers"], **options)]
    if inner:
        raise NotImplementedError(f"{name} holds a function that is not known here")
    widened = {k: _wide_dtype(value) for k, value in params.items()}
    found = equation.primitive.bind(*values, **widened)
    return found if equation.primitive.multiple_results else [found]


def _wide_dtype(value: Any) -> Any:
    return np.dtype(np.float64) if isinstance(value, np.dtype) and value in NARROW else value


def _narrowed(function: Callable[..., Any], equation: core.JaxprEqn, values: Sequence[Any]) -> Any:
    """The results of an equation as it stands, for values of its own types."""
    pairs = zip(values, equation.invars, strict=True)
    given = [v.astype(np.float32) if atom.aval.dtype in NARROW else v for v, atom in pairs]
    return [_wide(found) for found in function(*given)]


def _scan(params: dict[str, Any], values: Sequence[Any]) -> Sequence[Any]:
    body, (consts, carry) = params["jaxpr"], equations.scanned(params)

    def one(state: Any, now: Any) -> Any:
        found = _compute(body.jaxpr, body.consts, [*values[:consts], *state, *now])
        return found[:carry], found[carry:]

    start, xs = list(values[consts : consts + carry]), list(values[consts + carry :])
    options = {"length": params["length"], "reverse": params["reverse"]}
    last, ys = lax.scan(one, start, xs, **options)
    return [*last, *ys]


def _while(params: dict[str, Any], values: Sequence[Any]) -> Sequence[Any]:
    cond, body = params["cond_jaxpr"], params["body_jaxpr"]
    first, second = params["cond_nconsts"], params["body_nconsts"]
    given, own, start = values[:first], values[first : first + second], values[first + second :]

    def goes_on(state: Any) -> jax.Array:
        return _compute(cond.jaxpr, cond.consts, [*given, *state])[0]

    def step(state: Any) -> Any:
        mapped, found = goes_on(state), _compute(body.jaxpr, body.consts, [*own, *state])

        def kept(new: Any, old: Any) -> Any:  # where a mapped loop has come to its end
            return jnp.where(
                mapped.reshape(mapped.shape + (1,) * (new.ndim - mapped.ndim)), new, old
            )

        return [kept(new, old) for new, old in zip(found, state, strict=True)]

    return lax.while_loop(lambda state: goes_on(state).any(), step, list(start))


def _cond(branches: Sequence[core.ClosedJaxpr], index: Any, *operands: Any) -> Sequence[Any]:
    functions = [functools.partial(_compute, branch.jaxpr, branch.consts) for branch in branches]
    if isinstance(index, np.integer):  # the branch of this platform
        return functions[index](operands)
    return lax.switch(index, functions, list(operands))
