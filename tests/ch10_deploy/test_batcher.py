"""The batcher with a function that only notes what it is called with."""

import asyncio
import threading

import numpy as np
import pytest

from zoo.ch10_deploy import batcher as batching


class Recorder:
    """Doubles each example's number; notes the batches, and waits where told to."""

    def __init__(self):
        self.batches, self.gate = [], threading.Event()
        self.gate.set()

    def __call__(self, inputs):
        numbers = inputs["number"]
        assert inputs["other"].shape == (len(numbers), 2, 3)
        np.testing.assert_array_equal(inputs["other"][:, 0, 0], numbers[:, 0])
        self.gate.wait(10)
        self.batches.append(numbers[:, 0].tolist())
        if 99 in numbers[:, 0]:
            raise RuntimeError("ninety-nine")
        return {"double": numbers.astype(np.float32) * 2, "minus": -inputs["other"]}


LINEAR = {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}  # as on a CPU
FLAT = dict.fromkeys((1, 2, 4, 8), 1.0)  # as on an accelerator


def example(number):
    other = np.full((2, 3), number, np.float32)
    return {"number": np.array([number], np.uint8), "other": other}


def doubled(result):
    assert result["minus"].shape == (2, 3)
    assert -2 * result["minus"][0, 0] == result["double"][0]
    return result["double"].tolist()


def run(scenario, seconds=FLAT, delay=0.02, limit=100):
    """Runs a scenario with a batcher in an event loop; gives its result and the batches."""
    recorder, seen = Recorder(), []

    async def main():
        batcher = batching.Batcher(
            recorder, seconds=seconds, delay=delay, limit=limit, observe=lambda *a: seen.append(a)
        )
        try:
            return await asyncio.wait_for(scenario(batcher, recorder), 10)
        finally:
            recorder.gate.set()
            await batcher.close()

    return asyncio.run(main()), recorder.batches, seen


def test_sizes_are_powers_of_two_and_the_largest():
    assert batching.sizes_up_to(1) == (1,)
    assert batching.sizes_up_to(8) == (1, 2, 4, 8)
    assert batching.sizes_up_to(12) == (1, 2, 4, 8, 12)
    with pytest.raises(ValueError, match="at least 1"):
        batching.sizes_up_to(0)


def test_padding_is_chosen_where_it_pays():
    assert [batching.best_size(n, FLAT) for n in (1, 2, 3, 5, 8, 20)] == [8, 8, 8, 8, 8, 8]
    assert [batching.best_size(n, LINEAR) for n in (1, 2, 3, 5, 8, 20)] == [1, 2, 2, 4, 8, 8]
    crowded = {1: 1.0, 2: 1.6, 4: 3.0, 8: 9.0}  # the largest leaves the cache
    assert batching.best_size(8, crowded) == 4


def test_each_gets_its_own_row_in_the_order_of_arrival():
    async def scenario(batcher, recorder):
        return await asyncio.gather(*(batcher.submit(example(n)) for n in range(5)))

    results, batches, seen = run(scenario)
    assert [doubled(row) for row in results] == [[0], [2], [4], [6], [8]]
    assert batches == [[0, 1, 2, 3, 4, 0, 0, 0]]  # one call, filled up with zeros
    assert [s[:2] for s in seen] == [(5, 8)]


def test_where_time_grows_with_the_batch_nothing_is_padded():
    async def scenario(batcher, recorder):
        return await asyncio.gather(*(batcher.submit(example(n)) for n in range(7)))

    results, batches, _ = run(scenario, seconds=LINEAR)
    assert [doubled(row) for row in results] == [[2 * n] for n in range(7)]
    assert batches == [[0, 1, 2, 3], [4, 5], [6]]


def test_a_full_batch_does_not_wait_for_the_delay():
    async def scenario(batcher, recorder):
        return await asyncio.wait_for(
            asyncio.gather(*(batcher.submit(example(n)) for n in range(8))), 5
        )

    _, batches, _ = run(scenario, delay=60.0)
    assert batches == [list(range(8))]


def test_a_single_example_waits_no_longer_than_the_delay():
    async def scenario(batcher, recorder):
        began = asyncio.get_running_loop().time()
        await batcher.submit(example(1))
        return asyncio.get_running_loop().time() - began

    seconds, _, _ = run(scenario, delay=0.1)
    assert 0.09 < seconds < 1.0


def test_examples_that_come_while_it_computes_go_together():
    async def scenario(batcher, recorder):
        recorder.gate.clear()
        first = batcher.submit(example(1))
        await asyncio.sleep(0.05)
        others = [batcher.submit(example(n)) for n in (2, 3, 4)]
        await asyncio.sleep(0.05)
        recorder.gate.set()
        await asyncio.gather(first, *others)

    _, batches, _ = run(scenario, delay=0.0)
    assert [batch[:3] for batch in batches] == [[1, 0, 0], [2, 3, 4]]


def test_too_many_are_refused_and_the_others_answered():
    async def scenario(batcher, recorder):
        recorder.gate.clear()
        taken = [batcher.submit(example(1))]
        await asyncio.sleep(0.05)  # the thread has it now
        taken += [batcher.submit(example(n)) for n in range(3)]
        assert len(batcher) == 3
        with pytest.raises(batching.Busy):
            batcher.submit(example(9))
        recorder.gate.set()
        return await asyncio.gather(*taken)

    results, _, _ = run(scenario, limit=3, delay=0.0)
    assert len(results) == 4


def test_an_example_taken_back_is_not_computed():
    async def scenario(batcher, recorder):
        recorder.gate.clear()
        first = batcher.submit(example(1))
        await asyncio.sleep(0.05)
        gone, kept = batcher.submit(example(2)), batcher.submit(example(3))
        gone.cancel()
        recorder.gate.set()
        await asyncio.gather(first, kept)
        gone = batcher.submit(example(4))
        gone.cancel()
        await asyncio.sleep(0.05)
        return doubled(await batcher.submit(example(5)))

    result, batches, _ = run(scenario, delay=0.0)
    assert result == [10]
    assert not {2, 4} & {n for batch in batches for n in batch}


def test_a_fault_reaches_its_batch_alone():
    async def scenario(batcher, recorder):
        with pytest.raises(RuntimeError, match="ninety-nine"):
            await batcher.submit(example(99))
        return doubled(await batcher.submit(example(3)))

    assert run(scenario)[0] == [6]


def test_closing_answers_what_was_taken_and_takes_no_more():
    async def scenario(batcher, recorder):
        taken = [batcher.submit(example(n)) for n in range(20)]
        await batcher.close()
        with pytest.raises(batching.Closed):
            batcher.submit(example(1))
        return [doubled(one.result()) for one in taken]

    results, _, _ = run(scenario, delay=60.0)
    assert results == [[2 * n] for n in range(20)]
