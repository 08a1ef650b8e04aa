"""Which work a service leaves to threads, and what it refuses while a body comes."""

import asyncio
import io
import threading

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("prometheus_client", reason="the server needs the extra `serve`")
from zoo.ch10_deploy import batcher, inputs, load
from zoo.ch10_deploy import service as services
from zoo.ch10_deploy.inputs import Problem
from zoo.ch10_deploy.service import Limits, Service


@pytest.fixture
def service(exported):
    return Service(load(exported), Limits(), None)


def flat(side):
    """A picture of one colour, a few hundred bytes whatever its size."""
    file = io.BytesIO()
    PIL.Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("side", "apart"), [(32, False), (256, False), (257, True), (1500, True)])
def test_pixels_and_not_bytes_decide_where_a_picture_is_unpacked(
    side, apart, service, main, monkeypatch
):
    decode, threads = inputs.decode, []

    def watched(*arguments):
        threads.append(threading.current_thread().name)
        return decode(*arguments)

    monkeypatch.setattr(inputs, "decode", watched)
    assert len(flat(side)) < services.SMALL_BODY
    found = asyncio.run(service._inputs(main, flat(side), b"image/png"))
    np.testing.assert_array_equal(found["image"], np.zeros((32, 32, 3), np.uint8))
    assert [name.startswith("bodies") for name in threads] == [apart]


def test_all_bodies_together_have_a_limit_and_give_back_what_they_took(service, monkeypatch):
    monkeypatch.setattr(services, "BODIES", 250)
    gate = asyncio.Event()

    def coming(last):
        messages = [{"type": "http.request", "body": bytes(100), "more_body": True}, last]

        async def receive():
            if len(messages) == 1:
                await gate.wait()
            return messages.pop(0)

        return receive

    async def scenario():
        end = {"type": "http.request", "body": b"", "more_body": False}
        reading = [asyncio.create_task(service._body({}, coming(end))) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert service.reading == 200
        with pytest.raises(Problem, match="too many bodies") as refused:
            await service._body({}, coming(end))
        assert refused.value.status == 429
        assert service.reading == 200
        gate.set()
        assert [len(body) for body in await asyncio.gather(*reading)] == [100, 100]
        assert service.reading == 0

    asyncio.run(scenario())


def test_max_queue_bounds_the_requests_under_way_and_the_examples_that_wait(exported, monkeypatch):
    service = Service(load(exported), Limits(max_queue=2), None)
    monkeypatch.setattr(service, "_compile", lambda name: (None, {1: 1.0}))
    monkeypatch.setattr(services.gc, "freeze", lambda: None)
    gate = asyncio.Event()

    async def wait(body):
        await gate.wait()
        raise batcher.Busy

    async def scenario():
        await service.start()
        assert {one.limit for one in service.batchers.values()} == {2}
        held = [asyncio.create_task(service._compute(b"", wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Problem, match="too many requests are under way"):
            await asyncio.wait_for(service._compute(b"", wait), 10)
        gate.set()
        for problem in await asyncio.gather(*held, return_exceptions=True):
            assert "too many examples wait" in str(problem)
        assert service.under_way == 0
        for one in service.batchers.values():
            await one.close()

    asyncio.run(scenario())
