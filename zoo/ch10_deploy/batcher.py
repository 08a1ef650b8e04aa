"""Many requests, one compiled call: a dynamic batcher for asyncio.

One thread computes. Whenever it is free it takes from what waits; if that does not fill the largest
batch, it first waits until the oldest example is `delay` seconds old. A batch has one of a few
fixed sizes, so that nothing is compiled under load, and is padded with zeros where that pays: of 18
examples an accelerator had better take all in a batch of 32, a CPU 16 now and two with the next.
Which one follows from the measured time of each size.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]


class Busy(Exception):
    """As many examples wait as may; try again later."""


class Closed(Exception):
    """The batcher is closed and takes nothing more."""


class _Waiting(NamedTuple):
    example: Arrays
    future: asyncio.Future
    arrived: float


def sizes_up_to(largest: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `largest` itself.

    Raises:
      ValueError: it is not positive.
    """
    if largest < 1:
        raise ValueError(f"the largest batch is {largest}, expected at least 1")
    powers = (1 << n for n in range(largest.bit_length()))
    return (*(size for size in powers if size < largest), largest)


def best_size(waiting: int, seconds: Mapping[int, float]) -> int:
    """The size of the next batch: the least time per image served, the larger one of equals."""
    return min(seconds, key=lambda size: (seconds[size] / min(size, waiting), -size))


class Batcher:
    """Collects examples for a function of batches; make it and `close` it in the event loop."""

    def __init__(
        self,
        function: Callable[[Arrays], Arrays],
        *,
        seconds: Mapping[int, float],
        delay: float,
        limit: int,
        observe: Callable[[int, int, float], None] = lambda *_: None,
    ):
        """Starts the thread.

        Args:
          function: arrays [B, ...] -> arrays [B, ...], by name, for each size B.
          seconds: that a call takes, by the size of its batch.
          delay: seconds that an example waits for others at the most, if the thread is free.
          limit: examples that may wait; more are refused.
          observe: called after each batch with its examples, its size and its seconds.
        """
        self.delay, self.limit, self.largest = delay, limit, max(seconds)
        # What to take of 1, 2, ... examples that wait.
        self._best = [best_size(n, seconds) for n in range(1, self.largest + 1)]
        self._function, self._observe = function, observe
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._closed = False
        self._loop = asyncio.get_running_loop()
        # A thread, as compiled calls release the interpreter while the loop reads requests.
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, example: Arrays) -> asyncio.Future:
        """A future of the example's row of each result; cancel it to take the example back.

        Raises:
          Busy: too many wait already.
          Closed: after `close`.
        """
        future = self._loop.create_future()
        with self._changed:
            if self._closed:
                raise Closed
            if len(self._waiting) >= self.limit:
                raise Busy
            self._waiting.append(_Waiting(example, future, time.monotonic()))
            if len(self._waiting) in (1, self.largest):  # nothing else changes what it waits for
                self._changed.notify()
        return future

    async def close(self) -> None:
        """Takes nothing more, and returns when everything taken is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)  # the last answers are delivered by the loop

    def _take(self) -> tuple[list[_Waiting], int]:
        """The next batch and its size, without those whose caller has gone; empty at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return [], 0
                # Counted from the oldest one's arrival, so time spent computing is waiting too.
                left = self._waiting[0].arrived + self.delay - time.monotonic()
                if left > 0:
                    self._changed.wait_for(
                        lambda: len(self._waiting) >= self.largest or self._closed, left
                    )
                size = self._best[min(len(self._waiting), self.largest) - 1]
                batch: list[_Waiting] = []
                while self._waiting and len(batch) < size:
                    one = self._waiting.popleft()  # cancelled: its client has gone
                    if not one.future.cancelled():
                        batch.append(one)
                if batch:
                    return batch, size

    def _work(self) -> None:
        while True:
            batch, size = self._take()
            if not batch:
                return
            began = time.monotonic()
            try:
                results = self._function(_stack([one.example for one in batch], size))
            except Exception as error:  # for those in this batch alone; the thread goes on
                self._loop.call_soon_threadsafe(_fail, batch, error)
            else:
                self._loop.call_soon_threadsafe(_deliver, batch, results)
            self._observe(len(batch), size, time.monotonic() - began)


def _stack(examples: list[Arrays], size: int) -> Arrays:
    """A batch of that size, padded with zeros."""
    stacked = {}
    for name, first in examples[0].items():
        stacked[name] = np.zeros((size, *first.shape), first.dtype)
        for row, example in enumerate(examples):
            stacked[name][row] = example[name]
    return stacked


def _deliver(batch: list[_Waiting], results: Arrays) -> None:
    for row, one in enumerate(batch):
        if not one.future.done():  # cancelled while it was computed
            one.future.set_result({name: array[row] for name, array in results.items()})


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.future.done():
            one.future.set_exception(error)
