"""Pictures of every kind that Pillow opens: read rightly in 8 bits, or refused by name."""

import contextlib
import io
import os
import random
import runpy
import struct
import types
import warnings
from pathlib import Path

import numpy as np
import PIL.EpsImagePlugin
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import pytest

from zoo.common import images
from zoo.common.data import DataError, files

FILES = types.SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("pictures.py"))))
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 5, 3), np.uint8)
GREY = COLOURS[..., 0]
ORIENTATION, ARTIST = FILES.ORIENTATION, FILES.ARTIST
encode, png, tiff, words = FILES.encode, FILES.png, FILES.tiff, FILES.words


def read(content, mode="RGB"):
    return np.asarray(images.read(content, mode))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "WEBP", "JPEG2000", "SGI"])
def test_equal_pixels_are_equal_arrays_whatever_the_format(kind, tmp_path):
    content = encode(COLOURS, kind)
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
    with pytest.raises(DataError, match=f"32 bits with a sign, {low} to {high}, whose range"):
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


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
    9: lambda a: a,  # there is no such
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG", "MPO"])
def test_a_picture_on_its_side_is_turned_up(orientation, kind):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    lossy = kind in ("AVIF", "JPEG", "MPO")
    large = np.kron(GREY, np.ones((16, 16), np.uint8))
    content = encode(large, kind, exif=exif, **({"quality": 95} if lossy else {}))
    found = read(content, "L").astype(int)
    assert found.shape == UPRIGHT[orientation](large).shape
    assert np.abs(found - UPRIGHT[orientation](large)).mean() < (10 if lossy else 1e-9)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "JPEG"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow looks at tags that it writes
def test_a_broken_tag_leaves_the_pixels_and_the_orientation(kind):
    exif = PIL.Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "somebody with a name"
    right = exif.tobytes()
    plain, turned = read(encode(COLOURS, kind)), read(encode(COLOURS, kind, exif=right))
    assert turned.shape == (5, 6, 3)
    for wrong in (right[:12] + b"\xff" * (len(right) - 12), right[:18] + b"\xff" * 99):
        np.testing.assert_array_equal(read(encode(COLOURS, kind, exif=wrong)), plain)
    for place in range(right.index(ARTIST.to_bytes(2)) + 2, len(right)):
        wrong = right[:place] + b"\xff" + right[place + 1 :]
        np.testing.assert_array_equal(read(encode(COLOURS, kind, exif=wrong)), turned)


@pytest.mark.parametrize(
    ("tag", "type_", "value"),
    [
        (270, 5, 0),
        (282, 1, 0),
        (282, 6, -1),
        (282, 11, -1),
        (531, 1, 0),
        (531, 4, -1),
        (34_665, 6, -1),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_a_tag_that_pillow_cannot_write_leaves_the_orientation(tag, type_, value, kind):
    turned = struct.pack(">HHIHH", ORIENTATION, 3, 1, 6, 0)
    broken = struct.pack(">HHIi", tag, type_, 1, value)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + turned + broken + b"\0\0\0\0"
    with pytest.raises((struct.error, AttributeError, TypeError, ValueError)):
        PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(encode(COLOURS, kind, exif=exif))))
    expected = np.rot90(read(encode(COLOURS, kind)), -1)
    np.testing.assert_array_equal(read(encode(COLOURS, kind, exif=exif)), expected)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_frame_of_an_animation_counts(kind):
    grey = GREY[..., None].repeat(3, -1)
    rest = [PIL.Image.fromarray(255 - grey)]
    content = encode(grey, kind, save_all=True, append_images=rest)
    np.testing.assert_array_equal(read(content), grey)


