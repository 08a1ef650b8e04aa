"""The pictures of chapter 2: outputs and cost while it learns. Axes: T steps, B rows of the toy."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.common import figures as common
from zoo.common.figures import BLUE, GREY, INK, NORMAL, ORANGE, PALE, SMALL, page, plain


def legend_beside(figure: Figure, axes: Axes) -> None:
    """The legend of `axes` at the right of a whole figure."""
    options = {"fontsize": SMALL, "labelcolor": INK, "frameon": False}
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", **options)


def write_title(axes: Axes, text: str) -> None:
    """A small title, in which a dollar starts no formula."""
    axes.set_title(text, size=NORMAL, color=INK, pad=5, parse_math=False)


def _draw_outputs(axes: Axes, output: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> None:
    shades = {0: iter((ORANGE, common.YELLOW)), 1: iter((BLUE, common.SKY))}
    for column, (row, label) in enumerate(zip(inputs, labels, strict=True)):
        name = f"{' '.join(f'{x:g}' for x in row)}, wanted {label:g}"
        colour = next(shades[int(label)], GREY)
        style = "-" if colour in (ORANGE, BLUE) else "--"
        axes.plot(np.arange(1, len(output) + 1), output[:, column], style, color=colour, label=name)
    axes.set(xscale="log", xlim=(1, max(len(output), 2)))
    axes.set(ylim=(-0.03, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.grid(axis="y", color=PALE, linewidth=0.5)


@common.own_style
def training(
    output: np.ndarray, loss: np.ndarray, inputs: np.ndarray, labels: np.ndarray, caption: str = ""
) -> Figure:
    """The outputs [T, B] for the rows `inputs`, [B, F], with `labels` [B], and the loss [T]."""
    figure = page(9.0, 3.0, caption=caption)
    left, right = figure.subplots(1, 2)
    _draw_outputs(plain(left, "step", "output"), output, inputs, labels)
    legend_beside(figure, left)
    right.plot(np.arange(1, len(loss) + 1), loss, color=BLUE)
    right.set(xscale="log", yscale="log" if np.min(loss) > 0 else "linear")
    right.set_xlim(1, max(len(loss), 2))
    plain(right, "step", "cost").grid(axis="y", color=PALE, linewidth=0.5)
    return figure


@common.own_style
def programs(
    outputs: Mapping[str, np.ndarray], inputs: np.ndarray, labels: np.ndarray, caption: str = ""
) -> Figure:
    """The outputs [T, B] of several programs by name, side by side."""
    figure = page(10.5, 2.9, caption=caption)
    grid = figure.subplots(1, len(outputs), sharey=True, squeeze=False)[0]
    for axes, (name, output) in zip(grid, outputs.items(), strict=True):
        _draw_outputs(plain(axes, "step"), output, inputs, labels)
        write_title(axes, name)
    grid[0].set_ylabel("output")
    legend_beside(figure, grid[0])
    return figure
