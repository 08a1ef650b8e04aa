"""What the pictures show, read off their axes."""

import numpy as np
import pytest

from zoo.ch02_basic_nn import figures, model
from zoo.common.figures import save

INPUTS, LABELS = np.array(model.INPUTS), np.array(model.LABELS)
OUTPUT = np.linspace(0.5, LABELS, 30)


@pytest.mark.parametrize(("loss", "scale"), [(1.0, "log"), (-0.2, "linear")])
def test_a_costs_axis_is_logarithmic_only_if_it_may_be(loss, scale):
    left, right = figures.training(OUTPUT, np.linspace(1, loss, 30), INPUTS, LABELS).axes
    assert right.get_yscale() == scale
    rows = ["0 0 1, wanted 0", "0 1 1, wanted 0", "1 0 1, wanted 1", "1 1 1, wanted 1"]
    assert [line.get_label() for line in left.lines] == rows
    np.testing.assert_allclose(left.lines[2].get_ydata(), OUTPUT[:, 2])
    assert len({(line.get_color(), line.get_linestyle()) for line in left.lines}) == 4


def test_programs_stand_side_by_side_on_one_scale(tmp_path):
    figure = figures.programs({"a": OUTPUT, "b": OUTPUT}, INPUTS, LABELS, "a caption")
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    save(figure, tmp_path / "programs.png")
