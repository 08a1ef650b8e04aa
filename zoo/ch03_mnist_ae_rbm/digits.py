"""What the two networks on MNIST share: data, pixels, solvers, digits as picture files."""

import contextlib
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.common import fit, ops, solvers
from zoo.common.data import Dataset, mnist, own_pictures


def load(config: Any, data: str, data_dir: Path | None) -> Dataset:
    """MNIST, or the pictures that `config.images` names, in grey."""
    own = own_pictures.given(config, data, 28, "L")
    return mnist.load(data, data_dir) if own is None else own


def random(config: Any, count: int) -> fit.Batch:
    """Random images and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, config.size, config.size), np.uint8)
    classes = getattr(config, "classes", 10)
    return {"image": images, "label": rng.integers(0, classes, count).astype(np.uint8)}


def scale_pixels(images: jax.Array, pixels: str = "unit") -> jax.Array:
    """uint8 images [B, H, W] as rows, float32 [B, H W], in a way that `Config.pixels` names."""
    ops.check_choice("pixels", pixels, ("unit", "book"))
    ops.check_bytes("images", images)
    x = images.reshape(images.shape[0], -1).astype(jnp.float32) / 255.0
    return jnp.where(x == 1.0, 0.999, 0.9 * x + 0.1) if pixels == "book" else x


def unscale_pixels(x: jax.Array, pixels: str = "unit") -> jax.Array:
    """Rows [B, D] that a network gave, as square images [B, H, H] in [0, 1]."""
    ops.check_choice("pixels", pixels, ("unit", "book"))
    if pixels == "book":
        x = (x - 0.1) / 0.9
    side = math.isqrt(x.shape[1])
    return jnp.clip(x, 0.0, 1.0).reshape(x.shape[0], side, side)


def optimizer(config: Any, steps: int) -> optax.GradientTransformation:
    """The solver that `config.solver` names, for a run of `steps` updates."""
    ops.check_choice("solver", config.solver, ("adamw", "adam", "rmsprop", "sgd"))
    if config.solver == "sgd":
        return optax.sgd(config.learning_rate)
    if config.solver == "rmsprop":
        return solvers.rmsprop(config.learning_rate)
    if config.solver == "adam":
        return solvers.adam(config.learning_rate, batch=config.batch_size)
    warm_up = max(1, steps // 20)
    share = optax.warmup_cosine_decay_schedule(0.0, 1.0, warm_up, max(steps, warm_up + 1))

    # The rate is a factor of a schedule from 0 to 1, so that a sweep can map over it.
    def schedule(count):
        return config.learning_rate * share(count)

    def kernels(params):
        return jax.tree.map(lambda a: a.ndim > 1, params)

    # A shorter memory of squares than the usual 0.999 reconstructs better after the same epochs.
    return optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay, mask=kernels)


def write(
    folder: Path,
    named: Iterable[tuple[str, np.ndarray]],
    one: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    replace: bool = False,
) -> int:
    """Writes pictures, uint8 or float in [0, 1], as `folder/NAME.png`; returns their number.

    Each is written within `one()`, which may catch its errors. With `replace`, pictures of the data
    set from an earlier call (NUMBER - NUMBER ...) are removed, so that all are of one model; other
    files stay, as they may be a user's.
    """
    import PIL.Image

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir() if replace else ():
        if re.match(r"\d+ - \d+.*\.png$", old.name):
            old.unlink()
    count = 0
    for name, picture in named:
        if picture.dtype != np.uint8:
            picture = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
        with one():
            PIL.Image.fromarray(picture).save(folder / f"{name}.png")
            count += 1
    return count
