import filecmp
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from zoo.common.data import cifar10, sample

NAMES = ["mnist", "cifar10", "ml-1m", "ml-100k", "text"]


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_the_same_each_time_and_small(name, tmp_path):
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        sample.write(name, tmp_path / part)
    files = sorted(os.listdir(tmp_path / "one"))
    _, differ, odd = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", files, shallow=False)
    assert (differ, odd) == ([], [])
    assert sum((tmp_path / "one" / file).stat().st_size for file in files) < 12e6


def test_the_shapes_are_drawn_in_about_a_second(tmp_path):
    start = time.process_time()
    sample.write("cifar10", tmp_path)
    assert time.process_time() - start < 2


def test_a_sample_is_kept_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    with sample.folder("cifar10") as first:
        assert first.parent == tmp_path / "sample"
    monkeypatch.setattr(sample, "write", None)
    with sample.folder("cifar10") as second:
        assert second == first
    assert os.listdir(tmp_path / "sample") == [first.name]


def test_without_a_cache_a_sample_is_in_a_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    with sample.folder("text") as source:
        assert (source / "input.txt").is_file()
    assert not source.exists()


def test_a_failed_sample_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))

    def fail(name, path):
        (path / "half").touch()
        raise RuntimeError("no space")

    monkeypatch.setattr(sample, "write", fail)
    with pytest.raises(RuntimeError, match="no space"), sample.folder("text"):
        pass
    assert os.listdir(tmp_path / "sample") == []


def _read(cache, barrier, queue):
    os.environ["ZOO_CACHE"] = str(cache)
    barrier.wait()
    with sample.folder("ml-1m") as source:
        queue.put(sorted((path.name, path.stat().st_size) for path in Path(source).iterdir()))


def test_two_processes_at_once_do_not_disturb_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_read, args=(tmp_path, barrier, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    seen = [queue.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert seen[0] == seen[1]
    assert os.listdir(tmp_path / "sample") == [f"ml-1m-{sample.VERSION}"]


def test_the_shapes_are_not_told_by_their_colours_nor_by_a_line_through_pixels():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import RidgeClassifier

    dataset = cifar10.load("sample")
    x, y = dataset.train["image"] / 255, dataset.train["label"]
    x_test, y_test = dataset.test["image"] / 255, dataset.test["label"]

    def colours(image):
        return np.concatenate([image.mean((1, 2)), image.std((1, 2))], axis=1)

    forest = RandomForestClassifier(50, random_state=0).fit(colours(x), y)
    assert forest.score(colours(x_test), y_test) < 0.3
    flat, flat_test = x.reshape(len(x), -1), x_test.reshape(len(x_test), -1)
    assert 0.12 < RidgeClassifier(100.0).fit(flat, y).score(flat_test, y_test) < 0.5
