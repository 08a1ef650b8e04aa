"""Pictures of every kind that Pillow opens: read rightly in 8 bits, or refused by name."""

import io

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from zoo.common import images
from zoo.common.data import DataError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 5, 3), np.uint8)
GREY = COLOURS[..., 0]
ORIENTATION, ARTIST = 0x0112, 0x013B


def encode(picture, kind, **options):
    """The bytes of a file, from pixels or a `PIL.Image`."""
    if isinstance(picture, np.ndarray):
        picture = PIL.Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def read(content, mode="RGB"):
    return np.asarray(images.read(content, mode))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "WEBP"])
def test_equal_pixels_are_equal_arrays_whatever_the_format(kind, tmp_path):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(COLOURS, kind, **options)
    np.testing.assert_array_equal(read(content), COLOURS)
    path = tmp_path / "picture"
    path.write_bytes(content)
    for source in (path, str(path)):
        np.testing.assert_array_equal(read(source), COLOURS)
    if kind != "WEBP":  # which has no grey
        content = encode(GREY, kind)
        np.testing.assert_array_equal(read(content, "L"), GREY)
        np.testing.assert_array_equal(read(content), GREY[..., None].repeat(3, -1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_to_8(kind):
    content = encode(GREY.astype(np.uint16) * 257, kind)
    np.testing.assert_array_equal(read(content, "L"), GREY)
    between = encode(np.full((2, 2), 257 * 100 + 128, np.uint16), kind)
    assert (read(between) == 100).all()


@pytest.mark.parametrize("orientation", [None, 1, 6])
@pytest.mark.parametrize("values", [(0, 255), (0, 65_535), (0, 2**20), (-1, 9)])
def test_integers_of_32_bits_have_no_known_range(values, orientation):
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    low, high = values
    content = encode(np.array([values], np.int32), "TIFF", exif=exif)
    with pytest.raises(DataError, match=f"integers of 32 bits, {low} to {high}, whose range"):
        read(content)


def test_floats_go_from_0_to_1():
    content = encode((GREY / 255).astype(np.float32), "TIFF")
    np.testing.assert_array_equal(read(content, "L"), GREY)


@pytest.mark.parametrize("values", [(0, 1.5), (-0.1, 1), (0, 255), (0, np.nan)])
def test_floats_beyond_0_to_1_are_refused(values):
    content = encode(np.array([values], np.float32), "TIFF")
    with pytest.raises(DataError, match=r"the picture has float values from .*, expected 0 to 1"):
        read(content)


def test_what_is_transparent_shows_white_paper():
    alpha = np.array([[0, 255, 51]], np.uint8)
    black = np.zeros((1, 3, 3), np.uint8)
    colours = PIL.Image.fromarray(np.concatenate([black, alpha[..., None]], -1))
    grey = PIL.Image.merge("LA", [PIL.Image.fromarray(a) for a in (black[..., 0], alpha)])
    for picture in (colours, grey):
        np.testing.assert_array_equal(read(encode(picture, "PNG"), "L"), [[255, 0, 204]])


def test_a_transparent_colour_shows_white_paper():
    palette = PIL.Image.new("P", (3, 1))
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    palette.putdata([0, 1, 2])
    expected = [[[255, 255, 255], [200, 0, 0], [0, 200, 0]]]
    for kind in ("PNG", "GIF"):
        content = encode(palette, kind, transparency=0)
        np.testing.assert_array_equal(read(content), expected)
    named = encode(np.zeros((1, 2, 3), np.uint8), "PNG", transparency=(0, 0, 0))
    assert (read(named) == 255).all()


def test_lab_keeps_its_colours():
    lab, srgb = (PIL.ImageCms.createProfile(kind) for kind in ("LAB", "sRGB"))
    colours = np.array([[[255, 255, 255], [0, 0, 0], [200, 40, 40], [30, 90, 160]]], np.uint8)
    picture = PIL.ImageCms.profileToProfile(
        PIL.Image.fromarray(colours), srgb, lab, outputMode="LAB"
    )
    np.testing.assert_allclose(read(encode(picture, "TIFF")).astype(int), colours, atol=6)


def test_inks_become_colours():
    inks = np.array([[[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255]]], np.uint8)
    picture = PIL.Image.fromarray(inks, "CMYK")
    np.testing.assert_array_equal(
        read(encode(picture, "TIFF")), [[[255, 255, 255], [255, 0, 0], [0, 0, 0]]]
    )


def test_black_and_white_has_two_greys():
    picture = PIL.Image.fromarray(GREY > 127)
    assert picture.mode == "1"
    np.testing.assert_array_equal(read(encode(picture, "PNG"), "L"), 255 * (GREY > 127))


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(3, lambda a: np.rot90(a, 2)), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_on_its_side_is_turned_up(orientation, upright, kind):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(COLOURS, kind, exif=exif, **options)
    np.testing.assert_array_equal(read(content), upright(COLOURS))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_tag_leaves_the_pixels():
    exif = PIL.Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "somebody with a name"
    right = exif.tobytes()
    for wrong in (right[:20], right[:12] + b"\xff" * (len(right) - 12), b"Exif\0\0II*\0"):
        np.testing.assert_array_equal(read(encode(COLOURS, "PNG", exif=wrong)), COLOURS)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_frame_of_an_animation_counts(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    grey = GREY[..., None].repeat(3, -1)
    rest = [PIL.Image.fromarray(255 - grey)]
    content = encode(grey, kind, save_all=True, append_images=rest, **options)
    np.testing.assert_array_equal(read(content), grey)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        images.read(tmp_path / "gone.png")
    whole = encode(RNG.integers(0, 256, (50, 50, 3), np.uint8), "PNG")
    for content in (b"", b"not a picture", whole[:100], whole[: len(whole) // 2]):
        with pytest.raises(DataError, match="the picture can't be read as a picture"):
            images.read(content)
        with pytest.raises(DataError, match="body can't be read as a picture"):
            images.read(content, name="body")
    with pytest.raises(DataError, match="can't be read as a picture"):
        images.read(tmp_path)


def test_the_middle_square_is_taken():
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = COLOURS[:4, :4]
    np.testing.assert_array_equal(images.read_square(encode(wide, "PNG"), 4), COLOURS[:4, :4])
    assert images.read_square(encode(wide, "PNG"), 2, "L").shape == (2, 2)
