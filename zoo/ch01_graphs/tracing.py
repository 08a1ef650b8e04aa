"""From a JAX function to its graph, by `jax.make_jaxpr` and the public part of `jax.extend.core`.

An equation that holds functions is a cluster. Where it calls one function once (jit, custom_jvp,
custom_vjp, remat) the edges run straight into it and out of it. A loop or a branch (scan, while,
cond, and any other) has ports, since its inner functions do not see its operands as they are. A
function that is called twice is shown twice.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from zoo.ch01_graphs import derivatives, equations
from zoo.ch01_graphs.graph import Array, Cluster, Edge, Graph, Kind, Node, Place

RULED = ("custom_jvp_call", "custom_vjp_call")  # their derivative is not that of what is inside

Ways = dict[core.JaxprEqn, list[derivatives.Way]]
Known = Literal["gradients", "values", "nothing"]  # what is known of the nodes in a function


def trace(
    fn: Callable[..., Any], *args: Any, values: bool = False, gradients: bool = False
) -> Graph:
    """The graph of `fn(*args)`, complete to the innermost equation.

    Args:
      fn: any function of arrays, or pytrees of them, that JAX can trace.
      *args: its arguments; without values, shapes (`jax.ShapeDtypeStruct`) are enough.
      values: also compute the arrays of each node, equation by equation; inside loops, and
        branches that are not taken, nothing is known.
      gradients: also differentiate the function's scalar result with respect to the arrays of each
        node, in one backward pass; implies `values`. Inside loops, branches and functions with
        a derivative of their own there is none: their results have one. What JAX cannot
        differentiate the result by (in front of a while loop, say) is drawn without.

    Raises:
      ValueError: for gradients, the result (of a tuple: the first) is no float scalar; for values,
        an argument is only a shape.
    """
    closed, results = jax.make_jaxpr(fn, return_shape=True)(*args)
    inputs = _input_names(fn, args)
    outputs = [f"result{_path(path)}" for path, _ in jax.tree.leaves_with_path(results)]
    walk = _Walk()
    walk.function(closed, inputs, outputs)
    found, slopes = {}, {}
    if gradients:
        _check_scalar(results)
    if values or gradients:
        leaves = [_known(name, x) for name, x in zip(inputs, jax.tree.leaves(args), strict=True)]

        def evaluate(
            zeros: Mapping[Place, jax.Array], leaves: Sequence[Any], ways: Ways | None = None
        ) -> tuple[Any, dict[Place, Any]]:
            nonlocal walk
            walk = _Walk(zeros, ways)
            wires = walk.function(closed, inputs, outputs, leaves)
            return wires[0].value if wires else None, walk.values

        with jax.debug_key_reuse(False):  # the caller's keys are only looked at
            zeros = {place: _zeros(aval) for place, aval in walk.live.items() if gradients}
            for ways in (None, Ways()):  # by all arrays at once, or with care
                slope = jax.grad(functools.partial(evaluate, ways=ways), has_aux=True)
                if gradients and derivatives.works(slope, zeros, leaves):
                    slopes, found = slope(zeros, leaves)
                    cut = derivatives.lost(walk.flows, walk.result)
                    break
            else:
                _, found = evaluate({}, leaves)
                cut = set(zeros)
            slopes |= dict.fromkeys(cut) | _input_gradients(fn, args, cut)
    nodes = (_filled(i, node, found, slopes) for i, node in enumerate(walk.nodes))
    return Graph(tuple(nodes), tuple(walk.edges), tuple(walk.clusters))


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path)


def _input_names(fn: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """The path of each input, such as `params['kernel']`, in the order of the tree's leaves."""
    try:
        named: dict[str, Any] = inspect.signature(fn).bind(*args).arguments
    except (TypeError, ValueError):  # a built-in function has no signature
        named = {f"argument {i}": value for i, value in enumerate(args)}
    return [
        f"{name}{_path(path)}"
        for name, value in named.items()
        for path, _ in jax.tree.leaves_with_path(value)
    ]


def _zeros(aval: Any) -> jax.Array:
    return jnp.zeros(aval.shape, aval.dtype, device=aval.sharding)


