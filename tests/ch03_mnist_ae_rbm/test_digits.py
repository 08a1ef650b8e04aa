"""What both networks on MNIST share, and picture files of digits, a user's own and written ones."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from zoo.ch03_mnist_ae_rbm import RECIPES, Config, autoencoder, digits
from zoo.common import images as reader
from zoo.common.data import DataError


def test_books_pixels_lie_between_a_tenth_and_999_thousandths():
    pixels = np.zeros((1, 28, 28), np.uint8)
    pixels[0, 0, :4] = [0, 51, 254, 255]
    scaled = digits.scale_pixels(jnp.asarray(pixels), "book")
    assert scaled.shape == (1, 784)
    np.testing.assert_allclose(scaled[0, :4], [0.1, 0.28, 0.9 * 254 / 255 + 0.1, 0.999], rtol=1e-6)
    unit = digits.scale_pixels(jnp.asarray(pixels), "unit")
    np.testing.assert_allclose(unit[0, :4], [0, 0.2, 254 / 255, 1], rtol=1e-6)


@pytest.mark.parametrize("pixels", ["unit", "book"])
def test_pixels_come_back_as_they_went_in(pixels):
    images = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)
    back = digits.unscale_pixels(digits.scale_pixels(jnp.asarray(images), pixels), pixels)
    np.testing.assert_allclose(back, images / 255, atol=2e-3)
    outside = digits.unscale_pixels(jnp.full((1, 784), 1.5), pixels)
    assert outside.max() == 1.0


def test_the_first_step_of_the_books_solvers():
    """RMSProp: the root of a thousand times the rate; Adam: the rate, on a divided gradient."""
    for config, step, rtol in (
        (RECIPES["book"], 0.0316, 1e-3),
        (autoencoder.RECIPES["book"], 0.01, 1e-3),
    ):
        optimizer, params = digits.optimizer(config, 10), jnp.zeros(1)
        updates, _ = optimizer.update(jnp.array([7.0]), optimizer.init(params), params)
        np.testing.assert_allclose(-updates, step, rtol=rtol)
    tiny, _ = optimizer.update(jnp.array([1e-6]), optimizer.init(params), params)
    np.testing.assert_allclose(-tiny, 0.01 * 1e-8 / (1e-8 + 1e-8), rtol=1e-3)  # epsilon tells


def test_sgd_is_plain_and_adamw_decays_kernels_alone():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    config = Config(solver="sgd", learning_rate=0.5)
    optimizer = digits.optimizer(config, 10)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.5)
    optimizer = digits.optimizer(Config(weight_decay=0.5), 100)
    state, change = optimizer.init(params), []
    for _ in range(100):
        updates, state = optimizer.update(zeros, state, params)
        assert not updates["bias"].any()
        change.append(-float(updates["kernel"][0, 0]))
    rate = Config().learning_rate
    np.testing.assert_allclose([change[0], max(change)], [0, 0.5 * rate], rtol=1e-5)
    assert int(np.argmax(change)) == 5  # the rate has risen after a twentieth of the run
    assert change[-1] < 0.01 * max(change)


def test_adamws_rate_and_moments_are_its_formula_in_float64():
    """It rises for a twentieth of the run, then falls as a cosine; b2 is 0.99; biases stay."""
    config = Config(learning_rate=0.3, weight_decay=0.5)
    optimizer, rng = digits.optimizer(config, 105), np.random.default_rng(0)
    w = {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)}
    params = jax.tree.map(jnp.float32, w)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    m, v = (jax.tree.map(np.zeros_like, w) for _ in range(2))
    for t in range(106):
        share = t / 5 if t < 5 else 0.5 * (1 + np.cos(np.pi * (t - 5) / 100))
        g = jax.tree.map(lambda a: rng.normal(size=a.shape), w)
        updates, state = update(jax.tree.map(jnp.float32, g), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for name in w:
            m[name] = 0.9 * m[name] + 0.1 * g[name]
            v[name] = 0.99 * v[name] + 0.01 * g[name] ** 2
            mean, square = m[name] / (1 - 0.9 ** (t + 1)), v[name] / (1 - 0.99 ** (t + 1))
            decay = 0.5 * w[name] * (name == "kernel")
            w[name] = w[name] - 0.3 * share * (mean / (np.sqrt(square) + 1e-8) + decay)
            np.testing.assert_allclose(params[name], w[name], rtol=1e-3, atol=1e-3)


def test_a_run_of_one_step_has_a_schedule():
    optimizer, params = digits.optimizer(Config(), 1), jnp.ones((1, 1))
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert np.isfinite(updates).all()


def test_unknown_pixels_and_solvers_are_refused():
    for function, shape in ((digits.scale_pixels, (1, 28, 28)), (digits.unscale_pixels, (1, 784))):
        for name in ("Book", "units", ""):
            with pytest.raises(ValueError, match=f"pixels '{name}', expected one of unit, book"):
                function(jnp.zeros(shape), name)
    for name in ("Adam", "AdamW", "nesterov"):
        config = types.SimpleNamespace(solver=name, learning_rate=0.1, batch_size=1)
        with pytest.raises(ValueError, match=f"'{name}', expected one of adamw, adam, rmsprop"):
            digits.optimizer(config, 10)
        with pytest.raises(ValueError, match=f"'{name}', expected one of adamw, adam, rmsprop"):
            Config(solver=name)


def draw_digit(path, paper, ink, box=(70, 40, 90, 160), size=(200, 200)):
    """A thick stroke, like a one."""
    picture = PIL.Image.new("L", size, paper)
    PIL.ImageDraw.Draw(picture).rectangle(box, fill=ink)
    picture.save(path)


def test_ink_is_bright_centred_and_20_pixels_high_whatever_the_picture(tmp_path):
    read = []
    for number, (paper, ink) in enumerate([(255, 0), (230, 60), (0, 255), (30, 200)]):
        path = tmp_path / f"{number}.png"
        draw_digit(path, paper, ink)
        digit, note = reader.read_digit(path)
        assert note.startswith("dark on bright" if paper > ink else "bright on dark")
        read.append(digit)
    for digit in read:
        assert digit.shape == (28, 28)
        assert digit.dtype == np.uint8
        rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
        assert (rows[0], rows[-1]) == (4, 23)
        assert abs(columns.mean() - 13.5) <= 0.5
        assert digit.max() == 255
        np.testing.assert_allclose(digit.astype(int), read[0], atol=3)


def test_the_centre_of_mass_lies_in_the_middle(tmp_path):
    picture = PIL.Image.new("L", (100, 100), 255)
    draw = PIL.ImageDraw.Draw(picture)
    draw.rectangle((20, 20, 40, 80), fill=0)  # heavy on the left
    draw.rectangle((41, 75, 55, 80), fill=0)
    picture.save(tmp_path / "l.png")
    digit, _ = reader.read_digit(tmp_path / "l.png")
    weights = digit / digit.sum()
    middle = [(weights.sum(axis) * (np.arange(28) + 0.5)).sum() for axis in (0, 1)]
    np.testing.assert_allclose(middle, 14, atol=0.51)


def test_mnists_own_pictures_stay_as_they_are(tmp_path):
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 6:9] = 77
    assert digits.write(tmp_path / "images", [("7", digit)]) == 1
    read, note = reader.read_digit(tmp_path / "images" / "7.png")
    np.testing.assert_array_equal(read, digit)
    assert note == "taken as it is"


def test_a_transparent_picture_stands_on_white_paper(tmp_path):
    picture = np.zeros((50, 50, 4), np.uint8)
    picture[10:40, 20:25, 3] = 255  # black ink
    PIL.Image.fromarray(picture).save(tmp_path / "t.png")
    digit, note = reader.read_digit(tmp_path / "t.png")
    assert "dark on bright" in note
    assert digit[14, 14] == 255


def test_pictures_that_are_none_or_empty_are_refused_by_name(tmp_path):
    (tmp_path / "notes.png").write_text("not a picture")
    PIL.Image.new("L", (60, 60), 250).save(tmp_path / "empty.png")
    for name, message in (
        ("notes.png", "notes.png can't be read as a picture"),
        ("empty.png", "empty.png is blank"),
        ("gone.png", "gone.png: .*no such file"),
    ):
        with pytest.raises(DataError, match=message):
            reader.read_digit(tmp_path / name)


def test_written_digits_leave_other_files_of_the_folder_alone(tmp_path):
    digit = np.full((28, 28), 0.5)
    (tmp_path / "mine.png").touch()
    (tmp_path / "0 - 1 notes.txt").touch()
    assert digits.write(tmp_path, [("0 - 1 - 7 - 1", digit), ("b", digit)]) == 2
    assert digits.write(tmp_path, [("c", digit)]) == 1
    kept = ["0 - 1 notes", "b", "c", "mine"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["0 - 1 - 7 - 1", *kept]
    assert digits.write(tmp_path, [("c", digit)], replace=True) == 1
    assert sorted(path.stem for path in tmp_path.iterdir()) == kept
    assert np.asarray(PIL.Image.open(tmp_path / "c.png"))[0, 0] == 128
