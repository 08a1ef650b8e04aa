"""The command line: one run end to end in processes, the other commands within this one."""

import dataclasses
import json

import numpy as np
import PIL.Image
import pytest

from zoo.ch08_vae import commands, conv, drawing, model, studies
from zoo.common import cli, run
from zoo.common.data import DataError

CHAPTER = "ch08_vae"
SMALL = ["--data", "sample", "--hidden", 8, "--latents", 3, "--device", "cpu"]
OPTIONS = cli.Options(data="sample")


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A finished run of two epochs, and what it printed."""
    done = zoo(CHAPTER, "train", *SMALL, "--epochs", 2, "--out", place / "trained")
    assert done.returncode == 0, done.stderr
    return place / "trained", done.stdout


@pytest.fixture
def at(trained, place, monkeypatch):
    """Says which run to take, with `place` as the working folder and cache."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("ZOO_CACHE", str(place / "cache"))
    return cli.Trained(run=trained[0])


def test_train_leaves_a_whole_run_folder_with_pictures(trained):
    folder, out = trained
    assert "sample" in out.splitlines()[0]
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"train_kl", "test_kl", "test_reconstruction", "test_loss"} <= set(rows[0])
    assert rows[1]["test_loss"] < rows[0]["test_loss"]
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    parts = {"curves", "reconstructions", "samples", "interpolations", "traversals"}
    assert names == parts


def test_evaluate_prints_and_writes_bounds_in_their_order(at, capsys):
    commands.evaluate(at, samples=200, images=60, k=10, binarise=True)
    out = capsys.readouterr().out
    found = json.loads((at.run / "evaluation.json").read_text())
    assert found["iwae_10"] <= found["log_likelihood"] + found["iwae_10_error"]
    np.testing.assert_allclose(found["elbo"], -found["reconstruction"] - found["kl"], rtol=1e-4)
    assert f"{found['elbo']:.2f}" in out
    assert f"{-found['log_likelihood']:.2f}" in out
    assert "black and white" in out
    assert found["images"] == 60
    with pytest.raises(DataError, match="each must be at least 1"):
        commands.evaluate(at, samples=0)


def test_pictures_are_drawn_of_samples_files_and_test_images(at, capsys, place):
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(place / "ink.png")
    drawing.sample(at, count=7)
    drawing.reconstruct((), at, count=3)
    drawing.reconstruct((place / "ink.png",), at)
    drawing.interpolate("3", str(place / "ink.png"), at, steps=4)
    drawing.figures(at)
    for name in ("sample", "reconstruct", "interpolate", "curves"):
        assert (at.run / "figures" / f"{name}.png").stat().st_size > 2_000
    assert capsys.readouterr().out.count("drawn to") == 4


def test_ink_on_paper_becomes_bright_on_black(place):
    picture = np.full((56, 56), 250, np.uint8)
    picture[20:36, 26:30] = 10
    PIL.Image.fromarray(picture).save(place / "paper.png")
    digit = drawing.read_digit(place / "paper.png")
    assert digit.shape == (28, 28)
    assert digit[0, 0] == 5
    assert digit[14, 13] > 200


def test_what_a_user_can_mend_is_said(at, zoo, place):
    (place / "notes.png").write_text("no picture")
    for a, message in (("99999", "no test image 99999: use 0 to"), ("nowhere.png", "no such file"),
                       ("notes.png", "can't be read as a picture")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            drawing.interpolate(a, "1", at)
    with pytest.raises(DataError, match="say for example 2 5 8 20"):
        studies.sweep_latents((), model.RECIPES["modern"], OPTIONS)
    with pytest.raises(run.RunError, match="no trained model under runs/ch08_vae"):
        drawing.sample(cli.Trained())
    done = zoo(CHAPTER, "evaluate", "--run", "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere is no run folder")


def test_a_sweep_goes_on_where_it_was(at, capsys, place):
    config = dataclasses.replace(model.RECIPES["modern"], hidden=(8,), epochs=1)
    options = dataclasses.replace(OPTIONS, out=place / "sweep")
    studies.sweep_latents((2,), config, options)
    first = json.loads((place / "sweep" / "sweep.json").read_text())
    assert [(r["latents"], r["seed"]) for r in first] == [(2, 0)]
    (place / "sweep" / "sweep.png").unlink()
    capsys.readouterr()
    studies.sweep_latents((2,), config, options)
    assert capsys.readouterr().out.count("trained already") == 1
    assert json.loads((place / "sweep" / "sweep.json").read_text()) == first
    assert {p.name for p in (place / "sweep").glob("*.png")} == {"sweep.png", "digits.png"}


@pytest.mark.slow
def test_the_chapters_figures_and_the_film(at, place, monkeypatch):
    monkeypatch.setattr(studies, "FRAME", 2)
    options = dataclasses.replace(OPTIONS, out=place / "chapter")
    studies.chapter_figures(options, epochs=2)
    for name in ("reconstructions.png", "manifold.png", "codes.png", "manifold.gif"):
        assert (place / "chapter" / name).stat().st_size > 2_000
    with PIL.Image.open(place / "chapter" / "manifold.gif") as film:
        assert film.n_frames == 2
    kept = sorted(p.stem for p in (place / "chapter" / "plain" / "pictures").glob("*.npy"))
    assert kept == [f"{epoch:04d}" for epoch in (1, 2)]


def test_train_conv_reports_bits_and_draws(at, capsys, place):
    config = dataclasses.replace(conv.RECIPES["dense"], hidden=(4,), latents=2, epochs=1)
    folder = place / "colours"
    commands.train_conv(config, dataclasses.replace(OPTIONS, out=folder))
    assert "test bits per dim" in capsys.readouterr().out
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"curves", "reconstructions", "samples"}
    assert commands.saved_config(folder) == config


def test_bench_and_help_teach(at, zoo, capsys):
    config = dataclasses.replace(model.RECIPES["book"], hidden=(8,))
    commands.bench(config, "cpu", seconds=0.3)
    assert "10,000 digits drawn" in capsys.readouterr().out
    out = zoo(CHAPTER, "--help").stdout
    for command in ("train", "train-conv", "evaluate", "sample", "reconstruct", "interpolate",
                    "figures", "chapter-figures", "sweep-latents", "bench"):  # fmt: skip
        assert command in out