def _input_gradients(
    fn: Callable[..., Any], args: Sequence[Any], cut: Set[Place]
) -> dict[Place, jax.Array]:
    """The gradients by those inputs that are cut off in the graph, but not for `jax.grad`.

    A custom derivative that closes over the function's own arrays, for one, cannot be called from
    its jaxpr, since they exist only while the function runs.
    """
    leaves, tree = jax.tree.flatten(args)

    def scalar(leaf: Any, at: int) -> Any:
        result = fn(*jax.tree.unflatten(tree, [*leaves[:at], leaf, *leaves[at + 1 :]]))
        return result[0] if isinstance(result, tuple) else result

    slopes = {i: jax.grad(functools.partial(scalar, at=i)) for i in range(len(leaves))}
    return {
        (i, 0): slope(leaves[i])
        for i, slope in slopes.items()
        if (i, 0) in cut and derivatives.works(slope, leaves[i])
    }


def _known(name: str, leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise ValueError(
            f"argument {name} is only a shape, {leaf.shape}, expected an array: pass one, or trace "
            "without values and gradients"
        )
    return jnp.asarray(leaf) if derivatives.is_array(jax.typeof(leaf)) else leaf


def _check_scalar(results: Any) -> None:
    first = results[0] if isinstance(results, tuple) and results else results
    shape, dtype = getattr(first, "shape", None), getattr(first, "dtype", np.void)
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        got = jax.tree.map(lambda a: f"{a.dtype}{list(a.shape)}", first)
        raise ValueError(
            f"the result is {got}, expected one float without axes to differentiate: take a sum or "
            "a mean, or return it first in a tuple"
        )


def _filled(at: int, node: Node, values: Mapping[Place, Any], slopes: Mapping[Place, Any]) -> Node:
    arrays = [
        array._replace(value=_numbers(values.get((at, i))), gradient=_numbers(slopes.get((at, i))))
        for i, array in enumerate(node.arrays)
    ]
    return node._replace(arrays=tuple(arrays))


def _numbers(value: Any) -> np.ndarray | None:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    return None if value is None else np.asarray(value)


class _Wire(NamedTuple):
    """An array on its way: the node that returns it, and its value if that is computed."""

    node: int
    output: int
    value: Any = None


class _Walk:
    """Goes through a jaxpr once, in the order of execution.

    With `zeros`, even an empty dict, it also evaluates. The zeros are added to the arrays at their
    places, so that a derivative with respect to them is the gradient there; `live` lists the
    places where that holds. With `ways`, even none as yet, an equation that JAX cannot
    differentiate by an operand takes it for a constant, and `flows` tell where that leaves
    gradients wrong.
    """

    def __init__(self, zeros: Mapping[Place, jax.Array] | None = None, ways: Ways | None = None):
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.clusters: list[Cluster] = []
        self.values: dict[Place, Any] = {}
        self.live: dict[Place, Any] = {}
        self.flows: list[derivatives.Flow] = []
        self.result: Place = (-1, 0)  # of the function: the first
        self.evaluates = zeros is not None
        self.zeros = zeros or {}
        self.ways = ways

    def function(
        self,
        closed: core.ClosedJaxpr,
        inputs: Sequence[str],
        outputs: Sequence[str],
        leaves: Sequence[Any] | None = None,
    ) -> list[_Wire]:
        """The whole function from its named inputs to its named outputs."""
        leaves = [None] * len(inputs) if leaves is None else leaves
        operands = [
            self.add("input", name, [var.aval], [value], known="gradients")[0]
            for name, var, value in zip(inputs, closed.jaxpr.invars, leaves, strict=True)
        ]
        wires = self.run(closed.jaxpr, closed.consts, operands, None, "gradients")
        for name, wire in zip(outputs, wires, strict=True):
            array = self.nodes[wire.node].arrays[wire.output]
            if name is outputs[0]:
                self.result = wire[:2]
            self.values[len(self.nodes), 0] = wire.value
            self.edges.append(Edge(wire.node, wire.output, len(self.nodes), 0))
            self.nodes.append(Node("output", name, (array,)))
        return wires

    def run(
        self,
        jaxpr: core.Jaxpr,
        consts: Sequence[Any],
        operands: Sequence[_Wire],
        cluster: int | None,
        known: Known,
    ) -> list[_Wire]:
        """All equations of a function, and the wires of its results."""
        env = dict(zip(jaxpr.invars, operands, strict=True))

        def constant(aval: Any, value: Any, known: Known) -> _Wire:
            number = derivatives.is_array(aval) and jnp.issubdtype(aval.dtype, np.number)
            name = f"{np.asarray(value)[()]:.6g}" if number and not aval.shape else "constant"
            shown = None if known == "nothing" else value
            return self.add("constant", name, [aval], [shown], cluster=cluster, known=known)[0]

        def read(atom: core.Var | core.Literal) -> _Wire:
            if not isinstance(atom, core.Literal):
                return env[atom]
            return constant(atom.aval, atom.val, _without_gradients(known))

        for var, value in zip(jaxpr.constvars, consts, strict=True):
            env[var] = constant(var.aval, value, known)
        for equation in jaxpr.eqns:
            wires = [read(atom) for atom in equation.invars]
            results = self.equation(equation, wires, cluster, known)
            env.update(zip(equation.outvars, results, strict=True))
        return self.close(cluster, [read(atom) for atom in jaxpr.outvars])

    def equation(
        self, equation: core.JaxprEqn, operands: list[_Wire], cluster: int | None, known: Known
    ) -> list[_Wire]:
        """A node for an operation, a cluster for an equation with functions inside."""
        functions = equations.functions(equation)
        name, avals = equation.primitive.name, [var.aval for var in equation.outvars]
        number = cluster
        if functions:
            title = equations.title(equation, functions)
            number = self.open(title, cluster, name, equations.repeats(equation))
        is_call = equations.is_call(equation, functions)
        if is_call and (name not in RULED or (self.evaluates and not self.zeros)):
            return self.run(functions[0].jaxpr, functions[0].consts, operands, number, known)
        operands, ways = self.separate(equation, operands, known)
        if is_call:
            results = self.ruled(equation, functions[0], operands, number, known)
        elif functions:
            results = self.close(number, self.ports(equation, functions, operands, number, known))
        else:
            about: dict[str, Any] = {
                "detail": equations.detail(equation),
                "flops": equations.flops(equation),
                "bytes": equations.moved_bytes(equation),
            }
            values = self.compute(equation, operands, known)
            about |= {"cluster": cluster, "known": known}
            results = self.add("operation", name, avals, values, operands, **about)
        if ways:
            places = [wire[:2] for wire in operands]
            written = [wire[:2] for wire in results] + places
            self.flows.append(derivatives.Flow(places, written, ways))
        return results

    def separate(
        self, equation: core.JaxprEqn, operands: list[_Wire], known: Known
    ) -> tuple[list[_Wire], list[derivatives.Way]]:
        """The operands, constant where they must be, and the ways from them to the results."""
        if self.ways is None or known == "nothing" or any(w.value is None for w in operands):
            return operands, []
        if equation not in self.ways:
            refs = [w for w in operands if not derivatives.is_array(jax.typeof(w.value))]
            outer = any(self.nodes[w.node].kind in ("constant", "input") for w in refs)
            self.ways[equation] = derivatives.ways(equation, outer)
        ways = self.ways[equation]
        pairs = zip(operands, ways, strict=True)
        return [wire if way.differentiable else _constant(wire) for wire, way in pairs], ways

    def ruled(
        self,
        equation: core.JaxprEqn,
        function: equations.Function,
        operands: list[_Wire],
        number: int | None,
        known: Known,
    ) -> list[_Wire]:
        """A function with a derivative of its own: gradients pass it by, by that rule."""
        values = self.compute(equation, operands, known)
        inside = _without_gradients(known)
        constants = [*map(_constant, operands)]
        wires = self.run(function.jaxpr, function.consts, constants, number, inside)
        outside = {wire[:2] for wire in operands}
        for i, (wire, var, value) in enumerate(zip(wires, equation.outvars, values, strict=True)):
            if wire[:2] not in outside:
                value = self.give(wire[:2], var.aval, value, known)
            wires[i] = wire._replace(value=value)
        return wires

    def ports(
        self,
        equation: core.JaxprEqn,
        functions: list[equations.Function],
        operands: list[_Wire],
        number: int | None,
        known: Known,
    ) -> list[_Wire]:
        """Functions whose operands and results go through ports; a branch that is taken has values.

        In a loop the results of one pass, which the next one begins with, are not drawn back to
        its ports: graphs have no cycles.
        """
        is_cond, taken = equation.primitive.name == "cond", None
        index = operands[0].value if is_cond and known != "nothing" else None
        if index is not None and not isinstance(index, jax.core.Tracer):
            # XLA, too, brings an index that is out of range to the nearest branch.
            taken = functions[min(max(int(index), 0), len(functions) - 1)]
        # A branch with effects, which prints or writes, may run but once.
        inline = bool(taken and equation.effects)
        values = [] if inline else self.compute(equation, operands, known)
        sources = [operands[:1] if is_cond else [] for _ in equation.outvars]
        for function in functions:
            cluster = number
            if len(functions) > 1:
                cluster = self.open(equations.inner_title(function), number)
            inputs: list[_Wire] = []
            inside: Known = "values" if function is taken else "nothing"
            wiring = equations.inputs(equation, function)
            if any(operand is None for _, operand in wiring):
                sources = [operands for _ in sources]  # so that no path through it is lost
            for var, (label, operand) in zip(function.jaxpr.invars, wiring, strict=True):
                source = [] if operand is None else [operands[operand]]
                value = source[0].value if function is taken else None
                if value is not None and not inline:
                    value = derivatives.stop(value)
                inputs += self.add("port", label, [var.aval], [value], source, cluster=cluster)
            wires = self.run(function.jaxpr, function.consts, inputs, cluster, inside)
            if function is taken and inline:
                values = [wire.value for wire in wires]
            if equations.returns_results(equation, function):
                sources = [[*before, wire] for before, wire in zip(sources, wires, strict=True)]
        results: list[_Wire] = []
        about: dict[str, Any] = {"cluster": number, "known": known}
        for i, (var, value) in enumerate(zip(equation.outvars, values, strict=True)):
            label, source = equations.result_name(equation, i), sources[i] or operands
            results += self.add("port", label, [var.aval], [value], source, **about)
        return results

    def compute(
        self, equation: core.JaxprEqn, operands: Sequence[_Wire], known: Known
    ) -> Sequence[Any]:
        """The results of the equation for the values of its operands, or Nones."""
        if not self.evaluates or known == "nothing" or any(w.value is None for w in operands):
            return [None] * len(equation.outvars)
        return derivatives.run(equation, [wire.value for wire in operands])

    def open(self, name: str, parent: int | None, primitive: str = "", repeats: int = 1) -> int:
        """Begins a cluster and returns its number."""
        self.clusters.append(Cluster(name, parent, primitive, repeats))
        return len(self.clusters) - 1

    def close(self, number: int | None, results: list[_Wire]) -> list[_Wire]:
        """Notes the results of a cluster, and returns them."""
        if number is not None:
            places = tuple((wire.node, wire.output) for wire in results)
            self.clusters[number] = self.clusters[number]._replace(results=places)
        return results

    def add(
        self,
        kind: Kind,
        name: str,
        avals: Sequence[Any],
        values: Sequence[Any],
        operands: Sequence[_Wire] = (),
        *,
        cluster: int | None = None,
        known: Known = "nothing",
        **about: Any,
    ) -> list[_Wire]:
        """Adds a node with its edges, and returns a wire for each of its arrays."""
        at = len(self.nodes)
        arrays = tuple(
            Array(tuple(getattr(aval, "shape", ())), str(getattr(aval, "dtype", aval)))
            for aval in avals
        )
        self.nodes.append(Node(kind, name, arrays, cluster, **about))
        self.edges += [Edge(w.node, w.output, at, number) for number, w in enumerate(operands)]
        return [
            _Wire(at, i, self.give((at, i), aval, value, known))
            for i, (aval, value) in enumerate(zip(avals, values, strict=True))
        ]

    def give(self, place: Place, aval: Any, value: Any, known: Known) -> Any:
        """Records the value at a place, with the zero that is added to it there, if any."""
        if known == "gradients" and derivatives.is_smooth(aval):
            self.live[place] = aval
        if place in self.zeros and value is not None:
            value = derivatives.attach(value, self.zeros[place])
        if derivatives.is_array(aval) and value is not None:
            self.values[place] = value
        return value


def _constant(wire: _Wire) -> _Wire:
    """The same wire, whose value is a constant for derivatives."""
    return wire if wire.value is None else wire._replace(value=derivatives.stop(wire.value))


def _without_gradients(known: Known) -> Known:
    return "nothing" if known == "nothing" else "values"
