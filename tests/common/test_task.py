"""Where data meet a configuration: what does not fit is refused, for every model with classes."""

import dataclasses
import types

import numpy as np
import pytest

import zoo
from zoo.common.settings import SettingError
from zoo.common.task import of_classes

CLASSIFIERS = [
    task for task in zoo.tasks() if hasattr(next(iter(task.recipes.values())), "classes")
]


def changed(task, **fields):
    return dataclasses.replace(next(iter(task.recipes.values())), **fields)


@pytest.mark.parametrize("task", CLASSIFIERS, ids=lambda task: task.name)
def test_another_number_of_classes_than_the_data_have_is_refused(task):
    names = types.SimpleNamespace(classes=tuple("0123456789"))
    assert task.fill(config := changed(task), names) is config
    for count in (7, 11):
        with pytest.raises(SettingError, match=rf"got classes {count}, expected 10 for .*: 0, 1, "):
            task.fill(changed(task, classes=count), names)
    data = {"image": np.zeros((20, 1)), "label": np.arange(20) % 10}
    assert task.steps(changed(task, batch_size=5), data) == 4
    with pytest.raises(SettingError, match="got classes 7 and a label 9"):
        task.steps(changed(task, batch_size=5, classes=7), data)


def test_models_without_classes_take_any_data():
    config = object()
    assert of_classes(config, types.SimpleNamespace(classes=())) is config


def test_more_updates_than_a_state_can_count_are_refused():
    task, data = CLASSIFIERS[0], {"image": np.zeros((20, 1))}
    assert task.steps(changed(task, batch_size=5, epochs=2**29 - 1), data) == 4
    with pytest.raises(
        SettingError, match=r"got 536,870,912 epochs of 4 updates, .* expected at m"
    ):
        task.steps(changed(task, batch_size=5, epochs=2**29), data)