GREYS = {
    "png16": (png(4, 16, 0, words(0, 25_700, 51_400, 65_535, order=">")), [0, 100, 200, 255]),
    "tiff16": (tiff(3, words(0, 25_700, 65_535), (16,)), [0, 100, 255]),
    "tiff16 big-endian": (tiff(2, words(25_700, 65_535, order=">"), (16,), order=">"), [100, 255]),
    "tiff16, white is 0": (tiff(3, words(0, 25_700, 65_535), (16,), 0), [255, 155, 0]),
    "tiff8, white is 0": (tiff(3, bytes([0, 100, 255]), photometric=0), [255, 155, 0]),
    "tiff float, white is 0": (
        tiff(2, np.float32([0, 0.25]).tobytes(), (32,), 0, {339: (3,)}),
        [255, 191],
    ),
    "tiff12": (tiff(3, bytes([0x00, 0x07, 0xFF, 0xFF, 0xF0]), (12,)), [0, 127, 255]),
    "tiff16 on its side": (tiff(2, words(0, 25_700), (16,), more={274: (3,)}), [100, 0]),
    "pgm of 1023": (b"P5 3 1 1023\n" + words(0, 512, 1023, order=">"), [0, 128, 255]),
    "pgm of 15": (b"P2 3 1 15 0 7 15", [0, 119, 255]),
    "ppm of 65535": (b"P6 1 1 65535\n" + words(25_700, 25_700, 25_700, order=">"), [100]),
    "pfm": (b"Pf 2 1 -1.0\n" + np.float32([0, 0.5]).tobytes(), [0, 128]),
    "png, 1 bit": (png(3, 1, 0, b"\x50", (b"tRNS", words(0))), [255, 255, 255]),
    "png, 2 bits": (png(4, 2, 0, b"\x1b", (b"tRNS", b"\0\1")), [0, 255, 170, 255]),
    "png, 4 bits": (png(4, 4, 0, b"\x01\xaf", (b"tRNS", b"\0\1")), [0, 255, 170, 255]),
    "png, 8 bits": (png(3, 8, 0, bytes([9, 100, 101]), (b"tRNS", b"\1d")), [9, 255, 101]),
    "png, 16 bits": (
        png(3, 16, 0, words(0, 25_700, 25_701, order=">"), (b"tRNS", words(25_700, order=">"))),
        [0, 255, 100],
    ),
    "png, grey and alpha of 16 bits": (png(2, 16, 4, words(0, 0, 0, 0x3333)), [255, 204]),
    "tiff, premultiplied": (tiff(2, bytes([51, 51, 0, 0]), (8, 8), 1, {338: (1,)}), [255, 255]),
    "png, gamma": (png(2, 8, 0, b"\x40\x80", (b"gAMA", (100_000).to_bytes(4))), [64, 128]),
}


@pytest.mark.parametrize("case", GREYS)
def test_greys_of_every_depth_have_their_value(case):
    content, expected = GREYS[case]
    np.testing.assert_array_equal(read(content, "L"), [expected])
    np.testing.assert_array_equal(read(content)[..., 1], [expected])


COLOURED = {
    "png16": (png(1, 16, 2, words(257, 25_700, 65_535, order=">")), [1, 100, 255]),
    "tiff16": (tiff(1, words(257, 25_700, 65_535), (16,) * 3, 2), [1, 100, 255]),
    "png16, hidden": (png(1, 16, 6, words(1, 2, 3, 0)), [255, 255, 255]),
    "tiff, premultiplied": (
        tiff(1, bytes([51, 0, 0, 51]), (8,) * 4, 2, {338: (1,)}),
        [255, 204, 204],
    ),
    "tiff, fourth is nothing": (tiff(1, bytes([9, 8, 7, 0]), (8,) * 4, 2, {338: (0,)}), [9, 8, 7]),
    "tiff, inks of 16 bits": (tiff(1, words(0, 65_535, 65_535, 0), (16,) * 4, 5), [255, 0, 0]),
    "tiff, YCbCr": (tiff(1, bytes([76, 85, 255]), (8,) * 3, 6, {530: (1, 1)}), [254, 0, 0]),
    "tiff, L*a*b*": (tiff(1, bytes([138, 81, 70]), (8,) * 3, 8), [255, 0, 0]),
    "png, hidden colour": (png(1, 8, 2, b"\1\2\3", (b"tRNS", b"\0\1\0\2\0\3")), [255] * 3),
    "png, palette": (
        png(1, 8, 3, b"\0", (b"PLTE", b"\0\0\0" * 2), (b"tRNS", b"\x33")),
        [204, 204, 204],
    ),
}


@pytest.mark.parametrize("case", COLOURED)
def test_colours_of_every_kind_have_their_value(case):
    content, expected = COLOURED[case]
    np.testing.assert_allclose(read(content)[0, 0].astype(int), expected, atol=6)


def test_inks_of_a_jpeg_are_not_inverted():
    inks = PIL.Image.fromarray(np.full((8, 8, 4), (0, 255, 255, 0), np.uint8), "CMYK")
    np.testing.assert_allclose(read(encode(inks, "JPEG"))[0, 0], (255, 0, 0), atol=3)


