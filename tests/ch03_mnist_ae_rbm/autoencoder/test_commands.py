import json

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from zoo.ch03_mnist_ae_rbm import autoencoder
from zoo.ch03_mnist_ae_rbm.autoencoder.task import TASK
from zoo.common import cli, commands, run

CHAPTER = "ch03_mnist_ae_rbm"


@pytest.fixture(scope="module")
def trained(place):
    """A finished run of a denoising autoencoder on the sample."""
    config = autoencoder.Config(hidden=(16,), code=8, epochs=2, batch_size=50, noise=0.3)
    commands.train(TASK, config, cli.Options(data="sample", out=place / "trained", device="cpu"))
    return place / "trained"


def names(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


def test_train_leaves_metrics_snapshots_and_pictures(trained):
    assert names(trained) >= {"curves", "pairs", "neighbours", "epochs", "denoising"}
    assert (trained / "snapshots.npz").exists()
    rows = run.read_metrics(trained)
    assert rows[1]["test_mse"] == rows[1]["test_loss"]


def test_evaluate_compares_with_pca_of_the_same_size(trained, command):
    done = command(CHAPTER, "autoencoder", "evaluate", "--run", trained)
    assert done.status == 0, done.err
    found = json.loads((trained / "evaluation.json").read_text())
    rows = run.read_metrics(trained)
    np.testing.assert_allclose(found["test_mse"], rows[-1]["test_mse"], rtol=1e-4)
    assert "had noise of deviation 0.3" in done.out
    assert f"PCA with 8 components: {found['pca_mse']:.6f}" in done.out
    assert 0 < found["pca_clipped_mse"] < found["pca_mse"] < 0.05
    assert found["nearest_by_pixels_same_digit"] > 0.85


def test_reconstruct_writes_pairs_of_test_digits_and_of_files(trained, place, command):
    line = ("autoencoder", "reconstruct", "--run", trained)
    assert command(CHAPTER, *line, "--count", 3).status == 0
    written = {path.stem for path in (trained / "images").iterdir()}
    assert written == {f"0 - {n} {what}" for n in range(3) for what in ("input", "output")}
    for name, left in (("two.png", 70), ("other/two.png", 20)):
        picture = PIL.Image.new("L", (200, 200), 0)
        PIL.ImageDraw.Draw(picture).rectangle((left, 40, 90, 160), fill=255)
        (place / name).parent.mkdir(exist_ok=True)
        picture.save(place / name)
    assert command(CHAPTER, *line, "two.png", "other/two.png").status == 0
    both = written | {path.stem for path in (trained / "images").iterdir()}
    added = {f"{n} {what}" for n in ("two", "other-two") for what in ("input", "output")}
    assert {path.stem for path in (trained / "images").iterdir()} == both == written | added
    assert "reconstruct" in names(trained)
