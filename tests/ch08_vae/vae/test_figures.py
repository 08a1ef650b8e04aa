import subprocess
import sys

import numpy as np
import pytest

from zoo.ch08_vae.vae import figures


def metrics(epochs):
    keys = figures.KEYS[1:]
    return [
        {"epoch": e, **{key: 100.0 / e + n for n, key in enumerate(keys)}}
        for e in range(1, epochs + 1)
    ]


def test_learning_curves_show_both_parts_and_their_sum():
    drawn = figures.learning_curves(metrics(5), "made up")
    whole, reconstruction, kl = drawn.axes
    both = [line.get_ydata() for axes in (reconstruction, kl) for line in axes.lines]
    np.testing.assert_allclose(whole.lines[0].get_ydata(), both[0] + both[2])
    np.testing.assert_allclose(whole.lines[1].get_ydata(), both[1] + both[3])
    with pytest.raises(ValueError, match=r"line 1 of metrics lacks \['test_kl'\]"):
        figures.learning_curves([dict.fromkeys(figures.KEYS[:-1], 1)])


def test_tiles_are_laid_row_by_row_and_the_rest_is_black():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None] * np.ones((5, 2, 3), np.uint8)
    whole = figures.tiled(images, 3)
    assert whole.shape == (4, 9)
    np.testing.assert_array_equal(whole[::2, ::3], [[1, 2, 3], [4, 5, 0]])
    np.testing.assert_array_equal(whole[:2, :3], 1)
    assert figures.tiled(np.ones((2, 4, 4, 3)), 9).shape == (4, 8, 3)


def test_strips_have_a_name_and_all_images_in_each_row():
    rows = {"one\ntwo": np.zeros((3, 4, 5)), "other": np.full((3, 4, 5), 7, np.uint8)}
    axes = figures.strips(rows).axes
    assert [a.texts[0].get_text() for a in axes if a.texts] == list(rows)
    one, other = (a.images[0].get_array() for a in axes if a.images)
    assert one.shape == other.shape == (4, 3 * (1 + 5 + 1))
    np.testing.assert_array_equal(one[0, :9], [1, 0, 0, 0, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(other[0, :9], [255, 7, 7, 7, 7, 7, 255, 255, 7])
    with pytest.raises(ValueError, match="expected at least 1, all alike"):
        figures.strips({"a": np.zeros((3, 4, 4)), "b": np.zeros((2, 4, 4))})


def test_scatter_colours_each_digit_once_and_names_it():
    codes = np.random.default_rng(0).normal(size=(40, 2))
    labels = np.arange(40) % 10
    axes = figures.scatter(codes, labels).axes[0]
    for digit, points in enumerate(axes.collections):
        np.testing.assert_allclose(points.get_offsets(), codes[labels == digit])
    assert [t.get_text() for t in axes.texts] == list("0123456789")
    assert len({tuple(p.get_facecolor()[0]) for p in axes.collections}) == 10
    with pytest.raises(ValueError, match=r"expected \(N, 2\) and \(N,\)"):
        figures.scatter(codes[:, :1], labels)


def test_latent_sizes_are_means_over_seeds_with_their_range():
    results = [
        {"latents": size, "elbo": -100.0 + size + seed, "reconstruction": 1.0, "kl": 2.0}
        for size in (2, 20)
        for seed in (0, 2)
    ]
    axes = figures.latent_sizes(results).axes[0]
    assert [t.get_text() for t in axes.texts] == ["-97.0", "-79.0"]
    low, high = axes.collections[0].get_segments()[0][:, 1]
    assert (low, high) == (-98.0, -96.0)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["2", "20"]


def test_importing_the_chapter_loads_nothing_heavy():
    code = (
        "import sys, zoo.ch08_vae, zoo.ch08_vae.vae.commands;"
        "print([m for m in ('matplotlib', 'sklearn', 'PIL', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
