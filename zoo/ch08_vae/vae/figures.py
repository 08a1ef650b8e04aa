"""The pictures of chapter 8: learning curves, strips and mosaics of images, codes, latent sizes.

Axes: N images of H x W pixels, grey or RGB; floats in [0, 1] or uint8.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from zoo.common import figures
from zoo.common.figures import INK, NORMAL, PALE, SMALL, check_images, page, plain

KEYS = ("epoch", "train_reconstruction", "train_kl", "test_reconstruction", "test_kl")
# Ten colours that stay apart on white, for the ten digits (Tol 2021, "muted", and grey).
DIGITS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#777777",
)


def learning_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """The negative ELBO and its two parts after each epoch, nats per image.

    Args:
        metrics: The lines of metrics.jsonl, each with the keys of `KEYS`.
        caption: What data these are.

    Raises:
        ValueError: When there is no line, or one lacks a key.
    """
    if not metrics:
        raise ValueError("got no lines of metrics, expected one for each epoch")
    for number, line in enumerate(metrics, 1):
        if missing := [key for key in KEYS if key not in line]:
            raise ValueError(f"line {number} of metrics lacks {missing}, expected {list(KEYS)}")
    epoch = [line["epoch"] for line in metrics]
    values = {key: np.array([line[key] for line in metrics], float) for key in KEYS[1:]}
    sets = ("train", "test")
    whole = {name: values[f"{name}_reconstruction"] + values[f"{name}_kl"] for name in sets}
    whole = {f"{name}, last {y[-1]:.2f}": y for name, y in whole.items()}
    figure = page(10.0, 3.2, caption=caption)
    left, middle, right = figure.subplots(1, 3)
    figures.draw_curves(left, whole, epoch, "epoch", "reconstruction + KL (nats)")
    for axes, part, label in ((middle, "reconstruction", "−log p(x | z)"), (right, "kl", "KL")):
        curves = {f"{n}, last {values[f'{n}_{part}'][-1]:.2f}": values[f"{n}_{part}"] for n in sets}
        figures.draw_curves(axes, curves, epoch, "epoch", f"{label} (nats)")
    return figure


def bits_curves(metrics: Sequence[Mapping[str, Any]], caption: str = "") -> Figure:
    """Bits per dimension after each epoch, `train_bits_per_dim` and `test_bits_per_dim`."""
    if not metrics:
        raise ValueError("got no lines of metrics, expected one for each epoch")
    series = {n: [line[f"{n}_bits_per_dim"] for line in metrics] for n in ("train", "test")}
    series = {f"{name}, last {y[-1]:.3f}": y for name, y in series.items()}
    epoch = [line["epoch"] for line in metrics]
    return figures.curves(series, epoch, "epoch", "bits per dimension", caption=caption)


def strips(rows: Mapping[str, Any], title: str = "", caption: str = "") -> Figure:
    """Rows of images with a name at the left of each.

    Args:
        rows: Images [N, H, W] or [N, H, W, 3] by name; a line break in a name is kept.
        title: Above all.
        caption: What data these are.

    Raises:
        ValueError: When there is no row, or the rows differ in shape.
    """
    checked = {name: check_images(images) for name, images in rows.items()}
    shapes = {images.shape for images in checked.values()}
    if len(shapes) != 1:
        raise ValueError(f"rows have the shapes {sorted(shapes)}, expected at least 1, all alike")
    count, height, width = next(iter(shapes))[:3]
    figure = page(max(0.62 * count + 1.1, 3.2), 0.62 * height / width * len(rows), title, caption)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(len(rows), 2, squeeze=False, width_ratios=[1.1, 0.62 * count])
    for (left, right), (name, images) in zip(grid, checked.items(), strict=True):
        left.set_axis_off()
        left.text(0.95, 0.5, name, ha="right", va="center", size=SMALL, color=INK, parse_math=False)
        white = 255 if images.dtype == np.uint8 else 1.0
        sides = ((0, 0), (0, 0), (1, 1), *[(0, 0)] * (images.ndim - 3))
        figures.draw_image(right, tiled(np.pad(images, sides, constant_values=white), count))
    return figure


def mosaic(
    images: Any, columns: int, title: str = "", caption: str = "", width: float = 5.2
) -> Figure:
    """Images edge to edge, row by row; the last row may be short.

    Raises:
        ValueError: When there are no images or no columns.
    """
    images = check_images(images)
    if columns < 1:
        raise ValueError(f"got {columns} columns, expected at least 1")
    whole = tiled(images, columns)
    figure = page(width, width * whole.shape[0] / whole.shape[1], title, caption)
    figure.get_layout_engine().set(w_pad=0, h_pad=0)
    figures.draw_image(figure.subplots(), whole)
    return figure


def tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """One image of all: [N, H, W, ...] gives [rows * H, columns * W, ...], black where none is."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    missing = np.zeros((rows * columns - len(images), *images.shape[1:]), images.dtype)
    grid = np.concatenate([images, missing]).reshape(rows, columns, *images.shape[1:])
    grid = np.moveaxis(grid, 2, 1)  # [rows, H, columns, W, ...]
    return grid.reshape(rows * images.shape[1], columns * images.shape[2], *images.shape[3:])


