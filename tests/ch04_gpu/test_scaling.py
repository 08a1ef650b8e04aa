"""Several devices: forced host devices stand for them (tests/conftest.py sets eight)."""

import pytest

from zoo.ch04_gpu import models, scaling
from zoo.common.device import DeviceError


def test_counts_double_up_to_the_number_asked_for():
    assert scaling.counts(1) == [1]
    assert scaling.counts(8) == [1, 2, 4, 8]
    assert scaling.counts(6) == [1, 2, 4, 6]


def test_eight_devices_train_as_one_does():
    (model,) = models.choose(("feedforward-book",))
    assert scaling.difference(model, "cpu", 8, 32) < 1e-5


def test_more_devices_than_there_are_is_refused():
    (model,) = models.choose(("basic_nn",))
    with pytest.raises(DeviceError, match="got 9 devices, expected at most 8"):
        scaling.difference(model, "cpu", 9, 9)
