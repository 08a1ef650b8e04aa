"""Names a function of the zoo, `zoo.ch08_vae:loss`, and makes arguments that it can be traced with.

Parameters without a default get what their name says: `config` is the module's default recipe,
`params` what its `init` gives, `batch` what `example(config)` gives (a dict of small arrays of the
right shapes), `key` a key, and any other name the batch's entry of that name. The first parameter
behind `params` may have another name: it gets the batch's first entry.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax

from zoo.common.data import DataError

EXPECTED = "expected module:function of the zoo, such as zoo.ch06_cnn:loss"


def resolve(target: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function of that name and arguments for it.

    Raises:
      DataError: there is no such function, or its module does not say what to call it with.
    """
    where, _, name = target.partition(":")
    if not where or not name:
        raise DataError(f"got {target!r}, {EXPECTED}")
    try:
        module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        if not f"{where}.".startswith(f"{error.name}."):
            raise
        raise DataError(f"there is no module {where}: {EXPECTED}") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n in ("init", "apply", "loss") if callable(getattr(module, n, None))]
        has = f"it has {', '.join(known)}" if known else EXPECTED
        raise DataError(f"{where} has no function {name}: {has}")
    own = sys.modules.get(getattr(function, "__module__", where), module)
    return _with_arguments(target, function, (module, own))


def gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Of a scalar, or of a tuple's first, by the first argument; the tuple's rest comes along."""

    def scalar(*args: Any) -> tuple[jax.Array, tuple[Any, ...]]:
        result = function(*args)
        return (result[0], tuple(result[1:])) if isinstance(result, tuple) else (result, ())

    @functools.wraps(function)
    def slopes(*args: Any) -> Any:
        gradient, others = jax.grad(scalar, has_aux=True)(*args)
        return (gradient, *others) if others else gradient

    return slopes


def _with_arguments(
    target: str, function: Callable[..., Any], homes: tuple[ModuleType, ...]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    def find(name: str) -> Any:
        for home in homes:
            if hasattr(home, name):
                return getattr(home, name)
        raise DataError(
            f"{target} cannot be called: {homes[-1].__name__} has no {name}; expected Config or "
            "RECIPES, init(key, config) -> params, and example(config) -> batch"
        )

    def config() -> Any:
        recipes = getattr(homes[0], "RECIPES", None) or getattr(homes[-1], "RECIPES", None)
        return next(iter(recipes.values())) if recipes else find("Config")()

    args: list[Any] = []
    bound: dict[str, Any] = {}
    after_params = True
    for name in _required(function):
        if name == "config":
            bound[name] = config()  # a static argument, no array
            continue
        if name == "params":
            args.append(find("init")(jax.random.key(0), config()))
            continue
        if name == "key":
            args.append(jax.random.key(1))
            continue
        batch = find("example")(config())
        if name != "batch" and name not in batch and not after_params:
            known = ", ".join(["params", "batch", "key", "config", *batch])
            raise DataError(f"{target} needs an argument {name}, expected one of: {known}")
        after_params = False
        args.append(batch if name == "batch" else batch.get(name, next(iter(batch.values()))))
    return functools.partial(function, **bound) if bound else function, tuple(args)


def _required(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in positional and p.default is p.empty]
