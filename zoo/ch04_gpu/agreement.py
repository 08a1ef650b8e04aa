"""Do CPU and GPU compute the same? Every model's loss and gradient, against float64 on the CPU.

Each device's result in float32 is held against the same functions in double precision, so the
question has an answer where there is only a CPU, too: how far rounding takes it. Without a key, so
that no random number differs; products in true float32, since a GPU's tensor cores round.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from zoo.ch04_gpu import models
from zoo.common import device

LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
"""Relative errors of the loss, and of the whole gradient in the Euclidean norm."""
BATCH = 16

Result = tuple[Any, Any]  # loss, gradient


def gradient(loss: Callable[..., Any], params: Any, batch: Any) -> Result:
    """The loss and its gradient on the device in use, as NumPy arrays."""
    compute = device.jit(jax.value_and_grad(loss, has_aux=True))
    (value, _), grads = compute(params, batch)
    return jax.device_get((value, grads))


def reference(loss: Callable[..., Any], params: Any, batch: Any) -> Result:
    """The same in float64 on the CPU."""
    with jax.default_device(device.devices("cpu")[0]), jax.enable_x64(True):
        return gradient(loss, *jax.tree.map(_double, (params, batch)))


def _double(array: Any) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def errors(result: Result, right: Result) -> tuple[float, float]:
    """Relative errors of a loss and of a gradient; the latter's norms are over all of the tree."""
    (value, grads), (right_value, right_grads) = result, right
    # The smallest numbers guard against a division by 0 alone.
    of_loss = abs(float(value) - float(right_value)) / max(abs(float(right_value)), 1e-30)
    pairs = list(zip(jax.tree.leaves(grads), jax.tree.leaves(right_grads), strict=True))
    off = sum(((np.asarray(a, np.float64) - b) ** 2).sum() for a, b in pairs)
    return of_loss, float(np.sqrt(off / max(sum((b**2).sum() for _, b in pairs), 1e-300)))


def measure(model: models.Model, names: tuple[device.Name, ...]) -> list[dict[str, Any]]:
    """A row for each device: loss, errors, and whether they are within the tolerances."""
    device.use("cpu")  # so that all devices begin with the same parameters
    loss, (params, batch) = model.task.model.loss, model.example(BATCH)
    right = reference(loss, params, batch)
    rows = []
    for name in names:
        device.use(name)
        with jax.default_matmul_precision("float32"):
            result = gradient(loss, params, batch)
        loss_error, gradient_error = errors(result, right)
        agrees = loss_error <= LOSS_TOLERANCE and gradient_error <= GRADIENT_TOLERANCE
        row = {"model": model.name, "device": name, "precision": "float32", "agrees": agrees}
        found = {"loss_error": loss_error, "gradient_error": gradient_error}
        rows.append({**row, "loss": float(result[0]), **found})
    return rows
