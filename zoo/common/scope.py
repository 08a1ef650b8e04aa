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
            generator, ended = function(*args, **keywords), object()
            while True:
                with context():
                    step = next(generator, ended)  # type: ignore[call-overload]
                if step is ended:
                    return
                yield step

        return steps if inspect.isgeneratorfunction(function) else call

    return decorate
