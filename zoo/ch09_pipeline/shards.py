"""A sequence cut into shards of almost equal size, and put together again in order."""

from collections.abc import Sequence

import numpy as np


def bounds(count: int, shard: int, shards: int) -> tuple[int, int]:
    """Where a shard begins and ends: the first `count % shards` shards hold one item more.

    Args:
        count: items in all, >= 0.
        shard: which shard, 0 to shards - 1.
        shards: how many shards, >= 1; where there are more than items, some are empty.

    Raises:
        ValueError: an argument is out of its range.
    """
    if count < 0:
        raise ValueError(f"got {count} items, expected 0 or more")
    if shards < 1:
        raise ValueError(f"got {shards} shards, expected 1 or more")
    if not 0 <= shard < shards:
        raise ValueError(f"got shard {shard}, expected 0 to {shards - 1}, as there are {shards}")
    size, rest = divmod(count, shards)
    start = shard * size + min(shard, rest)
    return start, start + size + (shard < rest)


def block_bounds(count: int, shard: int, shards: int, block: int) -> tuple[int, int]:
    """As `bounds`, but shards begin at multiples of `block`; the last block may be a short one.

    So an item is computed in the same block, at the same place, whatever the number of shards, and
    its result has the same bits.

    Raises:
        ValueError: an argument is out of its range.
    """
    if block < 1:
        raise ValueError(f"got blocks of {block}, expected 1 or more")
    start, end = bounds(-(-count // block), shard, shards)
    return min(start * block, count), min(end * block, count)


def merge(parts: Sequence[np.ndarray], count: int, block: int = 1) -> np.ndarray:
    """The shards' rows, one after the other in the order of the list, [count, ...].

    Raises:
        ValueError: no shards, or one whose number of rows is not what `block_bounds` gives it,
            which means that the shards were cut from something else.
    """
    if not parts:
        raise ValueError("got no shards, expected 1 or more")
    for shard, part in enumerate(parts):
        start, end = block_bounds(count, shard, len(parts), block)
        if len(part) != end - start:
            raise ValueError(
                f"got {len(part)} rows in shard {shard} of {len(parts)}, expected {end - start} "
                f"of {count}; predict that shard again"
            )
    return np.concatenate(parts)
