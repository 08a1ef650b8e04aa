import json
import shutil

import numpy as np
import PIL.Image
import pytest

from zoo.common import run

CHAPTER = "ch08_vae"
SMALL = ["--data", "sample", "--hidden", 8, "--latents", 3, "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A finished run of two epochs, made in a process of its own, and what it printed."""
    done = zoo(CHAPTER, "train", *SMALL, "--epochs", 2, "--out", place / "trained")
    assert done.returncode == 0, done.stderr
    return place / "trained", done.stdout


def test_train_leaves_a_whole_run_folder_with_pictures(trained):
    folder, out = trained
    assert "sample" in out.splitlines()[0]
    following = [line for line in out.splitlines() if line.startswith("next: python -m zoo.")]
    assert following[0] == f"next: python -m zoo.ch08_vae evaluate --run {folder}"
    assert f"next: python -m zoo.ch08_vae interpolate 0 1 --run {folder}" in following
    assert following[-1] == f"next: python -m zoo.ch10_deploy serve {folder} --open"
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"train_kl", "test_kl", "test_reconstruction", "test_loss"} <= set(rows[0])
    assert rows[1]["test_loss"] < rows[0]["test_loss"]
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    parts = {"curves", "reconstructions", "samples", "interpolations", "traversals"}
    assert names == parts


def test_evaluate_prints_and_writes_bounds_in_their_order(trained, command):
    folder, _ = trained
    flags = ("--samples", 200, "--images", 60, "--k", 10, "--binarise", True)
    done = command(CHAPTER, "evaluate", "--run", folder, *flags)
    assert done.status == 0
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["iwae_10"] <= found["log_likelihood"] + found["iwae_10_error"]
    np.testing.assert_allclose(found["elbo"], -found["reconstruction"] - found["kl"], rtol=1e-4)
    assert f"{found['elbo']:.2f}" in done.out
    assert f"{-found['log_likelihood']:.2f}" in done.out
    assert "black and white" in done.out
    assert found["images"] == 60


def test_pictures_are_drawn_of_samples_files_and_test_images(trained, command, place):
    folder, _ = trained
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(place / "ink.png")
    for line in (
        ("sample", "--count", 7),
        ("reconstruct", "--count", 3),
        ("reconstruct", place / "ink.png"),
        ("interpolate", 3, place / "ink.png", "--steps", 4),
        ("figures",),
    ):
        done = command(CHAPTER, *line, "--run", folder)
        assert done.status == 0, done.err
    for name in ("sample", "reconstruct", "interpolate", "curves"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 2_000


def test_without_a_run_the_published_model_draws(command, place):
    (place / "runs" / "elsewhere.txt").unlink(missing_ok=True)
    done = command(CHAPTER, "sample", "--count", 4)
    assert "using the published model" in done.out
    assert "runs/ch08_vae/published/figures/sample.png" in done.out


def test_what_a_user_can_mend_is_said(trained, command, place):
    folder, _ = trained
    (place / "notes.png").write_text("no picture")
    for a, message in (
        ("99999", "no test image 99999: use 0 to"),
        ("nowhere.png", "no such file"),
        ("notes.png", "can't be read as a picture"),
    ):
        done = command(CHAPTER, "interpolate", a, 1, "--run", folder)
        assert (done.status, message in done.err) == (1, True), done.err
    done = command(CHAPTER, "evaluate", "--run", "nowhere")
    assert (done.status, done.err.strip()) == (
        1,
        "error: nowhere is no run folder: it has no config.json",
    )


def test_conv_reports_bits_and_draws(command, place):
    small = ("--recipe", "dense", "--hidden", 4, "--latents", 2, "--epochs", 1)
    done = command(CHAPTER, "conv", "train", "--data", "sample", *small, "--out", place / "colours")
    assert done.status == 0, done.err
    assert "test bits per dim" in done.out
    names = {path.stem for path in (place / "colours" / "figures").glob("*.png")}
    assert names == {"curves", "reconstructions", "samples"}
    again = command(CHAPTER, "conv", "evaluate", "--run", place / "colours")
    row = json.loads((place / "colours" / "metrics.jsonl").read_text())
    found = json.loads((place / "colours" / "evaluation.json").read_text())
    assert found["test_loss"] == row["test_loss"], again.err
    moved = shutil.copytree(place / "colours", place / "a [b] c\\d")
    assert command(CHAPTER, "conv", "figures", "--run", moved).status == 0


def test_bench_and_help_teach(command):
    out = command(CHAPTER, "bench", "--recipe", "book", "--hidden", 8, "--seconds", 0.3).out
    assert "10,000 digits drawn" in out
    done = command(CHAPTER, "--help")
    named = "train evaluate sample reconstruct interpolate figures bench export publish conv"
    for name in named.split():
        assert name in done.out
