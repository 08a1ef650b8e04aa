"""The one reader of picture files, whatever they are, and what models make of them.

Every chapter and the server read pictures here, so the same pixels give the same answer everywhere:

* upright, as the EXIF tag says; the first frame or page of several;
* in sRGB: an embedded ICC profile is applied, one that is damaged or of other colours is not, and
  neither are PNG's gAMA, cHRM and cICP;
* transparent parts on white paper;
* 16 bits scaled to 8, floats taken from 0 to 1; integers of another range are refused.

What cannot be shown rightly in 8 bits is refused by a `DataError`; nothing else is raised, and
Pillow's warnings are not shown. Several pictures are answered each by itself, see `Answers`.
"""

import contextlib
import io
import sys
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from zoo.common.data import DataError, files

SIDE = 28
"""Rows and columns of MNIST's digits."""
REDUCED = 4
"""A JPEG is unpacked at a part of its size that is still so many times the one that is needed."""
DIGIT_SIDE = 1024
"""As many rows and columns of a JPEG are kept to look for a digit in."""
MAX_PIXELS = 1 << 27
"""A picture of more is refused before it is unpacked; the largest phones make 10^8 or so."""
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI"),
    *("SGI", "TGA", "TIFF", "WEBP"),
)
"""Pillow's names of the formats that are read; its others draw, start programs or are rare."""
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLES = 274, 258, 262, 339  # tags of TIFF and EXIF
_SAVE = "save it with 8 or 16 bits, without a sign"


class PixelsError(DataError):
    """A picture has more pixels than are read."""


def read(
    source: Path | str | bytes,
    mode: Literal["L", "RGB"] = "RGB",
    formats: Sequence[str] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    side: int | None = None,
) -> Any:
    """A file, or its bytes, as a `PIL.Image` of 8 bits, grey (`L`) or RGB.

    Args:
      source: the file.
      mode: grey or in colour.
      formats: those that are known, by Pillow's names.
      max_pixels: most that are unpacked.
      side: a JPEG may be unpacked at a half, a quarter or an eighth of its size, which takes a part
        of the time and memory, as long as it keeps so many rows and columns.

    Raises:
      PixelsError: more than `max_pixels`.
      DataError: no such file, no picture of these formats, or numbers without a known range.
    """
    import PIL.Image

    content = source if isinstance(source, bytes) else files.read_bytes(source)
    name = _name(source)
    known = _known(formats)
    try:
        with _opened(content, known) as file:
            if side is not None:
                file.draft(None, (side, side))  # of a JPEG; nothing else has this
            width, height = file.size
            if width * height > max_pixels:
                raise PixelsError(
                    f"{name} has {width} x {height} pixels, at most {max_pixels:,} are taken: use "
                    "a smaller one"
                )
            whole, raw = (0, 0, width, height), file.tile[0][3] if file.tile else ""
            boxes = {tile[1] or whole for tile in file.tile}
            _check_whole(file, boxes, len(content), name)
            file.load()
            image, alpha = _eight_bits(file, raw, name)
            if file.format == "GIF" and boxes and whole not in boxes:  # the frame is smaller
                (box,) = boxes
                inside = PIL.Image.new("L", file.size, 0)
                inside.paste(alpha.crop(box) if alpha else 255, box)
                alpha = inside
            return _upright(file, _as(mode, _on_paper(image, alpha)))
    except DataError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise PixelsError(
            f"{name} has more than {max_pixels:,} pixels: use a smaller one"
        ) from error
    except PIL.UnidentifiedImageError as error:
        raise DataError(
            f"{name} can't be read as a picture: it is none of {', '.join(known)}, or of a kind "
            "that Pillow does not know: save it as PNG or JPEG"
        ) from error
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise DataError(
            f"{name} can't be read as a picture ({str(error) or type(error).__name__}): it "
            "is damaged, or of a kind that Pillow does not know: save it as PNG or JPEG"
        ) from error


def _check_whole(file: Any, boxes: set[Any], size: int, name: str) -> None:
    """Refuses an opened file of `size` bytes whose boxes of pixels do not cover the picture."""
    width, height = file.size
    area = sum((right - left) * (low - top) for left, top, right, low in boxes)
    if file.format == "PNG":  # else a few bytes could claim any size: the rest is black
        area = min(area, size * 8 * 1032)  # of 1 bit, as zlib packs them at best
    if boxes and file.format != "GIF" and area < width * height:
        raise DataError(f"{name} is cut off: there are no pixels for a part of the picture")


