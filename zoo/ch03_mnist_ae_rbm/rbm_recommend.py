"""Films for someone: the command `recommend` of chapter 3."""

import numpy as np

from zoo.ch03_mnist_ae_rbm import ratings, rbm, titles
from zoo.ch03_mnist_ae_rbm.rbm_runs import restore
from zoo.common import bench as timing
from zoo.common import cli
from zoo.common.data import DataError, movielens

BOOKS_FILM = "Erin Brockovich (2000)"


def recommend(
    trained: cli.Trained,
    user: int | None = None,
    likes: tuple[str, ...] = (),
    count: int = 10,
) -> None:
    """Name films for a user of the data, or for anyone who says what he likes.

    Nothing that was rated already is named. For example: `recommend --user 42`, or `recommend
    --likes "Toy Story (1995)=5" "Heat (1995)=2"`.

    Args:
        trained: which model
        user: a user's id in the data
        likes: titles with ratings from 1 to 5, for someone who is not in the data
        count: how many films
    """
    if (user is None) == (not likes):
        raise DataError('say for whom: --user 42, or --likes "Toy Story (1995)=5" "Heat (1995)=2"')
    if count < 1:
        raise DataError(f"{count} films were asked for, expected at least 1")
    _, config, state, dataset, table = restore(trained)
    if likes:
        given, row = _of_likes(config, likes, dataset, table), 0
        known = given > 0
    else:
        given, row = table.train, _row_of(user, table)
        known = (given[row : row + 1] > 0) | (table.test[row : row + 1] > 0)
    found = first(config, state.params, table, given, row, known, count)
    softmax = config.units == "softmax"
    lines = []
    for film, score in found:
        shown = f"{score:.2f}" if softmax else f"{score:.3f}"
        lines.append((dataset.titles[film], film, shown, ", ".join(dataset.genres[film])))
    header = ("title", "id", "predicted rating" if softmax else "probability", "genres")
    timing.print_table(f"{len(lines)} films of those not rated yet", header, lines)


def first(
    config: rbm.Config,
    params: rbm.Params,
    table: ratings.Table,
    given: np.ndarray,
    row: int,
    known: np.ndarray,
    count: int,
) -> list[tuple[int, float]]:
    """Ids and scores of the best films for one person.

    Args:
      config: of the machine.
      params: its parameters.
      table: whose films the columns are.
      given: ratings [U, F] that the machine sees; all users' for an item-based one.
      row: of the person in `given`.
      known: bool [1, F], what is not to be named.
      count: how many, or all that are left.
    """
    if config.example == "user":
        given, row = given[row : row + 1], 0
    scores = ratings.predict(config, params, given)[row : row + 1]
    best, columns = rbm.recommend(scores, known, min(count, int((~known).sum())))
    return list(zip(table.films[np.asarray(columns[0])].tolist(), best[0].tolist(), strict=True))


def _row_of(user: int, table: ratings.Table) -> int:
    if user not in table.users:
        lowest, highest = table.users.min(), table.users.max()
        raise DataError(f"there is no user {user}; ids go from {lowest} to {highest}")
    return int(movielens.dense(np.array([user]), table.users)[0])


def _of_likes(config, likes, dataset, table) -> np.ndarray:
    """What was typed as a row of the matrix of ratings, [1, F]; says which films were found."""
    if config.example == "item":
        raise DataError(
            "an item-based machine has no unit for someone who is not in its data: train the "
            "recipe modern or ranking, or name such a run by --run"
        )
    rated = set(table.films.tolist())
    by_id = {film: title for film, title in dataset.titles.items() if film in rated}
    given = np.zeros((1, len(table.films)), np.uint8)
    for text in likes:
        title, rating = titles.split_rating(text)
        film = titles.find(title, by_id)
        print(f"{rating}  {by_id[film]}")
        given[0, movielens.dense(np.array([film]), table.films)] = rating
    return given


def recommend_as_the_book(
    config: rbm.Config, params: rbm.Params, dataset: movielens.MovieLens, table: ratings.Table
) -> None:
    """Prints ten films for someone who likes one, the book's where the data have it."""
    column = int((table.train > 0).sum(0).argmax())
    wanted = [film for film, title in dataset.titles.items() if title == BOOKS_FILM]
    if wanted and wanted[0] in table.films:
        column = int(movielens.dense(np.array(wanted), table.films)[0])
    likes = np.zeros((1, len(table.films)), np.uint8)
    likes[0, column] = ratings.UNKNOWN
    print(f"for someone who likes {dataset.titles[int(table.films[column])]}:")
    for film, _ in first(config, params, table, likes, 0, likes > 0, 10):
        print(f"  {film:>5}  {dataset.titles[film]}")
