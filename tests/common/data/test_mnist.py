import gzip
import lzma
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.common.data import DataError, digest, files, mnist

PACK = {".gz": gzip.compress, ".xz": lzma.compress, "": lambda content: content}
PIXELS = bytes(i % 251 for i in range(2 * 784))


def images_file(pixels, magic=0x803, count=None, rows=28, columns=28):
    count = len(pixels) // 784 if count is None else count
    return struct.pack(">IIII", magic, count, rows, columns) + pixels


def labels_file(labels, magic=0x801, count=None):
    return struct.pack(">II", magic, len(labels) if count is None else count) + bytes(labels)


BAD_IMAGES = {
    "labels instead of images": (labels_file(range(9)), ["byte 0", "0x00000801", "0x00000803"]),
    "little endian": (images_file(PIXELS)[3::-1] + images_file(PIXELS)[4:], ["magic"]),
    "only a magic number": (images_file(PIXELS)[:4], ["4 bytes", "cut off"]),
    "half a magic number": (images_file(PIXELS)[:2], ["2 bytes", "cut off"]),
    "32 rows": (images_file(PIXELS, rows=32), ["byte 8", "32x28", "28x28"]),
    "784 columns of one row": (images_file(PIXELS, rows=1, columns=784), ["byte 8", "1x784"]),
    "a pixel short": (images_file(PIXELS[:-1], count=2), ["1,583 bytes", "1,584", "cut off"]),
    "a pixel too many": (images_file(PIXELS + b"x"), ["byte 1,584", "1 more bytes"]),
    "a billion images": (images_file(PIXELS, count=10**9), ["784,000,000,016", "cut off"]),
}

BAD_LABELS = {
    "images instead of labels": (images_file(PIXELS), ["byte 0", "0x00000803", "0x00000801"]),
    "label ten": (labels_file([0, 9, 10, 11]), ["byte 10", "label 10", "0 to 9"]),
    "a label short": (labels_file([1, 2], count=3), ["10 bytes", "11", "cut off"]),
    "a label too many": (labels_file([1, 2], count=1), ["byte 9", "1 more bytes"]),
}


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [pytest.param(mnist.read_images, *row, id=f"images: {k}") for k, row in BAD_IMAGES.items()]
    + [pytest.param(mnist.read_labels, *row, id=f"labels: {k}") for k, row in BAD_LABELS.items()],
)
def test_a_bad_file_is_rejected_by_name_and_place(read, content, words, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    for word in [str(path), "expected", *words]:
        assert word in str(caught.value)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    count=st.integers(0, 4), seed=st.integers(0, 2**32 - 1), suffix=st.sampled_from(sorted(PACK))
)
def test_what_is_written_is_read_back(count, seed, suffix, tmp_path):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 28, 28), np.uint8)
    labels = rng.integers(0, 10, count, np.uint8)
    image_path, label_path = tmp_path / f"images{suffix}", tmp_path / f"labels{suffix}"
    image_path.write_bytes(PACK[suffix](images_file(images.tobytes())))
    label_path.write_bytes(PACK[suffix](labels_file(labels)))
    for read, path, expected in [
        (mnist.read_images, image_path, images),
        (mnist.read_labels, label_path, labels),
    ]:
        actual = read(path)
        assert actual.dtype == np.uint8
        np.testing.assert_array_equal(actual, expected)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), packed=st.booleans())
def test_a_mutated_images_file_is_the_mutated_pixels_or_a_data_error(
    data, packed, tmp_path, mutate
):
    content = mutate(data, images_file(PIXELS))
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    # The file is right if and only if the header still is what these bytes need.
    right = content[:16] == images_file(content[16:])[:16] and len(content) % 784 == 16
    assert_reads(mnist.read_images, path, content[16:], right)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), labels=st.lists(st.integers(0, 9), max_size=20))
def test_a_mutated_labels_file_is_the_mutated_labels_or_a_data_error(
    data, labels, tmp_path, mutate
):
    content = mutate(data, labels_file(labels))
    path = tmp_path / "labels"
    path.write_bytes(content)
    right = content[:8] == labels_file(content[8:])[:8] and all(b <= 9 for b in content[8:])
    assert_reads(mnist.read_labels, path, content[8:], right)


def assert_reads(read, path, expected, right):
    if right:
        assert read(path).tobytes() == expected
    else:
        with pytest.raises(DataError, match=str(path)):
            read(path)


