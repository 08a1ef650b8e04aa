import numpy as np
import pytest

from zoo.common.data import Dataset, digest, text

ARRAYS = {"image": np.arange(24, dtype=np.uint8).reshape(6, 4), "label": np.arange(6, dtype="u1")}


def made(**changes):
    whole = Dataset("set", "real", "official", "one line", ARRAYS, {"image": np.zeros(2)}, ("a",))
    return whole._replace(**changes)


def with_array(name, array):
    return made(train={**ARRAYS, name: array})


def flipped():
    image = ARRAYS["image"].copy()
    image[-1, -1] ^= 1
    return image


VARIANTS = {
    "as it was": made(),
    "dtype": with_array("label", ARRAYS["label"].view(np.int8)),
    "byte order": with_array("image", ARRAYS["image"].view("<u2")),
    "other byte order": with_array("image", ARRAYS["image"].view(">u2")),
    "shape": with_array("image", ARRAYS["image"].reshape(4, 6)),
    "flat": with_array("image", ARRAYS["image"].ravel()),
    "a changed byte": with_array("image", flipped()),
    "no array": made(train={"image": ARRAYS["image"]}),
    "name of an array": made(train={"image": ARRAYS["image"], "labels": ARRAYS["label"]}),
    "order of the arrays": made(train={name: ARRAYS[name] for name in reversed(ARRAYS)}),
    "order of the examples": with_array("label", ARRAYS["label"][::-1]),
    "test data": made(test={"image": np.zeros(3)}),
    "no test data": made(test={}),
    "train and test exchanged": made(train={"image": np.zeros(2)}, test=ARRAYS),
    "classes": made(classes=("b",)),
    "more classes": made(classes=("a", "b")),
    "a class of another form": made(classes=("a, b",)),
    "name": made(name="other"),
    "source": made(source="sample"),
    "split": made(split="holdout"),
    "no dimension": with_array("label", np.array(3)),
    "one dimension": with_array("label", np.array([3])),
}


def test_a_digest_sees_all_that_a_data_set_holds():
    found = {name: digest(dataset) for name, dataset in VARIANTS.items()}
    assert len(set(found.values())) == len(VARIANTS), found
    assert all(len(one) == 64 for one in found.values())


def test_a_digest_sees_every_row_of_a_long_array():
    long = np.zeros((2_500, 2), np.uint8)
    found = {digest(with_array("image", long))}
    for row in (0, 999, 1_000, 2_499):
        changed = long.copy()
        changed[row, 1] = 1
        found.add(digest(with_array("image", changed)))
    assert len(found) == 5


def test_neither_the_description_nor_the_layout_in_memory_counts():
    strided = np.repeat(ARRAYS["image"], 2, axis=1)[:, ::2]
    assert not strided.flags.c_contiguous
    fortran = np.asfortranarray(ARRAYS["image"])
    expected = digest(made())
    assert digest(made(description="in another folder")) == expected
    assert digest(with_array("image", strided)) == expected
    assert digest(with_array("image", fortran)) == expected


def test_a_text_has_a_digest_too():
    one = text.Text("a", "real", "all", "a text", "abc")
    assert digest(one) == digest(one._replace(description="other"))
    assert digest(one) != digest(one._replace(text="abd"))


@pytest.mark.parametrize("odd", [[np.arange(5_000)], {1, 2}], ids=["list", "set"])
def test_what_would_not_be_seen_whole_is_refused(odd):
    with pytest.raises(TypeError, match=r"a data set holds a (list|set): make it a NumPy array"):
        digest(with_array("image", odd))
