"""Folders and NPZ files of one's own pictures."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from zoo.ch06_cnn.cnn.model import Config
from zoo.common import images
from zoo.common.data import DataError, own_pictures
from zoo.common.settings import SettingError

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 60), "red": (230, 30, 20)}
ORIENTATION = 0x0112


def drawn(name, number, size=(64, 48)):
    """A picture of one colour with some noise, as a file of this kind might have it."""
    rng = np.random.default_rng([number, *name.encode()])
    noise = rng.integers(0, 30, (size[1], size[0], 3), np.uint8)
    return PIL.Image.fromarray(noise + np.array(COLOURS[name], np.uint8) // 2)


def fill(folder, name, count):
    """So many pictures of a class: JPEG, grey, transparent, turned; and what is no picture."""
    folder.mkdir(parents=True)
    for number in range(count):
        image = drawn(name, number)
        match number % 4:
            case 0:
                image.save(folder / f"{number}.JPG")
            case 1:
                image.convert("L").save(folder / f"{number}.jpeg")
            case 2:
                image.putalpha(200)
                image.save(folder / f"{number}.png")
            case 3:
                exif = PIL.Image.Exif()
                exif[ORIENTATION] = 6
                image.save(folder / f"{number}.jpg", exif=exif)
    (folder / "Thumbs.db").write_bytes(b"no picture")
    (folder / ".hidden.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for name in COLOURS:
        fill(folder / name, name, 8)
    (folder / ".git").mkdir()
    return folder


def files_of(tree):
    """The pictures by class, in the loader's order."""
    own = {name: sorted((tree / name).iterdir()) for name in sorted(COLOURS)}
    kinds = own_pictures.SUFFIXES
    return {
        name: [p for p in paths if p.suffix.lower() in kinds and p.name[0] != "."]
        for name, paths in own.items()
    }


def test_class_folders_are_read_as_predict_reads_a_file(tree):
    found = own_pictures.load(tree, 32)
    assert found.classes == ("blue", "green", "red")
    assert (found.name, found.source, found.split) == (tree.name, "own", "drawn")
    assert "train on 18, test on 6 (a fifth of each class, drawn by the seed)" in found.description
    assert found.train["image"].shape == (18, 32, 32, 3)
    assert found.train["image"].dtype == found.test["label"].dtype == np.uint8
    assert np.bincount(found.train["label"]).tolist() == [6, 6, 6]
    whole = np.concatenate([found.train["image"], found.test["image"]])
    labels = np.concatenate([found.train["label"], found.test["label"]])
    for number, paths in enumerate(files_of(tree).values()):
        expected = {images.read_square(path, 32).tobytes() for path in paths}
        assert {image.tobytes() for image in whole[labels == number]} == expected


def test_the_split_is_drawn_by_the_seed(tree):
    first, again, other = (own_pictures.load(tree, 8, "L", seed) for seed in (0, 0, 1))
    assert first.train["image"].shape == (18, 8, 8)
    np.testing.assert_array_equal(first.test["image"], again.test["image"])
    assert (first.test["image"] != other.test["image"]).any()


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "val"), ("train", "valid")])
def test_a_given_split_is_kept(tmp_path, names):
    for part, count in zip(names, (4, 2), strict=True):
        for name in COLOURS:
            fill(tmp_path / part / name, name, count)
    found = own_pictures.load(tmp_path, 16)
    assert found.split == "given"
    assert [len(part["label"]) for part in (found.train, found.test)] == [12, 6]
    fill(tmp_path / names[1] / "white", "red", 1)
    with pytest.raises(DataError, match=r"classes: found white, expected those of .*: blue, green"):
        own_pictures.load(tmp_path, 16)


def test_a_test_part_without_classes_is_left_alone(tmp_path):
    for name in COLOURS:
        fill(tmp_path / "train" / name, name, 5)
    fill(tmp_path / "test", "red", 3)
    assert own_pictures.load(tmp_path, 16).split == "drawn"


def test_arrays_give_what_their_files_give(tree, tmp_path):
    read = [
        (np.asarray(images.read(path)), number)
        for number, paths in enumerate(files_of(tree).values())
        for path in paths
        if path.suffix != ".jpg"  # which are turned, so of another shape
    ]
    arrays, labels = zip(*read, strict=True)
    names = np.array(sorted(COLOURS))
    path = tmp_path / "own.npz"
    np.savez_compressed(path, image=np.stack(arrays), label=labels, classes=names)
    found = own_pictures.load(path, 32)
    assert found.classes == ("blue", "green", "red")
    paths = [p for paths in files_of(tree).values() for p in paths if p.suffix != ".jpg"]
    expected = {images.read_square(p, 32).tobytes() for p in paths}
    whole = np.concatenate([found.train["image"], found.test["image"]])
    assert {image.tobytes() for image in whole} == expected


