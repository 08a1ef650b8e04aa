"""Chapter 3's Boltzmann machines beside baselines and published figures.

    python -m studies.ch03_rbm compare --protocols folds leave-one-out full

Whoever predicts sees the training matrix of a table only. Axes: U users, M movies.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from studies import ch03_baselines as baselines
from zoo.ch03_mnist_ae_rbm.rbm import RECIPES, Config, ratings
from zoo.ch03_mnist_ae_rbm.rbm.task import TASK, predict, predict_newcomers, sized
from zoo.common import bench as timing
from zoo.common import cli, run
from zoo.common import device as devices
from zoo.common.data import movielens

Protocol = Literal["folds", "leave-one-out", "full", "random", "newcomers"]
Load = Callable[..., movielens.MovieLens]
Row = dict[str, list[float]]  # a measure's values: of each fold, or of each seed
Found = tuple[str, dict[str, Row]]  # what the data are, and the rows by name
RESULT = Path("runs/ch03_mnist_ae_rbm/rbm-comparison/comparison.json")
RANDOM_SHARE, FULL_SHARE = 0.1, 0.2
"""Shares of the ratings that are held out."""
GIVEN, NEWCOMERS_RATINGS = (1, 2, 5, 10, 20), 30
"""How many ratings of a newcomer are given, and how many newcomers have at least."""
MEASURES = {"rmse": "RMSE", "hit_rate": "HR@10", "recall": "Recall@10", "ndcg": "nDCG@10"}
MEASURES |= {f"rmse_{given}": f"RMSE, {given} given" for given in GIVEN}

PUBLISHED = {
    "folds": {
        "SVD (Surprise, its own five folds)": 0.934,
        "SVD++ (Surprise, its own five folds)": 0.919,
        "GLocal-K (u1 alone)": 0.889,
    },
    "random": {
        "RBM, user-based (Sedhain et al. 2015)": 0.881,
        "RBM, item-based (Sedhain et al. 2015)": 0.854,
        "biased matrix factorisation (Sedhain et al. 2015)": 0.845,
        "item-based AutoRec (Sedhain et al. 2015)": 0.831,
        "GLocal-K (Han et al. 2021)": 0.8227,
    },
    "leave-one-out": {
        "NeuMF (He et al. 2017)": {"hit_rate": 0.730, "ndcg": 0.447},
        "matrix factorisation (Rendle et al. 2020)": {"hit_rate": 0.729, "ndcg": 0.452},
    },
    "full": {},
    "newcomers": {},
}


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the deviation of one value is 0."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def compare(
    protocols: tuple[Protocol, ...] = ("folds", "leave-one-out", "full", "random", "newcomers"),
    data: Literal["auto", "real", "sample"] = "auto",
    data_dir: Path | None = None,
    device: devices.Name = "auto",
    seeds: int = 3,
    epochs: int | None = None,
    out: Path = RESULT,
) -> None:
    """Train machines and measure them beside baselines; prints tables, writes comparison.json.

    folds: ratings of MovieLens 100K, u1 to u5. leave-one-out: ranking on 1M, one movie of each user
    among 99 others. full: ranking of all movies on 100K, a fifth of each user's ratings held out.
    random: ratings of 1M, a tenth held out, where there are rating values. newcomers: ratings of
    people of 100K whom no machine was trained on, given a few ratings of theirs.

    Args:
        protocols: which measurements
        data: the real data sets, or the built-in sample
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        device: where to compute
        seeds: how many machines are trained for each ranking
        epochs: train for so many instead of the recipes' own
        out: where the results are kept; those of other protocols in it stay
    """
    devices.use(device)
    measure = {"folds": _folds, "leave-one-out": _leave_one_out, "full": _full, "random": _random}
    measure["newcomers"] = _newcomers
    results = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for protocol in protocols:
        load = functools.partial(movielens.load, data=data, data_dir=data_dir)
        description, rows = measure[protocol](load, epochs, seeds)
        if not rows:
            print(f"{protocol}: left out, {description} has no rating values")
            continue
        results[protocol] = {
            "description": description,
            "rows": rows,
            "published": PUBLISHED[protocol],
            "device": devices.describe(devices.current()),
            "epochs": epochs,
        }
        _print(protocol, results[protocol])
        run.write_json(out, results)
        drawn = _draw(protocol, results[protocol], out.parent)
        print(f"written: {out}, {', '.join(map(str, drawn))}")


def _say(what: str, name: str, values: dict[str, float]) -> None:
    print(f"{what}: {name}: " + ", ".join(f"{MEASURES[k]} {v:.4f}" for k, v in values.items()))


def _folds(load: Load, epochs: int | None, seeds: int) -> Found:
    rows: dict[str, Row] = {}
    for fold in movielens.FOLDS[:5]:
        dataset = load("ml-100k", split=fold)
        for name, error in rating_errors(ratings.make_table(dataset), epochs):
            _say(fold, name, {"rmse": error})
            rows.setdefault(name, {"rmse": []})["rmse"].append(error)
    return dataset.description.replace("split u5", "splits u1 to u5, each"), rows


def _random(load: Load, epochs: int | None, seeds: int) -> Found:
    dataset = load("ml-1m", split="all")
    if "rating" not in dataset.train:
        return dataset.description, {}
    table = split_at_random(ratings.make_table(dataset), RANDOM_SHARE, seed=0)
    rows = {}
    for name, error in rating_errors(table, epochs):
        _say("random", name, {"rmse": error})
        rows[name] = {"rmse": [error]}
    return f"{dataset.description}; a tenth at random is held out", rows


def _newcomers(load: Load, epochs: int | None, seeds: int) -> Found:
    dataset = load("ml-100k", split="all")
    rating = ratings.make_table(dataset).train
    fold = np.random.default_rng(0).permutation(len(rating)) % 5
    rows: dict[str, Row] = {}
    for n in range(5):
        found = newcomers_errors(rating[fold != n], rating[fold == n], epochs)
        for name, errors in found.items():
            _say(f"fold {n}", name, errors)
            for key, error in errors.items():
                rows.setdefault(name, {}).setdefault(key, []).append(error)
    return f"{dataset.description}; a fifth of the people at a time is new", rows


def _leave_one_out(load: Load, epochs: int | None, seeds: int) -> Found:
    dataset = load("ml-1m", split="leave-one-out")
    table = ratings.make_table(dataset)
    candidates = ratings.candidates(dataset, table)
    scored = rankings(table.train, "leave-one-out", epochs, seeds)
    return dataset.description, _rank(
        "leave-one-out", scored, lambda scores: ratings.leave_one_out(scores, candidates)
    )


def _full(load: Load, epochs: int | None, seeds: int) -> Found:
    dataset = load("ml-100k", split="all")
    table = split_at_random(ratings.make_table(dataset), FULL_SHARE, seed=0, by_user=True)
    scored = rankings(table.train, "full", epochs, seeds)
    description = f"{dataset.description}; a fifth of each user's is held out"
    return description, _rank("full", scored, lambda scores: rank_all(scores, table))


def _rank(
    what: str,
    scored: Iterator[tuple[str, int, np.ndarray]],
    measure: Callable[[np.ndarray], dict[str, float]],
) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for name, _, scores in scored:
        found = measure(scores)
        _say(what, name, found)
        for key, value in found.items():
            rows.setdefault(name, {}).setdefault(key, []).append(value)
    return rows


def _print(protocol: str, result: dict[str, Any]) -> None:
    """A table of means and standard deviations over folds or seeds, and what was published."""
    keys = list(next(iter(result["rows"].values())))
    lines = []
    for name, row in result["rows"].items():
        shown = [name]
        for key in keys:
            mean, spread = mean_and_spread(row[key])
            shown.append(f"{mean:.4f}" + (f" ± {spread:.4f}" if len(row[key]) > 1 else ""))
        lines.append(shown)
    for name, value in result["published"].items():
        values = value if isinstance(value, dict) else {keys[0]: value}
        lines.append([f"published: {name}", *(f"{values[key]:.3f}" for key in keys)])
    header = ["", *(MEASURES[key] for key in keys)]
    timing.print_table(f"{protocol}: {result['description']}", header, lines)


def _draw(protocol: str, result: dict[str, Any], folder: Path) -> list[Path]:
    from zoo.common import figures

    drawn = []
    for key in next(iter(result["rows"].values())):
        rows = {name: row[key] for name, row in result["rows"].items()}
        published = {
            f"published: {name}": value[key] if isinstance(value, dict) else value
            for name, value in result["published"].items()
        }
        figure = draw(rows, published, MEASURES[key], result["description"])
        drawn.append(figures.save(figure, folder / f"{protocol}-{key}.png"))
    return drawn


USER, ITEM = "RBM, user-based", "RBM, item-based"
RANKED = "RBM"

CHOSEN = {"leave-one-out": (50, 1000.0), "full": (100, 500.0)}
"""Neighbours and penalty of the baselines, the best on a part of the training pairs held out."""


def predict_by_machine(config: Config, rating: np.ndarray) -> np.ndarray:
    """Trains a machine on ratings [U, M] and gives what it expects of every pair, [U, M]."""
    given = ratings.examples(config, rating)
    config = sized(config, given)
    state = TASK.train(config, {"rating": given})
    return predict(config, state.params, rating)


def machines(epochs: int | None = None, seed: int = 0) -> dict[str, Config]:
    """The configurations that are measured, by the name of their row."""
    named = {USER: "modern", ITEM: "item", RANKED: "ranking"}
    changes = {"seed": seed} | ({} if epochs is None else {"epochs": epochs})
    return {row: dataclasses.replace(RECIPES[r], **changes) for row, r in named.items()}


def rating_errors(
    table: ratings.Table, epochs: int | None = None, seed: int = 0
) -> Iterator[tuple[str, float]]:
    """(name, RMSE) of each that predicts ratings: the baselines, then the two machines."""
    simple = {
        "mean of all ratings": baselines.global_mean,
        "user's mean": baselines.user_mean,
        "movie's mean": baselines.item_mean,
        "biased matrix factorisation": baselines.matrix_factorisation,
    }
    for name, baseline in simple.items():
        yield name, ratings.rmse(baseline(table.train), table.test)
    both = []
    for name in (USER, ITEM):
        both.append(predict_by_machine(machines(epochs, seed)[name], table.train))
        yield name, ratings.rmse(both[-1], table.test)
    yield "mean of both machines", ratings.rmse(np.mean(both, axis=0), table.test)


def newcomers_errors(
    known: np.ndarray, new: np.ndarray, epochs: int | None = None, seed: int = 0
) -> dict[str, dict[str, float]]:
    """RMSE of ratings of people who were not trained on, by name and number of ratings given.

    Of each the same ratings are tested on, those beyond the first 20 in an order drawn by the seed.

    Args:
      known: ratings [U, M] of those who are trained on.
      new: ratings of the others; who gave fewer than 30 is left out.
      epochs: of the machines, their own if None.
      seed: of the machines and of what is given.
    """
    rng, most = np.random.default_rng(seed), max(GIVEN)
    new = new[(new > 0).sum(1) >= NEWCOMERS_RATINGS]
    order = np.argsort(np.where(new > 0, rng.random(new.shape), np.inf), axis=1)
    place = np.argsort(order, axis=1)
    test = np.where(place < most, 0, new)
    trained = {}
    for name in (USER, ITEM):
        config = machines(epochs, seed)[name]
        examples = ratings.examples(config, known)
        config = sized(config, examples)
        trained[name] = config, TASK.train(config, {"rating": examples}).params
    errors: dict[str, dict[str, float]] = {}
    for given in GIVEN:
        own = np.where(place < given, new, 0)
        predicted = baselines.newcomers(known, own)
        for name, (config, params) in trained.items():
            predicted[name] = predict_newcomers(config, params, known, own)
        for name, expected in predicted.items():
            errors.setdefault(name, {})[f"rmse_{given}"] = ratings.rmse(expected, test)
    return errors


def rankings(
    rating: np.ndarray, protocol: str, epochs: int | None = None, seeds: int = 1
) -> Iterator[tuple[str, int, np.ndarray]]:
    """(name, seed, scores [U, M]) of each that ranks movies, given the pairs rated, [U, M]."""
    seen = (rating > 0).astype(np.uint8)
    neighbours, penalty = CHOSEN[protocol]
    yield "popularity", 0, baselines.popularity(seen)
    yield f"item-kNN (cosine, {neighbours} neighbours)", 0, baselines.item_knn(seen, neighbours)
    yield f"EASE (penalty {penalty:g})", 0, baselines.ease(seen, penalty)
    for seed in range(seeds):
        config = machines(epochs, seed)[RANKED]
        yield RANKED, seed, predict_by_machine(config, seen)


def split_at_random(
    whole: ratings.Table, share: float, seed: int, by_user: bool = False
) -> ratings.Table:
    """Moves a share of the training ratings into the test matrix, in place of its own.

    Args:
      whole: its test matrix is not looked at.
      share: of all ratings or, `by_user`, of each user's (rounded), that is to be tested on.
      seed: of the choice.
      by_user: each user gives the same share.
    """
    rng = np.random.default_rng(seed)
    user, movie = np.nonzero(whole.train)
    order = rng.permutation(len(user))
    if by_user:
        order = order[np.argsort(user[order], kind="stable")]
        counts = np.bincount(user, minlength=len(whole.users))
        place = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = order[place < np.rint(share * counts)[user[order]]]
    else:
        chosen = order[: round(share * len(user))]
    train, test = whole.train.copy(), np.zeros_like(whole.train)
    at = user[chosen], movie[chosen]
    test[at], train[at] = train[at], 0
    return whole._replace(train=train, test=test)


def rank_all(scores: np.ndarray, table: ratings.Table, top: int = ratings.TOP) -> dict[str, float]:
    """`recall` and `ndcg` of the first `top` of all movies that a user has not rated in training.

    Recall is the share of the user's test movies among them; nDCG is the sum of 1 / log2(2 + rank)
    over those, divided by the most that it could be. Means over the users with a test movie.
    """
    scores = np.where(table.train > 0, -np.inf, scores)
    first = np.argpartition(-scores, top, axis=1)[:, :top]
    best = np.take_along_axis(scores, first, axis=1)
    first = np.take_along_axis(first, np.argsort(-best, axis=1, kind="stable"), axis=1)
    found = np.take_along_axis(table.test > 0, first, axis=1)
    relevant = (table.test > 0).sum(1)
    discount = 1 / np.log2(2.0 + np.arange(top))
    ideal = np.cumsum(discount)[np.minimum(relevant, top) - 1]
    some = relevant > 0
    recall = found.sum(1)[some] / relevant[some]
    return {
        "recall": float(recall.mean()),
        "ndcg": float(((found @ discount)[some] / ideal[some]).mean()),
    }


def draw(
    rows: Mapping[str, Sequence[float]],
    published: Mapping[str, float],
    xlabel: str,
    caption: str = "",
) -> Any:
    """One line for each method: its values as dots, their mean as a bar; published ones hollow.

    Args:
        rows: Values by method, one for each fold or seed.
        published: One value by method.
        xlabel: What is measured.
        caption: What data these are.

    Raises:
        ValueError: When there is no row.
    """
    from zoo.common import figures
    from zoo.common.figures import BLUE, GREY, ORANGE, PALE

    if not rows:
        raise ValueError("got no rows, expected at least one method")
    names = [*rows, *published]
    figure = figures.page(6.5, 0.28 * len(names) + 0.7, caption=caption)
    axes = figures.plain(figure.subplots(), xlabel)
    for y, (name, values) in enumerate(rows.items()):
        colour = ORANGE if name.startswith("RBM") else BLUE
        axes.plot(values, [y] * len(values), "o", color=colour, markersize=4, alpha=0.6)
        axes.plot([np.mean(values)], [y], "|", color=colour, markersize=14, markeredgewidth=2)
    for y, value in enumerate(published.values(), len(rows)):
        axes.plot([value], [y], "o", markerfacecolor="white", color=GREY, markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color=PALE, linewidth=0.5)
    return figure


if __name__ == "__main__":
    cli.main(__doc__, {"compare": compare})
