"""Chapter 1: what a graph costs beside its jaxpr alone; `python -m benchmarks.ch01_graphs`.

A function that is new to JAX is traced each time, since `jax.make_jaxpr` remembers those that it
has seen. Ratios above 1 would mean that the graph is faster to make than the jaxpr alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import harness
from zoo.ch01_graphs import targets, to_dot, trace

BASE = "jax.make_jaxpr"
DOT = "zoo, with DOT"
CHAIN = "a chain of 10,000 equations"
CNN = "the gradient of chapter 6's loss"
LENGTH = 5_000


def chain(x: jax.Array) -> jax.Array:
    """A sine and a sum, 5,000 times."""
    for _ in range(LENGTH):
        x = jnp.sin(x) + 1.0
    return x


def task(name: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function and its arguments."""
    if name == CHAIN:
        return chain, (1.0,)
    loss, arguments = targets.resolve("zoo.ch06_cnn:loss")
    return targets.gradient(loss), arguments


def contend(name: str, what: str) -> tuple[harness.Run, float]:
    """One trace after another; nothing is compiled."""
    function, arguments = task(what)

    def one() -> int:
        def fresh(*args: Any) -> Any:
            return function(*args)

        if name == BASE:
            jax.make_jaxpr(fresh)(*arguments)
        elif name == DOT:
            to_dot(trace(fresh, *arguments))
        else:
            trace(fresh, *arguments)
        return equations

    equations = trace(function, *arguments).equations
    one()  # fills the caches of functions that JAX itself jits
    return harness.repeat(one), 0.0


ROW = harness.Row(
    name="ch01_graphs",
    title="Chapter 1",
    unit="equations",
    base=BASE,
    contenders=(BASE, DOT),
    tasks=(CHAIN, CNN),
    contend=contend,
    note=(
        "A ratio of 0.5 means that trace(), which calls make_jaxpr, takes twice its time. Nothing "
        "is compiled and no values are computed."
    ),
    needs=(),
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
