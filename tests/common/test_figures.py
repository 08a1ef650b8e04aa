import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from zoo.common import figures

CLASSES = ("ant", "bee", "cow")
COUNTS = np.array([[5, 1, 0], [0, 0, 0], [2, 3, 4]])


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 6, 5, 3), np.uint8)


@pytest.fixture
def figure():
    return figures.curves({"train": [3.0, 2.0]}, [1, 2], "epoch", "loss (nats)")


def shown(figure):
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def caption(figure):
    return figure.texts[-1].get_text()


def test_the_grid_shows_the_images_unchanged(images):
    figure = figures.image_grid(images, columns=3)
    assert len(figure.axes) == 9
    np.testing.assert_array_equal(shown(figure), images)
    assert all(ax.images[0].get_interpolation() == "nearest" for ax in figure.axes[:7])


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 1)])
@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.float32, 1)])
def test_grey_goes_from_black_to_white_whatever_the_image_holds(shape, dtype, top):
    figure = figures.image_grid(np.ones(shape, dtype))
    drawn = figure.axes[0].images[0]
    assert drawn.get_clim() == (0, top)
    assert drawn.get_array().shape == (8, 8)


def test_the_grid_has_a_title_above_each_image(images):
    figure = figures.image_grid(images, np.array(list("abcdefg")), columns=4)
    assert [ax.get_title() for ax in figure.axes] == [*"abcdefg", ""]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3), np.uint8), r"shape \(2, 3\), expected"),
        (np.zeros((2, 4, 4, 2), np.uint8), r"shape \(2, 4, 4, 2\), expected"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"shape \(0, 4, 4, 3\), expected"),
        (np.zeros((2, 4, 4), np.int64), "are int64, expected uint8"),
        (np.full((2, 4, 4), 1.5), "from 1.5 to 1.5, expected 0 to 1"),
        (np.full((2, 4, 4), np.nan), "from nan to nan, expected 0 to 1"),
    ],
)
def test_wrong_images_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        figures.image_grid(images)


def test_curves_carry_their_data_names_and_labels():
    figure = figures.curves({"a": [3, 2, 1], "b": [1, 2, 4]}, [1, 2, 3], "epoch", "loss (nats)")
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["a", "b"]
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [[1, 1], [2, 2], [3, 4]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss (nats)")
    assert len({line.get_color() for line in axes.lines}) == 2


def test_the_confusion_matrix_shows_counts_and_shares_of_rows():
    figure = figures.confusion_matrix(COUNTS, CLASSES)
    axes = figure.axes[0]
    assert [int(text.get_text()) for text in axes.texts] == COUNTS.ravel().tolist()
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares.sum(1), [1, 0, 1])
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASSES)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert figure.get_suptitle() == "accuracy 60.0 % (9 of 15)"


def test_a_long_caption_is_wrapped_and_fits_into_the_page():
    text = "built-in sample, not CIFAR-10 ($ZOO_DATA_DIR is $unset, {odd} \\here): " + "word " * 60
    figure = figures.curves({"a": [1]}, [1], "x", "y", caption=text)
    assert caption(figure).split() == text.split()
    assert caption(figure).count("\n") > 3
    figure.draw_without_rendering()
    box, axes = figure.texts[-1].get_window_extent(), figure.axes[0].get_tightbbox()
    assert box.x0 > 0
    assert box.y0 > 0
    assert box.x1 < figure.bbox.width
    assert box.y1 < axes.y0


def test_the_title_stands_above_the_drawing():
    figure = figures.confusion_matrix(COUNTS, CLASSES, "caption")
    figure.draw_without_rendering()
    title = figure.texts[0].get_window_extent()
    assert title.y1 < figure.bbox.height
    assert title.y0 > max(axes.get_tightbbox().y1 for axes in figure.axes)