def test_other_names_and_labels_are_understood(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "keras.npz"
    grey = rng.integers(0, 256, (6, 28, 28), np.uint8)
    np.savez(path, x_train=grey, y_train=[[3], [5], [3], [5], [3], [5]], x_test=grey[:2],
             y_test=[[5], [3]])  # fmt: skip
    found = own_pictures.load(path, 28, "L")
    assert found.classes == ("3", "5")
    assert sorted(found.test["label"]) == [0, 1]
    numbers = [int(np.argmax((grey == image).all((1, 2)))) for image in found.train["image"]]
    assert sorted(numbers) == list(range(6))
    assert found.train["label"].tolist() == [number % 2 for number in numbers]
    colour = own_pictures.load(path, 28)
    expected = np.repeat(found.train["image"][..., None], 3, -1)
    np.testing.assert_array_equal(colour.train["image"], expected)


IMAGE, LABEL = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
FAULTS = {
    "no arrays": ({"pixels": IMAGE}, "arrays: found pixels, expected image and label"),
    "floats": (
        {"image": IMAGE / 255, "label": LABEL},
        "float64 .* uint8 from 0 to 255; where",
    ),
    "channels first": (
        {"image": np.zeros((4, 3, 8, 8), np.uint8), "label": LABEL},
        r"channels last, \[N, H, W, 3\]",
    ),
    "four channels": ({"image": np.zeros((4, 8, 8, 4), np.uint8), "label": LABEL}, "N, H, W, 1"),
    "labels are floats": ({"image": IMAGE, "label": LABEL / 1}, "float64 .* whole numbers"),
    "too few labels": (
        {"image": IMAGE, "label": LABEL[:3]},
        "found 3 labels, expected one for",
    ),
    "a label without a name": (
        {"image": IMAGE, "label": LABEL, "classes": np.array(["cat"])},
        "labels: found 0 to 1, expected 0 to 0",
    ),
    "one class": ({"image": IMAGE, "label": 0 * LABEL}, r"classes: found 1 \(0\), expected two"),
    "one picture": (
        {"image": IMAGE[:3], "label": LABEL[:3]},
        "label 1: found 1 image",
    ),
    "no labels": ({"image": IMAGE[:0], "label": LABEL[:0], "classes": np.array(["cat"])}, "whole"),
    "objects": ({"image": IMAGE, "label": np.array([{}] * 4)}, "can't be read as an NPZ file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_file_is_said(tmp_path, fault):
    arrays, message = FAULTS[fault]
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        own_pictures.load(tmp_path / "own.npz", 8)
    assert "own.npz" in str(error.value)


@pytest.mark.parametrize("kind", ["cut off", "changed inside", "an array alone"])
def test_a_file_that_is_no_whole_archive_is_named(tmp_path, kind):
    path = tmp_path / "own.npz"
    np.savez_compressed(
        path,
        image=np.random.default_rng(0).integers(0, 256, (10, 20, 20), np.uint8),
        label=[0] * 10,
    )
    content = bytearray(path.read_bytes())
    if kind == "cut off":
        content = content[:-200]
    elif kind == "changed inside":
        content[60:120] = bytes(60)
    path.write_bytes(content)
    if kind == "an array alone":
        path = path.with_suffix(".npy")
        np.save(path, IMAGE)
    with pytest.raises(DataError, match=r"own\.np[yz] can't be read as an NPZ file"):
        own_pictures.load(path, 8)


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    with pytest.raises(DataError, match=r"nowhere is not there: expected FOLDER/CLASS"):
        own_pictures.load(tmp_path / "nowhere", 8)
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(DataError, match="text can't be read as an NPZ file"):
        own_pictures.load(tmp_path / "text", 8)
    fill(tmp_path / "flat", "red", 3)
    with pytest.raises(DataError, match="found 3 pictures beside each other, expected a"):
        own_pictures.load(tmp_path / "flat", 8)
    for name, count in {"red": 3, "green": 1}.items():
        fill(tmp_path / "few" / name, name, count)
    with pytest.raises(DataError, match="green: pictures: found 1, expected two or more"):
        own_pictures.load(tmp_path / "few", 8)
    (tmp_path / "few" / "blue").mkdir()
    with pytest.raises(DataError, match="blue: inside: found no picture, expected files ending in"):
        own_pictures.load(tmp_path / "few", 8)
    fill(tmp_path / "one" / "red", "red", 3)
    with pytest.raises(DataError, match=r"classes: found 1 \(red\), expected two or more"):
        own_pictures.load(tmp_path / "one", 8)


def test_broken_pictures_are_named_all_at_once(tmp_path):
    for name in COLOURS:
        fill(tmp_path / name, name, 2)
    for name in ("a", "b", "c", "d"):
        (tmp_path / "red" / f"{name}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"^4 of 10 pictures can't be read: .*red/a\.png") as error:
        own_pictures.load(tmp_path, 8)
    assert str(error.value).endswith("; ...")


def test_a_configuration_takes_its_classes_and_a_whole_path_from_them(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    config = Config(images=tree.name)
    found = own_pictures.fill(config, own_pictures.given(config, "auto", 32))
    assert found.classes == 3
    assert found.images == str(tree)
    assert own_pictures.given(Config(), "auto", 32) is None
    with pytest.raises(DataError, match=r"--data real and --images .*, expected one of them"):
        own_pictures.given(config, "real", 32)
    with pytest.raises(DataError, match="got size 48 without images of your own, expected 32"):
        own_pictures.given(Config(size=48), "auto", 32)
    with pytest.raises(SettingError, match="got classes 10, expected 3"):
        own_pictures.fill(Config(), SimpleNamespace(classes=("a", "b", "c")))


def test_paths_may_begin_at_home(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree.parent))
    assert len(own_pictures.load(Path("~", tree.name), 8).classes) == 3