REFUSED = {
    "16 bits with a sign, 0 to 9": tiff(2, words(0, 9), (16,), 1, {339: (2,)}),
    "integers with a sign": tiff(2, b"\0\7", (8,), 1, {339: (2,)}),
    "a colour of 16 bits transparent": png(1, 16, 2, words(1, 2, 3), (b"tRNS", words(1, 2, 3))),
    "float values from 0 to inf": tiff(2, np.float32([0, np.inf]).tobytes(), (32,), 1, {339: (3,)}),
    "none of AVIF, BMP": tiff(1, np.float64([0.5]).tobytes(), (64,), 1, {339: (3,)}),
    "cut off": tiff(2, b"\0\7").replace(words(257, 3, 1, 0, 1), words(257, 3, 1, 0, 900)),
    "is cut off: there": png(2, 8, 0, b"\0\7", height=9_000_000),
    "Truncated": png(2, 8, 0, b"\0\7", (b"tRNS", b"\0")),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_right_value_is_refused(message):
    with pytest.raises(DataError, match=message):
        images.read(REFUSED[message])


def test_a_profile_brings_its_colours_to_srgb():
    profile = FILES.profile(2.2, *FILES.P3)
    red = np.array([[[234, 51, 35], [255, 255, 255]]], np.uint8)  # sRGB's red, in Display P3
    hidden = np.dstack([red, np.array([[255, 0]], np.uint8)])
    for kind in ("PNG", "TIFF", "WEBP"):
        for pixels in (red, hidden):
            found = read(encode(pixels, kind, icc_profile=profile))
            np.testing.assert_allclose(found.astype(int), [[[255, 0, 0], [255] * 3]], atol=3)
    linear = FILES.profile(1.0)
    for pixels in (np.array([[55, 188]], np.uint8), np.array([[55, 188]], np.uint16) * 257):
        np.testing.assert_allclose(
            read(encode(pixels, "PNG", icc_profile=linear), "L"), [[128, 223]]
        )
    srgb = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(read(encode(COLOURS, "PNG", icc_profile=srgb)), COLOURS)


def test_a_profile_that_is_damaged_or_of_other_colours_is_left_out():
    for profile in (b"junk" * 50, FILES.profile(1.0), FILES.profile(2.2, *FILES.P3)[:200]):
        content = encode(COLOURS, "PNG", icc_profile=profile)
        np.testing.assert_array_equal(read(content), COLOURS)
    content = encode(GREY, "PNG", icc_profile=FILES.profile(2.2, *FILES.P3))
    np.testing.assert_array_equal(read(content, "L"), GREY)


def test_what_a_gifs_frame_does_not_cover_is_paper():
    content = bytearray(encode(np.zeros((4, 4), np.uint8), "GIF"))
    content[6:10] = words(8, 4)
    np.testing.assert_array_equal(read(bytes(content), "L"), [[0] * 4 + [255] * 4] * 4)


@pytest.mark.parametrize("kind", images.FORMATS)
def test_what_is_cut_off_is_refused(kind):
    noise = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    whole = encode(noise, kind)
    assert read(whole).shape == noise.shape
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(DataError, match="the picture"):
            images.read(whole[: int(share * len(whole))])


def test_no_other_program_is_started(monkeypatch):
    content = encode(COLOURS, "EPS")
    monkeypatch.setattr(PIL.EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(DataError, match="can't be read as a picture"):
        images.read(content)


def test_too_many_pixels_are_refused_without_another_word(monkeypatch, capfd):
    content = encode(GREY, "PNG")
    with pytest.raises(images.PixelsError, match="5 x 6 pixels, at most 29 are taken"):
        images.read(content, max_pixels=29)
    for limit, error in ((20, contextlib.nullcontext()), (10, pytest.raises(images.PixelsError))):
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)  # Pillow warns, then raises
        with warnings.catch_warnings(record=True) as told, error:
            warnings.simplefilter("always")
            images.read(content)
        assert not told
    assert capfd.readouterr() == ("", "")


def test_any_damage_leaves_a_picture_or_is_refused():
    whole, chance = FILES.seeds(), random.Random(0)
    for content in whole:
        assert not FILES.fault(content)
    for _ in range(1500):
        content = FILES.damaged(chance.choice(whole), whole, chance)
        assert not FILES.fault(content, 1_000_000), content[:1000]


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: .*no such file"):
        images.read(tmp_path / "gone.png")
    whole = encode(RNG.integers(0, 256, (50, 50, 3), np.uint8), "PNG")
    for content in (b"", b"not a picture", whole[:100], whole[: len(whole) // 2]):
        with pytest.raises(DataError, match="the picture can't be read as a picture"):
            images.read(content)
    for source, message in ((tmp_path, "directory"), (os.devnull, "device")):
        with pytest.raises(DataError, match=message):
            images.read(source)


def test_the_middle_square_is_taken():
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = COLOURS[:4, :4]
    np.testing.assert_array_equal(images.read_square(encode(wide, "PNG"), 4), COLOURS[:4, :4])
    assert images.read_square(encode(wide, "PNG"), 2, "L").shape == (2, 2)


def test_dots_far_apart_are_no_digit():
    dots = np.zeros((2000, 2000), np.uint8)
    dots[0, 0] = dots[-1, -1] = 255
    with pytest.raises(DataError, match="blank in 20x20 pixels"):
        images.read_digit(encode(dots, "PNG"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_pictures_of_any_shape_have_a_middle(shape):
    pixels = RNG.integers(0, 256, shape, np.uint8)
    assert images.read_square(encode(pixels, "PNG"), 32).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/0.png"], ["0"]),
        (["a/0.png", "a/1.png"], ["0", "1"]),
        (["a/0.png", "b/0.png"], ["a-0", "b-0"]),
        (["0.png", "b/0.png", "c/0.png"], ["0", "b-0", "c-0"]),
        (["x/a/0.png", "y/a/0.png"], ["x-a-0", "y-a-0"]),
        (["0.png", "0.jpg"], ["0.png", "0.jpg"]),
        (["0.png", "0.png"], ["1-0", "2-0"]),
        (["A.png", "a.png"], ["1-A", "2-a"]),
        (["\u00fc.png", "u\u0308.png"], ["1-\u00fc", "2-u\u0308"]),
        (['a:b?"*.png', "a\nb.png", "\udcff.png"], ["a_b___", "a_b", "_"]),
        (["a:b.png", "a?b.png"], ["1-a_b", "2-a_b"]),
        ([".hidden.png", "..."], ["hidden", "picture"]),
        ([".", "/", ""], ["1-picture", "2-picture", "3-picture"]),
    ],
)
def test_names_differ_and_can_be_written(paths, expected):
    assert images.names([Path(path) for path in paths]) == expected


def test_long_names_are_cut_and_still_differ():
    paths = [Path("é" * 120 + f"{n}.png") for n in (1, 2)] + [Path("x" * 240 + ".png")]
    found = images.names([*paths, Path("a") / paths[-1]])
    assert len(set(found)) == 4
    assert max(len(name.encode()) for name in found) <= 103
    assert images.names([]) == []


def test_a_path_is_shown_in_one_line_that_can_be_encoded():
    assert files.printable(Path("a/ü\n\x1b[31m\udcff.png")) == r"a/ü\n\x1b[31m\udcff.png"


def write(folder, *names):
    """Pictures, or files that are none where the name begins with "bad"."""
    for name in names:
        content = b"none" if name.startswith("bad") else encode(COLOURS, "PNG")
        (folder / name).write_bytes(content)
    return [folder / name for name in names]


def test_each_picture_is_answered_whatever_is_wrong_with_others(tmp_path, capsys):
    answers = images.Answers(write(tmp_path, "a.png", "bad.png", "c.png", "d.png"))
    found = answers.read(images.read)
    assert [(picture.path.name, picture.name) for picture in found] == [
        ("a.png", "a"),
        ("c.png", "c"),
        ("d.png", "d"),
    ]
    for picture in found:
        with answers.one():
            if picture.name == "c":
                raise OSError("full")
            print(picture.name)
    out, err = capsys.readouterr()
    assert out == "a\nd\n"
    first, second = err.splitlines()
    assert first.startswith(f"error: {tmp_path}/bad.png can't be read as a picture")
    assert second == "error: full"
    with pytest.raises(
        DataError, match="not all of 4 pictures got their answer, for the reasons above"
    ):
        answers.end()


def test_the_only_picture_and_the_last_one_end_the_call(tmp_path, capsys):
    with pytest.raises(DataError, match=r"bad\.png can't be read"):
        images.Answers(write(tmp_path, "bad.png")).read(images.read)
    assert capsys.readouterr().err == ""
    with pytest.raises(DataError, match="not all of 2 pictures"):
        images.Answers(write(tmp_path, "bad1.png", "bad2.png")).read(images.read)
    answers = images.Answers(())
    assert answers.read(images.read) == []
    answers.end()


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_large_jpeg_is_unpacked_at_a_part_of_its_size(kind):
    y, x = np.mgrid[:1800, :2400]
    waves = [128 + 100 * np.sin(x / 200 + n) * np.cos(y / (150 + 50 * n)) for n in range(3)]
    whole = np.stack(waves, -1).astype(np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = encode(whole, kind, quality=95, exif=exif)
    assert images.read(content).size == (1800, 2400)
    assert images.read(content, side=128).size == (225, 300)  # an eighth
    assert images.read(content, side=300).size == (450, 600)
    assert images.read(content, side=1000).size == (1800, 2400)
    expected = images.square(images.read(content), 32).astype(float)
    found = images.read_square(content, 32, max_pixels=100_000).astype(float)
    assert np.abs(found - expected).mean() < 1
    assert np.abs(found - expected).max() < 6
    with pytest.raises(images.PixelsError, match="at most 100,000"):
        images.read(content, max_pixels=100_000)
    with pytest.raises(images.PixelsError, match="2400 x 1800"):  # a PNG has no part sizes
        images.read_square(encode(whole, "PNG"), 32, max_pixels=100_000)


def test_the_number_of_pixels_is_read_from_the_header():
    content = encode(np.zeros((30, 50), np.uint8), "PNG")
    assert images.pixels(content) == 1500
    assert images.pixels(content[:-14]) == 1500  # the rest is not looked at
    assert images.pixels(content, ("JPEG",)) == images.pixels(b"no picture") == 0
