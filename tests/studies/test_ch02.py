import numpy as np
import pytest

from studies import ch02_basic_nn as study
from studies import ch02_figures as figures
from zoo.common.figures import animate, save

HEIGHTS = np.outer(range(8), range(9))
GROUND = figures.Map(np.linspace(-1, 1, 9), np.linspace(0, 1, 8), HEIGHTS, (0.5, 0.5))
PATHS = {"SGD": np.linspace((-1, 1), (0.5, 0.5), 12), "Adam": np.linspace((-1, 1), (0, 0), 12)}
COSTS = {name: np.geomspace(1, 1e-20, 12) for name in PATHS}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "ch02_basic_nn"


def test_activations_draws_and_tabulates(here, capsys):
    study.activations()
    assert "leaky ReLU" in capsys.readouterr().out
    assert {p.name for p in (here / "activations").iterdir()} == {
        "activations.png",
        "overlays.png",
    }


def test_descent_prints_the_right_numbers_beside_the_books(here, capsys):
    study.descent(out=here / "other")
    printed = capsys.readouterr().out
    for number in ("67.500", "68.403", "66.603", "83.66434", "90.000", "1.91000", "0.033333"):
        assert number in printed
    assert {p.name for p in (here / "other").iterdir()} == {"parabola.png", "batches.png"}


def test_solvers_races_all_and_animates_it(here, capsys):
    study.solvers(steps=3)
    printed = capsys.readouterr().out
    assert "7 solvers, 21 rates, 4 problems, 3 steps" in printed
    assert {p.name for p in (here / "solvers").iterdir()} == {"race.png", "rates.png", "race.gif"}


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
