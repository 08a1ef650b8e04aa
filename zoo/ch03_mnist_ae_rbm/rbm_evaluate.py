"""Measures the Boltzmann machine of chapter 3, beside baselines and published figures."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.ch03_mnist_ae_rbm import ranking, ratings
from zoo.ch03_mnist_ae_rbm.rbm_measure import rankings, rating_errors
from zoo.common import bench as timing
from zoo.common import device, run
from zoo.common.data import movielens
from zoo.common.device import Name as DeviceName

Protocol = Literal["folds", "leave-one-out", "full", "random"]
Load = Callable[..., movielens.MovieLens]
Row = dict[str, list[float]]  # a measure's values: of each fold, or of each seed
Found = tuple[str, dict[str, Row]]  # what the data are, and the rows by name
RESULT = Path("runs/ch03_mnist_ae_rbm/rbm/evaluation.json")
RANDOM_SHARE, FULL_SHARE = 0.1, 0.2
"""Shares of the ratings that are held out."""
MEASURES = {"rmse": "RMSE", "hit_rate": "HR@10", "recall": "Recall@10", "ndcg": "nDCG@10"}

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
}


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the deviation of one value is 0."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def evaluate(
    protocols: tuple[Protocol, ...] = ("folds", "leave-one-out", "full", "random"),
    data: Literal["auto", "real", "sample"] = "auto",
    data_dir: Path | None = None,
    device_name: DeviceName = "auto",
    seeds: int = 3,
    epochs: int | None = None,
    out: Path = RESULT,
) -> None:
    """Train machines and measure them beside baselines; prints tables, writes evaluation.json.

    folds: ratings of MovieLens 100K, u1 to u5. leave-one-out: ranking on 1M, one film of each user
    among 99 others. full: ranking of all films on 100K, a fifth of each user's ratings held out.
    random: ratings of 1M, a tenth held out, where there are rating values.

    Args:
        protocols: which measurements
        data: the real data sets, or the built-in sample
        data_dir: folder to look in before $ZOO_DATA_DIR and the cache
        device_name: what computes
        seeds: how many machines are trained for each ranking
        epochs: train for so many instead of the recipes' own
        out: where the results are kept; those of other protocols in it stay
    """
    device.use(device_name)
    measure = {"folds": _folds, "leave-one-out": _leave_one_out, "full": _full, "random": _random}
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
            "device": device.describe(device.current()),
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
        for name, error in rating_errors(ratings.table(dataset), epochs):
            _say(fold, name, {"rmse": error})
            rows.setdefault(name, {"rmse": []})["rmse"].append(error)
    return dataset.description.replace("split u5", "splits u1 to u5, each"), rows


def _random(load: Load, epochs: int | None, seeds: int) -> Found:
    dataset = load("ml-1m", split="all")
    if "rating" not in dataset.train:
        return dataset.description, {}
    table = ratings.split_at_random(ratings.table(dataset), RANDOM_SHARE, seed=0)
    rows = {}
    for name, error in rating_errors(table, epochs):
        _say("random", name, {"rmse": error})
        rows[name] = {"rmse": [error]}
    return f"{dataset.description}; a tenth at random is held out", rows


def _leave_one_out(load: Load, epochs: int | None, seeds: int) -> Found:
    dataset = load("ml-1m", split="leave-one-out")
    table = ratings.table(dataset)
    candidates = ranking.candidates(dataset, table)
    scored = rankings(table.train, "leave-one-out", epochs, seeds)
    return dataset.description, _rank(
        "leave-one-out", scored, lambda scores: ranking.leave_one_out(scores, candidates)
    )


def _full(load: Load, epochs: int | None, seeds: int) -> Found:
    dataset = load("ml-100k", split="all")
    table = ratings.split_at_random(ratings.table(dataset), FULL_SHARE, seed=0, by_user=True)
    scored = rankings(table.train, "full", epochs, seeds)
    description = f"{dataset.description}; a fifth of each user's is held out"
    return description, _rank("full", scored, lambda scores: ranking.full(scores, table))


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
    from zoo.ch03_mnist_ae_rbm import rbm_figures
    from zoo.common import figures as common

    drawn = []
    for key in next(iter(result["rows"].values())):
        rows = {name: row[key] for name, row in result["rows"].items()}
        published = {
            f"published: {name}": value[key] if isinstance(value, dict) else value
            for name, value in result["published"].items()
        }
        figure = rbm_figures.comparison(rows, published, MEASURES[key], result["description"])
        drawn.append(common.save(figure, folder / f"{protocol}-{key}.png"))
    return drawn
