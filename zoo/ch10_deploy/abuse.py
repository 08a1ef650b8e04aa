"""An attack on a server of this machine: bad requests of every kind, in a shuffled order.

The server's memory is read from its own /metrics.
"""

import asyncio
import collections
import dataclasses
import json
import random
import time
from collections.abc import Sequence

from zoo.ch10_deploy.bad import CLOSED, PATH, Bad, bad_requests
from zoo.ch10_deploy.loadtest import Target, pictures, request_bytes, target
from zoo.common.data import DataError

MAX_COUNT, MAX_CLIENTS = 100_000, 64
SECONDS = 30.0  # an answer that takes longer counts as hung


@dataclasses.dataclass
class Report:
    """What came of an attack."""

    seconds: float = 0.0
    memory: tuple[int, int] = (0, 0)  # resident bytes, a tenth into the attack and at its end
    answers: dict[str, collections.Counter] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)
    works: bool = False  # whether a good request is answered afterwards

    @property
    def growth(self) -> float:
        """Memory that was gained, in MiB."""
        return (self.memory[1] - self.memory[0]) / 2**20

    def lines(self) -> list[str]:
        """The report for the screen."""
        total = sum(sum(counter.values()) for counter in self.answers.values())
        server = sum(c[s] for c in self.answers.values() for s in c if s >= 500)
        out = [
            f"  {name:<34}" + ", ".join(f"{s or 'closed'}: {n:,}" for s, n in sorted(c.items()))
            for name, c in sorted(self.answers.items())
        ]
        out.append(
            f"{total:,} bad requests in {self.seconds:.1f} s: {server} answers of 5xx, "
            f"{len(self.faults)} answers other than expected"
        )
        before, after = (size / 2**20 for size in self.memory)
        out.append(f"memory of the server: {before:.1f} MiB, at the end {after:.1f} MiB")
        out.append(f"a good request afterwards: {'answered' if self.works else 'NOT answered'}")
        return out + self.faults[:10]


async def _exchange(place: Target, bad: Bad) -> int:
    """The status that answers a bad request, `CLOSED` if the connection just ends."""
    reader, writer = await asyncio.open_connection(*place)
    try:
        leaves = bad.name.startswith("gone")
        writer.write(bad.content)
        if leaves:  # hangs up without waiting
            await writer.drain()
            return CLOSED
        try:
            head = await reader.readuntil(b"\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return CLOSED
        parts = head.split()
        return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else -1
    except ConnectionError:
        return CLOSED
    finally:
        writer.transport.abort()


async def _get(place: Target, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(*place)
    writer.write(request_bytes(path, method="GET", headers=["Connection: close"]))
    content = await reader.read()
    writer.close()
    return content.partition(b"\r\n\r\n")[2]


async def _memory(place: Target) -> int:
    text = (await _get(place, "/metrics")).decode()
    found = [line for line in text.splitlines() if line.startswith("process_resident_memory_bytes")]
    return int(float(found[0].split()[1])) if found else 0


async def _attack(place: Target, key: str | None, count: int, clients: int) -> Report:
    about = json.loads(await _get(place, "/v1/model"))
    kinds = bad_requests(key, about["max_bytes"], about["image_shape"])
    order = [kinds[n % len(kinds)] for n in range(count)]
    random.Random(0).shuffle(order)
    report, began = Report(), time.perf_counter()
    report.answers = {bad.name: collections.Counter() for bad in kinds}

    async def work(waiting: collections.deque[Bad]) -> None:
        while waiting:
            bad = waiting.popleft()
            try:
                status = await asyncio.wait_for(_exchange(place, bad), SECONDS)
            except TimeoutError:
                report.faults.append(f"{bad.name}: no answer within {SECONDS:g} s")
                continue
            except OSError as error:
                report.faults.append(f"{bad.name}: {error}")
                continue
            report.answers[bad.name][status] += 1
            if status not in bad.right:
                report.faults.append(f"{bad.name}: {status}, expected {bad.right}")

    async def run(part: Sequence[Bad]) -> None:
        waiting = collections.deque(part)
        await asyncio.gather(*(work(waiting) for _ in range(clients)))

    # Buffers and pools fill up in the first tenth; after it memory must stay where it is.
    first = max(len(kinds), count // 10)
    await run(order[:first])
    before = await _memory(place)
    await run(order[first:])
    report.memory = before, await _memory(place)
    good = Bad("good", request_bytes(PATH, *pictures("png", 1)[0], key), (200,))
    report.works = await asyncio.wait_for(_exchange(place, good), SECONDS) == 200
    report.seconds = time.perf_counter() - began
    if not report.works:
        report.faults.append("a good request is not answered afterwards")
    return report


def attack(url: str, key: str | None, *, count: int = 10_000, clients: int = 16) -> Report:
    """Sends a server `count` bad requests in a shuffled order, and looks whether it still works.

    Raises:
      DataError: a bound is passed, or no server answers there.
    """
    if not (1 <= count <= MAX_COUNT and 1 <= clients <= MAX_CLIENTS):
        raise DataError(
            f"{count} requests by {clients} clients: use 1 to {MAX_COUNT:,} by 1 to {MAX_CLIENTS}"
        )
    try:
        return asyncio.run(_attack(target(url), key, count, clients))
    except (OSError, ValueError) as error:
        raise DataError(f"no server of zoo answers at {url}: {error}") from error
