import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm.rbm import figures
from zoo.common.figures import BLUE, ORANGE, save


def bars(axes):
    names = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(names, [bar.get_width() for bar in axes.patches], strict=True))


def test_themes_show_both_ends_of_the_units_that_differ_most():
    vectors = np.zeros((10, 3))
    vectors[:, 1] = np.arange(10) - 4.5
    vectors[0, 2] = 0.1
    titles = [f"Film {n} (1990)" for n in range(10)]
    figure = figures.themes(vectors, titles)
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "hidden unit 1"
    assert list(bars(axes)) == [f"Film {n} (1990)" for n in (9, 8, 7, 2, 1, 0)]
    assert axes.patches[0].get_facecolor()[:3] == tuple(
        int(BLUE[i : i + 2], 16) / 255 for i in (1, 3, 5)
    )
    assert axes.patches[-1].get_facecolor()[:3] == tuple(
        int(ORANGE[i : i + 2], 16) / 255 for i in (1, 3, 5)
    )


def test_alike_are_those_whose_vectors_point_the_same_way():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(6, 40))
    group = np.arange(48) % 6
    vectors = directions[group] * rng.uniform(1, 3, (48, 1)) + 0.01 * rng.normal(size=(48, 40))
    titles = [f"{'abcdef'[g]}{n}" for n, g in enumerate(group)]
    figure = figures.alike(vectors, titles)
    shown = [axes.get_title(loc="left") for axes in figure.axes]
    assert sorted(title[0] for title in shown) == list("abcdef")  # far from one another
    for axes in figure.axes:
        title = axes.get_title(loc="left")
        assert {name[0] for name in bars(axes)} == {title[0]}
        assert title not in bars(axes)
        assert min(bars(axes).values()) > 0.9


def test_long_titles_lose_their_year_first():
    long = "Dr. Strangelove or: How I Learned (1963)"
    assert figures._short("Heat (1995)") == "Heat (1995)"
    assert figures._short("Empire Strikes Back, The (1980)") == "Empire Strikes Back, The"
    assert len(figures._short(long)) == figures.LONGEST
    assert figures._short(long).endswith("…")


def test_predicted_ratings_stand_over_the_true_ones(tmp_path):
    true = np.array([[1, 5, 0], [1, 5, 5]])
    expected = np.array([[2.0, 4.0, 99.0], [3.0, 4.2, 7.0]])
    figure = figures.predicted(expected, true)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1\n40%", "5\n60%"]
    assert axes.get_ylim() == (0.9, 5.1)
    save(figure, tmp_path / "predicted.png")
    with pytest.raises(ValueError, match="expected one for each of some ratings"):
        figures.predicted(expected, np.zeros((2, 3)))


@pytest.mark.parametrize("draw", [figures.themes, figures.alike])
def test_titles_must_be_as_many_as_movies(draw):
    with pytest.raises(ValueError, match=r"vectors have shape \(3, 2\), expected \(2, hidden\)"):
        draw(np.zeros((3, 2)), ["a", "b"])
