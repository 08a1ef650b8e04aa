"""Files of pictures for tests, built byte by byte or damaged by chance.

As a program it reads damaged pictures until the time is over and prints what should not happen:
`python tests/common/pictures.py --seconds 600 --seed 1`.
"""

import argparse
import collections
import contextlib
import faulthandler
import io
import os
import random
import resource
import struct
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms

from zoo.common import images
from zoo.common.data import DataError

ORIENTATION, ARTIST = 0x0112, 0x013B
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode(picture, kind, **options):
    """The bytes of a file, from pixels or a `PIL.Image`; without a loss where the format can."""
    if isinstance(picture, np.ndarray):
        picture = PIL.Image.fromarray(picture)
    if kind == "WEBP":
        options.setdefault("lossless", True)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, depth, kind, row, *chunks, height=1):
    """One row of pixels as a PNG of any depth and colour type, with chunks of one's own."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(*part) for part in parts)


def tiff(width, row, bits=(8,), photometric=1, more=(), order="<"):
    """One row of pixels as a TIFF; `more` are tags of 16 bits."""
    tags = {256: (width,), 257: (1,), 258: bits, 259: (1,), 262: (photometric,), 273: (0,)}
    tags |= {277: (len(bits),), 278: (1,), 279: (len(row),), **dict(more)}
    place, fields, beside = 8 + 2 + 12 * len(tags) + 4, b"", b""
    for tag, values in sorted(tags.items()):
        long = b"".join(struct.pack(f"{order}H", value) for value in values)
        if len(long) > 4:
            value, beside = struct.pack(f"{order}I", place + len(beside)), beside + long
        else:
            value = long.ljust(4, b"\0")
        fields += struct.pack(f"{order}HHI", tag, 3, len(values)) + (
            b"DATA" if tag == 273 else value
        )
    data = struct.pack(f"{order}H", place + len(beside) + len(beside) % 2).ljust(4, b"\0")
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    directory = struct.pack(f"{order}H", len(tags)) + fields.replace(b"DATA", data) + b"\0" * 4
    return head + directory + beside + b"\0" * (len(beside) % 2) + row


def words(*values, order="<"):
    """Numbers of 16 bits."""
    return struct.pack(f"{order}{len(values)}H", *values)


def _fixed(*values):
    return b"".join(struct.pack(">i", round(65536 * value)) for value in values)


def profile(gamma, *primaries):
    """An ICC profile of grey, or of three primaries [X, Y, Z], with one exponent for all."""
    names = "rgb" if primaries else "k"
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))
    tags = [(b"wtpt", b"XYZ \0\0\0\0" + _fixed(0.9642, 1, 0.8249))]
    tags += [(f"{name}TRC".encode(), curve + b"\0\0") for name in names]
    for name, primary in zip(names, primaries, strict=False):
        tags.append((f"{name}XYZ".encode(), b"XYZ \0\0\0\0" + _fixed(*primary)))
    tags.append((b"desc", b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0".ljust(82, b"\0")))
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4xI4s4s4s12x",
        132 + 12 * len(tags) + len(body),
        0x02100000,
        b"mntr",
        b"RGB " if primaries else b"GRAY",
        b"XYZ ",
    )
    head += b"acsp".ljust(32, b"\0") + _fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + table + body


P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))
"""The primaries of Display P3."""


def seeds():
    """Whole files of the modes and formats that Pillow writes, and some that it does not."""
    rng = np.random.default_rng(0)
    colours = PIL.Image.fromarray(rng.integers(0, 256, (9, 7, 4), np.uint8))
    pictures = [colours.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")]
    pictures += [colours.convert("RGB").convert(mode) for mode in ("YCbCr", "HSV")]
    pictures.append(PIL.Image.fromarray(rng.integers(0, 65536, (9, 7)).astype(np.uint16)))
    pictures.append(PIL.Image.fromarray(rng.random((9, 7)).astype(np.float32)))
    exif = PIL.Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "somebody with a name"
    tags = {"exif": exif, "icc_profile": profile(2.2, *P3)}
    found = []
    for kind in images.FORMATS:
        for picture in pictures:
            for options in ({}, tags, {"save_all": True, "append_images": [picture] * 2}):
                with contextlib.suppress(Exception), warnings.catch_warnings():
                    content = encode(picture, kind, speed=10, **options)  # speed: of AVIF
                    if content not in found:
                        found.append(content)
    for squeeze in ("tiff_lzw", "tiff_deflate", "packbits"):
        found += [encode(picture, "TIFF", compression=squeeze) for picture in pictures[:-3]]
    found.append(encode(pictures[0], "TIFF", compression="group4"))
    found += [encode(picture, "TIFF", compression="jpeg") for picture in (pictures[1], pictures[4])]
    found += [encode(colours.convert("RGB"), kind) for kind in ("EPS", "DDS", "PCX", "SPIDER")]
    found += [png(4, depth, 0, b"\x1b" * 8, (b"tRNS", b"\0\1")) for depth in (1, 2, 4, 8, 16)]
    found += [tiff(2, words(0, 9), (16,), n, {339: (s,)}) for n in (0, 1) for s in (1, 2)]
    found += [tiff(2, b"\1\2\3\4\5\6", (8,) * 3, kind) for kind in (2, 5, 6, 8)]
    found += [b"P5 2 1 1023\n\1\2\3\4", b"P2 2 1 15 0 7", b"Pf 1 1 -1\n\0\0\0\0"]
    return found


EDGES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)


def damaged(content, others, chance):
    """A file with a few things wrong, drawn from a `random.Random`."""
    content = bytearray(content)
    if content.startswith(SIGNATURE) and chance.random() < 0.7:
        return _damaged_png(bytes(content), chance)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        if not content:
            break
        start = content.find(b"Exif") if chance.random() < 0.3 else -1
        end = start + 200 if start >= 0 else 64 if chance.random() < 0.5 else len(content)
        place = min(chance.randrange(max(start, 0), max(end, 1)), len(content) - 1)
        match chance.randrange(8):
            case 0:
                content[place] ^= 1 << chance.randrange(8)
            case 1:
                content[place] = chance.choice(EDGES)
            case 2:
                content[place : place + 4] = bytes(chance.choices(EDGES, k=4))
            case 3:
                content[place : place + 2] = words(chance.randrange(1 << 16))
            case 4:
                del content[chance.randrange(len(content)) :]
            case 5:
                del content[place : place + chance.randrange(1, 20)]
            case 6:
                content[place:place] = content[place : place + chance.randrange(1, 40)]
            case 7:
                other = chance.choice(others)
                content[place:] = other[chance.randrange(len(other)) :]
    return bytes(content)


def _damaged_png(content, chance):
    """Chunks that are lost, doubled, in another order or changed, with right checksums."""
    chunks, place = [], len(SIGNATURE)
    while place < len(content):
        (size,) = struct.unpack_from(">I", content, place)
        name = content[place + 4 : place + 8]
        chunks.append((name, bytearray(content[place + 8 : place + 8 + size])))
        place += 12 + size
    for _ in range(chance.choice((1, 1, 2, 4))):
        one = chance.randrange(len(chunks))
        match chance.randrange(5):
            case 0:
                chance.shuffle(chunks)
            case 1:
                chunks.insert(chance.randrange(len(chunks) + 1), chunks[one])
            case 2 if len(chunks) > 1:
                del chunks[one]
            case _:
                if data := chunks[one][1]:
                    data[chance.randrange(len(data))] = chance.choice(
                        (*EDGES, chance.randrange(256))
                    )
    return SIGNATURE + b"".join(chunk(name, bytes(data)) for name, data in chunks)


def fault(content, max_pixels=images.MAX_PIXELS):
    """What is wrong with how a file is read, or an empty text."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for mode in ("RGB", "L"):
                image = images.read(content, mode, max_pixels=max_pixels)
                if image.mode != mode or np.asarray(image).dtype != np.uint8:
                    return f"mode {image.mode}"
    except DataError as error:
        if "\n" in str(error):
            return f"more than a line: {error!r}"
    except BaseException as error:
        return f"raised {error!r}"
    return f"warned: {told[0].message}" if told else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance, whole, counts = random.Random(given.seed), seeds(), collections.Counter()
    folder = Path(tempfile.mkdtemp(prefix="pictures-"))
    print(f"{len(whole)} whole files, seed {given.seed}; what was found is in {folder}", flush=True)
    screen = os.fdopen(os.dup(2), "w")
    faulthandler.enable(screen)
    noise = os.open(folder / "noise", os.O_RDWR | os.O_CREAT)
    os.dup2(noise, 2)  # libraries in C print as well
    began, peak = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() - began < given.seconds:
        content = damaged(chance.choice(whole), whole, chance)
        (folder / "last").write_bytes(content)
        faulthandler.dump_traceback_later(20, exit=True, file=screen)
        found = fault(content)
        faulthandler.cancel_dump_traceback_later()
        if os.fstat(noise).st_size:
            said = os.pread(noise, 60, 0).decode(errors="replace")
            os.ftruncate(noise, 0)
            os.lseek(noise, 0, os.SEEK_SET)
            tiff = content[:2] in (b"II", b"MM")  # libtiff says what is wrong with a file
            counts["lines of libtiff"] += tiff
            found = found or ("" if tiff else f"printed: {said}")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if memory - peak > 200_000:
            found = found or f"memory {memory >> 10} MB"
        peak = max(peak, memory)
        counts["files"] += 1
        if found:
            counts[found[:60]] += 1
            (folder / str(len(counts))).write_bytes(content)
            if counts[found[:60]] == 1:
                print(f"{len(counts)}: {found}", flush=True)
    print(dict(counts), f"peak {peak >> 10} MB")


if __name__ == "__main__":
    main()
