"""From the body of a request to the pixels that a model takes; everything in it may be hostile."""

import base64
import binascii
import io
import json
import warnings
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageOps

from zoo.ch10_deploy.problems import Problem

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_ADVICE = f"send one of {', '.join(FORMATS)}"

# Pillow only warns of pictures between one and two times its own limit, which is above ours.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)


class Parsed(NamedTuple):
    """What a request holds: a picture file, or pixels as they are."""

    file: bytes | None
    pixels: np.ndarray | None


def parse(body: bytes, content_type: str, shape: tuple[int, ...]) -> Parsed:
    """Takes a body apart: a picture file, alone, in a form or in JSON, or pixels in nested lists.

    Args:
      body: of the request.
      content_type: its header.
      shape: of one image, as the model takes it.

    Raises:
      Problem: 400, 415 or 422.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        raise Problem(400, f"the body is empty: {_ADVICE}")
    if kind.startswith("image/") or kind == "application/octet-stream":
        return Parsed(body, None)
    if kind == "multipart/form-data":
        return Parsed(_form_file(body, content_type), None)
    if kind == "application/json":
        return _from_json(body, shape)
    raise Problem(
        415,
        "the content type must be image/*, application/octet-stream, multipart/form-data or "
        "application/json",
    )


def _form_file(body: bytes, content_type: str) -> bytes:
    """The first file of a form, or its field `image`."""
    from python_multipart import multipart

    boundary = multipart.parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Problem(400, "the form's content type names no boundary")
    parts: list[tuple[dict[bytes, bytes], bytearray]] = []
    field = bytearray()

    def begin() -> None:
        if len(parts) == 16:
            raise Problem(400, "the form has too many fields, expected one with a picture")
        parts.append(({}, bytearray()))

    def name(data: bytes, start: int, end: int) -> None:
        field.extend(data[start:end])

    def value(data: bytes, start: int, end: int) -> None:
        headers, key = parts[-1][0], bytes(field).lower()
        headers[key] = headers.get(key, b"") + data[start:end]

    def content(data: bytes, start: int, end: int) -> None:
        parts[-1][1].extend(data[start:end])

    callbacks = {
        "on_part_begin": begin,
        "on_header_field": name,
        "on_header_value": value,
        "on_header_end": field.clear,
        "on_part_data": content,
    }
    try:
        parser = multipart.MultipartParser(boundary, callbacks)
        parser.write(body)
        parser.finalize()
    except Problem:
        raise
    except Exception as error:
        raise Problem(400, "the form can't be read: it is cut off or malformed") from error
    for headers, data in parts:
        _, options = multipart.parse_options_header(headers.get(b"content-disposition"))
        if b"filename" in options or options.get(b"name") == b"image":
            return bytes(data)
    raise Problem(400, 'the form has no file: send it as the field "image"')


def _from_json(body: bytes, shape: tuple[int, ...]) -> Parsed:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "the body is no JSON") from error
    given = content.keys() & {"image", "pixels"} if isinstance(content, dict) else ()
    if len(given) != 1:
        raise Problem(422, 'expected {"image": BASE64 of a picture file} or {"pixels": [[...]]}')
    if "pixels" in given:
        return Parsed(None, _pixels(content["pixels"], shape))
    try:
        return Parsed(base64.b64decode(content["image"], validate=True), None)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Problem(422, '"image" is not base64') from error


def _pixels(content: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Nested lists of whole numbers from 0 to 255, of the model's own shape."""
    wanted = f'"pixels" must be whole numbers from 0 to 255, nested as {list(shape)}'
    try:
        pixels = np.array(content)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Problem(422, wanted) from error
    if pixels.shape != shape or pixels.dtype.kind not in "iu":
        raise Problem(422, wanted)
    if pixels.min() < 0 or pixels.max() > 255:
        raise Problem(422, wanted)
    return pixels.astype(np.uint8)


def decode(file: bytes, shape: tuple[int, ...], max_pixels: int) -> np.ndarray:
    """A picture file as the model takes it: the middle square in colour, or one digit in grey.

    Args:
      file: its content.
      shape: [32, 32, 3] gives what `predict` of chapter 6 sees, [28, 28] what that of 3 does.
      max_pixels: more are refused before they are unpacked.

    Raises:
      Problem: 413 for too many pixels, 422 for what is no picture.
    """
    try:
        with PIL.Image.open(io.BytesIO(file), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise Problem(
                    413,
                    f"the picture has {image.width} x {image.height} pixels, at most "
                    f"{max_pixels:,} are taken: send a smaller one",
                )
            if len(shape) == 2:
                return _digit(file)
            PIL.ImageOps.exif_transpose(image, in_place=True)
            upright = image if image.mode == "RGB" else image.convert("RGB")
            size = (shape[1], shape[0])
            if upright.size != size:
                upright = PIL.ImageOps.fit(upright, size, PIL.Image.Resampling.LANCZOS)
            return np.asarray(upright)
    except Problem:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise Problem(413, f"the picture has more than {max_pixels:,} pixels") from error
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise Problem(422, f"this can't be read as a picture: {_ADVICE}") from error


def _digit(file: bytes) -> np.ndarray:
    from zoo.ch03_mnist_ae_rbm import pictures

    return pictures.read_digit(io.BytesIO(file))[0]
