"""Data-parallel training over several devices: how much faster, and whether it is the same.

Strong scaling: a batch of fixed size is split; with n devices the best is 1/n of the time. Weak:
each device has a batch of its own of fixed size; the best is the same time. Efficiency is the share
of the best that is reached.
"""

import os
import subprocess
import sys
from typing import Any

import jax
import numpy as np

from zoo.ch04_gpu import models, precision
from zoo.common import bench, device

FLAG = "--xla_force_host_platform_device_count"
Result = dict[str, Any]


def counts(most: int) -> list[int]:
    """1, 2, 4 ... and `most` itself."""
    powers = [2**k for k in range(most.bit_length()) if 2**k < most]
    return [*powers, most]


def restarted(devices: int, arguments: list[str]) -> int:
    """Runs this chapter again in a process that sees one CPU as `devices`; gives its status.

    The flag must be set before JAX starts, so it cannot be set here.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}={devices}".strip()
    command = [sys.executable, "-m", "zoo.ch04_gpu", *arguments]
    print(f"one CPU shown as {devices} devices, in a process of its own: XLA_FLAGS='{flags}'")
    sys.stdout.flush()
    # Without the other backends: this process may hold their memory.
    changed = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, env=changed, check=False).returncode


def measure(
    model: models.Model, name: device.Name, most: int, batch_size: int, seconds: float
) -> list[Result]:
    """Strong and weak scaling over 1, 2, 4 ... `most` devices: a row for each number.

    The batch size, a multiple of `most`, is that of all devices in the strong case, of each in the
    weak. A timed run, of which there are three, has at least so many seconds.

    Raises:
      DeviceError: there are fewer devices.
      BatchError: the batch does not divide by the devices.
    """
    device.use(name)
    device.mesh(most, name)  # refuses before anything is measured
    examples = max(4 * batch_size * most, 2_000)
    data = model.random(examples)
    kept = precision.of_training(model)
    rows: list[Result] = []
    for n in counts(most):
        mesh = device.mesh(n, name)
        row: Result = {"devices": n, "precision": kept}
        for kind, size in (("strong", batch_size), ("weak", n * batch_size)):
            rate, _ = bench.training(
                model.task, model.config, data, size, runs=3, seconds=seconds, mesh=mesh
            )
            items = model.task.items(model.config)
            row[kind] = {"batch": size, **rate.scaled(items).summary()}
        rows.append(row)
    for row in rows:
        n, first = row["devices"], rows[0]
        for kind in ("strong", "weak"):  # n times the examples per second is the best in both
            row[kind]["efficiency"] = row[kind]["median"] / (n * first[kind]["median"])
    return rows


def difference(model: models.Model, name: device.Name, devices: int, batch_size: int) -> float:
    """How far four updates on several devices end from the same on one.

    The largest difference of a parameter, relative to the largest parameter of its array.
    """
    device.use(name)
    data = model.random(4 * batch_size)

    def trained(count: int) -> Any:
        mesh = device.mesh(count, name)
        # The loop of gradients, whatever loop the model's own training has.
        reports = bench.endless(model.task, model.config, data, batch_size, mesh=mesh)
        ended = next(progress for progress in reports if progress.metrics)  # the first epoch
        return jax.device_get(ended.state.params)

    with jax.default_matmul_precision("float32"):  # else the rounding of products is all one sees
        ends = [jax.tree.leaves(trained(count)) for count in (1, devices)]
    pairs = zip(*ends, strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) for a, b in pairs)
