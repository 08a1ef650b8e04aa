"""Finds a function of the zoo by name and makes arguments that it can be traced with.

`zoo.ch08_vae:loss` is a function of a module. Parameters without a default get what their name
says: `config` is the default recipe of the module, `params` the result of its `init`, `batch` that
of `example(config)` (a dict of small arrays of the right shapes), `key` a key, and any other name
the batch's entry of that name. The first parameter after `params` may have another name: it gets
the batch's first entry. `ch06_cnn/speedrun`, the name of a model, is the loss that it trains with.
A function of any other module gets arrays of the shapes that are named, "float32[8,3]" or "8,3".
"""

import dataclasses
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from zoo.common import keys
from zoo.common.data import DataError

EXPECTED = (
    "expected module:function of the zoo, such as zoo.ch06_cnn:loss, or one of yours with --shapes"
)
_SHAPE = re.compile(r"(?:([a-z]+\d*)?\[([\d, ]*)\]|([\d, ]+))")
Target = tuple[Callable[..., Any], tuple[Any, ...]]


def resolve(target: str, shapes: Sequence[str] = ()) -> Target:
    """The function of that name and arguments for it, arrays of the `shapes` if any are named.

    Raises:
      DataError: there is no such function or model, or no way to tell what to call it with.
    """
    where, colon, name = target.partition(":")
    if not colon:
        if shapes:
            raise DataError(f"{target} is a model, whose loss gets its own arrays: no --shapes")
        return _training_loss(target)
    if not where or where.startswith(".") or not name:
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
    if shapes:
        return function, tuple(array(shape) for shape in shapes)
    home = sys.modules.get(getattr(function, "__module__", where), module)
    return _with_arguments(target, function, home)


def array(shape: str) -> jax.Array:
    """An array of a shape and type such as "float32[8,3]", "int32[8]", "[]" or "8,3".

    Floats, which it is of if no type is named, are drawn at random; whole numbers are 0.

    Raises:
      DataError: the text is no shape, or JAX has no such type.
    """
    found = _SHAPE.fullmatch(shape.strip())
    try:
        if found is None:
            raise TypeError
        dtype = jnp.dtype(found[1] or "float32")
    except TypeError as error:
        raise DataError(
            f"got the shape {shape!r}, expected one such as float32[8,3], int32[8], [] or 8,3"
        ) from error
    sizes = tuple(int(size) for size in re.findall(r"\d+", found[2] or found[3] or ""))
    if jnp.issubdtype(dtype, jnp.floating):
        return jax.random.normal(keys.derive(0, "arrays"), sizes, dtype)
    return jnp.zeros(sizes, dtype)


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


def _training_loss(name: str) -> Target:
    from zoo.common import fit, run, trained

    try:
        task = trained.find(name)
    except run.RunError as error:
        raise DataError(f"{error}, or a function, such as zoo.ch06_cnn:loss") from error
    config = next(iter(task.recipes.values()))
    if "batch_size" in {field.name for field in dataclasses.fields(config)}:
        config = dataclasses.replace(config, batch_size=2)
    data = task.random(config, getattr(config, "batch_size", 2))
    state, batch = task.begin(config, data), task.prepare(config, data)
    return task.losses(config, 1)[0], (state.params, batch, state.key, *fit.kept(state))


def _with_arguments(target: str, function: Callable[..., Any], home: ModuleType) -> Target:
    def find(name: str) -> Any:
        if not hasattr(home, name):
            raise DataError(
                f"{target} cannot be called: {home.__name__} has no {name}; expected Config or "
                "RECIPES, init(key, config) -> params, and example(config) -> batch"
            )
        return getattr(home, name)

    def config() -> Any:
        recipes = getattr(home, "RECIPES", None)
        return next(iter(recipes.values())) if recipes else find("Config")()

    args: list[Any] = []
    bound: dict[str, Any] = {}
    after_params = True
    for name in _required(function):
        if name == "config":
            bound[name] = config()  # a static argument, no array
        elif name == "params":
            args.append(find("init")(keys.derive(0, "weights"), config()))
        elif name == "key":
            args.append(keys.derive(0, "training"))
        else:
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
