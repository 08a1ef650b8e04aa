"""What the Boltzmann machine does beside the commands of every model: recommend movies."""

import difflib

import numpy as np

from zoo.ch03_mnist_ae_rbm.rbm import movies, ratings, task
from zoo.ch03_mnist_ae_rbm.rbm.model import Config
from zoo.ch03_mnist_ae_rbm.rbm.ratings import Ratings
from zoo.ch03_mnist_ae_rbm.rbm.task import TASK
from zoo.common import bench, cli, commands, trained
from zoo.common.data import DataError, files, movielens
from zoo.common.settings import Count


def evaluate(trained_model: cli.Trained) -> None:
    """Measure a trained machine: its error on held-out ratings, or how it ranks held-out movies."""
    model = trained.choose(TASK, trained_model)
    dataset = commands.dataset_of(model, trained_model.data_dir)
    found = task.measure(model, dataset)
    if not found:
        raise DataError(f"{dataset.description}: nothing that this machine predicts is held out")
    commands.keep(model, found | {"description": dataset.description})


def recommend(
    trained_model: cli.Trained,
    user: str | None = None,
    likes: tuple[str, ...] = (),
    count: Count = 10,
) -> None:
    """Recommend movies to a user of the data, or to anyone who names some likes.

    Only movies that are not rated yet are listed. For example: `rbm recommend --user 42`, or
    `rbm recommend --likes "Toy Story (1995)=5" "Heat (1995)=2"`.

    Args:
        trained_model: which model
        user: a user's id in the data
        likes: titles with ratings, for someone who is not in the data
        count: how many movies
    """
    if (user is None) == (not likes):
        raise DataError('expected either --user 42 or --likes "Toy Story (1995)=5" "Heat (1995)=2"')
    model = trained.choose(TASK, trained_model, own=bool(likes))
    dataset, config = commands.dataset_of(model, trained_model.data_dir), model.config
    table = dataset.table
    if user is None:
        given = _ratings_of(config, likes, dataset)
        (scores,) = task.predict_newcomers(config, model.params, table.train, given[None])
        known = given > 0
    else:
        row = _row_of(user, dataset)
        # The others' ratings matter to an item-based machine alone.
        rating, at = (table.train, row) if config.example == "item" else (table.train[[row]], 0)
        scores = task.predict(config, model.params, rating)[at]
        known = (table.train[row] > 0) | (table.test[row] > 0)
    found = movies.best(scores, table, known, count)
    softmax = config.units == "softmax"
    genres, ids = dataset.data.genres, dataset.items
    decimals = 2 if softmax else 3
    lines = []
    for movie, score in found:
        kinds = ", ".join(genres.get(movie, ()))
        lines.append((dataset.titles[movie], ids.get(movie, movie), f"{score:.{decimals}f}", kinds))
    header = ("title", "id", "predicted rating" if softmax else "probability", "genres")
    bench.print_table(f"{len(lines)} movies of those not rated yet", header, lines)


def _row_of(user: str, dataset: Ratings) -> int:
    known = dataset.table.users.tolist()
    names = {dataset.users.get(number, str(number)): row for row, number in enumerate(known)}
    if user in names:
        return names[user]
    ids = f"go from {min(known)} to {max(known)}"
    if any(not name.isdecimal() for name in names):
        near = difflib.get_close_matches(user, names, 3, 0) or list(names)[:3]
        ids = f"are such as {', '.join(map(repr, near))}"
    raise DataError(f"no user {files.printable(user)}; ids {ids}")


def _ratings_of(config: Config, likes: tuple[str, ...], dataset: Ratings) -> np.ndarray:
    """What was typed as ratings of every movie, [M]; prints the movies it stands for."""
    columns = dataset.table.movies
    rated = set(columns.tolist())
    by_id = {movie: title for movie, title in dataset.titles.items() if movie in rated}
    given = np.zeros(len(columns), np.uint8)
    for text in likes:
        scale = config.scale_of_ratings
        title, rating = movies.split_rating(text, scale)
        movie = movies.find(title, by_id)
        print(f"{ratings.on_scale(rating, scale):g}  {by_id[movie]}")
        given[movielens.dense(np.array([movie]), columns)] = rating
    return given


COMMANDS = commands.make(TASK) | {"evaluate": evaluate, "recommend": recommend}
