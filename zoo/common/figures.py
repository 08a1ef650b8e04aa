"""Pictures that several chapters draw: a grid of images, curves, a confusion matrix.

Each function takes arrays and returns a `matplotlib.figure.Figure` that stands alone: no pyplot,
no window, and matplotlib's own settings whatever a user has chosen (`own_style`). A figure ends
with its caption, which says what data it shows.
Axes: N images, H rows, W columns, C channels, K classes.
"""

import contextlib
import io
import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from zoo.common.data import files
from zoo.common.scope import within

# Okabe & Ito, "Color Universal Design", 2008: told apart by the colour-blind as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BLUE, ORANGE, GREEN, _, YELLOW, SKY = COLOURS
INK, GREY, PALE = "#222222", "#666666", "#BBBBBB"
DPI = 150
LARGE, NORMAL, SMALL = 11, 9, 8  # points
_MARKERS, _LINES = "os^Dvp", ("-", "--", "-.", ":")
_CAPTION_LINE, _TITLE, _MARGIN = 0.16, 0.3, 0.06  # inches


@contextlib.contextmanager
def _defaults() -> Iterator[None]:
    """Matplotlib's own settings, whatever a matplotlibrc or a notebook has chosen."""
    kept = {"backend", "backend_fallback", "interactive"}  # they concern windows alone
    chosen = {n: v for n, v in matplotlib.rcParamsDefault.items() if n not in kept}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        with matplotlib.rc_context(chosen):
            yield


own_style = within(_defaults)
"""A decorator for functions that draw: they do so in matplotlib's own settings."""


@own_style
def page(
    width: float, height: float, title: str = "", caption: str = "", pad: float | None = None
) -> Figure:
    """An empty white figure with `height` inches for a drawing, a title and a caption.

    Texts are shown as they are: a `$` starts no formula. Long captions are wrapped. With `pad`,
    drawings have so many inches around each, and nothing else between them.
    """
    lines = textwrap.wrap(caption, int(width * 15.5))
    band = (len(lines) + 0.6) * _CAPTION_LINE if lines else 0.0
    whole = band + height + (_TITLE if title else _MARGIN)
    layout = ConstrainedLayoutEngine(rect=(0, band / whole, 1, height / whole), w_pad=0.06)
    if pad is not None:
        layout.set(w_pad=pad, h_pad=pad, wspace=0, hspace=0)
    figure = Figure((width, whole), dpi=DPI, facecolor="white", layout=layout)
    if title:
        y = 1 - _MARGIN / whole
        figure.suptitle(title, y=y, size=LARGE, color=INK, parse_math=False)
    if lines:
        y = 0.4 * _CAPTION_LINE / whole
        text = figure.text(0.08 / width, y, "\n".join(lines), size=SMALL, color=GREY, va="bottom")
        text.set_parse_math(False)
        text.set_in_layout(False)  # its place is kept free by `layout` already
    return figure


def plain(axes: Axes, xlabel: str = "", ylabel: str = "") -> Axes:
    """The same labels, ticks and frame on all axes: two spines, small dark text."""
    axes.set_facecolor("white")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=NORMAL, color=GREY, labelcolor=INK)
    axes.set_xlabel(xlabel, size=NORMAL, color=INK, parse_math=False)
    axes.set_ylabel(ylabel, size=NORMAL, color=INK, parse_math=False)
    return axes


def draw_image(
    axes: Axes, image: np.ndarray, title: str = "", colour: str = INK, size: float = SMALL
) -> None:
    """One image of `check_images`, its pixels as squares, without ticks."""
    top = 255 if image.dtype == np.uint8 else 1.0  # whatever it holds: a dark image stays dark
    grey = image[..., 0] if image.shape[2:] == (1,) else image
    axes.imshow(grey, cmap="gray", vmin=0, vmax=top, interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title, size=size, color=colour, pad=3, parse_math=False)


def draw_curves(
    axes: Axes, series: Mapping[str, ArrayLike], x: ArrayLike, xlabel: str, ylabel: str
) -> None:
    """Named curves over `x`; markers as long as the points stay apart, so that one point shows."""
    points = np.asarray(x)
    for i, (name, y) in enumerate(series.items()):
        axes.plot(
            points,
            np.asarray(y, float),
            label=name,
            color=COLOURS[i % len(COLOURS)],
            linestyle=_LINES[i % len(_LINES)] if points.size > 1 else "",
            linewidth=1.6,
            marker=_MARKERS[i % len(_MARKERS)] if points.size <= 40 else "",
            markersize=6 if points.size == 1 else 4,
        )
    if np.issubdtype(points.dtype, np.integer):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if points.size == 1:
        axes.set_xlim(points[0] - 1, points[0] + 1)
        axes.set_xticks(points)
    plain(axes, xlabel, ylabel)
    axes.grid(axis="y", color=PALE, linewidth=0.5)
    # Among single points the legend's own markers would look like two more: it stands above.
    above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2} if points.size == 1 else {}
    options = {"fontsize": NORMAL, "labelcolor": INK, "handlelength": 2.8, "facecolor": "white"}
    legend = axes.legend(**options, **above)
    legend.get_frame().set(edgecolor="none", alpha=0.9)
    for text in legend.get_texts():
        text.set_parse_math(False)


