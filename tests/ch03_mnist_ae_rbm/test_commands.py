"""The command line of the feed-forward net and the autoencoder, and a user's own pictures."""

import csv
import json
import shutil

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from zoo.ch03_mnist_ae_rbm import autoencoder, feedforward, pictures
from zoo.ch03_mnist_ae_rbm import autoencoder_commands as ae
from zoo.ch03_mnist_ae_rbm import commands as shared
from zoo.ch03_mnist_ae_rbm import feedforward_commands as ff
from zoo.common import cli, run
from zoo.common.data import DataError

CHAPTER = "ch03_mnist_ae_rbm"
SMALL = feedforward.Config(hidden=(12,), epochs=2, batch_size=50)
SMALL_CODE = autoencoder.Config(hidden=(16,), code=8, epochs=2, batch_size=50, noise=0.3)


@pytest.fixture(autouse=True, scope="module")
def inside(place):
    """These tests run in the working folder `place`, without data sets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ZOO_CACHE", str(place / "cache"))
        patch.delenv("ZOO_DATA_DIR", raising=False)
        yield


@pytest.fixture(scope="module")
def trained(zoo, place):
    """A finished run of the feed-forward net on the sample, by the real command line."""
    flags = ["--data", "sample", "--hidden", 12, "--epochs", 2, "--batch-size", 50]
    done = zoo(CHAPTER, "train", "feedforward", *flags)
    assert done.returncode == 0, done.stderr
    return run.newest(shared.FEEDFORWARD).absolute(), done.stdout


@pytest.fixture(scope="module")
def encoded(place):
    """A finished run of a denoising autoencoder on the sample."""
    ae.train(SMALL_CODE, cli.Options(data="sample", out=place / "encoded"))
    return place / "encoded"


def names(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


def test_train_feedforward_leaves_a_whole_run_folder(trained, place):
    folder, out = trained
    assert folder.parent == place / "runs" / CHAPTER / "feedforward"
    assert "sample" in out.splitlines()[0]
    assert "epoch 2: " in out
    rows = run.read_metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"train_loss", "test_loss", "train_accuracy", "test_accuracy"} <= set(rows[0])
    assert names(folder) >= {"curves", "confusion", "digits", "mistakes"}
    assert shared.saved_config(folder) == SMALL


def test_evaluate_writes_the_books_table_and_pictures(trained, capsys):
    folder, _ = trained
    ff.evaluate(cli.Trained(run=folder), images=5)
    with open(folder / "probabilities.csv") as file:
        rows = list(csv.DictReader(file))
    accuracy = run.read_metrics(folder)[-1]["test_accuracy"]
    guessed = np.array([[float(row[f"p{k}"]) for k in range(10)] for row in rows])
    assert len(rows) == 297
    assert (rows[51]["batch"], rows[51]["number"]) == ("1", "1")
    np.testing.assert_allclose(guessed.sum(1), 1, atol=1e-5)
    assert [int(row["guess"]) for row in rows] == list(guessed.argmax(1))
    right = np.mean([row["guess"] == row["label"] for row in rows])
    np.testing.assert_allclose(right, accuracy, atol=1e-6)
    written = sorted((folder / "images").iterdir())
    assert len(written) == 5
    for path in written:
        batch, number, label, guess = map(int, path.stem.split(" - "))
        row = rows[50 * batch + number]
        assert (int(row["label"]), int(row["guess"])) == (label, guess)
        assert label != guess
        assert PIL.Image.open(path).size == (28, 28)
    out = capsys.readouterr().out
    assert f"accuracy {accuracy:.4f}" in out
    worst = max(
        (float(p.max()), row) for p, row in zip(guessed, rows, strict=True)
        if row["guess"] != row["label"]
    )  # fmt: skip
    assert f"read as {worst[1]['guess']} with {worst[0]:.4f}" in out.split("mistakes:")[1][:80]
    assert json.loads((folder / "evaluation.json").read_text())["test_accuracy"] == right
    ff.evaluate(cli.Trained(run=folder), images=60, which="all")
    assert len(list((folder / "images").iterdir())) == 60
    assert any(path.stem.startswith("0 - 49 - ") for path in (folder / "images").iterdir())


def test_predict_reads_picture_files(trained, place, capsys):
    folder, _ = trained
    draw_digit(place / "one.png", paper=240, ink=20)
    ff.predict((place / "one.png",), cli.Trained(run=folder), top=10)
    out = capsys.readouterr().out
    shares = [float(line.split()[1]) for line in out.splitlines() if line.startswith("  ")]
    assert "dark on bright" in out
    assert len(shares) == 10
    assert shares == sorted(shares, reverse=True)
    np.testing.assert_allclose(sum(shares), 1, atol=1e-4)
    assert "predict" in names(folder)
    with pytest.raises(DataError, match="name at least one picture"):
        ff.predict((), cli.Trained(run=folder))


def test_train_autoencoder_keeps_what_came_out_on_the_way(encoded):
    kept = ae._read_snapshots(encoded)
    assert {0, 30, 60} <= set(kept)
    assert any(10 <= step < 30 for step in kept)
    assert all(images.shape == (10, 28, 28) for images in kept.values())
    assert not np.array_equal(kept[0], kept[60])
    assert names(encoded) == {"curves", "pairs", "neighbours", "epochs", "denoising"}
    rows = run.read_metrics(encoded)
    assert rows[1]["test_mse"] == rows[1]["test_loss"]


def test_a_resumed_autoencoder_keeps_the_snapshots_from_before(encoded, place, monkeypatch):
    copy = place / "resumed"
    config = shared.saved_config(encoded)
    stopped = []

    def stop_after_an_epoch(reports):
        for progress in reports:
            yield progress
            if progress.metrics is not None and not stopped:
                stopped.append(progress)
                raise run.Stopped("as by Ctrl-C")

    watch = ae._watch
    monkeypatch.setattr(ae, "_watch", lambda *args: stop_after_an_epoch(watch(*args)))
    with pytest.raises(run.Stopped):
        ae.train(config, cli.Options(data="sample", out=copy))
    before = ae._read_snapshots(copy)
    assert 0 in before
    assert 60 not in before
    monkeypatch.setattr(ae, "_watch", watch)
    ae.train(config, cli.Options(data="sample", resume=copy))
    after = ae._read_snapshots(copy)
    assert set(before) < set(after)
    np.testing.assert_array_equal(after[60], ae._read_snapshots(encoded)[60])


def test_evaluate_autoencoder_compares_with_pca_of_the_same_size(encoded, capsys):
    ae.evaluate(cli.Trained(run=encoded))
    out = capsys.readouterr().out
    found = json.loads((encoded / "evaluation.json").read_text())
    rows = run.read_metrics(encoded)
    np.testing.assert_allclose(found["test_mse"], rows[-1]["test_mse"], rtol=1e-4)
    assert f"PCA with 8 components: {found['pca_mse']:.6f}" in out
    assert 0 < found["pca_clipped_mse"] < found["pca_mse"] < 0.05
    assert found["nearest_by_pixels_same_digit"] > 0.85


def test_reconstruct_writes_pairs_of_test_digits_and_of_files(encoded, place):
    ae.reconstruct((), cli.Trained(run=encoded), count=3)
    written = {path.stem for path in (encoded / "images").iterdir()}
    assert written == {f"0 - {n} {what}" for n in range(3) for what in ("input", "output")}
    draw_digit(place / "two.png", paper=0, ink=255)
    ae.reconstruct((place / "two.png",), cli.Trained(run=encoded))
    assert {path.stem for path in (encoded / "images").iterdir()} == {"two input", "two output"}
    assert "reconstruct" in names(encoded)


def test_figures_draw_a_run_again(trained, encoded, place):
    for folder, command, name in ((trained[0], ff, "curves"), (encoded, ae, "epochs")):
        copy = place / f"copy-{name}"
        shutil.copytree(folder, copy)
        (copy / "figures" / f"{name}.png").unlink()
        command.figures(cli.Trained(run=copy))
        assert (copy / "figures" / f"{name}.png").stat().st_size > 10_000


def test_sweep_writes_each_run_and_epoch(place, capsys):
    out = place / "sweep"
    ff.sweep(SMALL, (1e-3, 1e-2), (0.0, 0.1), 2, data="sample", out=out)
    with open(out / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 8
    settings = {(row["learning_rate"], row["weight_decay"], row["seed"]) for row in rows}
    assert len(settings) == 8
    assert "8 runs at once" in capsys.readouterr().out
    assert names(out) == {"sweep"}


def test_sweep_refuses_what_it_cannot_do():
    with pytest.raises(DataError, match="at least one learning rate"):
        ff.sweep(SMALL, (), (0.0,))
    with pytest.raises(DataError, match="rmsprop has no weight decay"):
        ff.sweep(feedforward.RECIPES["book"], (1e-3,), (0.0, 0.1))


def test_bench_prints_rates(monkeypatch, capsys):
    monkeypatch.setattr(shared, "SECONDS_TO_WARM_UP", 0.0)
    ff.bench(SMALL, seconds=0.05)
    ae.bench(SMALL_CODE, seconds=0.05)
    out = capsys.readouterr().out
    assert out.count("training") == out.count("inference") == 2


def test_help_teaches_every_command(zoo):
    done = zoo(CHAPTER, "--help")
    for command in ("train", "evaluate", "predict", "reconstruct", "sweep", "figures", "bench"):
        assert command in done.stdout
    flags = zoo(CHAPTER, "train", "autoencoder", "--help").stdout
    assert "--recipe {modern,book}" in flags
    assert "--noise" in flags


def test_what_a_user_can_mend_is_said_in_one_line(zoo, trained):
    done = zoo(CHAPTER, "train", "autoencoder", "--resume", trained[0], "--data", "sample")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "is a run of ch03_mnist_ae_rbm/feedforward" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_run_of_this_chapter_is_named(place):
    with pytest.raises(run.RunError, match="nowhere is no run folder"):
        shared.saved_config(place / "nowhere")
    (place / "other").mkdir()
    (place / "other" / "config.json").write_text('{"chapter": "ch06_cnn", "config": {}}')
    with pytest.raises(run.RunError, match="is a run of ch06_cnn, expected one of"):
        shared.saved_config(place / "other")


# Pictures of digits.


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
        digit, note = pictures.read_digit(path)
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
    digit, _ = pictures.read_digit(tmp_path / "l.png")
    weights = digit / digit.sum()
    middle = [(weights.sum(axis) * (np.arange(28) + 0.5)).sum() for axis in (0, 1)]
    np.testing.assert_allclose(middle, 14, atol=0.51)


def test_mnists_own_pictures_stay_as_they_are(tmp_path):
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 6:9] = 77
    assert pictures.write_digits(tmp_path / "images", [("7", digit)]) == 1
    read, note = pictures.read_digit(tmp_path / "images" / "7.png")
    np.testing.assert_array_equal(read, digit)
    assert note == "taken as it is"


def test_a_transparent_picture_stands_on_white_paper(tmp_path):
    picture = np.zeros((50, 50, 4), np.uint8)
    picture[10:40, 20:25, 3] = 255  # black ink
    PIL.Image.fromarray(picture).save(tmp_path / "t.png")
    digit, note = pictures.read_digit(tmp_path / "t.png")
    assert "dark on bright" in note
    assert digit[14, 14] == 255


def test_pictures_that_are_none_or_empty_are_refused_by_name(tmp_path):
    (tmp_path / "notes.png").write_text("not a picture")
    PIL.Image.new("L", (60, 60), 250).save(tmp_path / "empty.png")
    for name, message in (
        ("notes.png", "notes.png can't be read as a picture"),
        ("empty.png", "empty.png shows nothing"),
        ("gone.png", "gone.png: no such file"),
    ):
        with pytest.raises(DataError, match=message):
            pictures.read_digit(tmp_path / name)


def test_written_digits_replace_those_of_another_call(tmp_path):
    digit = np.full((28, 28), 0.5)
    pictures.write_digits(tmp_path, [("a", digit), ("b", digit)])
    pictures.write_digits(tmp_path, [("c", digit)])
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]
    assert np.asarray(PIL.Image.open(tmp_path / "c.png"))[0, 0] == 128
