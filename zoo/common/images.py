"""The one reader of picture files, whatever they are, and what models make of them.

Every chapter and the server read pictures here, so the same pixels give the same answer everywhere:
upright as the EXIF tag says, the first frame of an animation, transparent parts on white, 16 bits
scaled to 8, floats taken from 0 to 1. What cannot be shown rightly in 8 bits is refused.
"""

import io
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.common.data import DataError

SIDE = 28
"""Rows and columns of MNIST's digits."""


def read(source: Path | str | bytes, mode: Literal["L", "RGB"] = "RGB", name: str = "") -> Any:
    """A file, or its bytes, as a `PIL.Image` of 8 bits, grey (`L`) or RGB.

    Errors call it by `name`, or by its path.

    Raises:
      DataError: no such file, no picture that Pillow can read, or numbers without a known range.
    """
    import PIL.Image
    import PIL.ImageOps

    name = name or _name(source)
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with PIL.Image.open(opened) as file:
            file.load()
            # Pillow opens 16-bit PNG and PGM files as 32-bit integers, too. Only the opened file
            # tells: a turned picture has forgotten its format.
            bits = getattr(file, "tag_v2", {}).get(258)
            sixteen = file.format in ("PNG", "PPM") or bits == (16,)
            image: PIL.Image.Image = file
            with suppress(Exception):  # a broken tag can raise anything; the pixels are fine
                image = PIL.ImageOps.exif_transpose(file)
            return _eight_bits(image, name, sixteen).convert(mode)
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file") from error
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, RuntimeError, PIL.Image.DecompressionBombError) as e:
        raise DataError(
            f"{name} can't be read as a picture ({e}): use a PNG, JPEG or another of Pillow's"
        ) from e


def _name(source: Path | str | bytes) -> str:
    return "the picture" if isinstance(source, bytes) else str(source)


def _eight_bits(image: Any, name: str, sixteen: bool) -> Any:
    """The picture as one of Pillow's grey or RGB modes of 8 bits, without transparency."""
    import PIL.Image
    import PIL.ImageCms

    if image.mode == "F" or image.mode.startswith("I"):
        return PIL.Image.fromarray(_scaled(image, name, sixteen))
    if image.mode == "LAB":
        lab, srgb = PIL.ImageCms.createProfile("LAB"), PIL.ImageCms.createProfile("sRGB")
        return PIL.ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = PIL.Image.new("RGBA", image.size, "white")
        return PIL.Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _scaled(image: Any, name: str, sixteen: bool) -> np.ndarray:
    """Grey values of 16 bits or floats in [0, 1] as uint8."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not 0 <= low <= high <= 1:  # false for NaN, too
            raise DataError(f"{name} has float values from {low:g} to {high:g}, expected 0 to 1")
        return np.rint(255.0 * values).astype(np.uint8)
    if not (sixteen or image.mode.startswith("I;16")) or low < 0 or high > 65535:
        raise DataError(
            f"{name} has integers of 32 bits, {low} to {high}, whose range is not known: save it "
            "with 8 or 16 bits"
        )
    return np.rint(values / 257.0).astype(np.uint8)


def read_square(
    path: Path | str | bytes, size: int, mode: Literal["L", "RGB"] = "RGB"
) -> np.ndarray:
    """The middle square of a picture, shrunk: uint8 [size, size, 3], or [size, size] if grey.

    Raises:
      DataError: as `read`.
    """
    import PIL.Image
    import PIL.ImageOps

    image = read(path, mode)
    return np.asarray(PIL.ImageOps.fit(image, (size, size), PIL.Image.Resampling.LANCZOS))


def read_digit(path: Path | str | bytes) -> tuple[np.ndarray, str]:
    """A picture of one digit as MNIST has them, uint8 [28, 28], and what was done to it.

    Where the border is brighter than the middle grey, the picture is dark ink on bright paper and
    its grey values are inverted. Then, as LeCun, Cortes and Burges made MNIST: the ink is cut out,
    scaled to fit into 20x20 pixels and laid into 28x28 with its centre of mass in the middle. A
    picture of 28x28 pixels, white on black, is one of MNIST's own and stays as it is.

    Raises:
      DataError: as `read`, or the picture is blank.
    """
    grey = np.asarray(read(path, "L"))
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    inverted = np.median(border) > 127
    if inverted:
        grey = 255 - grey
    elif grey.shape == (SIDE, SIDE):
        return grey, "taken as it is"
    note = "dark on bright, inverted" if inverted else "bright on dark"
    return _centre(_name(path), grey), f"{note}, cut out, 20x20 in 28x28"


def _centre(name: str, grey: np.ndarray) -> np.ndarray:
    """Bright ink on dark paper, fitted into 20x20 and centred by mass in 28x28."""
    import PIL.Image

    low, high = int(grey.min()), int(grey.max())
    if high - low < 32:
        raise DataError(
            f"{name} is blank: its grey values go from {low} to {high}, expected ink on paper"
        )
    ink = np.clip((grey.astype(np.float32) - low) * (255.0 / (high - low)), 0, 255)
    ink[ink < 64] = 0  # paper is never quite even
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    share = 20 / max(ink.shape)
    height, width = (max(1, round(share * side)) for side in ink.shape)
    filters = PIL.Image.Resampling
    image = PIL.Image.fromarray(ink.astype(np.uint8))
    image = image.resize((width, height), filters.LANCZOS if share < 1 else filters.BICUBIC)
    digit = np.asarray(image)
    corner = []
    for axis, side in enumerate(digit.shape):
        centre = (digit.sum(1 - axis) * (np.arange(side) + 0.5)).sum() / digit.sum(dtype=np.float64)
        corner.append(int(np.clip(round(SIDE / 2 - centre), 0, SIDE - side)))
    top, left = corner
    page = np.zeros((SIDE, SIDE), np.uint8)
    page[top : top + height, left : left + width] = digit
    return page