@own_style
def image_grid(
    images: Any, titles: Sequence[str] | None = None, columns: int = 10, caption: str = ""
) -> Figure:
    """Images side by side, at most `columns` in a row, with a line or more above each.

    They are uint8, or float in [0, 1]; [N, H, W] and [N, H, W, 1] are grey, [N, H, W, 3] RGB.

    Raises:
        ValueError: When the images are not as above.
    """
    images = check_images(images)
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    titles = [""] * len(images) if titles is None else titles
    lines = max(title.count("\n") + bool(title) for title in titles)
    tile = 0.95 * images.shape[1] / images.shape[2] + 0.16 * lines
    figure = page(max(columns * 0.95, 3.0), rows * tile, caption=caption, pad=0.03)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, title in zip(grid, images, titles, strict=False):  # the last row may be short
        draw_image(axes, image, title)
    return figure


@own_style
def curves(
    series: Mapping[str, ArrayLike],
    x: ArrayLike,
    xlabel: str,
    ylabel: str,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Named curves over the same `x`, for example {"train": [...], "test": [...]} by epoch."""
    figure = page(5.5, 3.6, title, caption)
    draw_curves(figure.subplots(), series, x, xlabel, ylabel)
    return figure


@own_style
def training_curves(
    metrics: Sequence[Mapping[str, Any]],
    panels: Mapping[str, str],
    caption: str = "",
    levels: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """What was measured after each epoch, in training and in tests, a panel for each metric.

    Args:
        metrics: The lines of metrics.jsonl; where there is no `test_NAME`, there is no such curve.
        panels: The label of the axis by the metric's name: {"loss": "loss (nats)"}. Accuracies are
            drawn in percent.
        caption: What data these are.
        levels: Values to compare with, by metric and name; each is a dotted line.

    Raises:
        ValueError: When there is no line.
    """
    if not metrics:
        raise ValueError("got no lines of metrics, expected one for each epoch")
    epoch = [line["epoch"] for line in metrics]
    figure = page(max(5.5, 3.6 * len(panels)), 3.4, caption=caption)
    drawn = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (part, label) in zip(drawn, panels.items(), strict=True):
        share = part.endswith("accuracy")
        series = {}
        for name in ("train", "test"):
            key = f"{name}_{part}"
            if name == "test" and key not in metrics[0]:
                continue
            values = [(100 if share else 1) * line[key] for line in metrics]
            series[f"{name}, last {values[-1]:.4g}{' %' if share else ''}"] = values
        draw_curves(axes, series, epoch, "epoch", label)
        for name, level in (levels or {}).get(part, {}).items():
            axes.axhline(level, color=GREY, linewidth=1, linestyle=":")
            place = {"ha": "right", "va": "bottom", "size": SMALL, "color": GREY}
            axes.text(epoch[-1], level, f"{name} {level:.4g}", **place)
    return figure


def logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "25" else "")
    axes.tick_params(which="minor", labelsize=NORMAL, labelcolor=INK)


@own_style
def strips(
    rows: Mapping[str, Any],
    title: str = "",
    caption: str = "",
    wrong: Mapping[str, Sequence[bool]] | None = None,
) -> Figure:
    """Rows of images with a name at the left of each.

    Args:
        rows: Images [N, H, W] or [N, H, W, 3] by name; a line break in a name is kept.
        title: Above all.
        caption: What data these are.
        wrong: Which images of a row get an orange frame, by name.

    Raises:
        ValueError: When there is no row, or the rows differ in shape.
    """
    checked = {name: check_images(images) for name, images in rows.items()}
    shapes = {images.shape for images in checked.values()}
    if len(shapes) != 1:
        raise ValueError(f"rows have the shapes {sorted(shapes)}, expected at least 1, all alike")
    count, height, width = next(iter(shapes))[:3]
    size = max(0.62 * count + 1.1, 3.2), 0.62 * height / width * len(rows)
    figure = page(*size, title, caption, pad=0.02)
    grid = figure.subplots(len(rows), 2, squeeze=False, width_ratios=[1.1, 0.62 * count])
    for (left, right), (name, images) in zip(grid, checked.items(), strict=True):
        left.set_axis_off()
        left.text(0.95, 0.5, name, ha="right", va="center", size=SMALL, color=INK, parse_math=False)
        white = 255 if images.dtype == np.uint8 else 1.0
        sides = ((0, 0), (0, 0), (1, 1), *[(0, 0)] * (images.ndim - 3))
        draw_image(right, tiled(np.pad(images, sides, constant_values=white), count))
        for place in np.flatnonzero((wrong or {}).get(name, ())):
            corner = (place * (width + 2) - 0.5, -0.5)
            frame = Rectangle(corner, width + 2, height, fill=False, color=ORANGE, linewidth=2)
            right.add_patch(frame)
    return figure


@own_style
def mosaic(
    images: Any, columns: int, title: str = "", caption: str = "", width: float = 5.2
) -> Figure:
    """Images edge to edge, row by row; the last row may be short.

    Raises:
        ValueError: When they are no images.
    """
    whole = tiled(check_images(images), columns)
    figure = page(width, width * whole.shape[0] / whole.shape[1], title, caption, pad=0)
    draw_image(figure.subplots(), whole)
    return figure


def tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """One image of all: [N, H, W, ...] gives [rows * H, columns * W, ...], black where none is."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    missing = np.zeros((rows * columns - len(images), *images.shape[1:]), images.dtype)
    grid = np.concatenate([images, missing]).reshape(rows, columns, *images.shape[1:])
    grid = np.moveaxis(grid, 2, 1)  # [rows, H, columns, W, ...]
    return grid.reshape(rows * images.shape[1], columns * images.shape[2], *images.shape[3:])


@own_style
def confusion(labels: Any, predictions: Any, classes: Sequence[str], caption: str = "") -> Figure:
    """The confusion matrix of true labels [N] and predicted labels [N], integers."""
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    return confusion_matrix(counts, classes, caption)


@own_style
def confusion_matrix(counts: Any, classes: Sequence[str], caption: str = "") -> Figure:
    """How often each true class (row) was called which class (column), whole numbers [K, K].

    The colour is the share of the row.
    """
    counts, size = np.asarray(counts), len(classes)
    total, right = int(counts.sum()), int(np.trace(counts))
    title = f"accuracy {100 * right / max(total, 1):.1f} % ({right:,} of {total:,})"
    figure = page(0.52 * size + 2.3, 0.42 * size + 1.3, title, caption)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    plain(axes, "predicted class", "true class").spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(range(size), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), classes)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    for (row, column), count in np.ndenumerate(counts):
        # Dark letters can't be read on the darker blues.
        colour = "white" if shares[row, column] > 0.55 else INK if count else GREY
        axes.text(column, row, f"{count:,}", ha="center", va="center", size=SMALL, color=colour)
    bar = figure.colorbar(image, ax=axes, format=lambda share, _: f"{100 * share:.0f}", pad=0.02)
    bar.set_label("share of the true class (%)", size=NORMAL, color=INK)
    bar.ax.tick_params(labelsize=NORMAL, color=GREY, labelcolor=INK)
    bar.outline.set_visible(False)
    return figure


