"""Pictures of one's own as a data set: a folder of class folders, an NPZ file, or CSV tables."""

import concurrent.futures
import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.common import images
from zoo.common.data import DataError, Dataset, files
from zoo.common.data.files import fault
from zoo.common.task import of_classes

SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".ico", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
"""Of files that are read; others in a class's folder are passed over."""
HELD_OUT = 0.2
"""Share of each class that is tested on, where the source has no test part."""
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")
_NAMES = (  # of the arrays in an NPZ file: zoo's, others' plurals, Keras's
    ("image", "label", "test_image", "test_label"),
    ("images", "labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
_TREE = "FOLDER/CLASS/picture.jpg, or FOLDER/train/CLASS/picture.jpg and FOLDER/test/CLASS/..."
_LISTS = ("trainlabels.csv", "train_labels.csv", "labels.csv")
"""Of pictures in one folder, with their labels: `id,label`, as Kaggle has CIFAR-10."""
_TABLE = (".csv", ".csv.gz", ".csv.xz")
Mode = Literal["L", "RGB"]
_Part = tuple[list[Path], np.ndarray]


def load(source: Path | str, size: int, mode: Mode = "RGB", seed: int = 0) -> Dataset:
    """Pictures with classes: "image" uint8 [N, size, size, 3], or [N, size, size] for mode "L".

    A folder holds a folder of pictures for each class, named as the class; or such folders within
    `train` and `test`. Pictures may be of any size, grey or in colour, transparent, turned by their
    EXIF tag: of each the middle square is shrunk, as `zoo.common.images.read_square` does.

    An NPZ file holds `image`, uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], and `label`, integers
    [N]; it may hold `test_image` and `test_label`, and `classes`, the names of the labels 0, 1, ...
    Keras's `x_train`, `y_train`, `x_test`, `y_test` are taken, too.

    Kaggle's layouts are read where they lie. A CSV file has a line for each square grey picture,
    its label and its pixels, as `train.csv` of MNIST; of a `test.csv` beside it those with labels
    are tested on. Or a folder holds `trainLabels.csv`, lines `id,label`, and the pictures
    `train/ID.png`.

    Where there is no part to test on, a fifth of each class is drawn by `seed`, as is the order.

    Raises:
        DataError: When the source is neither, a picture or array can't be read, a class has fewer
            than two pictures, or there are fewer than two classes.
    """
    path = files.expand(source).absolute()
    if path.is_dir():
        return _of_folder(path, size, mode, seed)
    if not path.exists():
        raise DataError(
            f"{files.printable(path)} is not there: expected {_TREE}, an NPZ file, or a CSV file"
        )
    return _of_file(path, size, mode, seed)


def _dataset(
    path: Path,
    mode: Mode,
    classes: Sequence[str],
    parts: Sequence[dict[str, np.ndarray]],
    split: str,
    seed: int,
) -> Dataset:
    """The data set of a part to train on and one to test on, each in an order drawn by the seed.

    In files' order the classes would follow each other, also in training by recipes that keep it.
    """
    if len(classes) < 2:
        raise fault(path, "classes", f"{len(classes)} ({', '.join(classes)})", "two or more")
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(part["label"])) for part in parts]
    train, test = (
        {name: array[order] for name, array in part.items()}
        for part, order in zip(parts, orders, strict=True)
    )
    counts, side = [len(part["label"]) for part in parts], train["image"].shape[1]
    how = "a fifth of each class, drawn by the seed" if split == "drawn" else "its own test part"
    described = (
        f"{files.printable(path.name)}: {len(classes)} classes of {side}x{side} "
        f"{'grey' if mode == 'L' else 'colour'} pictures, train on {counts[0]:,}, test on "
        f"{counts[1]:,} ({how})"
    )
    return Dataset(path.name, "own", split, described, train, test, tuple(classes))


def _labels(numbers: Any, classes: int) -> np.ndarray:
    return np.asarray(numbers, np.uint8 if classes <= 256 else np.int32)


def _drawn(labels: np.ndarray, seed: int, say: Callable[[int, int], DataError]) -> np.ndarray:
    """Which examples are tested on, bool [N]: a fifth of each class, at least one."""
    rng, held = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        if len(own) < 2:
            raise say(int(label), len(own))
        held[rng.permutation(own)[: max(1, round(HELD_OUT * len(own)))]] = True
    return held