def scatter(codes: Any, labels: Any, caption: str = "") -> Figure:
    """Mean codes [N, 2] of images, coloured by their labels [N], integers 0 to 9.

    Raises:
        ValueError: When a shape or a label is not as above.
    """
    codes, labels = np.asarray(codes), np.asarray(labels)
    if codes.ndim != 2 or codes.shape[1] != 2 or labels.shape != codes.shape[:1]:
        got = f"codes of shape {codes.shape} and labels of shape {labels.shape}"
        raise ValueError(f"got {got}, expected (N, 2) and (N,)")
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}, expected 0 to 9")
    figure = page(5.6, 5.0, "Where the digits lie: mean codes of the test images", caption)
    axes = plain(figure.subplots(), "first latent", "second latent")
    for digit in range(10):
        own = codes[labels == digit]
        axes.scatter(*own.T, s=3, color=DIGITS[digit], alpha=0.6, linewidths=0, label=str(digit))
    for digit in sorted(set(labels.tolist())):
        middle = np.median(codes[labels == digit], axis=0)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": DIGITS[digit]}
        axes.text(*middle, str(digit), ha="center", va="center", size=NORMAL, color=INK, bbox=box)
    axes.axhline(0, color=PALE, linewidth=0.6, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.6, zorder=0)
    axes.set_aspect("equal", adjustable="datalim")
    return figure


def latent_sizes(results: Sequence[Mapping[str, float]], caption: str = "") -> Figure:
    """ELBO, reconstruction and KL (nats) by number of latents: means over seeds, bars from
    the least to the greatest.

    Args:
        results: One for each size and seed, with `latents`, `elbo`, `reconstruction` and `kl`.
        caption: What data these are.

    Raises:
        ValueError: When there are no results.
    """
    if not results:
        raise ValueError("got no results, expected one for each size and seed")
    sizes = sorted({int(r["latents"]) for r in results})
    figure = page(9.0, 3.0, caption=caption)
    for axes, name, label, colour in zip(
        figure.subplots(1, 3),
        ("elbo", "reconstruction", "kl"),
        ("ELBO (nats)", "−log p(x | z) (nats)", "KL (nats)"),
        (figures.BLUE, figures.ORANGE, figures.GREEN),
        strict=True,
    ):
        groups = [[r[name] for r in results if r["latents"] == size] for size in sizes]
        means = np.array([np.mean(g) for g in groups])
        spread = [means - [min(g) for g in groups], [max(g) for g in groups] - means]
        axes.errorbar(
            range(len(sizes)), means, spread, color=colour, marker="o", markersize=4, capsize=3
        )
        plain(axes, "latents", label)
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.grid(axis="y", color=PALE, linewidth=0.5)
        axes.margins(x=0.12, y=0.18)
        for place, mean in enumerate(means):
            axes.annotate(
                f"{mean:.1f}",
                (place, mean),
                (0, 8),
                textcoords="offset points",
                ha="center",
                size=SMALL,
                color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
    return figure