@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("spelling", ["-idx", ".idx"])
def test_all_spellings_and_places_are_found_and_known_by_their_checksums(
    place, suffix, spelling, tmp_path, published
):
    for part, count in (("train", 2), ("t10k", 1)):
        images, labels = images_file(PIXELS[: 784 * count]), labels_file([3] * count)
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(content)
    published(mnist, "MNIST", tmp_path)
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for path in list(tmp_path.glob("*ubyte")):
        name = path.name.replace("-idx", spelling) + suffix
        content = path.read_bytes()
        path.unlink()
        (tmp_path / place / name).write_bytes(PACK[suffix](content))
    dataset = mnist.load("real", tmp_path)
    assert dataset.train["image"].tobytes() == PIXELS
    assert dataset.test["label"].tolist() == [3]
    assert (dataset.name, dataset.split) == ("MNIST", "official")
    assert dataset.description == "MNIST: train on 2 digits, test on 1"
    labels_path = tmp_path / place / f"t10k-labels{spelling}1-ubyte{suffix}"
    labels_path.write_bytes(PACK[suffix](labels_file([4])))
    other = mnist.load("real", tmp_path)
    assert other.name == "unknown images in MNIST's format"
    assert other.description.endswith(f"differ from the published ones: {labels_path}")
    assert digest(other) != digest(dataset)


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    """Files of MNIST's names, shapes and sizes with other pictures."""
    folder = tmp_path_factory.mktemp("fashion")
    rng = np.random.default_rng(0)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images_file(rng.bytes(784 * count)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels_file(labels))
    return folder


@pytest.mark.parametrize("data", ["auto", "real"])
def test_other_pictures_under_mnists_names_are_called_unknown(data, fashion):
    dataset = mnist.load(data, fashion)
    assert dataset.name == "unknown images in MNIST's format"
    assert (dataset.source, dataset.split) == ("real", "given")
    assert dataset.description == (
        f"{dataset.name}: train on 60,000 images, test on 10,000; files that differ from the "
        f"published ones: {fashion / 't10k-images-idx3-ubyte'} and 3 more"
    )
    assert dataset.test["label"][:3].tolist() == [0, 1, 2]


def test_a_file_of_whole_size_is_hashed_once(fashion, monkeypatch):
    hashed = []
    monkeypatch.setattr(files, "checksum", lambda content, _: hashed.append(len(content)))
    mnist.load("real", fashion)
    assert sorted(hashed) == sorted(file.size for file in mnist.MNIST.files)


@pytest.mark.parametrize("name", [file.name for file in mnist.MNIST.files])
def test_a_cut_off_file_is_refused(name, fashion, tmp_path):
    for path in fashion.iterdir():
        (tmp_path / path.name).symlink_to(path)
    content = (fashion / name).read_bytes()
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"{tmp_path / name}: byte .*The file is cut off\."):
        mnist.load("auto", tmp_path)


@pytest.mark.parametrize(("images", "labels"), [(2, 3), (2, 1), (2, 0), (0, 0)])
def test_images_without_a_label_each_are_refused(images, labels, tmp_path):
    for part in ("train", "t10k"):
        content = images_file(PIXELS[: 784 * images])
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(content)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(labels_file([1] * labels))
    with pytest.raises(DataError, match=f"byte 4: found {labels} labels, expected one for each"):
        mnist.load("real", tmp_path)


def test_the_sample_says_that_it_is_one_and_is_the_same_each_time(no_network, tmp_path):
    first, second = mnist.load("sample"), mnist.load("auto", tmp_path)
    assert first.source == second.source == first.split == "sample"
    assert "built-in sample, not MNIST (asked for)" in first.description
    assert "could not be downloaded" in second.description
    assert str(tmp_path) in second.description
    assert first.train["image"].shape == (1500, 28, 28)
    assert first.train["image"].dtype == first.train["label"].dtype == np.uint8
    assert first.train["image"].max() == 255
    assert np.bincount(first.test["label"]).min() > 20
    np.testing.assert_array_equal(first.train["image"], second.train["image"])


def test_real_data_that_is_not_to_be_had_is_an_error_that_says_what_to_do(no_network, tmp_path):
    with pytest.raises(DataError) as caught:
        mnist.load("real", tmp_path)
    for word in [
        "train-images-idx3-ubyte",
        str(tmp_path),
        "python -m zoo data fetch mnist",
        "--data-dir",
        "refused by the test",
    ]:
        assert word in str(caught.value)


@pytest.mark.realdata
def test_the_real_set_is_what_the_manifest_says(real):
    dataset = mnist.load("real", real)
    assert (dataset.name, dataset.source, dataset.split) == ("MNIST", "real", "official")
    assert dataset.train["image"].shape == (60_000, 28, 28)
    assert dataset.test["image"].shape == (10_000, 28, 28)
    assert dataset.train["label"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test["label"][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.train["label"]).tolist() == counts
    assert round(dataset.train["image"].mean() / 255, 4) == 0.1307  # well known
