"""Runs single equations, and finds out which of their operands JAX can differentiate them by.

A while loop has no reverse derivative, a callback has none at all, and a custom derivative has none
by what it closes over. None of it matters where nothing flows back, so that only the places in
front of such an equation, in the way of the function's result, have no gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from zoo.ch01_graphs import equations
from zoo.ch01_graphs.graph import Place


class Way(NamedTuple):
    """From one operand of an equation: which results depend on it, and whether JAX says how."""

    reached: frozenset[int]  # numbers of results, and behind those of operands that are written to
    differentiable: bool


class Flow(NamedTuple):
    """An equation that was run: the places of its operands and results, and a way per operand."""

    operands: Sequence[Place]
    results: Sequence[Place]
    ways: Sequence[Way]


def is_array(aval: Any) -> bool:
    """Whether it is the type of an array, not that of a reference or token."""
    return isinstance(aval, jax.core.ShapedArray)


def is_smooth(aval: Any) -> bool:
    """Whether there are derivatives by such an array: a real or complex one."""
    return is_array(aval) and jnp.issubdtype(aval.dtype, jnp.inexact)


@jax.custom_jvp
def attach(value: jax.Array, zero: jax.Array) -> jax.Array:
    """The value, whose derivative by `zero` is that of a sum. (-0.0 + 0.0 would lose its sign.)"""
    return value


attach.defjvp(lambda primals, tangents: (primals[0], tangents[0] + tangents[1]))


def stop(value: Any) -> Any:
    """The same for derivatives a constant."""
    return jax.lax.stop_gradient(value) if is_array(jax.typeof(value)) else value


def run(equation: core.JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    """The results of an equation for the values of its operands."""
    pairs = zip(equation.invars, values, strict=True)
    given = {atom: value for atom, value in pairs if not isinstance(atom, core.Literal)}
    # A jaxpr of this one equation: how a primitive is called differs between JAX's versions.
    about = core.DebugInfo("trace", equation.primitive.name, None, None)
    alone = core.Jaxpr((), [*given], equation.outvars, [equation], equation.effects, about)
    return core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(*given.values())


def works(function: Callable[..., Any], *args: Any) -> bool:
    """Whether JAX can call the function; nothing is computed for it, and no callback called."""
    try:
        closed = jax.make_jaxpr(function)(*args)
    except Exception:  # each of JAX's rules, and the user's own, has its own
        return False
    return not _holds_tracers(closed.jaxpr, closed.consts)


def _holds_tracers(jaxpr: core.Jaxpr, consts: Sequence[Any]) -> bool:
    """Whether among the constants are arrays of another trace, which is over."""
    inner = [function for e in jaxpr.eqns for function in equations.functions(e)]
    return any(isinstance(value, jax.core.Tracer) for value in consts) or any(
        _holds_tracers(function.jaxpr, function.consts) for function in inner
    )


def ways(equation: core.JaxprEqn, outer: bool) -> list[Way]:
    """The way from each operand; `outer`, one is a reference from outside of the function.

    Into that one JAX writes constants only.
    """
    count = len(equation.outvars)
    atoms = [*equation.outvars, *equation.invars]
    refs = [i for i, atom in enumerate(atoms) if not is_array(atom.aval)]
    everything = frozenset([*range(count), *refs])
    if refs:  # what is written there may be read by any later equation
        return [Way(everything, not outer)] * len(equation.invars)
    return [
        _way(equation, i) if is_smooth(atom.aval) else Way(frozenset(), True)
        for i, atom in enumerate(equation.invars)
    ]


def _way(equation: core.JaxprEqn, operand: int) -> Way:
    reached = set()

    def watch(number: int, result: Any) -> Any:
        """The result; JAX asks for the derivative of what depends on the operand, and only then."""

        def rule(primals: Any, tangents: Any) -> Any:
            reached.add(number)
            return primals[0], tangents[0]

        same = jax.custom_jvp(lambda x: x)
        same.defjvp(rule)
        return same(result)

    def slope(*values: Any) -> Any:
        def results(value: Any) -> list[Any]:
            found = run(equation, [*values[:operand], value, *values[operand + 1 :]])
            return [watch(i, x) for i, x in enumerate(found) if is_smooth(jax.typeof(x))]

        slopes, back = jax.vjp(results, values[operand])
        return back(slopes)

    avals: list[Any] = [atom.aval for atom in equation.invars]
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in avals]
    known = works(slope, *shapes)
    return Way(frozenset(reached if known or reached else range(len(equation.outvars))), known)


def lost(flows: Sequence[Flow], result: Place) -> set[Place]:
    """The places whose gradient is unknown: on its way back from the result it is cut off."""
    needed, lost = {result}, set[Place]()
    for flow in reversed(flows):
        for place, way in zip(flow.operands, flow.ways, strict=True):
            reached = {flow.results[i] for i in way.reached}
            if reached & lost or (reached & needed and not way.differentiable):
                lost.add(place)
            if reached & needed:
                needed.add(place)
    return lost
