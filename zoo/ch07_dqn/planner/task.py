"""What zoo has to know of the planner: its mazes, solver, loss, report and pictures."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.ch07_dqn import environment, kinds
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.planner import model, train
from zoo.common import fit, run
from zoo.common.data import Dataset
from zoo.common.task import Arrays, Loop, Prediction, Task, Weights, called
from zoo.common.trained import Trained

REPORTED = 1000  # so many held-out mazes are walked at the end of training


def load(config: model.Config, source: str, data_dir: Path | None) -> Dataset:
    """The held-out mazes of each epoch's test; `source` and `data_dir` are not used."""
    exits = train.held_out_mazes(config, train.TESTED).exits
    kind = f"mazes of {kinds.describe(config)}, new ones at every step"
    train_data = {"exits": np.asarray(exits)}
    return Dataset("mazes", "generated", config.method, kind, train_data, {}, ())


def random(config: model.Config, count: int) -> fit.Batch:
    """Mazes without walls, with a walk of two steps and its targets in each."""
    with jax.ensure_compile_time_eval():  # what traces this has no use for a tracer here
        return jax.tree.map(np.asarray, model.example(config, count))


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The loss of walks with their mazes and targets."""
    training = functools.partial(model.loss, rounds=config.rounds)

    def testing(params, batch, key):
        value, metrics = training(params, batch, key)
        return value, metrics | {"weight": batch["weight"].sum()}  # a mean over transitions

    return training, testing


@functools.cache
def predictions(config: model.Config) -> dict[str, Prediction]:
    """The values of all moves in a maze of cells of the size of the configuration."""

    def values(weights: Weights, inputs: Arrays) -> Arrays:
        image = model.image(inputs["exits"], inputs["goal"])
        return {"values": model.apply(weights["params"], image, rounds=config.rounds)}

    inputs = {
        "exits": jax.ShapeDtypeStruct((config.rows, config.columns), np.uint8),
        "goal": jax.ShapeDtypeStruct((), np.int32),
    }
    about = (
        "the values of east, south, north, west in each cell of a maze: exits are the sum of 1, 2, "
        "4, 8 for these directions where they are open, the goal is row times columns plus column"
    )
    return {"values": Prediction(about, inputs, values)}


def walk(trained: Trained, count: int) -> tuple[mazes.Maze, environment.Walk]:
    """The first held-out mazes and what the planner does in them."""
    maze = train.held_out_mazes(trained.config, count)
    return maze, train.solver(trained.config.rounds)(trained.params, maze)


def print_summary(found: environment.Summary, count: int, kind: str) -> None:
    """Prints what `environment.summary` gives for so many mazes."""
    print(f"{count:,} held-out mazes of the kind {kind}")
    print(f"  solved           {found['solved']:.1%}")
    if found["ratio"] is not None:
        print(f"  length / optimum {found['ratio']:.4f}  (mean over the solved)")
    print(f"  shortest way     {found['optimal']:.1%}")


def report(trained: Trained, dataset: Dataset) -> None:
    """Prints what the planner does in `REPORTED` held-out mazes."""
    _, tried = walk(trained, REPORTED)
    found = environment.summary(tried.length, tried.shortest)
    print_summary(found, REPORTED, kinds.describe(trained.config))


def way(maze: mazes.Maze, tried: environment.Walk, number: int) -> tuple[mazes.Maze, list[int]]:
    """One of the mazes as tiles, and the planner's walk over them."""
    own = jax.tree.map(lambda a: a[number], maze)
    return mazes.walk_over_tiles(own, mazes.until_goal(tried.sites[number], int(own.goal)))


def pictures(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """Nine walks through held-out mazes, with up to two that miss the goal; the curves."""
    from zoo.ch07_dqn import figures
    from zoo.common import figures as common

    maze, tried = walk(trained, REPORTED)
    missed = np.flatnonzero(np.asarray(tried.length) < 0)[:2].tolist()
    chosen = [*[n for n in range(9) if n not in missed][: 9 - len(missed)], *missed]
    caption = f"held-out mazes, {dataset.description}"
    pairs = [way(maze, tried, number) for number in chosen]
    about = f"the first ones, and up to two where the goal was missed: {caption}"
    drawings = {"mazes": figures.gallery(pairs, about)}
    if rows := run.read_metrics(trained.folder):
        series = {
            "held-out mazes solved": [row["test_solved"] for row in rows],
            "walks of training at the goal": [row["walks_at_goal"] for row in rows],
        }
        steps = [row["step"] for row in rows]
        drawings["curve"] = common.curves(series, steps, "updates", "share", caption=caption)
    return drawings


TASK = Task(
    name="ch07_dqn/planner",
    model=model,
    about="one agent for mazes that it has never seen (one in 16 is held out)",
    load=load,
    random=random,
    optimizer=lambda config, updates: train.make_optimizer(config),
    losses=losses,
    metrics=("td_error",),
    result=called("success rate in held-out mazes", "test_solved"),
    predictions=predictions,
    pictures=pictures,
    report=report,
    following=lambda dataset: ("play",),
    weights=lambda state: {"params": state.params},
    loop=Loop(train.iterate, train.begin, lambda config: config.epoch_steps),
    unit="mazes",
    epoch=6_400,  # 100 updates
    synthetic=True,
)