def pixels(content: bytes, formats: Sequence[str] = FORMATS) -> int:
    """How many pixels a picture says that it has, by its header; 0 if it can't be read."""
    try:
        with _opened(content, _known(formats)) as file:
            width, height = file.size
    except Exception:  # `read` tells why
        return 0
    return width * height


def _known(formats: Sequence[str]) -> list[str]:
    """Those of the formats that this Pillow has; an older one has fewer."""
    import PIL.Image

    PIL.Image.init()
    return [kind for kind in formats if kind in PIL.Image.OPEN]


@contextlib.contextmanager
def _opened(content: bytes, known: list[str]) -> Iterator[Any]:
    """A picture of which the header alone has been read."""
    import PIL.Image

    with _quiet(), PIL.Image.open(io.BytesIO(content), formats=known) as file:
        yield file


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Pillow's warnings of broken tags and of sizes from the screen.

    Filters belong to the whole process, so that of several threads the main one alone sets them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


def _name(source: Path | str | bytes) -> str:
    return "the picture" if isinstance(source, bytes) else files.printable(source)


def _eight_bits(file: Any, raw: Any, name: str) -> tuple[Any, Any]:
    """The colours or greys of a loaded file, and how opaque they are or None.

    Args:
      file: as Pillow opened it.
      raw: how its pixels are stored.
      name: for errors.
    """
    import PIL.Image
    import PIL.ImageCms

    alpha, transparent = None, _transparent(file, raw, name)
    if file.mode == "F" or file.mode.startswith("I"):
        values = np.asarray(file)
        if transparent is not None:
            alpha = PIL.Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
        return _in_srgb(PIL.Image.fromarray(_scaled(values, file, name)), file), alpha
    if 2 in getattr(file, "tag_v2", {}).get(_SAMPLES, ()):  # Pillow would drop the signs
        raise DataError(f"{name} has integers with a sign, whose range is not known: {_SAVE}")
    if file.mode == "LAB":
        lab, srgb = PIL.ImageCms.createProfile("LAB"), PIL.ImageCms.createProfile("sRGB")
        return PIL.ImageCms.profileToProfile(file, lab, srgb, outputMode="RGB"), None
    image: PIL.Image.Image = file
    if file.has_transparency_data:
        if transparent is not None:
            file.info["transparency"] = transparent
        image = _as("LA" if file.mode in ("1", "L", "LA", "La") else "RGBA", file)
        alpha = image.getchannel("A")
    elif image.mode != "CMYK":
        image = _as("L" if file.mode in ("1", "L") else "RGB", file)
    return _in_srgb(image, file), alpha


def _as(mode: str, image: Any) -> Any:
    return image if image.mode == mode else image.convert(mode)  # which would copy it


def _transparent(file: Any, raw: Any, name: str) -> Any:
    """The grey or colour of a PNG that is transparent, or None.

    It has the depth of the file's pixels, which Pillow may have brought to 8 bits without it.
    """
    value = file.info.get("transparency")
    if file.format != "PNG" or not isinstance(value, int | tuple) or file.mode == "P":
        return None
    if raw == "RGB;16B":
        raise DataError(f"{name} makes a colour of 16 bits transparent: save it with 8 bits")
    if file.mode == "I;16":
        return value
    top = {"1": 1, "L;2": 3, "L;4": 15}.get(raw, 255)
    return tuple(v & top for v in value) if isinstance(value, tuple) else (value & top) * 255 // top