def _of_folder(path: Path, size: int, mode: Mode, seed: int) -> Dataset:
    tables = {p.name.casefold(): p for p in sorted(path.iterdir()) if p.name.endswith(_TABLE)}
    if names := [name for name in _LISTS if name in tables]:
        return _of_list(path, tables[names[0]], size, mode, seed)
    pixels = [name for name in tables if name.partition(".")[0].endswith("train")]
    if len(pixels) == 1 and not _folders(path):
        return _of_file(tables[pixels[0]], size, mode, seed)
    parts = {folder.name.casefold(): folder for folder in _folders(path)}
    train = next((parts[name] for name in _TRAIN if name in parts), None)
    test = next((parts[name] for name in _TEST if name in parts), None)
    if train is None or not _folders(train):
        train, test = path, None
    classes = [folder.name for folder in _folders(train)]
    paths, labels = _pictures(train, classes)
    if test is not None and _folders(test):  # a test part without labels, as for a contest, is none
        if unknown := {folder.name for folder in _folders(test)} - set(classes):
            known = ", ".join(classes)
            raise fault(test, "classes", ", ".join(sorted(unknown)), f"those of {train}: {known}")
        there = [name for name in classes if (test / name).is_dir()]
        test_paths, found = _pictures(test, there)
        test_labels, split = np.array([classes.index(there[n]) for n in found]), "given"
    else:

        def say(label: int, count: int) -> DataError:
            expected = "two or more, one of them to test on"
            return fault(train / classes[label], "pictures", f"{count}", expected)

        held, split = _drawn(labels, seed, say), "drawn"
        test_paths, test_labels = [p for p, h in zip(paths, held, strict=True) if h], labels[held]
        paths, labels = [p for p, h in zip(paths, held, strict=True) if not h], labels[~held]
    read = _read([*paths, *test_paths], size, mode)
    parts_of = (read[: len(paths)], labels), (read[len(paths) :], test_labels)
    made = [{"image": a, "label": _labels(b, len(classes))} for a, b in parts_of]
    return _dataset(path, mode, classes, made, split, seed)


def _of_list(path: Path, table: Path, size: int, mode: Mode, seed: int) -> Dataset:
    """The data set of pictures in `train`, or beside the table, whose labels are in the table."""
    train = next((p for p in _folders(path) if p.name.casefold() in _TRAIN), path)
    there = {p.name: p for p in sorted(train.iterdir()) if _is_picture(p.name)}
    there |= {p.stem: p for p in there.values()}
    lines = [line for line in csv.reader(io.StringIO(_text(table))) if line]
    if lines and lines[0][0] not in there:
        del lines[0]  # its header
    paths, names = [], []
    for number, line in enumerate(lines, start=1):
        if len(line) != 2 or line[0] not in there:
            expected = f"a picture in {train} and its label"
            raise fault(table, f"entry {number:,}", ",".join(line)[:60], expected)
        paths.append(there[line[0]])
        names.append(line[1])
    if twice := len(paths) - len(set(paths)):
        raise fault(table, "the entries", f"{twice:,} pictures again", "each once")
    classes, labels = np.unique(np.array(names, str), return_inverse=True)

    def say(label: int, count: int) -> DataError:
        return fault(table, f"label {classes[label]}", f"{count} picture", "two or more")

    held = _drawn(labels, seed, say)
    read = _read(paths, size, mode)
    numbers = _labels(labels, len(classes))
    parts = [{"image": read[which], "label": numbers[which]} for which in (~held, held)]
    return _dataset(path, mode, [str(name) for name in classes], parts, "drawn", seed)


