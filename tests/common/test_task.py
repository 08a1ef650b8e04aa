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
    config = changed(task)
    assert task.fill(config, names) is config
    for count in (7, 11):
        with pytest.raises(SettingError, match=rf"got classes {count}, expected 10 for .*: 0, 1, "):
            task.fill(changed(task, classes=count), names)
    data = task.random(config, 20) | {"label": np.arange(20) % 10}
    assert task.steps(changed(task, batch_size=5), data) == 4
    with pytest.raises(SettingError, match="got classes 7 and label 9"):
        task.steps(changed(task, batch_size=5, classes=7), data)


ODD = {
    "floats": (lambda a: a / 255, "got image float64 .*, expected uint8 .*: bytes from 0 to 255"),
    "one axis less": (lambda a: a[:, 0], r"got image uint8 \[N, 32, 3\], expected .*N, 32, 32, 3"),
    "wider whole numbers": (lambda a: a.astype(np.int64), ""),
}


@pytest.mark.parametrize("odd", ODD)
def test_data_of_another_kind_are_refused_by_name(odd):
    change, message = ODD[odd]
    task = next(task for task in CLASSIFIERS if task.name == "ch06_cnn")
    config = changed(task, batch_size=5)
    data = task.random(config, 10)
    wrong = data | {"image": change(data["image"])}
    if not message:
        assert task.steps(config, wrong) == 2
        return
    with pytest.raises(SettingError, match=message):
        task.steps(config, wrong)
    with pytest.raises(SettingError, match=r"got the arrays image, expected .*: label is"):
        task.steps(config, {"image": data["image"]})


def test_models_without_classes_take_any_data():
    config = object()
    assert of_classes(config, types.SimpleNamespace(classes=())) is config


def test_more_updates_than_a_state_can_count_are_refused():
    task = CLASSIFIERS[0]
    data = task.random(changed(task), 20)
    assert task.steps(changed(task, batch_size=5, epochs=2**29 - 1), data) == 4
    with pytest.raises(
        SettingError, match=r"got 536,870,912 epochs of 4 updates, .* expected at m"
    ):
        task.steps(changed(task, batch_size=5, epochs=2**29), data)


def test_labels_to_test_on_and_characters_are_looked_at_too():
    task = next(task for task in CLASSIFIERS if task.name == "ch06_cnn")
    config = changed(task, batch_size=5, filters=(2, 2, 2), hidden=2, epochs=1)
    data = task.random(config, 10)
    for label in (-1, 10):
        wrong = data | {"label": np.full(10, label)}
        with pytest.raises(SettingError, match=f"got classes 10 and label {label}, expected"):
            task.train(config, data, wrong)
    lstm = next(task for task in zoo.tasks() if task.name == "ch05_lstm")
    config = changed(lstm, vocabulary=5, batch_size=2, chunk=3)
    data = lstm.random(config, 4)
    with pytest.raises(SettingError, match="got vocabulary 5 and target 5, expected numbers from"):
        lstm.steps(config, data | {"target": np.full((4, 3), 5)})