def test_dollars_in_names_start_no_formula(tmp_path):
    names = ["$a", "b$_", "$\\frac$"]
    figures.save(figures.confusion_matrix(COUNTS, names), tmp_path / "a.png")
    figures.save(figures.curves({"$\\frac$": [1]}, [1], "$\\x$", "y"), tmp_path / "b.png")


def test_settings_of_the_user_stay_as_they_are(images, tmp_path):
    before = dict(matplotlib.rcParams)
    figures.save(figures.image_grid(images, caption="caption"), tmp_path / "grid.png")
    assert dict(matplotlib.rcParams) == before


def test_save_writes_a_png_of_150_dpi_into_a_new_folder(figure, tmp_path):
    path = figures.save(figure, str(tmp_path / "figures" / "curve.png"))
    assert path == tmp_path / "figures" / "curve.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == tuple((figure.get_size_inches() * 150).astype(int))
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert os.listdir(path.parent) == ["curve.png"]


def test_save_takes_no_other_format(figure, tmp_path):
    with pytest.raises(ValueError, match=r"curve\.pdf, expected one that ends in \.png"):
        figures.save(figure, tmp_path / "curve.pdf")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(figure, tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    path.write_bytes(b"old")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", source)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="figure cannot be saved: No space left") as caught:
        figures.save(figure, path)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["curve.png"]


def test_a_save_into_a_file_names_the_path(figure, tmp_path):
    (tmp_path / "figures").write_text("a file, not a folder")
    with pytest.raises(OSError, match=r"figure cannot be saved: .*figures/curve\.png"):
        figures.save(figure, tmp_path / "figures" / "curve.png")


def test_a_figure_that_cannot_be_drawn_leaves_nothing(figure, tmp_path, monkeypatch):
    monkeypatch.setattr(figure, "savefig", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        figures.save(figure, tmp_path / "curve.png")
    assert os.listdir(tmp_path) == []


def test_drawing_and_saving_never_loads_pyplot(tmp_path):
    code = (
        "import sys; from zoo.common import figures as f; "
        f"f.save(f.curves({{'a': [1]}}, [1], 'x', 'y'), {str(tmp_path / 'a.png')!r}); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def frames(count, width=3.0):
    for i in range(count):
        yield figures.curves({"a": [0.0, i]}, [0, 1], "x", f"frame {i}", caption="c" * int(width))


def test_animate_writes_a_gif_that_loops_and_holds_its_last_frame(tmp_path):
    path = figures.animate(frames(3), tmp_path / "a.gif", seconds=0.2, hold=1.0)
    with Image.open(path) as image:
        assert image.n_frames == 3
        assert image.info["loop"] == 0
        durations, pixels = [], []
        for i in range(3):
            image.seek(i)
            durations.append(image.info["duration"])
            pixels.append(np.asarray(image.convert("RGB")).copy())
    assert durations == [200, 200, 1000]
    assert not np.array_equal(pixels[0], pixels[2])


def test_animate_refuses_frames_of_two_sizes_none_and_another_name(tmp_path):
    with pytest.raises(ValueError, match="at least 1, of one size"):
        figures.animate([*frames(1), *frames(1, 200.0)], tmp_path / "a.gif")
    with pytest.raises(ValueError, match=r"sizes \[\]"):
        figures.animate([], tmp_path / "a.gif")
    with pytest.raises(ValueError, match=r"ends in \.gif"):
        figures.animate(frames(1), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_training_curves_have_a_panel_for_each_metric_with_the_last_values():
    rows = [
        {"epoch": n, "train_loss": 2 / n, "test_loss": 3 / n, "train_accuracy": 0.5} for n in (1, 2)
    ]
    panels = {"loss": "loss (nats)", "accuracy": "accuracy (%)"}
    drawn = figures.training_curves(rows, panels, levels={"loss": {"uniform": 2.5}})
    loss, accuracy = drawn.axes
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [3, 1.5])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [50, 50])
    assert [line.get_label() for line in loss.lines[:2]] == ["train, last 1", "test, last 1.5"]
    assert accuracy.lines[0].get_label() == "train, last 50 %"
    assert loss.texts[0].get_text() == "uniform 2.5"
    with pytest.raises(ValueError, match="got no lines of metrics"):
        figures.training_curves([], panels)


def test_confusion_counts_true_classes_in_rows():
    drawn = figures.confusion([0, 0, 1], [0, 1, 1], ["a", "b"])
    counts = [text.get_text() for text in drawn.axes[0].texts]
    assert counts == ["1", "1", "0", "1"]


def test_tiles_are_laid_row_by_row_and_the_rest_is_black():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None] * np.ones((5, 2, 3), np.uint8)
    whole = figures.tiled(images, 3)
    assert whole.shape == (4, 9)
    np.testing.assert_array_equal(whole[::2, ::3], [[1, 2, 3], [4, 5, 0]])
    np.testing.assert_array_equal(whole[:2, :3], 1)
    assert figures.tiled(np.ones((2, 4, 4, 3)), 9).shape == (4, 8, 3)


def test_strips_have_a_name_and_all_images_in_each_row():
    rows = {"one\ntwo": np.zeros((3, 4, 5)), "other": np.full((3, 4, 5), 7, np.uint8)}
    axes = figures.strips(rows).axes
    assert [a.texts[0].get_text() for a in axes if a.texts] == list(rows)
    one, other = (a.images[0].get_array() for a in axes if a.images)
    assert one.shape == other.shape == (4, 3 * (1 + 5 + 1))
    np.testing.assert_array_equal(one[0, :9], [1, 0, 0, 0, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(other[0, :9], [255, 7, 7, 7, 7, 7, 255, 255, 7])
    with pytest.raises(ValueError, match="expected at least 1, all alike"):
        figures.strips({"a": np.zeros((3, 4, 4)), "b": np.zeros((2, 4, 4))})


def test_wrong_images_of_a_strip_have_a_frame():
    rows = {"a": np.zeros((3, 4, 4)), "b": np.zeros((3, 4, 4))}
    drawn = figures.strips(rows, wrong={"b": [False, True, False]})
    framed = [axes for axes in drawn.axes if axes.patches]
    assert len(framed) == 1
    assert framed[0].patches[0].get_x() == 5.5


HOSTILE = {
    **{"text.usetex": True, "font.family": "No Such Font", "axes.grid": True, "lines.linewidth": 9},
    **{"savefig.bbox": "tight", "savefig.transparent": True, "figure.autolayout": True},
    **{"axes.facecolor": "black", "savefig.dpi": 20, "image.cmap": "jet", "axes.unicode_minus": 0},
}


def test_pictures_are_the_same_whatever_a_matplotlibrc_says(tmp_path, images):
    def drawn(name):
        pictures = {
            "curves": figures.curves({"a": [-1.0, 2.0]}, [1, 2], "x $1", "y_2", "title", "100 %"),
            "grid": figures.image_grid(images, list("abcdefg")),
            "confusion": figures.confusion_matrix(COUNTS, CLASSES, "a caption"),
        }
        return [
            figures.save(picture, tmp_path / f"{name}-{n}.png").read_bytes()
            for n, picture in pictures.items()
        ]

    before = drawn("before")
    with matplotlib.rc_context(HOSTILE):
        assert drawn("after") == before
        assert matplotlib.rcParams["text.usetex"]  # and a user's settings are theirs again


def test_every_function_that_draws_does_so_in_its_own_style():
    root, found, plain = Path(__file__).parents[2], 0, []
    for path in [*root.glob("zoo/**/*.py"), *root.glob("studies/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or node.returns is None:
                continue
            if "Figure" in ast.unparse(node.returns):
                found += 1
                if not any("own_style" in ast.unparse(d) for d in node.decorator_list):
                    plain.append(f"{path.relative_to(root)}: {node.name}")
    assert not plain
    assert found > 40