def _scaled(values: np.ndarray, file: Any, name: str) -> np.ndarray:
    """Grey values of 12 or 16 bits, or floats in [0, 1], as uint8."""
    tags = getattr(file, "tag_v2", {})  # of TIFF
    low, high = values.min(), values.max()
    if file.mode == "F":
        if not 0 <= low <= high <= 1:  # false for NaN, too
            raise DataError(f"{name} has float values from {low:g} to {high:g}, expected 0 to 1")
        grey = np.rint(255 * values).astype(np.uint8)
    else:
        # The mode does not tell: of 16 bits, PGM's are opened as 32, and TIFF's of 12 as 16.
        bits = 16 if file.mode.startswith("I;16") or file.format == "PPM" else 32
        (bits,), signed = tags.get(_BITS, (bits,)), 2 in tags.get(_SAMPLES, ())
        if bits > 16 or signed or low < 0 or high >= 2**bits:
            raise DataError(
                f"{name} has integers of {bits} bits{' with a sign' * signed}, {low} to {high}, "
                f"whose range is not known: {_SAVE}"
            )
        # By a table: numbers in between would take eight times the memory.
        grey = np.rint(np.linspace(0, 255, 2**bits)).astype(np.uint8)[values]
    return 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey  # Pillow inverts those of 8 bits


def _in_srgb(image: Any, file: Any) -> Any:
    """The picture with the file's ICC profile applied, if it has one for such colours."""
    import PIL.ImageCms

    if profile := file.info.get("icc_profile"):
        with contextlib.suppress(Exception):  # what is damaged says nothing about the colours
            given = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = PIL.ImageCms.createProfile("sRGB")
            colours = _as(image.mode.removesuffix("A"), image)
            return PIL.ImageCms.profileToProfile(colours, given, srgb, outputMode="RGB")
    return image


def _on_paper(image: Any, alpha: Any) -> Any:
    import PIL.Image

    if alpha is None:
        return image
    paper = PIL.Image.new(image.mode.removesuffix("A"), image.size, "white")
    paper.paste(image, mask=alpha)
    return paper


def _upright(file: Any, image: Any) -> Any:
    """The picture turned as the file's EXIF tag says, whatever is wrong with its other tags."""
    import PIL.Image

    way = PIL.Image.Transpose
    turns = {2: way.FLIP_LEFT_RIGHT, 3: way.ROTATE_180, 4: way.FLIP_TOP_BOTTOM, 5: way.TRANSPOSE}
    turns |= {6: way.ROTATE_270, 7: way.TRANSVERSE, 8: way.ROTATE_90}
    with contextlib.suppress(Exception):  # a broken tag can raise anything; the pixels are fine
        return image.transpose(turns[file.getexif()[_ORIENTATION]])
    return image


def read_square(
    path: Path | str | bytes, size: int, mode: Literal["L", "RGB"] = "RGB", **limits: Any
) -> np.ndarray:
    """The middle square of a picture, shrunk: uint8 [size, size, 3], or [size, size] if grey.

    Args:
      path: the file, or its bytes.
      size: rows and columns.
      mode: grey or in colour.
      **limits: `formats` and `max_pixels`, as `read` takes them.

    Raises:
      DataError: as `read`.
    """
    return square(read(path, mode, side=REDUCED * size, **limits), size, mode)


def square(image: Any, size: int, mode: Literal["L", "RGB"] = "RGB") -> np.ndarray:
    """As `read_square`, of a `PIL.Image` of 8 bits."""
    import PIL.Image
    import PIL.ImageOps

    image = _as(mode, image)
    if image.size != (size, size):
        image = PIL.ImageOps.fit(image, (size, size), PIL.Image.Resampling.LANCZOS)
    return np.asarray(image)


def read_digit(path: Path | str | bytes, **limits: Any) -> tuple[np.ndarray, str]:
    """A picture of one digit as MNIST has them, uint8 [28, 28], and what was done to it.

    Where the border is brighter than the middle grey, the picture is dark ink on bright paper and
    its grey values are inverted. Then, as LeCun, Cortes and Burges made MNIST: the ink is cut out,
    scaled to fit into 20x20 pixels and laid into 28x28 with its centre of mass in the middle. A
    picture of 28x28 pixels, white on black, is one of MNIST's own and stays as it is.

    Args:
      path: the file, or its bytes.
      **limits: `formats` and `max_pixels`, as `read` takes them.

    Raises:
      DataError: as `read`, or the picture is blank.
    """
    grey = np.asarray(read(path, "L", side=DIGIT_SIDE, **limits))
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    inverted = np.median(border) > 127
    if inverted:
        grey = 255 - grey
    elif grey.shape == (SIDE, SIDE):
        return grey, "taken as it is"
    note = "dark on bright, inverted" if inverted else "bright on dark"
    return _centre(_name(path), grey), f"{note}, cut out, 20x20 in 28x28"


