import gzip
import hashlib
import io
import lzma
import os
import pickle
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.common.data import DataError, cifar10, digest, files

PACK = {".gz": gzip.compress, ".xz": lzma.compress, "": lambda content: content}


def record(label, seed=0):
    return bytes([label]) + np.random.default_rng(seed).bytes(3072)


def batch_file(path, count, seed=0):
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (count, 3073), np.uint8)
    records[:, 0] %= 10
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(records.tobytes())
    return records


BAD = {
    "label ten": (record(9) + record(10), ["byte 3,073", "record 1", "label 10", "0 to 9"]),
    "a byte short": (record(1) + record(2)[:-1], ["byte 3,073", "record 1", "3,072 bytes"]),
    "a byte too many": (record(1) + b"\0", ["byte 3,073", "1 bytes"]),
    "the Python version": (b"\x80\x02}q\x01(U\x0bbatch" + bytes(5000), ["a pickle, as Python"]),
    "CIFAR-100": (bytes(3074 * 5), ["Records of 3,074 bytes", "CIFAR-100"]),
    "an archive": (b"PK\x03\x04" + bytes(5000), ["a zip archive"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_rejected_by_name_and_place(name, tmp_path):
    content, words = BAD[name]
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        cifar10.read_batch(path)
    for word in [str(path), "expected", *words]:
        assert word in str(caught.value)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    suffix=st.sampled_from(sorted(PACK)),
)
def test_what_is_written_is_read_back(labels, seed, suffix, tmp_path):
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    content = b"".join(
        bytes([label]) + b"".join(image[:, :, c].tobytes() for c in range(3))
        for label, image in zip(labels, images, strict=True)
    )
    path = tmp_path / f"batch{suffix}"
    path.write_bytes(PACK[suffix](content))
    actual_images, actual_labels = cifar10.read_batch(path)
    assert actual_images.dtype == actual_labels.dtype == np.uint8
    np.testing.assert_array_equal(actual_images, images)
    np.testing.assert_array_equal(actual_labels, labels)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), packed=st.booleans())
