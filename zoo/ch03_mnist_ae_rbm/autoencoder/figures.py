"""The pictures of the autoencoder: its error by epoch, rows of digits.

Axes: N images of 28x28 pixels, uint8 or float in [0, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from zoo.ch03_mnist_ae_rbm.feedforward.figures import columns, logarithmic
from zoo.common import figures
from zoo.common.figures import INK, NORMAL, ORANGE, page


def learning_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """Mean squared error of pixels in [0, 1] after each epoch, from the lines of metrics.jsonl.

    Raises:
        ValueError: When there is no line, or one lacks a key.
    """
    epoch, (train, test) = columns(metrics, ("train_mse", "test_mse"))
    series = {"train": train, f"test, last {test[-1]:.5f}": test}
    label = "mean squared error of pixels in [0, 1]"
    figure = figures.curves(series, epoch, "epoch", label, caption=caption)
    logarithmic(figure.axes[0])
    return figure


def strips(
    rows: Mapping[str, Any],
    title: str = "",
    caption: str = "",
    wrong: Mapping[str, Sequence[bool]] | None = None,
) -> Figure:
    """Rows of as many images each, named at the left; those marked in `wrong` have orange frames.

    Raises:
        ValueError: When there is no row, or they differ in length.
    """
    checked = {name: figures.check_images(images) for name, images in rows.items()}
    lengths = {len(images) for images in checked.values()}
    if len(lengths) != 1:
        raise ValueError(f"got rows of {sorted(lengths)} images, expected rows of one length")
    (count,) = lengths
    figure = page(0.62 * count + 1.4, 0.62 * len(checked), title, caption)
    engine = figure.get_layout_engine()
    _, bottom, _, height = engine.get()["rect"]
    rect = (0.01, bottom, 0.98, height)  # the names must not touch the edge
    engine.set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0, rect=rect)
    grid = figure.subplots(len(checked), count, squeeze=False)
    for line, (name, images) in zip(grid, checked.items(), strict=True):
        marks = (wrong or {}).get(name, [False] * count)
        for axes, image, mark in zip(line, images, marks, strict=True):
            figures.draw_image(axes, image)
            if mark:
                axes.set_axis_on()
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(color=ORANGE, linewidth=2)
        style = {"ha": "right", "va": "center", "size": NORMAL, "color": INK, "parse_math": False}
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, **style)
    return figure
