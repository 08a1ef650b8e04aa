"""The data sets that zoo knows: files, sizes, checksums, homes, mirrors and licences.

A `File`'s size and checksum are those of its *uncompressed content*, so they hold for the plain,
the gzipped and the xz file alike. A `Download`'s are those of the file as the server sends it.

Checksums are "algorithm:hexadecimal", and sha256 wherever the bytes were at hand to compute it.
"md5" stands where only the official md5 is known to us (the three archives; each file taken out of
CIFAR-10's is checked by its own checksum as well), and "git" (the object id that git gives a file's
content) where only a public repository's record is known: CIFAR-10's test_batch.bin and
MovieLens 1M's ratings.dat.
"""

from typing import NamedTuple


class File(NamedTuple):
    """One file of a data set."""

    name: str
    size: int
    """Bytes of the uncompressed content."""
    checksum: str
    """Of the uncompressed content."""
    aliases: tuple[str, ...] = ()
    """Other spellings of the name."""


class Download(NamedTuple):
    """One file on a server."""

    urls: tuple[str, ...]
    """The home first, then mirrors."""
    size: int
    """Bytes of the file as it is sent."""
    checksum: str
    """Of the file as it is sent."""
    name: str
    """The name to keep it under; a .tar.gz is unpacked, a .zip and a .gz stay as they are."""


class Entry(NamedTuple):
    """One data set."""

    name: str
    title: str
    files: tuple[File, ...]
    places: tuple[str, ...]
    """Folders and zip archives under a data folder that may hold the files, in order."""
    home: str
    """The folder under the cache to download into."""
    downloads: tuple[Download, ...]
    licence: str
    usable: tuple[tuple[str, ...], ...]
    """Sets of file names, each enough to use the data set. The first is what a download gives."""


def _files(table: str) -> tuple[File, ...]:
    """Files from lines of name, size and checksum; a checksum without a name is sha256."""
    rows = [line.split() for line in table.strip().splitlines()]
    return tuple(File(name, int(size), _named(check)) for name, size, check in rows)


def _downloads(table: str, *homes: str) -> tuple[Download, ...]:
    """Downloads from the same kind of lines, each from all the `homes`."""
    rows = [line.split() for line in table.strip().splitlines()]
    return tuple(
        Download(tuple(home + name for home in homes), int(size), _named(check), name)
        for name, size, check in rows
    )


def _under_movielens(*places: str) -> tuple[str, ...]:
    return (*places, *(f"movielens/{place}" for place in places if place))


def _named(checksum: str) -> str:
    return checksum if ":" in checksum else f"sha256:{checksum}"