def test_a_mutated_file_is_the_mutated_records_or_a_data_error(data, packed, tmp_path, mutate):
    content = mutate(data, record(3, seed=1) + record(9, seed=2))
    path = tmp_path / ("batch.gz" if packed else "batch")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    # Only a change of bytes within records, or a cut between two, leaves a file of this format.
    labels = content[::3073]
    if content and len(content) % 3073 == 0 and max(labels) <= 9:
        images, actual = cifar10.read_batch(path)
        assert actual.tobytes() == labels
        planes = np.frombuffer(content, np.uint8).reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(images, np.moveaxis(planes, 1, -1))
    else:
        with pytest.raises(DataError, match=str(path)):
            cifar10.read_batch(path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    base = tmp_path_factory.mktemp("cifar")
    names = [*cifar10.TRAIN, cifar10.TEST]
    records = [batch_file(base / "all" / name, 10_000, i) for i, name in enumerate(names)]
    (base / "train" / "cifar-10-batches-bin").mkdir(parents=True)
    for name in cifar10.TRAIN:
        (base / "train" / "cifar-10-batches-bin" / name).symlink_to(base / "all" / name)
    yield base, records
    for name in names:
        (base / "all" / name).unlink()


@pytest.fixture
def folders(written, published):
    """Two folders of whole size with random content: all six files, and the five for training."""
    published(cifar10, "CIFAR10", written[0] / "all")
    return written


def test_the_splits_are_made_of_the_files_that_they_say(folders):
    base, records = folders
    official = cifar10.load("real", base / "all")
    assert official.split == "official"
    assert "official split: train on data_batch_1..5 (50,000), test on test_batch (10,000)" in (
        official.description
    )
    labels = np.concatenate([part[:, 0] for part in records])
    np.testing.assert_array_equal(official.train["label"], labels[:50_000])
    np.testing.assert_array_equal(official.test["label"], labels[50_000:])
    image = records[4][77, 1:].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(official.train["image"][40_077], image)
    for held_out in (
        cifar10.load("real", base / "train"),
        cifar10.load("real", base / "all", "holdout"),
    ):
        assert held_out.split == "holdout"
        assert "train on data_batch_1..4 (40,000), test on data_batch_5 (10,000)" in (
            held_out.description
        )
        np.testing.assert_array_equal(held_out.train["label"], labels[:40_000])
        np.testing.assert_array_equal(held_out.test["image"][77], image)


def test_images_are_views_of_the_records(folders):
    images, _ = cifar10.read_batch(folders[0] / "all" / cifar10.TEST)
    assert images.base is not None
    assert images.strides == (3073, 32, 1, 1024)


@pytest.mark.parametrize("data", ["auto", "real"])
def test_the_official_split_without_its_test_file_says_what_is_missing(data, folders, no_network):
    where = folders[0] / "train"
    with pytest.raises(DataError) as caught:
        cifar10.load(data, where, "official")
    words = [
        "cifar10: test_batch.bin (plain, .gz or .xz) not found beside data_batch_1.bin in",
        str(where / "cifar-10-batches-bin"),
        "python -m zoo data fetch cifar10",
    ]
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(DataError, match="no official split"):
        cifar10.load("sample", split="official")


@pytest.mark.parametrize("data", ["auto", "real"])
def test_five_files_of_zeros_are_called_unknown(data, tmp_path):
    for name in cifar10.TRAIN:
        (tmp_path / name).write_bytes(bytes(3073 * 10))
    dataset = cifar10.load(data, tmp_path)
    assert dataset.name == "unknown images in CIFAR-10's format"
    assert (dataset.source, dataset.split) == ("real", "holdout")
    assert dataset.classes == tuple("0123456789")
    assert dataset.description == (
        f"{dataset.name}, held-out split: train on data_batch_1..4 (40), test on data_batch_5 "
        f"(10); files that differ from the published ones: {tmp_path / 'data_batch_1.bin'} "
        "and 4 more"
    )
    path = tmp_path / "data_batch_4.bin"
    path.write_bytes(bytes(3073 * 9 + 1))
    with pytest.raises(DataError, match=rf"{path}: byte 27,657 .*The file is cut off\."):
        cifar10.load(data, tmp_path)
    path.write_bytes(b"\n" + bytes(3072))
    with pytest.raises(DataError, match=rf"{path}: byte 0 .*label 10"):
        cifar10.load(data, tmp_path)


@pytest.mark.parametrize("count", [9_999, 10_000])
@pytest.mark.parametrize("split", ["auto", "official", "given"])
def test_one_file_that_differs_makes_the_set_unknown(split, count, folders, tmp_path):
    for name in (*cifar10.TRAIN, cifar10.TEST):
        (tmp_path / name).symlink_to(folders[0] / "all" / name)
    assert cifar10.load("real", tmp_path, split).name == "CIFAR-10"
    (tmp_path / cifar10.TEST).unlink()
    (tmp_path / cifar10.TEST).write_bytes(record(1) * count)
    dataset = cifar10.load("auto", tmp_path, split)
    assert dataset.split == "given"
    assert f"given split: train on data_batch_1..5 (50,000), test on test_batch ({count:,}); " in (
        dataset.description
    )
    assert dataset.description.endswith(f"published ones: {tmp_path / cifar10.TEST}")
    assert cifar10.load("auto", tmp_path, "holdout").name == "CIFAR-10"
    assert cifar10.first_thousand(tmp_path) is None


def test_the_digest_is_that_of_the_content_not_of_its_layout(folders):
    dataset = cifar10.load("real", folders[0] / "all")
    start = time.process_time()
    first = digest(dataset)
    assert time.process_time() - start < 3
    packed = {key: np.ascontiguousarray(value) for key, value in dataset.train.items()}
    assert digest(dataset._replace(train=packed, description="another")) == first
    packed["image"][-1, -1, -1, -1] ^= 1
    assert digest(dataset._replace(train=packed)) != first


def test_loading_takes_at_most_twice_as_long_as_numpy_fromfile_and_a_checksum(folders):
    folder = folders[0] / "all"
    names = [*cifar10.TRAIN, cifar10.TEST]

    def fromfile():
        contents = [np.fromfile(folder / name, np.uint8) for name in names]
        return contents, [hashlib.sha256(content).digest() for content in contents]

    ours, theirs = [], []
    for _ in range(7):  # in turn, the best of each: both meet the same other work on the machine
        for times, read in ((theirs, fromfile), (ours, lambda: cifar10.load("real", folder))):
            start = time.process_time()
            kept = read()
            times.append(time.process_time() - start)
            del kept
    assert min(ours) <= 2 * min(theirs), (
        f"{min(ours):.3f} s, fromfile and sha256 {min(theirs):.3f} s"
    )


def test_the_sample_says_that_it_is_one_and_names_its_own_classes(no_network, tmp_path):
    dataset = cifar10.load("auto", tmp_path)
    assert (dataset.source, dataset.split) == ("sample", "sample")
    assert dataset.classes[:2] == ("circle", "ring")
    assert "built-in sample, not CIFAR-10" in dataset.description
    assert dataset.train["image"].shape == (2500, 32, 32, 3)
    assert dataset.test["image"].shape == (500, 32, 32, 3)
    assert np.bincount(dataset.train["label"]).tolist() == [250] * 10
    held_out = cifar10.load("sample", split="holdout")
    assert held_out.split == "holdout"
    assert len(held_out.train["label"]) == 2000


def test_importing_the_readers_loads_nothing_heavy():
    code = (
        "import sys; from zoo.common.data import cifar10, commands, mnist, movielens, text;"
        "bad = {'jax', 'sklearn', 'pooch', 'matplotlib', 'rich', 'requests'} & set(sys.modules);"
        "sys.exit(f'loaded {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.realdata
def test_the_real_set_is_what_the_manifest_says(real):
    dataset = cifar10.load("real", real, "holdout")
    labels = np.concatenate([dataset.train["label"], dataset.test["label"]])
    assert labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert np.bincount(labels).tolist() == [5000] * 10
    assert dataset.classes[6] == "frog"
    for part in (dataset.train, dataset.test):
        assert part["image"].shape[1:] == (32, 32, 3)
        assert part["image"].dtype == part["label"].dtype == np.uint8
    mean = dataset.train["image"].mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=2e-3)  # of all 50,000


@pytest.mark.realdata
def test_the_first_thousand_test_images_are_what_the_manifest_says(real):
    thousand = cifar10.first_thousand(real)
    assert thousand["image"].shape == (1000, 32, 32, 3)
    counts = [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]
    assert np.bincount(thousand["label"]).tolist() == counts


def test_the_first_thousand_are_none_where_they_are_not_here(tmp_path, folders):
    assert cifar10.first_thousand(tmp_path) is None
    whole = cifar10.load("real", folders[0] / "all").test
    thousand = cifar10.first_thousand(folders[0] / "all")  # out of the whole file
    for name in ("image", "label"):
        np.testing.assert_array_equal(thousand[name], whole[name][:1000])


# ---- where people have it


def in_folders(home):
    """The six files in a folder; returns what a reader makes of them."""
    for number, name in enumerate((*cifar10.TRAIN, cifar10.TEST)):
        batch_file(home / name, 20, number)
    return cifar10.load("real", home)


@pytest.mark.parametrize(
    "place", ["cifar-10-binary.tar.gz", "cifar10/cifar-10-binary.tar.gz", "itself.tar.gz"]
)
def test_the_archive_is_read_where_it_lies(place, tmp_path):
    expected = in_folders(tmp_path / "plain")
    archive = tmp_path / "data" / place
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "plain", "cifar-10-batches-bin")
    before = sorted(tmp_path.rglob("*"))
    found = cifar10.load("real", archive if place == "itself.tar.gz" else tmp_path / "data")
    assert digest(found) == digest(expected)
    assert sorted(tmp_path.rglob("*")) == before
    assert not files._read_tar.cache_info().currsize  # 184 MB of the real one


