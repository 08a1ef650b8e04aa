"""A user's picture files in all chapters: the same pixels everywhere, an answer for each."""

import runpy
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zoo.ch03_mnist_ae_rbm.autoencoder import commands as autoencoder
from zoo.ch03_mnist_ae_rbm.feedforward import commands as feedforward
from zoo.ch06_cnn.cnn import commands as cnn
from zoo.ch06_cnn.speedrun import commands as speedrun
from zoo.ch08_vae.vae import commands as vae
from zoo.ch09_pipeline import stages
from zoo.ch10_deploy import inputs
from zoo.common import cli, images, trained
from zoo.common.data import DataError

FILES = types.SimpleNamespace(
    **runpy.run_path(str(Path(__file__).with_name("common") / "pictures.py"))
)
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (40, 60, 3), np.uint8)
GREY = np.pad(COLOURS[:20, :10, 0] | 64, 8)
ALPHA = RNG.integers(0, 256, (40, 60), np.uint8)


def on_its_side():
    exif = PIL.Image.Exif()
    exif[FILES.ORIENTATION] = 6
    exif[FILES.ARTIST] = "somebody"
    return exif.tobytes().replace(b"\0\x02\0\0\0\x09", b"\xff\xff\xff\xff\xff\xff")  # and broken


def contents():
    grey16, same = GREY.astype(np.uint16) * 257, np.ones((32, 32, 3), np.uint8)
    encode = FILES.encode
    return {
        "plain.png": encode(COLOURS, "PNG"),
        "small.png": encode(COLOURS[:32, :32], "PNG"),
        "grey16.png": encode(grey16, "PNG"),
        "digit16.png": encode(np.pad(grey16[8:-8, 8:-8], ((4, 4), (9, 9))), "PNG"),
        "hidden.png": encode(np.dstack([COLOURS, ALPHA]), "PNG"),
        "hidden.webp": encode(np.dstack([COLOURS, ALPHA]), "WEBP"),
        "colour.png": encode(COLOURS[:32, :32], "PNG", transparency=tuple(COLOURS[3, 4].tolist())),
        "turned.png": encode(COLOURS[:32, :32], "PNG", exif=on_its_side()),
        "turned.jpg": encode(COLOURS, "JPEG", exif=on_its_side()),
        "inks.jpg": encode(PIL.Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
        "profile.png": encode(COLOURS[:32, :32], "PNG", icc_profile=FILES.profile(2.2, *FILES.P3)),
        "several.gif": encode(
            GREY, "GIF", save_all=True, append_images=[PIL.Image.fromarray(255 - GREY)]
        ),
        "black and white.bmp": encode(PIL.Image.fromarray(GREY > 99), "BMP"),
        "tiny.png": encode(same, "PNG"),
    }


class Fake:
    """A trained model that keeps what it is shown and answers by it."""

    classes = tuple("0123456789")
    config = types.SimpleNamespace(batch_size=10, images="", size=32)
    params = None
    about = types.MappingProxyType({"data": {"description": "drawn"}})

    def __init__(self, folder):
        self.folder, self.shown = folder, []

    def predict(self, image):
        self.shown = list(image)
        rows = np.arange(1, 11) + image.reshape(len(image), -1)[:, :10] / 9
        return {"image": image / 255, "probabilities": rows / rows.sum(1, keepdims=True)}


@pytest.fixture
def model(tmp_path, monkeypatch):
    fake = Fake(tmp_path / "run")
    monkeypatch.setattr(trained, "choose", lambda task, which, own=False: fake)
    monkeypatch.setattr(vae.latent, "interpolate", lambda c, p, pair, n: pair[[0] * n] / 255)
    monkeypatch.chdir(tmp_path)
    return fake


PREDICT = {
    "ch03": lambda paths: feedforward.predict(paths, cli.TrainedModel()),
    "ch03 autoencoder": lambda paths: autoencoder.reconstruct(paths, cli.Trained()),
    "ch06": lambda paths: cnn.COMMANDS["predict"](paths, cli.TrainedModel()),
    "ch06 speedrun": lambda paths: speedrun.COMMANDS["predict"](paths, cli.TrainedModel()),
    "ch08": lambda paths: vae.reconstruct(paths, cli.Trained()),
}
OF_DIGITS = ("ch03", "ch03 autoencoder", "ch08")


@pytest.mark.parametrize("name", contents())
def test_a_file_is_the_same_pixels_in_every_chapter(name, model, tmp_path):
    path, content = tmp_path / name, contents()[name]
    path.write_bytes(content)
    colours = images.read_square(path, 32)
    digit = images.read_digit(path)[0] if name != "tiny.png" else None
    for chapter, predict in PREDICT.items():
        expected = digit if chapter in OF_DIGITS else colours
        if expected is not None:
            predict((path,))
            np.testing.assert_array_equal(model.shown, [expected], err_msg=chapter)
    np.testing.assert_array_equal(stages.read_file(path)[0], [colours])
    np.testing.assert_array_equal(inputs.decode(content, (32, 32, 3), 10_000), colours)
    if digit is not None:
        np.testing.assert_array_equal(inputs.decode(content, (28, 28), 10_000), digit)
        assert vae._digit(str(path), model, None).tolist() == digit.tolist()


def picture(path, turns=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(FILES.encode(np.rot90(GREY, turns), "PNG"))
    return path


def written(folder):
    return sorted(path.name for path in folder.rglob("*.png"))


@pytest.mark.parametrize("chapter", PREDICT)
def test_the_others_are_answered_whatever_is_wrong_with_one(chapter, model, tmp_path, capsys):
    names = ("a/0.png", "a/none.png", "b/0.png", "a/bad.png", "c/$x^{.png")
    paths = [picture(Path(name), turns) for turns, name in enumerate(names)]
    paths[1].unlink()
    paths[3].write_text("none")
    with pytest.raises(DataError, match="not all of 5 pictures"):
        PREDICT[chapter](tuple(paths))
    assert len(model.shown) == 3
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert first.startswith("error: a/none.png: ")
    assert second.startswith("error: a/bad.png can't be read as a picture")
    if chapter != "ch08":  # which draws one figure of all
        assert out.index("0") < out.index("$x^{")
    if chapter == "ch03 autoencoder":
        expected = [
            f"{name} {way}.png" for name in ("a-0", "b-0", "c-$x^{") for way in ("input", "output")
        ]
        assert written(model.folder / "images") == expected
    if chapter.startswith("ch06"):
        expected = [f"predict-{name}.png" for name in ("a-0", "b-0", "c-$x^{")]
        assert written(model.folder) == expected


@pytest.mark.parametrize("chapter", ["ch03 autoencoder", "ch06"])
def test_a_picture_that_cannot_be_written_leaves_the_others(chapter, model, tmp_path, capsys):
    paths = tuple(picture(Path(f"{n}.png"), n) for n in range(3))
    taken = {"ch03 autoencoder": "images/1 output.png", "ch06": "figures/predict-1.png"}[chapter]
    (model.folder / taken).mkdir(parents=True)
    with pytest.raises(DataError, match="not all of 3 pictures"):
        PREDICT[chapter](paths)
    assert "error: " in capsys.readouterr().err
    assert taken.replace("1", "2").rpartition("/")[2] in written(model.folder)


@pytest.mark.parametrize("chapter", ["ch03 autoencoder", "ch06"])
def test_each_picture_has_its_own_file(chapter, model, tmp_path):
    same = ["a/0.png", "b/0.png", "0.png", "0.jpg", "a/0.PNG", "./a/0.png", f"{'x' * 250}.png"]
    paths = tuple(picture(Path(name), n) for n, name in enumerate(same))
    PREDICT[chapter](paths)
    found = written(model.folder / ("images" if chapter == "ch03 autoencoder" else "figures"))
    ways = ("input", "output") if chapter == "ch03 autoencoder" else ("",)
    each = [name for name in found if not name.startswith("reconstruct")]
    assert len({name.casefold() for name in each}) == len(same) * len(ways)


def test_a_walk_between_two_files_of_one_name_names_both(model, tmp_path, monkeypatch):
    from zoo.common import figures

    shown = {}
    draw = figures.strips
    monkeypatch.setattr(
        figures, "strips", lambda rows, *a, **k: shown.update(rows) or draw(rows, *a, **k)
    )
    picture(Path("a/0.png")), picture(Path("b/0.png"), 2)
    vae.interpolate("a/0.png", "b/0.png", cli.Trained(), 3)
    assert list(shown) == ["a-0\nto b-0"]
    with pytest.raises(DataError, match="²: "):
        vae.interpolate("²", "0", cli.Trained(), 3)
