"""Data sets: readers for MNIST, CIFAR-10, MovieLens and plain text, in NumPy alone.

Each module has readers, which take a path and return arrays, and `load`, which looks a data set
up (in `data_dir`, `$ZOO_DATA_DIR`, the cache, and then on the network) and falls back to a small
built-in sample where that is allowed:

    from zoo.common.data import cifar10, mnist, movielens, text
    dataset = mnist.load()
    print(dataset.description)

A file that is not what it should be raises `DataError`, a `ValueError` that names the file, the
place in it, what was found and what was expected. Real files are also checked against the SHA-256
that the registry has of them.

A data set consists of its files and checksums in `registry`, a stand-in in `sample`, and a module
with a reader and a `load`, which gets the files of either through `dataset.opened`.
"""

from zoo.common.data.dataset import Dataset, digest
from zoo.common.data.files import DataError

__all__ = ["DataError", "Dataset", "digest"]