def _text(path: Path) -> str:
    content = files.read_bytes(path, text=True)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fault(path, f"byte {error.start:,}", "no UTF-8", "a text in UTF-8") from error


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def _pictures(folder: Path, classes: Sequence[str]) -> _Part:
    """The pictures of each class, in the order of their names, and the classes' numbers."""
    if not classes:
        loose = sum(_is_picture(p.name) for p in folder.iterdir())
        found = f"{loose} pictures beside each other" if loose else "no folder"
        raise fault(folder, "inside", found, f"a folder for each class: {_TREE}")
    paths, labels = [], []
    for number, name in enumerate(classes):
        own = []
        for parent, below, names in os.walk(folder / name, followlinks=True):
            below[:] = sorted(b for b in below if not b.startswith("."))
            own += [Path(parent, n) for n in sorted(names) if _is_picture(n)]
        if not own:
            kinds = " ".join(SUFFIXES)
            raise fault(folder / name, "inside", "no picture", f"files ending in one of {kinds}")
        paths += own
        labels += [number] * len(own)
    return paths, np.array(labels)


def _read(paths: Sequence[Path], size: int, mode: Mode) -> np.ndarray:
    """The pictures, uint8 [N, size, size] or [N, size, size, 3].

    Raises:
        DataError: When some can't be read; names the first three.
    """

    def read(path: Path) -> Any:
        try:
            return images.read_square(path, size, mode)
        except (DataError, OSError) as error:
            return error

    with concurrent.futures.ThreadPoolExecutor() as pool:  # Pillow releases Python's lock
        found = list(pool.map(read, paths))
    if failed := [error for error in found if isinstance(error, Exception)]:
        some = "; ".join(map(str, failed[:3])) + "; ..." * (len(failed) > 3)
        raise DataError(f"{len(failed)} of {len(paths)} pictures can't be read: {some}")
    return np.stack(found)


