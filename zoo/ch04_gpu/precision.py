"""What fewer bits cost and gain: float32, and where the device has it tf32; bfloat16.

A model learns one batch by heart for some steps of Adam, from the same parameters each time. In
bfloat16 parameters and batch are rounded on their way into the loss; Adam's own are float32, as
usual. The error is that of the first loss and its gradient against float64 on the CPU.

Float32 is not always float32: tensor cores round the operands of a product, on a GPU to tf32,
unless they are told not to. `of` says what a function does on the device in use.
"""

import collections
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.extend import core

from zoo.ch01_graphs import equations
from zoo.ch04_gpu import agreement, models
from zoo.common import bench, device, ops

DEFAULT = ("feedforward", "autoencoder", "cnn")
TF32 = "tensorfloat32"
"""JAX's name of it."""


def available() -> tuple[str, ...]:
    """The precisions of the device in use; tf32 where its tensor cores have it."""
    with jax.default_matmul_precision(TF32):
        return tuple(dict.fromkeys(("float32", here(), "bfloat16")))


def here() -> str:
    """The precision of float32 products on the device in use, as JAX is set: float32, tf32 ..."""
    asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # made at run time
    return _measured(device.current(), asked, os.environ.get("NVIDIA_TF32_OVERRIDE"))


def compared(products: bool = True) -> dict[str, str | None]:
    """Under which settings of JAX to compare the device in use with others, by their precision.

    True float32, and what JAX is set to where that is something else and there are products.
    """
    asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]  # made at run time
    settings: dict[str, str | None] = {here(): asked} if products else {}
    return {"float32": "float32"} | {k: v for k, v in settings.items() if k != "float32"}


@functools.cache
def _measured(where: jax.Device, asked: str | None, override: str | None) -> str:
    """By what is left of 1 + 2^-12 and 1 + 2^-9 in a product with ones and zeros.

    Nothing tells it beforehand: the card, JAX's setting and that of NVIDIA's libraries (`override`)
    decide together.
    """
    with jax.default_device(where), jax.default_matmul_precision(asked):
        for name, bits in (("float32", 12), ("tf32", 9)):
            x = jnp.full((512, 512), 1 + 2.0**-bits, jnp.float32)
            if (device.jit(jnp.matmul)(x, jnp.eye(512, dtype=jnp.float32)) == x).all():
                return name
    return "bfloat16"


def of(function: Callable[..., Any], *args: Any) -> str:
    """The precision in which `function(*args)` does most of its products on the device in use.

    Convolutions are products; without any of them it is float32.
    """
    found: collections.Counter[str] = collections.Counter()
    with jax.disable_jit(False):
        for equation, times in _products(jax.make_jaxpr(function)(*args).jaxpr):
            found[_of_equation(equation)] += times * equations.flops(equation)
    return max(found, key=found.__getitem__, default="float32")


def of_training(model: models.Model) -> str:
    """The same of an update of a model, which is traced only: nothing is computed."""

    def update(batch: Any) -> Any:
        step, state, prepared = model.step(batch)
        return step(state, prepared)

    return of(update, model.random(model.batch_size))


def _products(jaxpr: core.Jaxpr, times: int = 1) -> Iterator[tuple[core.JaxprEqn, int]]:
    """The products inside a function, in all branches, and how often each is computed."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation, times
        for inner in equations.functions(equation):
            yield from _products(inner.jaxpr, times * equations.repeats(equation))


def _of_equation(equation: core.JaxprEqn) -> str:
    types = [atom.aval.dtype for atom in equation.invars]  # type: ignore[attr-defined]  # arrays
    narrowest = min(types, key=lambda dtype: dtype.itemsize)
    if narrowest != jnp.float32:
        return str(narrowest)
    asked = equation.params["precision"]  # of both operands, where it is not an algorithm's name
    asked = asked[0] if isinstance(asked, tuple) else asked
    if asked is None:
        return here()
    name = asked.name.lower() if isinstance(asked, jax.lax.Precision) else str(asked)
    with jax.default_matmul_precision(name):
        return here()


def rounded(loss: Callable[..., Any], precision: str) -> Callable[..., Any]:
    """The loss with its floating-point inputs in `precision`; its value is float32 again."""
    ops.check_choice("precision", precision, ("float32", "tf32", "bfloat16"))
    if precision != "bfloat16":
        return loss

    def cast(a: jax.Array) -> jax.Array:  # labels stay whole numbers
        return a.astype(jnp.bfloat16) if jnp.issubdtype(a.dtype, jnp.floating) else a

    def low(params: Any, batch: Any) -> tuple[jax.Array, Any]:
        value, aux = loss(*jax.tree.map(cast, (params, batch)))
        return value.astype(jnp.float32), aux

    return low


def measure(model: models.Model, precision: str, steps: int, runs: int) -> dict[str, Any]:
    """Seconds a step, the loss before and after `steps` of them, and the errors of the first."""
    params, batch = model.example(model.batch_size)
    optimizer = optax.adam(1e-3)
    exact = model.task.model.loss
    loss = rounded(exact, precision)

    def step(carry: Any, batch: Any) -> tuple[Any, jax.Array]:
        params, opt_state = carry
        (value, _), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    carry = (params, optimizer.init(params))
    with jax.default_matmul_precision(TF32 if precision == "tf32" else "float32"):
        timing = bench.time_call(step, carry, batch, runs=runs, warmup=2)
        compiled, losses = device.jit(step), []
        for _ in range(steps):
            carry, value = compiled(carry, batch)
            losses.append(value)
        measured = agreement.gradient(loss, params, batch)
    reference = agreement.reference(exact, params, batch)
    loss_error, gradient_error = agreement.errors(measured, reference)
    return {
        "precision": precision,
        **bench.spread(timing.seconds),
        "first_loss": float(losses[0]),
        "last_loss": float(losses[-1]),
        "steps": steps,
        "loss_error": loss_error,
        "gradient_error": gradient_error,
    }
