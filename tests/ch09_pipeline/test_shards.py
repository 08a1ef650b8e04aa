"""Shards cover everything once, in order, in almost equal sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.ch09_pipeline import block_bounds, bounds, merge

COUNTS, SHARDS = st.integers(0, 200), st.integers(1, 12)


@given(COUNTS, SHARDS)
def test_bounds_cut_a_range_into_almost_equal_parts(count, shards):
    cuts = [bounds(count, shard, shards) for shard in range(shards)]
    assert [i for start, end in cuts for i in range(start, end)] == list(range(count))
    sizes = [end - start for start, end in cuts]
    assert max(sizes) - min(sizes) <= 1


@given(COUNTS, SHARDS, st.integers(1, 30))
def test_blocks_are_never_cut(count, shards, block):
    cuts = [block_bounds(count, shard, shards, block) for shard in range(shards)]
    assert [i for start, end in cuts for i in range(start, end)] == list(range(count))
    assert all(start % block == 0 for start, end in cuts if start < end)


@given(COUNTS, SHARDS, st.integers(1, 30))
def test_merge_undoes_the_cut(count, shards, block):
    rows = np.arange(2 * count).reshape(count, 2)
    cuts = [block_bounds(count, shard, shards, block) for shard in range(shards)]
    merged = merge([rows[start:end] for start, end in cuts], count, block)
    np.testing.assert_array_equal(merged, rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 1), "got -1 items"),
        ((5, 0, 0), "got 0 shards"),
        ((5, 2, 2), "got shard 2, expected 0 to 1"),
        ((5, -1, 2), "got shard -1"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        bounds(*arguments)


def test_merge_names_the_shard_that_does_not_fit():
    with pytest.raises(ValueError, match="got 3 rows in shard 1 of 2, expected 2 of 5"):
        merge([np.zeros(3), np.zeros(3)], 5)
    with pytest.raises(ValueError, match="got no shards"):
        merge([], 0)
    with pytest.raises(ValueError, match="got blocks of 0"):
        block_bounds(5, 0, 1, 0)