def _tables(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a CSV file, and of one beside it that is named `test` in place of `train`."""
    found = _table(path)
    if found is None:
        raise fault(path, "line 1", "no column label", "label, and the pixels of a picture")
    arrays = dict(zip(("image", "label"), found, strict=True))
    other = path.with_name(path.name.replace("train", "test"))
    if other != path and other.exists():
        found = _table(other)
        if found is not None:  # else it is a contest's, which keeps the labels
            arrays |= zip(("test_image", "test_label"), found, strict=True)
    return arrays


def _table(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Grey pictures uint8 [N, H, H] and labels [N] of a CSV file; None if it has no labels."""
    text = _text(path)
    header = [name.strip(' "').casefold() for name in text.partition("\n")[0].strip().split(",")]
    named = not all(name.isdecimal() for name in header)
    if named and "label" not in header:
        return None
    column = header.index("label") if named else 0
    try:
        table = np.loadtxt(io.StringIO(text), np.int32, None, ",", skiprows=int(named), ndmin=2)
    except (ValueError, OverflowError) as error:
        raise fault(path, "a line", str(error), "whole numbers between commas") from error
    pixels = np.delete(table, column, axis=1)
    side = math.isqrt(pixels.shape[1])
    if not pixels.size or side**2 != pixels.shape[1]:
        found, expected = f"{pixels.shape[1]} pixels", "those of a square picture, as 784 of 28x28"
        raise fault(path, "a line", found, expected)
    if ((pixels < 0) | (pixels > 255)).any():
        found = f"pixels from {pixels.min()} to {pixels.max()}"
        raise fault(path, "the lines", found, "0 to 255")
    return pixels.astype(np.uint8).reshape(-1, side, side), table[:, column]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # what is broken makes NumPy raise nearly anything
        raise DataError(
            f"{files.printable(path)} can't be read as an NPZ file of plain arrays ({error}): "
            "write one with numpy.savez_compressed(FILE, image=..., label=...), or give a folder"
        ) from error


def _of_file(path: Path, size: int, mode: Mode, seed: int) -> Dataset:
    arrays = _tables(path) if path.name.lower().endswith(_TABLE) else _arrays(path)
    names = next((n for n in _NAMES if n[0] in arrays and n[1] in arrays), None)
    if names is None:
        expected = "image and label (and test_image, test_label, classes)"
        raise fault(path, "arrays", ", ".join(arrays) or "none", expected)
    labels = {name: _whole(path, name, arrays) for name in names[1::2] if name in arrays}
    classes, numbers = _classes(path, arrays.get("classes"), labels)
    parts = []
    for image, label in (names[:2], names[2:]):
        if image in arrays and label in numbers:
            count = len(numbers[label])
            pixels = _checked(path, image, arrays[image])
            if len(pixels) != count:
                raise fault(path, label, f"{count:,} labels", f"one for each of {len(pixels):,}")
            parts.append({"image": _shrunk(pixels, size, mode), "label": numbers[label]})
    if len(parts) == 2:
        return _dataset(path, mode, classes, parts, "given", seed)
    (whole,) = parts

    def say(label: int, count: int) -> DataError:
        return fault(path, f"label {classes[label]}", f"{count} image", "two or more: one to test")

    held = _drawn(whole["label"], seed, say)
    drawn = [{name: array[which] for name, array in whole.items()} for which in (~held, held)]
    return _dataset(path, mode, classes, drawn, "drawn", seed)


def _whole(path: Path, name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    found = arrays[name]
    if found.ndim == 2 and found.shape[1] == 1:  # Keras's CIFAR-10
        found = found[:, 0]
    if found.ndim != 1 or not len(found) or not np.issubdtype(found.dtype, np.integer):
        raise fault(path, name, f"{found.dtype} of shape {found.shape}", "whole numbers [N]")
    return found


def _classes(
    path: Path, named: np.ndarray | None, labels: Mapping[str, np.ndarray]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The classes' names, and the labels as their numbers."""
    present = np.unique(np.concatenate(list(labels.values())))
    if named is None:
        names = [str(value) for value in present]
        numbers = {name: np.searchsorted(present, array) for name, array in labels.items()}
    else:
        names, numbers = [str(name) for name in named.ravel()], dict(labels)
        if present.min() < 0 or present.max() >= len(names):
            found = f"{present.min()} to {present.max()}"
            expected = f"0 to {len(names) - 1}, as there are {len(names)} names in classes"
            raise fault(path, "labels", found, expected)
    return names, {name: _labels(array, len(names)) for name, array in numbers.items()}


def _checked(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Images uint8 [N, H, W] or [N, H, W, 3]."""
    found = f"{array.dtype} of shape {array.shape}"
    if array.dtype != np.uint8:
        advice = "uint8 from 0 to 255"
        if np.issubdtype(array.dtype, np.floating):
            advice += "; where 1 is white: numpy.rint(255 * image).astype(numpy.uint8)"
        raise fault(path, name, found, advice)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 4 and array.shape[-1] != 3 and array.shape[1] in (1, 3):
        raise fault(path, name, found, "channels last, [N, H, W, 3]: image.transpose(0, 2, 3, 1)")
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[-1] != 3):
        raise fault(path, name, found, "[N, H, W], [N, H, W, 1] or [N, H, W, 3]")
    return array


def _shrunk(pixels: np.ndarray, size: int, mode: Mode) -> np.ndarray:
    """The middle square of each image in the mode, as `images.read_square` makes it of a file."""
    import PIL.Image

    wanted = (len(pixels), size, size) + (() if mode == "L" else (3,))
    if pixels.shape == wanted:
        return pixels
    made = (images.square(PIL.Image.fromarray(one), size, mode) for one in pixels)
    return np.stack(list(made))


def given(config: Any, data: str, size: int, mode: Mode = "RGB") -> Dataset | None:
    """The pictures that `config.images` names, None where it names none.

    Args:
        config: With `images`, `size` and `seed`.
        data: What --data says.
        size: Of the chapter's own data set, which can't be had in another.
        mode: Grey or colour.

    Raises:
        DataError: As `load`, or the flags contradict each other.
    """
    if not config.images:
        if config.size != size:
            raise DataError(
                f"got size {config.size} without images of your own, expected {size}: name them by "
                "--images FOLDER"
            )
        return None
    if data in ("real", "sample"):
        raise DataError(f"got --data {data} and --images {config.images}, expected one of them")
    return load(config.images, config.size, mode, config.seed)


def fill(config: Any, dataset: Dataset) -> Any:
    """The configuration with the classes of pictures of one's own, and their whole path."""
    if not config.images:
        return of_classes(config, dataset)
    found: dict[str, Any] = {"images": str(files.expand(config.images).absolute())}
    if hasattr(config, "classes"):
        found["classes"] = len(dataset.classes)
    return dataclasses.replace(config, **found)
