# %% [markdown]
# # Your own data
#
# Pictures in folders, ratings in a CSV file, a text, a maze: this notebook writes small files of
# each kind, as you might have them, trains on them and uses what was trained. Replace the paths
# by your own. What `python -m zoo.ch06_cnn train --images photos` does in a terminal is done here
# by the same functions.

# %%
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

import zoo
from zoo import ch05_lstm as lstm
from zoo import ch06_cnn as cnn
from zoo.ch03_mnist_ae_rbm import rbm
from zoo.ch03_mnist_ae_rbm.rbm import task as rbm_task
from zoo.ch05_lstm import generate, text
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn import plans
from zoo.ch07_dqn.planner import train as planner
from zoo.common import figures, images
from zoo.common.data import own_pictures

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Pictures
#
# One folder for each class, named as the class, with pictures of any size and kind in it. Here
# circles, squares and triangles are drawn; a third of the files are grey, a third transparent.

# %%
rng = np.random.default_rng(0)


def draw(kind, number):
    """A picture of 64 x 48 pixels with one shape on it."""
    colour = tuple(int(c) for c in rng.integers(120, 256, 3))
    picture = PIL.Image.new("RGB", (64, 48), tuple(int(c) for c in rng.integers(0, 90, 3)))
    pen = PIL.ImageDraw.Draw(picture)
    x, y, r = rng.integers(26, 38), rng.integers(20, 28), rng.integers(9, 15)
    if kind == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif kind == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    else:
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    if number % 3 == 1:
        picture = picture.convert("L")
    elif number % 3 == 2:
        picture.putalpha(230)
    return picture


for kind in ("circle", "square", "triangle"):
    (folder / "shapes" / kind).mkdir(parents=True)
    for number in range(120):
        draw(kind, number).save(folder / "shapes" / kind / f"{number:03}.png")

# %% [markdown]
# `own_pictures.load` cuts out the middle square of each, shrinks it, and holds out a fifth of each
# class for the test.

# %%
shapes = own_pictures.load(folder / "shapes", size=32)
print(shapes.description)
names = [shapes.classes[label] for label in shapes.train["label"][:10]]
figures.image_grid(shapes.train["image"][:10], names, columns=10)

# %% [markdown]
# The network takes its number of classes from the configuration.

# %%
config = dataclasses.replace(
    cnn.RECIPES["modern"],
    classes=len(shapes.classes),
    filters=(8, 16, 32),
    hidden=32,
    epochs=8,
    batch_size=24,
)


def follow(reports):
    for report in reports:
        if report.metrics is not None:
            print(f"epoch {report.epoch}: test accuracy {report.metrics['test_accuracy']:.1%}")
    return report.state


state = cnn.train(config, shapes.train, shapes.test, follow=follow)

# %% [markdown]
# A new file is read by `images.read_square`, which treats it as the loader did.

# %%
draw("triangle", 0).save(folder / "new.png")
new = images.read_square(folder / "new.png", 32)
output = cnn.apply(state.params, cnn.scale_pixels(new[None]), stats=state.stats)
shapes.classes[int(output.logits.argmax())]

# %% [markdown]
# ## Ratings
#
# `user,item,rating` in each line; ids are any text, and the scale is read from the file. These
# readers like either books of even numbers or books of odd ones.

# %%
lines = ["user,item,rating"]
for user in range(40):
    for book in rng.permutation(30)[:18]:
        rating = (8 if user % 2 == book % 2 else 3) + rng.integers(-2, 3)
        lines.append(f"reader-{user},book-{book},{rating / 2}")
(folder / "books.csv").write_text("\n".join(lines) + "\n")

config = dataclasses.replace(
    rbm.RECIPES["modern"],
    ratings=str(folder / "books.csv"),
    hidden=8,
    epochs=200,
    batch_size=10,
    learning_rate=0.2,
)
books = rbm_task.load(config, "auto", None)
config = rbm_task.fill(config, books)  # as many units as books, as many values as the scale has
print(books.description)
state = rbm_task.TASK.train(config, books.train)

# %% [markdown]
# What the machine expects of every pair, and the three best books for one reader that this reader
# has not rated.

# %%
table = books.table
expected = rbm_task.predict(config, state.params, table.train)
row = 4
unrated = np.where((table.train[row] > 0) | (table.test[row] > 0), -np.inf, expected[row])
print(books.users[int(table.users[row])])
for column in np.argsort(-unrated)[:3]:
    print(f"  {books.titles[int(table.movies[column])]:8} {unrated[column]:.1f}")

# %% [markdown]
# ## A text
#
# Any UTF-8 file will do; a megabyte is better than this. The vocabulary is the text's own.

# %%
poem = "".join(f"{n} times {n} is {n * n}, and {n} and {n} is {n + n}.\n" for n in range(1, 400))
(folder / "tables.txt").write_text(poem)
source = text.load(path=str(folder / "tables.txt"))
config = dataclasses.replace(
    lstm.RECIPES["modern"], hidden=64, epochs=15, batch_size=8, chunk=32, text="tables.txt"
)
corpus = lstm.lay_out(config, source)
config = dataclasses.replace(config, vocabulary=len(corpus.classes))
state = lstm.train(config, corpus.train)
vocabulary = text.Vocabulary(corpus.classes)
print("".join(generate.stream(state.params, vocabulary, "12 times", 80, temperature=0.3)))

# %% [markdown]
# ## A maze
#
# `#` is a wall, `S` the start, `G` the goal. The planner that comes with zoo solves mazes that it
# has never seen, so nothing is trained here.

# %%
plan = """
#########
#S    # #
# ### # #
# #   # #
# # ### #
# #     #
# ##### #
#      G#
#########
""".strip()
tiles = plans.parse(plan)
cells = mazes.cells(tiles)  # every other tile is a cell, the others are walls or openings
published = zoo.published("ch07_dqn/planner")
batch = type(cells)(*(np.asarray(part)[None] for part in cells))
rounds = np.count_nonzero(cells.exits) + 1  # so far the value of the goal may have to go
walk = planner.solver(rounds)(published.params, batch)
int(walk.length[0]), int(walk.shortest[0])

# %% [markdown]
# ## Keeping a model
#
# Training in a terminal keeps a run folder: `python -m zoo.ch06_cnn train --images shapes --out
# runs/shapes`. `zoo.load("runs/shapes")` then gives the model with its classes and settings, and
# `.predict(image=...)` what it says about arrays. `docs/python.md` has the rest.
