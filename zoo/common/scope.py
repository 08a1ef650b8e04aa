"""Functions that run within a context of their own."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def within(
    context: Callable[[], contextlib.AbstractContextManager[Any]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the function runs within `context()`.

    A generator does so for each of its steps; between them its caller has its own settings.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **keywords: P.kwargs) -> R:
            with context():
                return function(*args, **keywords)

        @functools.wraps(function)
        def steps(*args: P.args, **keywords: P.kwargs) -> Any:
            generator: Any = function(*args, **keywords)
            try:
                while True:
                    with context():
                        try:
                            step = next(generator)
                        except StopIteration as end:
                            return end.value
                    yield step
            finally:  # also where the caller leaves before the end
                with context():
                    generator.close()

        return steps if inspect.isgeneratorfunction(function) else call

    return decorate
