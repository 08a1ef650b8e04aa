"""One's own pictures and mazes through the commands of every chapter that takes them."""

import json
import re
import shlex

import numpy as np
import PIL.Image
import pytest

from zoo.common import images, run, trained

PICTURES = {
    "ch06_cnn": ("--filters 2 2 2 --hidden 4 --size 24", ["predict FILE", "predict FILE --top 1"]),
    "ch06_cnn speedrun": (
        "--recipe speedrun-cpu --width 2 --size 12 --batch-size 20 --precision float32",
        ["predict FILE"],
    ),
    "ch03_mnist_ae_rbm": ("--hidden 4 --size 12", ["predict FILE"]),
    "ch03_mnist_ae_rbm autoencoder": (
        "--hidden 4 --code 2 --size 12",
        ["reconstruct FILE", "reconstruct"],
    ),
    "ch08_vae": (
        "--hidden 4 --latents 2 --size 12",
        ["sample", "reconstruct FILE", "interpolate FILE 0"],
    ),
    "ch08_vae conv": ("--filters 2 2 2 --latents 2 --size 24", []),
}
PLAN = """
#######
#S  # #
# ### #
#     #
# # # #
# #  G#
#######
""".strip("\n")


@pytest.fixture(scope="module")
def shapes(place):
    """Three classes of 48 x 64 pictures: grey, transparent, turned by EXIF; and the same as NPZ."""
    rng, arrays, labels = np.random.default_rng(0), [], []
    for label, name in enumerate(("bright", "dark", "middle")):
        folder = place / "shapes" / name
        folder.mkdir(parents=True)
        for number in range(12):
            grey = rng.integers(0, 60, (48, 64, 3)) + (190, 0, 90)[label]
            image = PIL.Image.fromarray(grey.astype(np.uint8))
            path = folder / f"{number:02}.png"
            if number % 4 == 1:
                image.convert("L").save(path)
            elif number % 4 == 2:
                image.putalpha(250)
                image.save(path)
            elif number % 4 == 3:
                exif = PIL.Image.Exif()
                exif[0x0112] = 6  # turn to the right to see it upright
                path = path.with_suffix(".jpg")
                image.transpose(PIL.Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
            else:
                image.save(path)
            arrays.append(np.asarray(images.read(path)))
            labels.append(label)
    names = np.array(["bright", "dark", "middle"])
    np.savez_compressed(place / "shapes.npz", image=np.stack(arrays), label=labels, classes=names)
    return place / "shapes"


@pytest.mark.parametrize("model", PICTURES)
def test_every_door_takes_pictures_of_ones_own(model, shapes, command, place):
    chapter, *second = model.split()
    flags, following = PICTURES[model]
    out = place / f"own-{model.replace(' ', '-')}"
    given = [*second, "train", "--epochs", 1, "--batch-size", 10, *flags.split()]
    done = command(chapter, *given, "--images", "shapes", "--out", out)
    assert done.status == 0, done.err
    assert "shapes: 3 classes of " in done.out
    about = run.about(out)
    assert about["config"]["images"] == str(shapes)
    assert about["config"].get("classes", 3) == 3
    assert about["data"]["source"] == "own"
    assert about["data"]["classes"] == ["bright", "dark", "middle"]
    for line in ["evaluate", *following]:
        if model == "ch08_vae" and line == "evaluate":
            line += " --samples 2 --images 2 --k 2"
        words = line.replace("FILE", "shapes/dark/03.jpg").split()
        done = command(chapter, *second, *words, "--run", out)
        assert done.status == 0, (line, done.err)
    assert command(chapter, *second, "train", "--resume", out).status == 0
    # What another size or another class would be is told by the data alone.
    assert trained.load(out).config.size in (12, 24)


def test_a_folder_and_the_same_pixels_in_a_file_train_the_same_network(shapes, command, place):
    accuracy = []
    for source in ("shapes", "shapes.npz"):
        out = place / f"same-{source}"
        flags = "--filters 4 4 4 --hidden 16 --epochs 6 --batch-size 10 --size 24"
        given = ["train", "--images", source, *flags.split(), "--out", out]
        assert command("ch06_cnn", *given).status == 0
        accuracy.append([row["test_accuracy"] for row in run.read_metrics(out)])
    assert accuracy[0] == accuracy[1]
    assert accuracy[0][-1] > 0.9
    done = command("ch06_cnn", "predict", "shapes/dark/00.png", "--run", place / "same-shapes")
    (best,) = re.findall(r"^  (\w+) +0\.\d+|^  (\w+) +1\.0", done.out, re.M)[:1]
    assert "dark" in best


def test_what_is_wrong_with_ones_own_pictures_is_one_line(shapes, command):
    for flags, message in (
        ("--images nowhere", "nowhere is not there: expected FOLDER/CLASS/picture.jpg"),
        ("--images shapes/dark", "pictures beside each other, expected a folder for each class"),
        ("--images shapes --data sample", "got --data sample and --images shapes"),
        ("--size 48", "got size 48 without images of your own, expected 32"),
        ("--images shapes --size 21", "got size 21, expected at least 22"),
    ):
        done = command("ch06_cnn", "train", *flags.split())
        assert done.status == 1
        assert message in done.err
        assert len(done.err.splitlines()) == 1


def test_a_model_of_the_sample_says_so_when_it_sees_ones_own_picture(shapes, command, place):
    flags = "--data sample --epochs 1 --filters 2 2 2 --hidden 4 --batch-size 500"
    given = ["train", *flags.split(), "--out", place / "sampled"]
    assert command("ch06_cnn", *given).status == 0
    done = command("ch06_cnn", "predict", "shapes/dark/00.png")
    assert "it was trained on built-in sample" in done.out
    assert "--run published takes the published model (CIFAR-10" in done.out
    done = command("ch06_cnn", "predict", "shapes/dark/00.png", "--run", place / "sampled")
    assert "--run published" not in done.out
    for name in ("published", "ch06_cnn"):
        done = command("ch06_cnn", "predict", "shapes/dark/00.png", "--run", name)
        assert done.status == 0
        assert "trained on" not in done.out
    done = command("ch06_cnn", "predict", "shapes/dark/00.png", "--run", "ch06_cnn/speedrun")
    expected = "is not ch06_cnn: its commands are `python -m zoo.ch06_cnn speedrun ...`"
    assert expected in done.err


# ---- ratings


@pytest.fixture(scope="module")
def ratings(place):
    """Forty readers of two tastes and thirty books, by ids of text, rated from 0.5 to 5."""
    rng, lines = np.random.default_rng(0), ["reader_id,user,item,rating,timestamp"]
    for user in range(40):
        for book in rng.permutation(30)[:18]:
            rating = (8 if user % 2 == book % 2 else 3) + rng.integers(-2, 3)
            lines.append(f"x,reader-{user},isbn{book},{rating / 2},{rng.integers(10**6)}")
    path = place / "books.csv"
    path.write_text("\n".join(lines) + "\n")
    titles = [f"isbn{book},{'Sea' if book % 2 else 'Land'} number {book}" for book in range(30)]
    (place / "titles.csv").write_text("\n".join(titles) + "\n")
    return path


@pytest.fixture(scope="module")
def pairs(ratings, place):
    """The same without the ratings and times."""
    lines = [line.split(",")[1:3] for line in ratings.read_text().splitlines()]
    (place / "pairs.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    return place / "pairs.csv"


def test_a_machine_learns_ratings_of_ones_own(ratings, command, place):
    rbm, out = ("ch03_mnist_ae_rbm", "rbm"), place / "books"
    flags = [
        "--titles",
        "titles.csv",
        "--hidden",
        8,
        "--epochs",
        200,
        "--learning-rate",
        0.2,
        "--batch-size",
        10,
    ]
    done = command(*rbm, "train", "--ratings", "books.csv", *flags, "--out", out)
    assert done.status == 0, done.err
    assert "ratings from 0.5 to 5 in steps of 0.5, 40 users, 30 items, 648 to train on" in done.out
    config = run.about(out)["config"]
    assert config["rating_scale"] == [0.5, 5.0, 0.5]
    assert config["ratings"] == str(ratings)
    # A run's own user stands in the next command; noise alone is 0.71, the mean of all 1.4.
    (user,) = re.findall(r"recommend --user (reader-\d+) ", done.out)
    assert float(re.findall(r"test RMSE ([\d.]+) \(72 ratings\)", done.out)[0]) < 1.0
    done = command(*rbm, "recommend", "--user", user, "--count", 4)
    taste = "Sea" if int(user.removeprefix("reader-")) % 2 else "Land"
    assert len(re.findall(rf"^{taste} number \d+ +isbn\d+ +[3-5]\.\d\d", done.out, re.M)) >= 3
    done = command(*rbm, "recommend", "--likes", "sea number 3=4.5", "land number 2=0.5")
    assert "4.5  Sea number 3" in done.out
    assert command(*rbm, "train", "--resume", out).status == 0
    for flags, message in (
        (["--user", "nobody"], "no user nobody; ids are such as 'reader-"),
        (["--likes", "Sea number 3=6"], "expected a title and a rating from 0.5 to 5 in steps of"),
    ):
        assert message in command(*rbm, "recommend", *flags).err
    done = command(*rbm, "evaluate")
    assert "test RMSE" in done.out


@pytest.mark.parametrize("recipe", ["item", "ranking"])
def test_each_recipe_takes_ratings_of_ones_own(recipe, ratings, pairs, command, place):
    given = pairs if recipe == "ranking" else ratings
    flags = ["--recipe", recipe, "--hidden", 4, "--epochs", 2, "--batch-size", 10]
    words = ["train", "--ratings", given, *flags, "--out", place / recipe]
    done = command("ch03_mnist_ae_rbm", "rbm", *words)
    assert done.status == 0, done.err
    assert ("hit rate@10" if recipe == "ranking" else "test RMSE") in done.out
    done = command("ch03_mnist_ae_rbm", "rbm", "recommend", "--user", "reader-7", "--count", 3)
    assert done.out.count("isbn") == 6  # title and id are the same


def test_what_is_wrong_with_ones_own_ratings_is_one_line(ratings, pairs, command):
    for flags, message in (
        ("--ratings nowhere.csv", "nowhere.csv: there is no such file"),
        ("--ratings books.csv --data sample", "got --data sample and --ratings books.csv"),
        ("--titles titles.csv", "got titles or a rating scale without ratings"),
        ("--ratings books.csv --rating-scale 3 5 1", ", expected 3 to 5."),
        ("--ratings books.csv --rating-scale 1 5", "expected lowest, highest and step of 2 to 21"),
        ("--ratings pairs.csv", "softmax units need ratings; use --recipe ranking"),
    ):
        done = command("ch03_mnist_ae_rbm", "rbm", "train", *flags.split())
        assert done.status == 1
        assert message in done.err
        assert len(done.err.splitlines()) == 1


# ---- a text


def test_after_a_text_of_ones_own_the_next_command_has_a_prompt_of_its_characters(command, place):
    lines = [f"{n} + {n} = {2 * n}" for n in range(400)]
    (place / "sums.txt").write_text("\n".join(lines))
    flags = ["--hidden", 4, "--embedding", 4, "--chunk", 8, "--batch-size", 32, "--epochs", 1]
    done = command("ch05_lstm", "train", "--text", "sums.txt", *flags, "--out", place / "sums")
    assert done.status == 0, done.err
    (following,) = re.findall(r"next: python -m zoo.ch05_lstm (generate .*)", done.out)
    assert shlex.split(following)[2] == "0 + 0 = 0"
    assert command("ch05_lstm", *shlex.split(following), "--length", 5).status == 0


# ---- mazes


@pytest.fixture
def plan(place):
    path = place / "plan.txt"
    path.write_text(PLAN)
    return path


def test_an_agent_learns_a_maze_of_ones_own(plan, command, place):
    out = place / "walked"
    flags = ["--epochs", "6", "--epoch-steps", "1000", "--hidden", "16"]
    done = command("ch07_dqn", "train", "--maze", plan, *flags, "--out", out)
    assert done.status == 0, done.err
    assert "a maze of your own, 7x7 tiles" in done.out
    assert "1 of 1 agents reach the goal, 1 by a shortest way" in done.out
    plan.unlink()  # a run holds its maze
    assert json.loads((out / "config.json").read_text())["config"]["maze"] == PLAN
    done = command("ch07_dqn", "play", "--seconds", 0, "--run", out)
    assert "at the goal after 8 steps; the shortest way has 8" in done.out
    assert command("ch07_dqn", "evaluate", "--run", out).status == 0
    (place / "other.txt").write_text(PLAN.replace("# ###", "#   #"))
    done = command("ch07_dqn", "play", "--maze", "other.txt", "--run", out)
    assert "knows its own maze alone, and other.txt is another" in done.err
    done = command("ch07_dqn", "train", "--resume", out, "--epochs", 9)
    assert "can't be prolonged: its state has a place for each of its 6 epochs" in done.err


def test_the_published_planner_walks_a_maze_of_ones_own(plan, command):
    done = command("ch07_dqn", "planner", "play", "--maze", plan, "--seconds", 0)
    assert "at the goal after 8 steps; the shortest way has 8" in done.out
    assert "each tile is taken" not in done.out
    plan.write_text("#####\n#S G#\n#   #\n#####")
    done = command("ch07_dqn", "planner", "play", "--maze", plan, "--seconds", 0)
    assert "each tile is taken for a cell" in done.out


def test_a_map_is_written_as_it_is_read(command, place):
    out = place / "map.txt"
    done = command("ch07_dqn", "map", "--rows", 2, "--columns", 3, "--out", out)
    assert f"train --maze {out}" in done.out
    lines = out.read_text().splitlines()
    assert [len(line) for line in lines] == [7] * 5
    flags = ["--epochs", "1", "--epoch-steps", "100", "--rows", "9", "--hidden", "2"]
    done = command("ch07_dqn", "train", "--maze", out, *flags, "--out", place / "mapped")
    assert done.status == 0, done.err
    config = run.about(place / "mapped")["config"]
    assert (config["rows"], config["columns"]) == (2, 3)
