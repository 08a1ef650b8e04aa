"""The planner of chapter 7 on the command line: planner train, evaluate, play."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn import planner, planner_train, views
from zoo.ch07_dqn.runs import PLANNER, Options, Trained, describe, mazes_of, restore_planner
from zoo.common import device, run
from zoo.common.data import DataError

TESTED = 1000
"""So many held-out mazes are walked at the end of training."""


def train(config: planner.Config, options: Options) -> None:
    """Train one agent for mazes that it has never seen; Ctrl-C saves, --resume DIR goes on.

    Recipe `modern` trains on 5x5 cells, `large` on 5x10. One maze in 16 is never trained on: the
    tests take theirs from these.
    """
    device.use(options.device)
    print(describe(config))
    folder, state = run.train(
        PLANNER,
        config,
        options,
        mazes_of(config),
        planner_train.start(config),
        lambda state, follow: follow(planner_train.iterate(config, state)),
        steps=config.epoch_steps,
    )
    maze = planner_train.test_mazes(config, TESTED)
    tried = planner_train.solver(config.rounds)(state.params, maze)
    _report(planner_train.summary(tried), TESTED, describe(config))
    for path in _draw(folder, config, maze, tried):
        print(path)


def _report(found: dict[str, float], count: int, kind: str) -> None:
    print(f"{count:,} held-out mazes of the kind {kind}")
    print(f"  solved           {found['solved']:.1%}")
    print(f"  length / optimum {found['ratio']:.4f}  (mean over the solved)")
    print(f"  shortest way     {found['optimal']:.1%}")


def evaluate(
    trained: Trained,
    count: int = 1000,
    rows: int | None = None,
    columns: int | None = None,
    extra: float | None = None,
    rounds: int | None = None,
) -> None:
    """Let a planner walk mazes that it has never seen, also larger ones; writes the result as JSON.

    Args:
        trained: which planner
        count: how many mazes
        rows: of cells, if not as in training
        columns: of cells, if not as in training
        extra: share of the other inner walls opened, if not as in training
        rounds: of the convolution; one for each cell and one more if the size is another
    """
    folder, config, state = restore_planner(trained)
    asked = {"rows": rows, "columns": columns, "extra": extra}
    other = dataclasses.replace(config, **{k: v for k, v in asked.items() if v is not None})
    cells = other.rows * other.columns
    if min(other.rows, other.columns, count) < 1 or cells < 2:
        raise DataError(f"got {count} mazes of {other.rows}x{other.columns} cells, expected at "
                        "least 1 of at least 2 cells")  # fmt: skip
    if rounds is None:
        rounds = config.rounds if cells == config.rows * config.columns else cells + 1
    maze = planner_train.test_mazes(other, count)
    solve = planner_train.solver(rounds)
    found = planner_train.summary(solve(state.params, maze))
    kind = describe(other).partition(", new")[0]
    _report(found, count, f"{kind}, {rounds} rounds")
    results = found | {"count": count, "mazes": kind, "rounds": rounds}
    loops = f"-extra{other.extra:g}" if other.extra else ""
    path = folder / f"evaluation-{other.rows}x{other.columns}{loops}.json"
    run.write_json(path, results)
    print(f"written to {path}")


def play(trained: Trained, number: int = 0, seconds: float = 0.08) -> None:
    """Watch a planner walk a maze that it has never seen, live; writes figures/walk.gif.

    Args:
        trained: which planner
        number: of the held-out maze
        seconds: time for a step
    """
    from zoo.ch07_dqn import figures
    from zoo.common import figures as common

    if number < 0:
        raise DataError(f"got maze {number}, expected 0 or more")
    folder, config, state = restore_planner(trained)
    maze = planner_train.test_mazes(config, max(number + 1, planner_train.TRIED))
    tried = planner_train.solver(config.rounds)(state.params, maze)
    tiles, walk = _walk(maze, tried, number)
    views.show(tiles, walk, seconds)
    print(f"{'at the goal' if tried.length[number] >= 0 else 'lost'} after {len(walk) - 1} tiles")
    drawn = figures.walk(tiles, walk, f"held-out maze {number}, planner of {folder}")
    print(f"written to {common.animate(drawn, folder / 'figures' / 'walk.gif', seconds)}")


def _walk(
    maze: mazes.Maze, tried: planner_train.Tried, number: int
) -> tuple[mazes.Maze, list[int]]:
    own = jax.tree.map(lambda a: a[number], maze)
    return views.double(own, views.until_goal(tried.sites[number], int(own.goal)))


def _draw(
    folder: Path, config: planner.Config, maze: mazes.Maze, tried: planner_train.Tried
) -> list[Path]:
    from zoo.ch07_dqn import figures
    from zoo.common import figures as common

    rows = run.read_metrics(folder)
    lost = np.flatnonzero(np.asarray(tried.length) < 0)[:2].tolist()
    chosen = [*[n for n in range(9) if n not in lost][: 9 - len(lost)], *lost]
    pairs = [_walk(maze, tried, number) for number in chosen]
    caption = f"held-out mazes, {describe(config)}"
    series = {"held-out mazes solved": [row["test_solved"] for row in rows],
              "walks of training at the goal": [row["walks_at_goal"] for row in rows]}  # fmt: skip
    drawings = {
        "curve": common.curves(series, [row["step"] for row in rows], "updates", "share",
                               caption=caption),
        "mazes": figures.gallery(pairs, f"the first ones, and up to two lost: {caption}"),
    }  # fmt: skip
    return [common.save(d, folder / "figures" / f"{name}.png") for name, d in drawings.items()]