def test_a_folder_named_as_the_file_in_it_is_looked_into(tmp_path):
    expected = in_folders(tmp_path / "plain")
    for path in (tmp_path / "plain").iterdir():
        (tmp_path / "nested" / path.name).mkdir(parents=True)
        path.rename(tmp_path / "nested" / path.name / path.name)
    assert digest(cifar10.load("real", tmp_path / "nested")) == digest(expected)


def test_a_broken_archive_is_named(tmp_path):
    in_folders(tmp_path / "plain")
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "plain", "cifar-10-batches-bin")
    archive.write_bytes(archive.read_bytes()[:-20_000])
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: the archive: found .* whole"):
        cifar10.load("real", tmp_path)


def test_an_archive_may_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_TAR", 1000)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("data_batch_1.bin")
        member.size = 1001
        tar.addfile(member, io.BytesIO(bytes(1001)))
    with pytest.raises(DataError, match="more data, expected at most 1,000 bytes"):
        cifar10.load("real", tmp_path)


def python2(content):
    """A pickle of protocol 2 that names NumPy's function where NumPy 1 had it."""
    text = pickle.dumps(content, 2)
    return text.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


@pytest.mark.parametrize("packed", [False, True])
def test_pythons_files_are_the_binary_ones(packed, tmp_path):
    expected = in_folders(tmp_path / "plain")
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number, name in enumerate((*cifar10.TRAIN, cifar10.TEST)):
        records = batch_file(tmp_path / "again" / name, 20, number)
        content = {b"data": records[:, 1:].copy(), b"labels": records[:, 0].tolist()}
        (folder / name.removesuffix(".bin")).write_bytes(python2(content))
    if packed:
        with tarfile.open(tmp_path / "data" / "cifar-10-python.tar.gz", "w:gz") as tar:
            tar.add(folder, "cifar-10-batches-py")
        for path in folder.iterdir():
            path.unlink()
    assert digest(cifar10.load("real", tmp_path / "data")) == digest(expected)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({b"data": Evil(), b"labels": []}, "UnpicklingError: .*system in place of an array"),
        ({b"data": np.zeros((2, 3072)), b"labels": [1, 2]}, r"data float64 \(2, 3072\), 2 labels"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, "1 labels"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, "not numbers from 0 to 9"),
        ({b"data": np.zeros((1, 3072), np.uint8)}, "KeyError: b'labels'"),
        ([1, 2], "TypeError"),
    ],
)
def test_a_pickle_of_anything_else_is_refused_and_not_run(content, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data_batch_1"
    path.write_bytes(python2(content))
    with pytest.raises(DataError, match=rf"data_batch_1: the pickle: found .*{found}"):
        cifar10.read_batch(path)
    assert not (tmp_path / "evil").exists()
