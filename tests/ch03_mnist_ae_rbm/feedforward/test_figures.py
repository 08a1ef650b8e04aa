import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm.feedforward import figures
from zoo.common import figures as common

CLASSES = tuple("0123456789")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 28, 28), np.uint8)


def rows(count):
    names = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    return [{"epoch": n, **dict.fromkeys(names, 0.5 / n)} for n in range(1, count + 1)]


def texts(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [*found, *(text.get_text() for text in figure.texts), figure.get_suptitle()]


def pixels(figure, tmp_path):
    return common.save(figure, tmp_path / "a.png").stat().st_size


@pytest.mark.parametrize("count", [1, 3])
def test_curves_show_each_epoch_and_the_caption(count, tmp_path):
    figure = figures.learning_curves(rows(count), "of MNIST")
    assert "of MNIST" in texts(figure)
    assert pixels(figure, tmp_path) > 5_000
    for line in figure.axes[0].lines[:2]:
        np.testing.assert_allclose(line.get_ydata(), 0.5 / np.arange(1, count + 1))


def test_wrong_answers_of_nobody_can_be_drawn(tmp_path):
    perfect = [{**row, "train_accuracy": 1.0} for row in rows(2)]
    figure = figures.learning_curves(perfect)
    assert figure.axes[1].get_yscale() == "linear"
    assert pixels(figure, tmp_path) > 5_000


def test_curves_name_what_a_line_lacks():
    with pytest.raises(ValueError, match="no lines"):
        figures.learning_curves([])
    lacking = {k: v for k, v in rows(2)[1].items() if k != "test_accuracy"}
    with pytest.raises(ValueError, match=r"line 2 of metrics lacks \['test_accuracy'\]"):
        figures.learning_curves([rows(1)[0], lacking])


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


def test_confusion_counts_true_classes_in_rows():
    figure = figures.confusion([0, 0, 1], [0, 1, 1], CLASSES)
    assert "66.7 % (2 of 3)" in figure.get_suptitle()
    shown = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert shown[(1, 0)] == "1"  # x is the prediction, y the truth
    assert shown[(0, 1)] == "0"
