"""Data sets: readers for MNIST, CIFAR-10, MovieLens and plain text, in NumPy alone.

    from zoo.common.data import cifar10, mnist, movielens, text
    dataset = mnist.load()
    print(dataset.description)

`load` looks a data set up in `data_dir`, `$ZOO_DATA_DIR`, the cache, and then on the network, and
falls back to a small built-in sample where that is allowed. Files that differ from the published
ones are read too, and the data set is then called unknown; broken ones raise `DataError`.

A data set consists of its entry in `registry.toml`, a stand-in in `sample`, and a module with a
reader and a `load`, which gets the files of either through `dataset.opened`.
"""

from zoo.common.data.dataset import Dataset, digest
from zoo.common.data.files import DataError

__all__ = ["DataError", "Dataset", "digest"]
