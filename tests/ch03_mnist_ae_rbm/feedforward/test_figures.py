import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm.feedforward import figures
from zoo.common import figures as common

CLASSES = tuple("0123456789")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 28, 28), np.uint8)


def pixels(figure, tmp_path):
    return common.save(figure, tmp_path / "a.png").stat().st_size


def test_answers_always_show_the_true_class_and_what_was_said(tmp_path):
    probabilities = np.full((1, 10), 0.001)
    probabilities[0, [7, 2, 3]] = [0.6, 0.2, 0.193]
    figure = figures.answers(IMAGES[:1], [4], probabilities, CLASSES, "worst")
    bars = figure.axes[1]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["7", "2", "4"]
    colours = [patch.get_facecolor() for patch in bars.patches]
    blue, orange = (
        (*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1.0)
        for c in (common.BLUE, common.ORANGE)
    )
    assert colours[0] == pytest.approx(orange)
    assert colours[2] == pytest.approx(blue)
    assert pixels(figure, tmp_path) > 5_000


def test_answers_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"probabilities \(2, 9\), expected"):
        figures.answers(IMAGES[:2], [1, 2], np.ones((2, 9)), CLASSES)
    with pytest.raises(ValueError, match=r"got labels \(1,\)"):
        figures.answers(IMAGES[:2], [1], np.ones((2, 10)), CLASSES)
