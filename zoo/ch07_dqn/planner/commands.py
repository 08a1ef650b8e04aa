"""What the planner does beside the commands of every model: evaluate on mazes of any size, play."""

import dataclasses
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch07_dqn import environment, kinds, plans
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn import play as playing
from zoo.ch07_dqn.planner import task, train
from zoo.ch07_dqn.planner.task import TASK
from zoo.common import cli, commands, trained
from zoo.common.settings import Bounds, Count, Share, Size


def evaluate(
    model: cli.TrainedModel,
    count: Size = 1000,
    rows: Size | None = None,
    columns: Size | None = None,
    extra: Share | None = None,
    rounds: Count | None = None,
) -> None:
    """Let a planner walk mazes that it has never seen, also larger ones; writes the result as JSON.

    Args:
        model: which planner
        count: how many mazes
        rows: of cells, if not as in training
        columns: of cells, if not as in training
        extra: share of the other inner walls opened, if not as in training
        rounds: of the convolution; one for each cell and one more if the size is another
    """
    found = trained.choose(TASK, model)
    config = found.config
    given = {"rows": rows, "columns": columns, "extra": extra}
    other = dataclasses.replace(config, **{k: v for k, v in given.items() if v is not None})
    cells = other.rows * other.columns
    if rounds is None:
        rounds = config.rounds if cells == config.rows * config.columns else cells + 1
    tried = train.solver(rounds)(found.params, train.held_out_mazes(other, count))
    results = environment.summary(tried.length, tried.shortest)
    kind = f"mazes of {kinds.describe(other)}"
    task.print_summary(results, count, f"{kind}, {rounds} rounds")
    loops = f"-extra{other.extra:g}" if other.extra else ""
    name = f"evaluation-{other.rows}x{other.columns}{loops}"
    commands.keep(found, results | {"count": count, "mazes": kind, "rounds": rounds}, name)


def play(
    model: cli.TrainedModel,
    number: Annotated[int, Bounds(0, ceiling=2**20)] = 0,
    seconds: playing.Pause = 0.08,
    maze: Path | None = None,
) -> None:
    """Watch a planner walk a maze that it has never seen, live; writes figures/walk.gif.

    Args:
        model: which planner
        number: of the held-out maze
        seconds: time for a step
        maze: a file with the plan of another maze: # walls, spaces floor, S start, G goal
    """
    found = trained.choose(TASK, model)
    if maze is not None:
        tiles = plans.read(maze)
        if (own := mazes.cells(tiles)) is None:
            print("no maze of cells: each tile is taken for a cell, as in no maze of its training")
        chosen = tiles if own is None else own
        batch = jax.tree.map(lambda part: jnp.asarray(part)[None], chosen)
        rounds = int(np.count_nonzero(chosen.exits)) + 1  # so far a value may have to go
        tried = train.solver(rounds)(found.params, batch)
        sites = mazes.until_goal(tried.sites[0], int(chosen.goal))
        walk = sites if own is None else mazes.over_tiles(tiles, own, sites)
        playing.play(found, tiles, walk, seconds, f"{maze}, planner of {found.folder}")
        return
    held_out, tried = task.walk(found, max(number + 1, train.TESTED))
    tiles, sites = task.way(held_out, tried, number)
    caption = f"held-out maze {number}, planner of {found.folder}"
    playing.play(found, tiles, sites, seconds, caption)


COMMANDS = commands.make(TASK) | {"evaluate": evaluate, "play": play}
