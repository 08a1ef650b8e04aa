"""What the pictures show, read off their axes."""

import numpy as np
import pytest

from zoo.ch02_basic_nn import figures, model
from zoo.common.figures import animate, save

INPUTS, LABELS = np.array(model.INPUTS), np.array(model.LABELS)
OUTPUT = np.linspace(0.5, LABELS, 30)
HEIGHTS = np.outer(range(8), range(9))
GROUND = figures.Map(np.linspace(-1, 1, 9), np.linspace(0, 1, 8), HEIGHTS, (0.5, 0.5))
PATHS = {"SGD": np.linspace((-1, 1), (0.5, 0.5), 12), "Adam": np.linspace((-1, 1), (0, 0), 12)}
COSTS = {name: np.geomspace(1, 1e-20, 12) for name in PATHS}


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


def test_an_activation_has_its_value_and_its_derivative():
    x = np.linspace(-4, 4, 11)
    figure = figures.activations(dict.fromkeys("abc", (x, x**2, 2 * x)))
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == ["a", "b", "c"]
    value, slope = shown[0].lines[-2:]
    np.testing.assert_array_equal(value.get_ydata(), x**2)
    np.testing.assert_array_equal(slope.get_ydata(), 2 * x)


def test_a_parabolas_picture_keeps_its_frame_when_descent_diverges():
    w = np.linspace(-2, 3, 11)
    path = np.array([2.0, -3.0, 50.0])
    figure = figures.parabolas(w, w**2, {"small": (path, path**2), "large": (path, path**2)})
    for axes in figure.axes:
        assert axes.get_xlim() == (-2, 3)
        assert axes.get_ylim()[1] == 9


def test_the_race_draws_each_path_and_clips_costs_at_the_least(tmp_path):
    figure = figures.race({"bowl": GROUND}, {"bowl": PATHS}, {"bowl": COSTS}, "a caption")
    above, below = figure.axes
    shown = [line.get_xydata() for line in above.lines if line.get_label() in PATHS]
    np.testing.assert_array_equal(shown, list(PATHS.values()))
    assert below.lines[0].get_ydata()[-1] == figures.LEAST
    save(figure, tmp_path / "race.png")


def test_rates_that_end_nowhere_have_no_point():
    rates = np.array([0.1, 1.0, 10.0])
    figure = figures.rates(rates, {"bowl": {"SGD": np.array([1.0, np.inf, np.nan])}})
    line = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(np.isnan(line), [False, True, True])


def test_batches_show_a_path_and_a_cost_for_each_size(tmp_path):
    costs = {name: (np.arange(12), np.geomspace(1, 0.1, 12)) for name in PATHS}
    figure = figures.batches(GROUND, PATHS, costs)
    assert [line.get_label() for line in figure.axes[1].lines] == list(PATHS)
    save(figure, tmp_path / "batches.png")


def test_an_animation_shows_the_path_until_each_step(tmp_path):
    shown = list(figures.frames({"bowl": GROUND}, {"bowl": PATHS}, [0, 5]))
    assert [figure.get_suptitle() for figure in shown] == ["step 0", "step 5"]
    lengths = [
        len(line.get_xdata()) for line in shown[1].axes[0].lines if line.get_label() in PATHS
    ]
    assert lengths == [6, 6]
    assert animate(shown, tmp_path / "race.gif").stat().st_size > 1_000
