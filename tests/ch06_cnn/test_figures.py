import subprocess
import sys

import numpy as np
import pytest

from zoo.ch06_cnn import figures
from zoo.common.data.cifar10 import CLASSES
from zoo.common.figures import BLUE, ORANGE

CAT, DOG = CLASSES.index("cat"), CLASSES.index("dog")


def metrics(epochs):
    return [
        {
            "epoch": epoch,
            "step": 400 * epoch,
            "train_loss": 2.0 / epoch,
            "test_loss": 2.1 / epoch,
            "train_accuracy": 1 - 0.5 / epoch,
            "test_accuracy": 0.9 - 0.5 / epoch,
            "seconds": 1.0,
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


@pytest.fixture
def probabilities():
    """Cat, dog, cat, dog, each at 73 %, with the other of the two at 19 %."""
    answers = np.full((4, 10), 0.01, np.float32)
    for row, (first, second) in enumerate([(CAT, DOG), (DOG, CAT)] * 2):
        answers[row, first], answers[row, second] = 0.73, 0.19
    return answers


def pictures(figure):
    return np.array([ax.images[0].get_array() for ax in figure.axes if ax.images])


def bars(axes):
    """Name, percent and colour of each bar, from the top."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    widths = [round(bar.get_width()) for bar in axes.patches]
    colours = [as_hex(bar.get_facecolor()) for bar in axes.patches]
    return list(zip(names, widths, colours, strict=True))


def as_hex(colour):
    return "#" + "".join(f"{round(255 * part):02X}" for part in colour[:3])


def test_learning_curves_show_cost_and_accuracy_by_epoch():
    figure = figures.learning_curves(metrics(20), "a caption")
    cost, accuracy = figure.axes
    for axes in (cost, accuracy):
        assert axes.get_xlabel() == "epoch"
        assert [line.get_xdata().tolist() for line in axes.lines] == [[*range(1, 21)]] * 2
    assert cost.lines[0].get_ydata()[-1] == 2.0 / 20
    assert cost.lines[1].get_ydata()[-1] == 2.1 / 20
    np.testing.assert_allclose(accuracy.lines[1].get_ydata()[-1], 90 - 50 / 20)
    assert "nats" in cost.get_ylabel()
    assert "%" in accuracy.get_ylabel()
    assert figure.texts[-1].get_text() == "a caption"


def test_cats_tell_right_from_wrong_by_mark_and_colour(images, probabilities):
    figure = figures.cats(images, probabilities, CLASSES, "a caption")
    titles = [(ax.get_title(), ax.title.get_color()) for ax in figure.axes]
    assert titles == [("✓ cat 73 %", BLUE), ("✗ dog 73 %", ORANGE)] * 2
    np.testing.assert_array_equal(pictures(figure), images)
    assert figure.get_suptitle() == "2 of 4 recognised as cat"


def test_ten_cats_stand_in_two_rows(images, probabilities):
    rows = np.arange(10) % 4
    figure = figures.cats(images[rows], probabilities[rows], CLASSES)
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 5)


def test_cats_may_be_of_another_class(images, probabilities):
    figure = figures.cats(images, probabilities, CLASSES, label=DOG)
    assert figure.axes[1].get_title() == "✓ dog 73 %"


def test_filters_fill_their_own_range():
    kernel = np.random.default_rng(0).normal(size=(5, 5, 3, 32)).astype(np.float32)
    kernel[..., 7] *= 100
    tiles = pictures(figures.filters(kernel))
    assert tiles.shape == (32, 5, 5, 3)
    np.testing.assert_array_equal(tiles.min((1, 2, 3)), 0)
    np.testing.assert_array_equal(tiles.max((1, 2, 3)), 1)
    one = kernel[..., 7]
    np.testing.assert_allclose(tiles[7], (one - one.min()) / np.ptp(one), rtol=1e-6)


def test_a_constant_filter_is_drawn():
    assert pictures(figures.filters(np.ones((5, 5, 3, 1)))).max() == 0


def test_wrong_kernels_are_named():
    with pytest.raises(ValueError, match=r"shape \(5, 5, 32, 64\), expected \(5, 5, 3, filters\)"):
        figures.filters(np.zeros((5, 5, 32, 64)))
    with pytest.raises(ValueError, match="from nan to nan, expected 0 to 1"):
        figures.filters(np.full((5, 5, 3, 32), np.nan))


def test_predictions_show_the_top_three_beside_the_true_class(images, probabilities):
    figure = figures.predictions(images, [CAT] * 4, probabilities, CLASSES)
    np.testing.assert_array_equal(pictures(figure), images)
    assert [axes.get_title() for axes in figure.axes[:8:2]] == ["cat"] * 4
    right, wrong = bars(figure.axes[1]), bars(figure.axes[3])
    assert [name for name, _, _ in right] == ["cat", "dog", "airplane"]
    assert right[0] == ("cat", 73, BLUE)
    assert wrong[:2] == [("dog", 73, ORANGE), ("cat", 19, BLUE)]
    assert figure.get_suptitle().startswith("2 of 4 right")


def test_prediction_shows_the_top_five(images, probabilities):
    figure = figures.prediction(images[0], probabilities[0], CLASSES, "cat.png")
    left, right = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), images[0])
    assert [bar[:2] for bar in bars(right)][:2] == [("cat", 73), ("dog", 19)]
    assert len(bars(right)) == 5
    assert right.get_xlabel() == "probability (%)"


def test_the_chapter_does_not_load_matplotlib():
    code = "import sys, zoo.ch06_cnn; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
