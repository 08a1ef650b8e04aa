import subprocess
import sys

import numpy as np

from zoo.ch08_vae.vae import figures


def test_scatter_colours_each_digit_once_and_names_it():
    codes = np.random.default_rng(0).normal(size=(40, 2))
    labels = np.arange(40) % 10
    axes = figures.scatter(codes, labels).axes[0]
    for digit, points in enumerate(axes.collections):
        np.testing.assert_allclose(points.get_offsets(), codes[labels == digit])
    assert [t.get_text() for t in axes.texts] == list("0123456789")
    assert len({tuple(p.get_facecolor()[0]) for p in axes.collections}) == 10


def test_importing_the_chapter_loads_nothing_heavy():
    code = (
        "import sys, zoo.ch08_vae, zoo.ch08_vae.vae.commands;"
        "print([m for m in ('matplotlib', 'sklearn', 'PIL', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
