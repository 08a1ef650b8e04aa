"""Digits as picture files: a user's own, read as MNIST's are made, and the book's, written."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from zoo.common.data import DataError


def read_digit(path: Path) -> tuple[np.ndarray, str]:
    """A picture of one digit as MNIST has them, uint8 [28, 28], and what was done to it.

    Where the border is brighter than the middle grey, the picture is dark ink on bright paper and
    its grey values are turned round. Then, as LeCun, Cortes and Burges made MNIST: the ink is cut
    out, scaled to fit into 20x20 pixels and laid into 28x28 with its centre of mass in the middle.
    A picture of 28x28 pixels, white on black, is one of MNIST's own and stays as it is.

    Raises:
      DataError: no such file, no picture that Pillow can read, or nothing on it.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(path) as image:
            upright = PIL.ImageOps.exif_transpose(image).convert("RGBA")
            paper = PIL.Image.new("RGBA", upright.size, "white")  # behind transparent parts
            grey = np.asarray(PIL.Image.alpha_composite(paper, upright).convert("L"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} can't be read as a picture ({error}): use a PNG, JPEG or another of Pillow's"
        ) from error
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    turned = np.median(border) > 127
    if turned:
        grey = 255 - grey
    elif grey.shape == (28, 28):
        return grey, "taken as it is"
    note = "dark on bright, turned round" if turned else "bright on dark"
    return _centre(path, grey), f"{note}, cut out, 20x20 in 28x28"


def _centre(path: Path, grey: np.ndarray) -> np.ndarray:
    """Bright ink on dark paper, fitted into 20x20 and centred by mass in 28x28."""
    import PIL.Image

    low, high = int(grey.min()), int(grey.max())
    if high - low < 32:
        raise DataError(
            f"{path} shows nothing: its grey values go from {low} to {high}, expected ink on paper"
        )
    ink = np.clip((grey.astype(np.float32) - low) * (255.0 / (high - low)), 0, 255)
    ink[ink < 64] = 0  # paper is never quite even
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    share = 20 / max(ink.shape)
    height, width = (max(1, round(share * side)) for side in ink.shape)
    small = PIL.Image.fromarray(ink.astype(np.uint8)).resize(
        (width, height), PIL.Image.Resampling.LANCZOS if share < 1 else PIL.Image.Resampling.BICUBIC
    )
    digit = np.asarray(small)
    weight = digit.sum(dtype=np.float64)
    mass = [(digit.sum(1 - axis) * (np.arange(n) + 0.5)).sum() / weight
            for axis, n in enumerate(digit.shape)]  # fmt: skip
    top, left = (
        int(np.clip(round(14 - centre), 0, 28 - side))
        for centre, side in zip(mass, digit.shape, strict=True)
    )
    page = np.zeros((28, 28), np.uint8)
    page[top : top + height, left : left + width] = digit
    return page


def write_digits(folder: Path, pictures: Iterable[tuple[str, np.ndarray]]) -> int:
    """Writes pictures, uint8 or float in [0, 1], as `folder/NAME.png`; gives their number.

    Pictures of an earlier call are removed first, so that what lies there is of one model.
    """
    import PIL.Image

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    count = 0
    for name, picture in pictures:
        if picture.dtype != np.uint8:
            picture = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
        PIL.Image.fromarray(picture).save(folder / f"{name}.png")
        count += 1
    return count
