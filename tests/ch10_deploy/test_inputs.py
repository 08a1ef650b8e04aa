"""Pictures out of the bodies of requests; whatever comes, the answer is a picture or a refusal."""

import base64
import io
import json

import jax
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.ch10_deploy import inputs
from zoo.ch10_deploy.export import Signature
from zoo.ch10_deploy.inputs import Problem
from zoo.common import images

SHAPE = (32, 32, 3)
PICTURE = Signature("", {"image": jax.ShapeDtypeStruct(SHAPE, np.uint8)}, {})
RNG = np.random.default_rng(0)


def encode(pixels, kind="PNG", **options):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def noise(height, width, *channels):
    return RNG.integers(0, 256, (height, width, *channels), np.uint8)


def decode(file, shape=SHAPE, limit=1_000_000):
    return inputs.decode(file, shape, limit)


def refusal(function, *arguments):
    with pytest.raises(Problem) as caught:
        function(*arguments)
    return caught.value.status


def outcome(function, *arguments):
    """What a function gives, or the status of its refusal."""
    try:
        return function(*arguments)
    except Problem as problem:
        return problem.status


def test_a_picture_of_the_right_size_arrives_as_it_is():
    pixels = noise(32, 32, 3)
    for kind in ("PNG", "BMP"):
        np.testing.assert_array_equal(decode(encode(pixels, kind)), pixels)
    np.testing.assert_array_equal(decode(encode(pixels, "WEBP", lossless=True)), pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_any_picture_is_seen_as_the_chapters_command_sees_it(tmp_path, kind):
    for pixels in (noise(70, 90, 3), noise(40, 33), noise(32, 32, 3), noise(32, 32, 4)):
        if pixels.shape[2:] == (4,) and kind in ("JPEG", "BMP"):
            continue  # they have no transparency
        path = tmp_path / "picture"
        path.write_bytes(encode(pixels, kind))
        np.testing.assert_array_equal(decode(path.read_bytes()), images.read_square(path, 32))


def test_a_picture_lying_on_its_side_is_turned_up(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    for kind in ("JPEG", "PNG", "WEBP"):
        pixels = noise(32, 32, 3)
        path.write_bytes(encode(pixels, kind, exif=exif))
        np.testing.assert_array_equal(decode(path.read_bytes()), images.read_square(path, 32))
    path.write_bytes(encode(pixels, "PNG", exif=exif))
    np.testing.assert_array_equal(decode(path.read_bytes()), np.rot90(pixels, -1))
    path.write_bytes(encode(pixels, "PNG", transparency=tuple(pixels[3, 4].tolist())))
    assert (decode(path.read_bytes())[3, 4] == 255).all()


def test_a_digit_is_read_as_chapter_3_reads_it():
    ink = np.full((56, 56), 250, np.uint8)
    ink[20:36, 26:30] = 10
    digit = decode(encode(ink), (28, 28))
    assert digit.shape == (28, 28)
    assert digit[14, 13] > 200
    assert refusal(decode, encode(np.full((28, 28), 255, np.uint8)), (28, 28)) == 422


@pytest.mark.parametrize("size", [(30_000, 30_000), (15_000, 10_000), (65_535, 65_535)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(size, bad):
    assert refusal(decode, bad.bomb(*size)) == 413


def test_the_limit_on_pixels_is_exact():
    assert decode(encode(noise(40, 50)), SHAPE, 2000).shape == SHAPE
    assert refusal(decode, encode(noise(40, 50)), SHAPE, 1999) == 413


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "TGA"])
def test_formats_that_are_not_asked_for_are_not_opened(kind):
    assert refusal(decode, encode(noise(32, 32, 3), kind)) == 422


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_that_are_no_picture_are_refused(content):
    assert refusal(decode, content) in (413, 422)


GOOD = {kind: encode(noise(24, 24, 3), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(GOOD)),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6),
    st.integers(0, 3000),
)
def test_a_broken_picture_is_a_picture_or_refused(kind, changes, cut):
    content = bytearray(GOOD[kind])
    for place, value in changes:
        content[place % len(content)] = value
    found = outcome(decode, bytes(content[: len(content) - cut % 1500]))
    assert found in (413, 422) if isinstance(found, int) else found.shape == SHAPE


def test_every_way_to_send_a_picture_gives_the_same():
    png = encode(noise(32, 32, 3))
    form = b'--b\r\nContent-Disposition: form-data; name="x"; filename="a.png"\r\n\r\n' + png
    sent = [
        (png, "image/png"),
        (png, "application/octet-stream"),
        (png, "IMAGE/PNG; name=a"),
        (form + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (json.dumps({"image": base64.b64encode(png).decode()}).encode(), "application/json"),
    ]
    for body, kind in sent:
        assert inputs.parse(body, kind, PICTURE) == png


MIXED = Signature(
    "",
    {
        "a": jax.ShapeDtypeStruct((2, 3), np.float32),
        "b": jax.ShapeDtypeStruct((), np.int32),
        "c": jax.ShapeDtypeStruct((2,), np.bool_),
    },
    {},
)
GOOD_INPUTS = {"a": [[1, 2, 3], [4, 5, 6.5]], "b": 7, "c": [True, False]}


def test_arrays_of_any_type_come_as_nested_lists():
    body = json.dumps({"inputs": GOOD_INPUTS}).encode()
    found = inputs.parse(body, "application/json; charset=utf-8", MIXED)
    for name, spec in MIXED.inputs.items():
        assert (found[name].shape, found[name].dtype) == (spec.shape, spec.dtype)
        np.testing.assert_array_equal(found[name], GOOD_INPUTS[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": [[1, 2, 3]]}, r'"a" must be finite numbers, nested as \[2, 3\]'),
        ({"a": [[1, 2, 3], [4, 5]]}, '"a" must be'),
        ({"a": [[1, 2, 3], [4, 5, float("nan")]]}, "finite"),
        ({"a": [[1, 2, 3], [4, 5, float("inf")]]}, "finite"),
        ({"a": [[1, 2, 3], [4, 5, 1e39]]}, "finite"),
        ({"a": [["1", 2, 3], [4, 5, 6]]}, "finite"),
        ({"b": 1.5}, '"b" must be one of whole numbers from -2147483648 to 2147483647'),
        ({"b": 1 << 31}, "whole numbers"),
        ({"b": True}, "whole numbers"),
        ({"b": None}, "whole numbers"),
        ({"c": [1, 0]}, '"c" must be true or false'),
        ({"d": 1}, '"inputs" must have exactly a, b, c'),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(change, message):
    body = json.dumps({"inputs": GOOD_INPUTS | change}).encode()
    with pytest.raises(Problem, match=message) as caught:
        inputs.parse(body, "application/json", MIXED)
    assert caught.value.status == 422


def test_a_prediction_without_a_picture_takes_no_picture():
    png = encode(noise(32, 32, 3))
    for kind in ("image/png", "multipart/form-data; boundary=b"):
        assert refusal(inputs.parse, png, kind, MIXED) == 415
    for content in ({"image": ""}, {"pixels": [[1]]}):
        body = json.dumps(content).encode()
        assert refusal(inputs.parse, body, "application/json", MIXED) == 422


def test_grey_pictures_of_other_sizes_are_not_read_as_digits():
    pixels = noise(16, 16)
    np.testing.assert_array_equal(decode(encode(pixels), (16, 16)), pixels)
    assert decode(encode(noise(40, 50, 3)), (16, 16)).shape == (16, 16)


def test_pixels_come_as_nested_lists():
    pixels = noise(32, 32, 3)
    for content in ({"pixels": pixels.tolist()}, {"inputs": {"image": pixels.tolist()}}):
        found = inputs.parse(json.dumps(content).encode(), "application/json", PICTURE)
        np.testing.assert_array_equal(found["image"], pixels)
        assert found["image"].dtype == np.uint8


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    json_values
    | st.fixed_dictionaries({"pixels": json_values})
    | st.fixed_dictionaries({"image": json_values})
    | st.fixed_dictionaries({"inputs": json_values})
    | st.fixed_dictionaries({"inputs": st.fixed_dictionaries(dict.fromkeys("abc", json_values))})
)
def test_any_json_is_a_picture_or_refused(content):
    for signature in (PICTURE, MIXED):
        found = outcome(inputs.parse, json.dumps(content).encode(), "application/json", signature)
        assert found in (400, 422) if isinstance(found, int) else isinstance(found, bytes)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from(
        ["multipart/form-data; boundary=b", "multipart/form-data", "application/json", "", "é", ";"]
    )
    | st.text(max_size=20),
)
def test_any_body_of_any_type_is_taken_or_refused(body, kind):
    for signature in (PICTURE, MIXED):
        found = outcome(inputs.parse, b"--b\r\n" + body, kind, signature)
        assert isinstance(found, bytes) or found in (400, 415, 422)


def test_pictures_of_ones_own_are_shrunk_and_not_read_as_digits(tmp_path):
    path = tmp_path / "small.png"
    path.write_bytes(encode(noise(40, 50)))
    found = inputs.decode(path.read_bytes(), (28, 28), 10_000, own=True)
    np.testing.assert_array_equal(found, images.read_square(path, 28, "L"))
    assert (found != inputs.decode(path.read_bytes(), (28, 28), 10_000)).any()
