"""One way through a jaxpr: it makes nodes, edges and clusters, and evaluates if it is asked to."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from zoo.ch01_graphs import costs, equations
from zoo.ch01_graphs.graph import Array, Cluster, Edge, Kind, Node

RULED = ("custom_jvp_call", "custom_vjp_call")  # their derivative is not that of what is inside

Place = tuple[int, int]  # a node and the number of one of its arrays
Known = Literal["gradients", "values", "nothing"]  # what is known of the nodes in a function


class Wire(NamedTuple):
    """An array on its way: who gives it, and what it is if that is computed."""

    node: int
    output: int
    value: Any = None


class Walk:
    """Goes through a jaxpr once, in the order of execution.

    With `zeros`, even none of them, it also evaluates. They are added to what the nodes at their
    places give, so that a derivative with respect to them is the gradient there; `live` lists the
    places where that holds.
    """

    def __init__(self, zeros: Mapping[Place, jax.Array] | None = None):
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.clusters: list[Cluster] = []
        self.values: dict[Place, Any] = {}
        self.live: dict[Place, Any] = {}
        self.evaluates = zeros is not None
        self.zeros = zeros or {}

    def function(
        self,
        closed: core.ClosedJaxpr,
        inputs: Sequence[str],
        outputs: Sequence[str],
        leaves: Sequence[Any] | None = None,
    ) -> list[Wire]:
        """The whole function from its named inputs to its named outputs."""
        given = [None] * len(inputs) if leaves is None else leaves
        operands = [
            self.add("input", name, [var.aval], [value], known="gradients")[0]
            for name, var, value in zip(inputs, closed.jaxpr.invars, given, strict=True)
        ]
        wires = self.run(closed.jaxpr, closed.consts, operands, None, known="gradients")
        for name, wire in zip(outputs, wires, strict=True):
            array = self.nodes[wire.node].arrays[wire.output]
            self.values[len(self.nodes), 0] = wire.value
            self.edges.append(Edge(wire.node, wire.output, len(self.nodes), 0))
            self.nodes.append(Node("output", name, (array,)))
        return wires

    def run(
        self,
        jaxpr: core.Jaxpr,
        consts: Sequence[Any],
        operands: Sequence[Wire],
        cluster: int | None,
        *,
        known: Known,
    ) -> list[Wire]:
        """All equations of a function, and the wires of its results."""
        env = dict(zip(jaxpr.invars, operands, strict=True))

        def constant(aval: Any, value: Any, known: Known) -> Wire:
            name = f"{value:.6g}" if np.ndim(value) == 0 and _is_number(value) else "constant"
            shown = None if known == "nothing" else value
            return self.add("constant", name, [aval], [shown], cluster=cluster, known=known)[0]

        def read(atom: core.Var | core.Literal) -> Wire:
            if not isinstance(atom, core.Literal):
                return env[atom]
            return constant(atom.aval, atom.val, "nothing" if known == "nothing" else "values")

        for var, value in zip(jaxpr.constvars, consts, strict=True):
            env[var] = constant(var.aval, value, known)
        for equation in jaxpr.eqns:
            wires = [read(atom) for atom in equation.invars]
            results = self.equation(equation, wires, cluster, known)
            env.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(
        self, equation: core.JaxprEqn, operands: list[Wire], cluster: int | None, known: Known
    ) -> list[Wire]:
        """A node for an operation, a cluster for an equation with functions inside."""
        functions = list(equations.functions(equation.params))
        name = equation.primitive.name
        if not functions:
            return self.add(
                "operation",
                name,
                [var.aval for var in equation.outvars],
                self.compute(equation, operands, known),
                operands,
                cluster=cluster,
                known=known,
                detail=equations.detail(equation.params),
                flops=costs.flops(equation),
                bytes=costs.moved_bytes(equation),
            )
        title = equations.title(equation, functions)
        number = self.open(title, cluster, name, costs.repeats(equation))
        if equations.is_call(equation, functions):
            results = self.call(equation, functions[0], operands, number, known)
        else:
            results = self.ports(equation, functions, operands, number, known)
        self.close(number, results)
        return results

    def call(
        self,
        equation: core.JaxprEqn,
        function: equations.Function,
        operands: list[Wire],
        number: int,
        known: Known,
    ) -> list[Wire]:
        """One function, run once on the operands as they are."""
        if equation.primitive.name not in RULED:
            return self.run(function.jaxpr, function.consts, operands, number, known=known)
        values = self.compute(equation, operands, known)
        inside: Known = "nothing" if known == "nothing" else "values"
        wires = self.run(function.jaxpr, function.consts, operands, number, known=inside)
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
        operands: list[Wire],
        number: int,
        known: Known,
    ) -> list[Wire]:
        """Functions whose operands and results go through ports; a branch that is taken has values.

        In a loop the results of one pass, which the next one begins with, are not drawn back to
        its ports: graphs have no cycles.
        """
        name, index = equation.primitive.name, operands[0].value if operands else None
        taken = None
        if name == "cond" and index is not None and known != "nothing":
            taken = functions[min(max(int(index), 0), len(functions) - 1)]
        sources = [operands[:1] if name == "cond" else [] for _ in equation.outvars]
        for function in functions:
            cluster = (
                number
                if len(functions) == 1
                else self.open(equations.inner_title(function), number)
            )
            inside: Known = "values" if function is taken else "nothing"
            inputs = []
            wiring = equations.inputs(equation, function)
            if any(operand is None for _, operand in wiring):
                sources = [operands for _ in sources]  # so that no path through it is lost
            for var, (label, operand) in zip(function.jaxpr.invars, wiring, strict=True):
                source = [] if operand is None else [operands[operand]]
                value = source[0].value if function is taken else None
                inputs += self.add("port", label, [var.aval], [value], source, cluster=cluster)
            wires = self.run(function.jaxpr, function.consts, inputs, cluster, known=inside)
            self.close(cluster, wires)
            if equations.gives_results(equation, function):
                sources = [[*before, wire] for before, wire in zip(sources, wires, strict=True)]
        values = self.compute(equation, operands, known)
        results = []
        for i, (var, value) in enumerate(zip(equation.outvars, values, strict=True)):
            label = equations.result_name(equation, i)
            results += self.add(
                "port",
                label,
                [var.aval],
                [value],
                sources[i] or operands,
                cluster=number,
                known=known,
            )
        return results

    def compute(
        self, equation: core.JaxprEqn, operands: Sequence[Wire], known: Known
    ) -> Sequence[Any]:
        """What the equation gives for the values of its operands, or Nones."""
        if not self.evaluates or known == "nothing" or any(w.value is None for w in operands):
            return [None] * len(equation.outvars)
        pairs = zip(equation.invars, operands, strict=True)
        given = {atom: wire.value for atom, wire in pairs if not isinstance(atom, core.Literal)}
        # A jaxpr of this one equation: how a primitive is called differs between JAX's versions.
        about = core.DebugInfo("trace", equation.primitive.name, None, None)
        alone = core.Jaxpr((), [*given], equation.outvars, [equation], equation.effects, about)
        return core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(*given.values())

    def open(self, name: str, parent: int | None, primitive: str = "", repeats: int = 1) -> int:
        """Begins a cluster and returns its number."""
        self.clusters.append(Cluster(name, parent, primitive, repeats))
        return len(self.clusters) - 1

    def close(self, number: int, results: Sequence[Wire]) -> None:
        """Notes what a cluster gives."""
        places = tuple((wire.node, wire.output) for wire in results)
        self.clusters[number] = self.clusters[number]._replace(results=places)

    def add(
        self,
        kind: Kind,
        name: str,
        avals: Sequence[Any],
        values: Sequence[Any],
        operands: Sequence[Wire] = (),
        *,
        cluster: int | None = None,
        known: Known = "nothing",
        **about: Any,
    ) -> list[Wire]:
        """Adds a node with its edges, and gives a wire for each of its arrays."""
        at = len(self.nodes)
        arrays = tuple(
            Array(tuple(getattr(aval, "shape", ())), str(getattr(aval, "dtype", aval)))
            for aval in avals
        )
        self.nodes.append(Node(kind, name, arrays, cluster, **about))
        self.edges += [Edge(w.node, w.output, at, number) for number, w in enumerate(operands)]
        return [
            Wire(at, i, self.give((at, i), aval, value, known))
            for i, (aval, value) in enumerate(zip(avals, values, strict=True))
        ]

    def give(self, place: Place, aval: Any, value: Any, known: Known) -> Any:
        """Records what is given at a place, and adds the zero that is there, if any."""
        if known == "gradients" and jnp.issubdtype(getattr(aval, "dtype", np.void), jnp.floating):
            self.live[place] = aval
        if value is not None:
            value = value + self.zeros[place] if place in self.zeros else value
            self.values[place] = value
        return value


def _is_number(value: Any) -> bool:
    return np.issubdtype(getattr(value, "dtype", np.float64), np.number)
