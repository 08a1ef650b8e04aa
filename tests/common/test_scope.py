"""Contexts around functions and around the steps of generators."""

import contextlib

import pytest

from zoo.common.scope import within

LOG = []


@contextlib.contextmanager
def context():
    LOG.append("in")
    try:
        yield
    finally:
        LOG.append("out")


@pytest.fixture(autouse=True)
def _empty():
    LOG.clear()


def test_a_function_runs_within_the_context_and_gives_back_what_it_gives():
    @within(context)
    def add(a: int, *, b: int) -> int:
        """Adds."""
        LOG.append("add")
        return a + b

    assert add(1, b=2) == 3
    assert LOG == ["in", "add", "out"]
    assert (add.__name__, add.__doc__) == ("add", "Adds.")


def test_an_error_leaves_the_context():
    @within(context)
    def fail():
        raise OverflowError

    with pytest.raises(OverflowError):
        fail()
    assert LOG == ["in", "out"]


def test_a_generator_is_in_the_context_in_its_steps_alone():
    @within(context)
    def count():
        for number in range(2):
            LOG.append("step")
            yield number
        LOG.append("end")

    for _ in count():
        LOG.append("body")
    step = ["in", "step", "out", "body"]
    assert [*step, *step, "in", "end", "out", "in", "out"] == LOG  # the last two for its close


def test_a_generator_that_is_left_early_is_closed_in_the_context():
    @within(context)
    def count():
        try:
            yield 1
        finally:
            LOG.append("closed")

    steps = count()
    next(steps)
    steps.close()
    assert LOG == ["in", "out", "in", "closed", "out"]


def test_none_is_a_step_as_any_other():
    assert list(within(context)(lambda: iter([None]))()) == [None]

    @within(context)
    def nones():
        yield None
        yield None

    assert list(nones()) == [None, None]