MNIST = Entry(
    name="mnist",
    title="MNIST: 70,000 handwritten digits, 28x28 grey",
    files=tuple(
        file._replace(aliases=(file.name.replace("-idx", ".idx"),))
        for file in _files("""
train-images-idx3-ubyte 47040016 ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
train-labels-idx1-ubyte 60008 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
t10k-images-idx3-ubyte 7840016 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
t10k-labels-idx1-ubyte 10008 ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
""")
    ),
    places=("", "mnist"),
    home="mnist",
    downloads=_downloads(
        """
train-images-idx3-ubyte.gz 9912422 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
train-labels-idx1-ubyte.gz 28881 3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
t10k-images-idx3-ubyte.gz 1648877 8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
t10k-labels-idx1-ubyte.gz 4542 f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
""",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    licence="CC BY-SA 3.0; LeCun, Cortes, Burges",
    usable=(
        (
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ),
    ),
)

CIFAR10 = Entry(
    name="cifar10",
    title="CIFAR-10: 60,000 photographs of 10 classes, 32x32 colour",
    files=_files("""
data_batch_1.bin 30730000 cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5
data_batch_2.bin 30730000 a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed
data_batch_3.bin 30730000 bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67
data_batch_4.bin 30730000 014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48
data_batch_5.bin 30730000 755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add
test_batch.bin 30730000 git:e3f3b4653f18f27ada1558cabc3352a3ed1b25cc
test_batch.first1000.bin 3073000 8314c96d7cd65618193bab23acdd5d4c4af15bf6dd00a1781d55beedf3be1ef5
test_batch.labels.bin 10000 cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5
"""),  # the last two are made from test_batch.bin for development
    places=("", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"),
    home="cifar10/cifar-10-batches-bin",
    downloads=_downloads(
        "cifar-10-binary.tar.gz 170052171 md5:c32a1d4ab5d03f1284b67883e8d87530",
        "https://www.cs.toronto.edu/~kriz/",
    ),
    licence="no formal licence; cite Krizhevsky 2009",
    usable=(
        (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    ),
)

ML_1M = Entry(
    name="ml-1m",
    title="MovieLens 1M: 1,000,209 ratings of 3,706 films by 6,040 people",
    files=_files("""
movies.dat 171308 0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9
ratings.dat 24594131 git:77a7c4b150f588c23bb9e1f068aa996c0b413695
interactions.dat 10553247 6dd9c4336ac635afd027d0c3606d431eaa5f258998ff5ec9ab38c90cffd854d9
"""),  # the last is the first two columns of ratings.dat, for development
    places=_under_movielens("", "ml-1m", "ml-1m.zip", "ml-1m-partial.zip"),
    home="movielens",
    downloads=_downloads(
        "ml-1m.zip 5917549 md5:c4d9eecfca2ab87c1945afe126590906",
        "https://files.grouplens.org/datasets/movielens/",
    ),
    licence="research use, no redistribution; cite Harper, Konstan 2015",
    usable=(("movies.dat", "ratings.dat"), ("movies.dat", "interactions.dat")),
)

ML_1M_NCF = Entry(
    name="ml-1m-ncf",
    title="MovieLens 1M's leave-one-out test set of He et al. 2017 (NCF)",
    files=_files("""
ml-1m.test.rating 128039 231ae11eb060b643a8c58c063cd17ffc743b54f569afb073d1abb6cf126b88b5
ml-1m.test.negative 2891424 127853228a76b7d21c0481e8ef8d00dd009cd5c88670dbdd9e9debfdb9f93de4
"""),
    places=_under_movielens("", "ml-1m", "ml-1m-ncf-heldout.zip"),
    home="movielens/ml-1m",
    downloads=_downloads(
        """
ml-1m.test.rating 128039 231ae11eb060b643a8c58c063cd17ffc743b54f569afb073d1abb6cf126b88b5
ml-1m.test.negative 2891424 127853228a76b7d21c0481e8ef8d00dd009cd5c88670dbdd9e9debfdb9f93de4
""",
        "https://raw.githubusercontent.com/hexiangnan/neural_collaborative_filtering/master/Data/",
    ),
    licence="as MovieLens 1M, from which it is made",
    usable=(("ml-1m.test.rating", "ml-1m.test.negative"),),
)

ML_100K = Entry(
    name="ml-100k",
    title="MovieLens 100K: 100,000 ratings of 1,682 films by 943 people",
    files=_files("""
u.data 1979173 06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490
u.item 236344 553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701
u1.base 1586544 ce253ec86c448b44fb3ba9a30d12dcfc2e9210cbde71efada3730c22e9ac212a
u1.test 392629 18c6014a4b2c7324f250a63f8904a7b16b2b19f911129e346141507b0cbac950
u2.base 1583948 6c06f0b5df4b256da1a994f3ac66edc8da4d3f09bc9282df6b14d893366d703e
u2.test 395225 4de658d1e04ed9104629509a2e2528fce833ac8e048280183f1df167632038c3
u3.base 1582546 afdc155c291c6edc41c0407e39d7462eb98d341e064f0b0a12175b80b3c4af5d
u3.test 396627 0f548b51c78327de4c156461d3e430b7e5579fe2b5681586a59416e48fd35f6d
u4.base 1581878 219f0f4d40dfe9c5141d425f53fa91ee23ed275f14e280bbf1b50117afb064ca
u4.test 397295 7c02ad0a1e7ab1083c8b9d4b627203a051dd7b5eab46d99fa44de33470de8db9
u5.base 1581776 a9574e59ce961eec2121627760b6e9b0974ce1637b3fe69ac32cb14a4bfab485
u5.test 397397 351cc52e0d15b6c721466276fc24671d40936899e3d01fadeaf312915b8c5634
ua.base 1792501 67b5bcdb380c29f85d56a012ecd88612ae020f30a6730d117a334ee8203b91f2
ua.test 186672 d0497e202417720f57a184ec8c66be2d1afa4ff41bb53787c57b28d6bf79bc42
ub.base 1792476 237254d253b6ad7de84f919d041055428646254f34ed8f562703c899430cd881
ub.test 186697 d54a72d05730d5892062734b2bec73e976f9b713d18c828a18b968d6cce442da
"""),
    places=_under_movielens("", "ml-100k", "ml-100k.zip"),
    home="movielens",
    downloads=_downloads(
        "ml-100k.zip 4924029 md5:0e33842e24a9c977be4e0107933c0723",
        "https://files.grouplens.org/datasets/movielens/",
    ),
    licence="research use, no redistribution; cite Harper, Konstan 2015",
    usable=(
        (
            "u.data",
            "u.item",
            *(f"u{fold}.{part}" for fold in "12345ab" for part in ("base", "test")),
        ),
    ),
)

TINY_SHAKESPEARE = Entry(
    name="tiny-shakespeare",
    title="Tiny Shakespeare: 40,000 lines of the plays (char-rnn)",
    files=(
        _files(
            "input.txt 1115394 86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
        )[0]._replace(aliases=("tinyshakespeare.txt",)),
    ),
    places=("", "shakespeare"),
    home="shakespeare",
    downloads=_downloads(
        "input.txt 1115394 86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
    ),
    licence="public-domain text",
    usable=(("input.txt",),),
)

BOOK_SHAKESPEARE = Entry(
    name="book-shakespeare",
    title="the Shakespeare-like text of the book's chapter 5",
    files=(
        _files(
            "book-chapter05-shakespeare.txt 99989 "
            "12a48bdceaaa2cf5fc7e1be8722e8e73d2e284eb5d621522cbd1a028c7165b59"
        )[0]._replace(aliases=("shakespeare.txt",)),
    ),
    places=("", "shakespeare"),
    home="shakespeare",
    downloads=_downloads(
        "shakespeare.txt 99989 12a48bdceaaa2cf5fc7e1be8722e8e73d2e284eb5d621522cbd1a028c7165b59",
        "https://raw.githubusercontent.com/PacktPublishing/Hands-On-Deep-Learning-with-Go/"
        "da90d28d29b4456eb496a81c139c5928dcd284e6/ch5/h4_01_rnn_with_lstm_gru/",
    ),
    licence="MIT, as the book's repository",
    usable=(("book-chapter05-shakespeare.txt",),),
)

ENTRIES = {
    entry.name: entry
    for entry in (MNIST, CIFAR10, ML_1M, ML_1M_NCF, ML_100K, TINY_SHAKESPEARE, BOOK_SHAKESPEARE)
}