def read_for(
    path: Path | str | bytes, shape: tuple[int, ...], own: bool = False, **limits: Any
) -> np.ndarray:
    """A picture as a model of pictures of `shape` takes it, uint8: [S, S] or [S, S, 3].

    The middle square in grey or colour; for [28, 28] a digit, brought to MNIST's form.

    Args:
      path: the file, or its bytes.
      shape: of the picture.
      own: whether the model was trained on a user's own pictures, which are shrunk alone.
      **limits: `formats` and `max_pixels`, as `read` takes them.

    Raises:
      DataError: as `read`, or a digit is blank.
    """
    if shape == (SIDE, SIDE) and not own:
        return read_digit(path, **limits)[0]
    return read_square(path, shape[0], "RGB" if len(shape) == 3 else "L", **limits)


def grey_reader(config: Any) -> Callable[[Path], tuple[np.ndarray, str]]:
    """What makes a picture file an image for a network of grey ones, and a note of how.

    Digits are brought to MNIST's form, see `read_digit`. For a network that was trained on a user's
    own pictures (`config.images`) the middle square is shrunk to `config.size`.
    """
    if not config.images:
        return read_digit
    note = f"the middle square in {config.size}x{config.size}"
    return lambda path: (read_square(path, config.size, "L"), note)


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
    if not digit.any():
        raise DataError(f"{name} is blank in 20x20 pixels: its ink is dots, expected a digit")
    corner = []
    for axis, side in enumerate(digit.shape):
        centre = (digit.sum(1 - axis) * (np.arange(side) + 0.5)).sum() / digit.sum(dtype=np.float64)
        corner.append(int(np.clip(round(SIDE / 2 - centre), 0, SIDE - side)))
    top, left = corner
    page = np.zeros((SIDE, SIDE), np.uint8)
    page[top : top + height, left : left + width] = digit
    return page


def names(paths: Sequence[Path]) -> list[str]:
    """A name for what is written of each picture: its file's, with folders where that is taken.

    They are distinct on every file system, whatever letters and case it knows, and not too long.
    """
    stems = [(*path.parts[:-1], path.stem) for path in paths]
    for rows in (stems, [path.parts for path in paths]):  # 0.png and 0.jpg differ by the suffix
        for depth in range(1, 1 + max(map(len, rows), default=0)):
            made = [_plain("-".join(row[-depth:])) for row in rows]
            if len({unicodedata.normalize("NFKC", name).casefold() for name in made}) == len(made):
                return made
    return [f"{number}-{_plain(row[-1])}" for number, row in enumerate(stems, 1)]


def _plain(name: str) -> str:
    """A name without what some file system refuses: at most 100 bytes, the last ones."""
    kept = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in name)
    return kept.encode()[-100:].decode(errors="ignore").lstrip(". ") or "picture"


class Read(NamedTuple):
    """A picture that could be read."""

    path: Path
    name: str  # for what is written of it
    content: Any


class Answers:
    """The answers for several pictures: each gets its own, whatever is wrong with the others. ::

        answers = Answers(paths)
        for picture in answers.read(read_digit):
            with answers.one():
                ...
        answers.end()

    What is wrong with one of several is printed to the standard error, and told again at the end
    by a `DataError`; what is wrong with the only one is raised at once.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths, self.failed = paths, False

    def read(self, function: Callable[[Path], Any]) -> list[Read]:
        """What a function makes of each file that it can read.

        Raises:
          DataError: it can read none.
        """
        found = []
        for path, name in zip(self.paths, names(self.paths), strict=True):
            with self.one():
                found.append(Read(path, name, function(path)))
        if not found:
            self.end()
        return found

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Prints what goes wrong with one picture and goes on after the block."""
        try:
            yield
        except (DataError, OSError) as error:
            if len(self.paths) == 1:
                raise
            print(f"error: {files.printable(str(error))}", file=sys.stderr)
            self.failed = True

    def end(self) -> None:
        """Raises a `DataError` if there is a picture without an answer."""
        if self.failed:
            count = len(self.paths)
            raise DataError(f"not all of {count} pictures got their answer, for the reasons above")
