import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch06_cnn.cnn import model as cnn
from zoo.ch06_cnn.speedrun import images, task


def patches_of(shown, patch):
    """All patches as rows, by loops, float64."""
    x = (np.asarray(shown, np.float64) / 255 - [0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616]
    last = 32 - patch + 1
    rows = [
        x[:, i : i + patch, j : j + patch].reshape(len(x), -1)
        for i in range(last)
        for j in range(last)
    ]
    return np.concatenate(rows)


@pytest.mark.parametrize("patch", [2, 3])
def test_whitening_is_the_inverse_root_of_the_patches_covariance(data, patch):
    shown = data["image"][:8]
    kernel = jax.jit(lambda x: images.whitening_kernel(cnn.scale_pixels(x), patch, epsilon=1e-3))(
        shown
    )
    size = 3 * patch**2
    filters = np.asarray(kernel, np.float64).reshape(size, 2 * size)
    np.testing.assert_array_equal(filters[:, size:], -filters[:, :size])
    rows = patches_of(shown, patch)
    covariance = rows.T @ rows / len(rows)
    values, vectors = np.linalg.eigh(covariance)
    # The sign of an eigenvector is free, so what is compared is W W' = (C + epsilon)^-1.
    got = filters[:, :size] @ filters[:, :size].T
    np.testing.assert_allclose(got, (vectors / (values + 1e-3)) @ vectors.T, rtol=2e-3, atol=2e-2)
    white = filters[:, :size].T @ covariance @ filters[:, :size]
    expected = values[::-1] / (values[::-1] + 1e-3)
    np.testing.assert_allclose(white, np.diag(expected), atol=2e-3)


def test_flips_alternate_epoch_by_epoch(config, data):
    sided = task.prepare(config, data)
    plain = data["image"]
    shown = []
    for epoch in range(3):
        which = images.alternating_flips(sided["side"], jnp.int32(epoch))
        shown.append(np.asarray(cnn.mirror(jnp.asarray(plain), which)))
    for n, image in enumerate(plain):
        turned = image[:, ::-1]
        first = turned if sided["side"][n] else image
        second = image if sided["side"][n] else turned
        np.testing.assert_array_equal(shown[0][n], first)
        np.testing.assert_array_equal(shown[1][n], second)
        np.testing.assert_array_equal(shown[2][n], first)
    assert 20 < sided["side"].sum() < 44


def test_views_are_the_image_its_mirror_image_and_their_shifts(data):
    shown = jnp.asarray(data["image"][:2])
    for which, count in (("plain", 1), ("flips", 2), ("flips and shifts", 6)):
        seen, weights = images.views(shown, which)
        assert seen.shape == (count, *shown.shape)
        np.testing.assert_allclose(weights.sum(), 1.0)
        expected = {1: [1.0], 2: [0.5, 0.5], 6: [0.25, 0.125, 0.125] * 2}[count]
        np.testing.assert_array_equal(weights, expected)
        np.testing.assert_array_equal(seen[0], shown)
        if count > 1:
            np.testing.assert_array_equal(seen[count // 2], shown[:, :, ::-1])
    np.testing.assert_array_equal(seen[1][:, 1:, 1:], shown[:, :-1, :-1])  # down and right
    np.testing.assert_array_equal(seen[2][:, :-1, :-1], shown[:, 1:, 1:])
    with pytest.raises(ValueError, match="got the views 'flip', expected one of plain, flips"):
        images.views(shown, "flip")
