"""The chapter's commands: the book's three programs, and `draw`."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from zoo.ch01_graphs import examples, targets
from zoo.ch01_graphs import graph as graphs
from zoo.ch01_graphs.dot import short
from zoo.ch01_graphs.draw import save
from zoo.ch01_graphs.graph import Graph, cost
from zoo.ch01_graphs.tracing import trace
from zoo.common import cli
from zoo.common.data import DataError
from zoo.common.settings import Bounds

FOLDER = Path("runs/ch01_graphs")


def add(a: float = 1.0, b: float = 2.0, out: Path = FOLDER / "add.png") -> None:
    """Add two numbers and draw the graph: 3.0 in the text; --a 2 --b 2.5 is the repository's.

    Args:
        a: the first number
        b: the second number
        out: the picture: .dot, .svg, .png or .pdf
    """
    _example(examples.add, np.float32(a), np.float32(b), out=out)


def matmul(out: Path = FOLDER / "matmul.png") -> None:
    """Multiply the book's weights with its input, [9.4 3.4], and draw the graph.

    Args:
        out: the picture: .dot, .svg, .png or .pdf
    """
    _example(examples.matmul, examples.WEIGHTS, examples.INPUT, out=out)


def affine(out: Path = FOLDER / "affine.png") -> None:
    """Add a bias to the product, [12.4 6.4], and draw the graph.

    Args:
        out: the picture: .dot, .svg, .png or .pdf
    """
    _example(examples.affine, examples.WEIGHTS, examples.INPUT, examples.BIAS, out=out)


def _example(function: Any, *args: Any, out: Path) -> None:
    result = np.asarray(function(*args))
    print(f"[{' '.join(map(str, result))}]" if result.ndim else str(result))
    _save(trace(function, *args, values=True), out)


def draw(
    target: Annotated[str, tyro.conf.Positional],
    grad: bool = False,
    fold: Annotated[int | None, Bounds(0)] = None,
    values: bool = False,
    gradients: bool = False,
    shapes: tuple[str, ...] = (),
    out: Path | None = None,
) -> None:
    """Draw any function of the zoo with its default configuration, or one of yours.

    For example: `draw zoo.ch06_cnn:loss`, `draw ch06_cnn/speedrun`, or, of a module in this folder,
    `draw mine:energy --shapes float32[8,3] 3`.

    Args:
        target: module:function, or the name of a model, such as ch06_cnn/speedrun, for the loss
            that it trains with
        shapes: of the arguments, for a function outside of the zoo: float32[8,3], int32[8] or 8,3
        grad: draw the function's gradient with respect to its first argument instead
        fold: show what lies deeper than so many nested functions as one box; 0 folds all
        values: write into each box its value for an example batch
        gradients: also the gradient of the function's result with respect to that value
        out: the picture: .dot, .svg, .png or .pdf; runs/ch01_graphs/TARGET.svg if not given
    """
    with _in_a_line(f"{target} cannot be called"):
        function, args = targets.resolve(target, shapes)
    if grad and not args:
        raise DataError(f"{target} has no argument to differentiate by: leave --grad out")
    name = re.sub("[:./]", "-", target.removeprefix("zoo.")) + "-grad" * grad
    function = targets.gradient(function) if grad else function
    shapes = jax.tree.map(_shape, args[1:])
    with _in_a_line(f"{target} cannot be traced with the arguments {shapes}"):
        graph = trace(function, *args, values=values, gradients=gradients)
        shown = graph if fold is None else graphs.fold(graph, fold)
    total = cost(graph)
    print(
        f"{target}{' (gradient)' * grad}: {graph.equations:,} equations, "
        f"{short(total.flops)}FLOP, {short(total.bytes)}B read and written if nothing is fused"
    )
    _save(shown, out or FOLDER / f"{name}.svg")


@contextlib.contextmanager
def _in_a_line(what: str) -> Iterator[None]:
    """Any error of the function that is drawn, or of its module, as a DataError that names it."""
    try:
        yield
    except cli.EXPECTED:
        raise
    except (Exception, SystemExit) as error:
        reason = ": ".join(filter(None, [type(error).__name__, str(error).partition("\n")[0]]))
        raise DataError(f"{what}: {reason}") from error


def _shape(leaf: Any) -> str:
    known = hasattr(leaf, "dtype") and hasattr(leaf, "shape")
    return f"{leaf.dtype}{list(leaf.shape)}" if known else type(leaf).__name__


def _save(graph: Graph, out: Path) -> None:
    try:
        path = save(graph, out)
    except ValueError as error:  # too large, or another ending
        raise DataError(str(error)) from error
    print(f"drawn to {path}: {len(graph.nodes):,} nodes, {len(graph.edges):,} edges")
