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


# Kaggle's layouts.


def digits(count, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 28, 28)).astype(np.uint8), np.arange(count) % 10


def write_table(path, images, labels=None, header=True):
    columns = images.reshape(len(images), -1)
    names = [f"pixel{n}" for n in range(columns.shape[1])]
    if labels is not None:
        columns, names = np.column_stack([labels, columns]), ["label", *names]
    first = [",".join(names)] if header else []
    path.write_text("\r\n".join([*first, *(",".join(map(str, row)) for row in columns), ""]))
    return path


def sorted_pixels(*parts):
    return sorted(a.tobytes() for part in parts for a in part["image"])


def test_a_contests_table_of_pixels_is_read(tmp_path):
    """Kaggle's digit recognizer: train.csv with labels, test.csv without."""
    images, labels = digits(60, 0)
    table = write_table(tmp_path / "train.csv", images, labels)
    write_table(tmp_path / "test.csv", digits(5, 1)[0])
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    for source in (table, tmp_path):
        found = own_pictures.load(source, 28, "L")
        assert (found.source, found.split) == ("own", "drawn")
        assert found.classes == tuple("0123456789")
        assert len(found.train["label"]) == 50
        assert len(found.test["label"]) == 10
        assert sorted_pixels(found.train, found.test) == sorted(a.tobytes() for a in images)
        for image, label in zip(found.train["image"], found.train["label"], strict=True):
            (at,) = np.flatnonzero((images == image).all((1, 2)))
            assert labels[at] == label
    colour = own_pictures.load(table, 32)
    assert colour.train["image"].shape == (50, 32, 32, 3)


@pytest.mark.parametrize("header", [True, False])
def test_a_test_table_with_labels_is_tested_on(header, tmp_path):
    train, test = digits(40, 0), digits(20, 1)
    write_table(tmp_path / "mnist_train.csv", *train, header)
    write_table(tmp_path / "mnist_test.csv", *test, header)
    found = own_pictures.load(tmp_path, 28, "L")
    assert found.split == "given"
    assert sorted_pixels(found.train) == sorted(a.tobytes() for a in train[0])
    assert sorted_pixels(found.test) == sorted(a.tobytes() for a in test[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pixel0,pixel1\n1,2\n", "no column label"),
        ("label,a,b,c\n1,2,3,4\n", "found 3 pixels, expected those of a square picture"),
        ("label,a\n1,256\n2,0\n", "found pixels from 0 to 256, expected 0 to 255"),
        ("label,a\n1,x\n", "could not convert string 'x'"),
        ("label,a\n1,2\n1\n", "number of columns changed"),
        ("label,a\n", "pixels, expected those of a square"),
        ("label,a\n1,1e400\n", "whole numbers between commas"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_what_is_wrong_with_a_table_is_said(text, message, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        own_pictures.load(path, 28, "L")
    assert str(path) in str(error.value)


@pytest.fixture
def contest(tree, tmp_path):
    """Kaggle's CIFAR-10: pictures by number, and a table of their labels."""
    lines = ["id,label"]
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    paths = [(path, name) for name, some in files_of(tree).items() for path in some]
    for number, (path, name) in enumerate(paths, start=1):
        PIL.Image.fromarray(images.read_square(path, 32, "RGB")).save(
            tmp_path / f"train/{number}.png"
        )
        lines.append(f"{number},{name}")
    (tmp_path / "test/1.png").write_bytes((tmp_path / "train/1.png").read_bytes())
    (tmp_path / "trainLabels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_pictures_with_a_table_of_labels_are_read_as_class_folders_are(contest, tree):
    found, folders = own_pictures.load(contest, 32), own_pictures.load(tree, 32)
    assert found.classes == folders.classes
    assert found.split == "drawn"
    for name in COLOURS:
        own, expected = (
            sorted_pixels(
                *(
                    {"image": part["image"][part["label"] == d.classes.index(name)]}
                    for part in (d.train, d.test)
                )
            )
            for d in (found, folders)
        )
        assert own == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("99,red", "found 99,red, expected a picture in .*train and its label"),
        ("1", "found 1, expected a picture"),
        ("1,red", "found 1 pictures again, expected each once"),
    ],
)
def test_what_is_wrong_with_a_table_of_labels_is_said(line, message, contest):
    with (contest / "trainLabels.csv").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=message):
        own_pictures.load(contest, 32)
