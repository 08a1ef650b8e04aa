"""What fewer bits cost and gain: float32, and where the device has it tf32; bfloat16.

A model learns one batch by heart for some steps of Adam, from the same parameters each time. In
bfloat16 parameters and batch are rounded on their way into the loss; Adam's own are float32, as
usual. The error is that of the first loss and its gradient against float64 on the CPU.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zoo.ch04_gpu import agreement, models
from zoo.common import bench, device, ops

DEFAULT = ("feedforward", "autoencoder", "cnn")


def available() -> tuple[str, ...]:
    """The precisions of the device in use; tf32 is a GPU's."""
    on_cpu = device.current().platform == "cpu"
    return ("float32", "bfloat16") if on_cpu else ("float32", "tf32", "bfloat16")


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
    with jax.default_matmul_precision("tensorfloat32" if precision == "tf32" else "float32"):
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