@own_style
def save(figure: Figure, path: Path | str) -> Path:
    """Write a figure as PNG of 150 dpi and return its path; the file appears whole or not at all.

    Raises:
        ValueError: When the name does not end in .png.
        OSError: When the file cannot be written; it names `path`.
    """
    content = io.BytesIO()  # so that a figure that can't be drawn leaves no file
    path = _named(path, ".png")
    figure.savefig(content, format="png", dpi=DPI)
    return _write(path, content.getvalue())


@own_style
def animate(
    figures: Iterable[Figure], path: Path | str, seconds: float = 0.1, hold: float = 1.5
) -> Path:
    """Write figures of one size as an animated GIF that starts again and again; return its path.

    Each frame stays for `seconds`, the last one for `hold`. An iterator of figures keeps only one
    of them in memory; the file appears whole or not at all.

    Raises:
        ValueError: When there is no figure, their sizes differ, or the name is another.
        OSError: When the file cannot be written; it names `path`.
    """
    from PIL import Image

    path = _named(path, ".gif")
    frames = []
    for figure in figures:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        # Its own palette for each frame, without dither: flat areas stay flat.
        frame = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        frames.append(frame.quantize(128, dither=Image.Dither.NONE))
    sizes = {frame.size for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"got frames of sizes {sorted(sizes)}, expected at least 1, of one size")
    times = [round(1000 * seconds)] * (len(frames) - 1) + [round(1000 * hold)]
    content = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "duration": times, "loop": 0}
    frames[0].save(content, format="GIF", **options)
    return _write(path, content.getvalue())


def _named(path: Path | str, suffix: str) -> Path:
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise ValueError(f"got the name {path}, expected one that ends in {suffix}")
    return path


def _write(path: Path, content: bytes) -> Path:
    try:
        files.write_bytes(path, content)
    except OSError as error:
        reason = f"the figure cannot be saved: {error.strerror or error}"
        raise OSError(error.errno, reason, str(path)) from error
    return path


def check_images(images: Any) -> np.ndarray:
    """`images` as an array, or a `ValueError` that says what `image_grid` expects of them."""
    images = np.asarray(images)
    if images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)) or not images.size:
        raise ValueError(
            f"images have shape {images.shape}, expected (N, H, W) or (N, H, W, 1 or 3)"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images are {images.dtype}, expected uint8, or float in [0, 1]")
    if not (images.min() >= 0 and images.max() <= 1):
        got = f"from {images.min():g} to {images.max():g}"
        raise ValueError(f"float images go {got}, expected 0 to 1")
    return images
