"""What the speed run of chapter 6 does to images: whitening, flips, shifts, views of a test image.

Axes: B images in a batch, H rows, W columns, C channels. Images are uint8 [B, 32, 32, 3] until
`scale_pixels`, then float32. The papers: Page (2018), "How to train your ResNet", a series of eight
notes; Jordan (2024), "94 % on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498.
"""

import jax
import jax.numpy as jnp

from zoo.common import ops


def whitening_kernel(images: jax.Array, patch: int = 2, epsilon: float = 5e-4) -> jax.Array:
    """Filters whose outputs over patches of scaled `images` [B, H, W, 3] are uncorrelated.

    With the covariance of the patches C = V diag(e) V', filter k is V_k / sqrt(e_k + epsilon); each
    comes with its negative, since an activation would lose one side. Gives
    [patch, patch, 3, 6 patch**2], largest eigenvalue first. The patches are not centred: the scaled
    colours have mean 0. Page (2018), "How to train your ResNet 8"; in this form Balsam (2023).
    """
    rows, columns = (size - patch + 1 for size in images.shape[1:3])
    taps = [images[:, i : i + rows, j : j + columns] for i in range(patch) for j in range(patch)]
    patches = jnp.concatenate(taps, axis=-1).reshape(-1, 3 * patch**2)
    # In full float32: rounded as on a GPU's tensor cores, small eigenvalues would be noise.
    covariance = jnp.dot(patches.T, patches, precision="highest") / len(patches)
    values, vectors = jnp.linalg.eigh(covariance)
    filters = (vectors / jnp.sqrt(values + epsilon))[:, ::-1]  # `eigh` begins with the smallest
    kernel = jnp.concatenate([filters, -filters], axis=1)
    return kernel.reshape(patch, patch, 3, 6 * patch**2)


def alternating_flips(side: jax.Array, epoch: jax.Array) -> jax.Array:
    """Which images to mirror in an epoch (from 0), bool [B]: every second epoch, from its `side`.

    `side` is a random bit of each image, drawn once. Any two epochs in a row thus show 2 N
    different pictures, where random flips show 1.5 N (Jordan 2024).
    """
    return (side.astype(jnp.int32) + epoch) % 2 == 1


def views(images: jax.Array, which: str = "flips and shifts") -> tuple[jax.Array, jax.Array]:
    """What to average the logits over: views [V, B, H, W, C] of `images`, and their weights [V].

    The image and its mirror image; half of the weight goes to both moved by a pixel up and left,
    and down and right (Jordan 2024).
    """
    ops.check_choice("views", which, ("plain", "flips", "flips and shifts"))
    moved = [images]
    weights = [1.0]
    if which == "flips and shifts":
        padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        moved += [padded[:, :-2, :-2], padded[:, 2:, 2:]]
        weights = [0.5, 0.25, 0.25]
    if which != "plain":
        moved += [view[:, :, ::-1] for view in moved]
        weights = [weight / 2 for weight in weights * 2]
    return jnp.stack(moved), jnp.array(weights)
