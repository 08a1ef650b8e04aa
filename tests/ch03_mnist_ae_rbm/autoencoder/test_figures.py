import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm.autoencoder import figures
from zoo.common import figures as common

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 28, 28), np.uint8)


def texts(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [*found, *(text.get_text() for text in figure.texts), figure.get_suptitle()]


def pixels(figure, tmp_path):
    return common.save(figure, tmp_path / "a.png").stat().st_size


def rows(count):
    return [{"epoch": n, "train_mse": 0.5 / n, "test_mse": 0.4 / n} for n in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 3])
def test_curves_show_each_epoch_and_the_caption(count, tmp_path):
    figure = figures.learning_curves(rows(count), "of MNIST")
    assert "of MNIST" in texts(figure)
    assert pixels(figure, tmp_path) > 5_000
    for line, first in zip(figure.axes[0].lines, (0.5, 0.4), strict=True):
        np.testing.assert_allclose(line.get_ydata(), first / np.arange(1, count + 1))
    assert figure.axes[0].get_yscale() == "log"


def test_curves_name_what_a_line_lacks():
    with pytest.raises(ValueError, match=r"line 2 of metrics lacks \['test_mse'\]"):
        figures.learning_curves([rows(1)[0], {"epoch": 2, "train_mse": 1.0}])


def test_strips_name_their_rows_and_frame_what_is_wrong(tmp_path):
    given = {"input": IMAGES[:3], "update 1": IMAGES[3:6] / 255}
    figure = figures.strips(given, "t", "c", {"update 1": [False, True, False]})
    assert {"input", "update 1", "t", "c"} <= set(texts(figure))
    assert len(figure.axes) == 6
    assert [axes.axison for axes in figure.axes] == [False] * 4 + [True, False]
    assert pixels(figure, tmp_path) > 5_000
    with pytest.raises(ValueError, match="one length"):
        figures.strips({"a": IMAGES[:2], "b": IMAGES[:3]})
    with pytest.raises(ValueError, match="one length"):
        figures.strips({})
