"""Chapter 7 on the command line: train, play, evaluate, figures, map, bench."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch07_dqn import environment, model, views
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.runs import CHAPTER, Options, Trained, describe, mazes_of, restore
from zoo.ch07_dqn.train import (
    Greedy,
    Run,
    greedy_all,
    iterate,
    make_params,
    run_epoch,
    start,
    start_run,
)
from zoo.common import bench as timing
from zoo.common import device, run
from zoo.common.data import DataError
from zoo.common.device import Name as DeviceName


def train(config: model.Config, options: Options) -> None:
    """Train an agent in its maze, or one in each of --mazes at once; Ctrl-C saves.

    Recipe `modern` solves its maze, `book` does what the book's program does and learns nothing,
    `mended` is the book's network without the bugs.
    """
    device.use(options.device)
    if config.epoch_steps % config.target_every:
        raise DataError(
            f"got --epoch-steps {config.epoch_steps} and --target-every {config.target_every}: "
            "the first must be a multiple of the second"
        )
    print(describe(config))
    first, params = start_run(config)
    folder, state = run.train(
        CHAPTER,
        config,
        options,
        mazes_of(config),
        first,
        lambda state, follow: follow(iterate(config, params, state)),
        steps=config.epoch_steps,
    )
    tried = greedy_all(config, state, params)
    _report(config, tried)
    drawn = _draw(folder, config, state, params, tried, 0)
    print(f"trained in {folder}; pictures: {', '.join(str(path) for path in drawn)}")
    print("see it walk: python -m zoo.ch07_dqn play")


def _one(tree: Any, number: int) -> Any:
    return jax.tree.map(lambda a: a[number], tree)


def _check_agent(agent: int, state: Run) -> None:
    count = len(state.agents.step)
    if not 0 <= agent < count:
        raise DataError(f"got agent {agent}, there are 0 to {count - 1} in this run")


def _report(config: model.Config, tried: Greedy) -> dict[str, float]:
    solved = tried.length >= 0
    shortest = solved & (tried.length == tried.shortest)
    count = len(solved)
    print(f"{solved.sum()} of {count} agents reach the goal, {shortest.sum()} by a shortest way")
    print(f"from {tried.home.mean():.1%} of the tiles they find out")
    for number in np.flatnonzero(~shortest)[:5]:
        seed = config.maze_seed + number // config.agents
        told = f"{tried.length[number]} steps" if solved[number] else "not there"
        print(f"  maze {seed}, agent {number}: {told}, shortest {tried.shortest[number]}")
    results = {"agents": count, "solved": float(solved.mean()), "optimal": float(shortest.mean())}
    ratio = (tried.length[solved] / tried.shortest[solved]).mean() if solved.any() else None
    return results | {"ratio": None if ratio is None else float(ratio),
                      "tiles_solved": float(tried.home.mean())}  # fmt: skip


def evaluate(trained: Trained) -> None:
    """Let the greedy policy of each agent walk its maze, and compare with the shortest way.

    Writes evaluation.json.
    """
    folder, config, state, params = restore(trained)
    print(describe(config))
    results = _report(config, greedy_all(config, state, params))
    run.write_json(folder / "evaluation.json", results | {"mazes": describe(config)})
    print(f"written to {folder / 'evaluation.json'}")


def play(trained: Trained, agent: int = 0, seconds: float = 0.08) -> None:
    """Watch an agent walk its maze in the terminal, live; writes figures/walk.gif.

    Args:
        trained: which run
        agent: its number, if there are several in the run
        seconds: time for a step
    """
    from zoo.ch07_dqn import figures
    from zoo.common import figures as common

    folder, config, state, params = restore(trained)
    _check_agent(agent, state)
    maze, tried = _one((params.maze, greedy_all(config, state, params)), agent)
    sites = views.until_goal(tried.sites, int(maze.goal))
    views.show(maze, sites, seconds)
    arrived = tried.length >= 0
    print(f"{'at the goal' if arrived else 'not at the goal'} after {len(sites) - 1} steps; "
          f"the shortest way has {tried.shortest}")  # fmt: skip
    shown = sites if arrived else sites[:60]
    drawn = figures.walk(maze, shown, f"agent {agent} of {folder}, {describe(config)}")
    print(f"written to {common.animate(drawn, folder / 'figures' / 'walk.gif', seconds)}")


def figures(trained: Trained, agent: int = 0) -> None:
    """Draw a run again: learning curve, values with arrows, visits, the way taken.

    Args:
        trained: which run
        agent: which of its agents to draw
    """
    folder, config, state, params = restore(trained)
    _check_agent(agent, state)
    tried = greedy_all(config, state, params)
    for path in _draw(folder, config, state, params, tried, agent):
        print(path)


def _draw(
    folder: Path,
    config: model.Config,
    state: Run,
    params: environment.Params,
    tried: Greedy,
    agent: int,
) -> list[Path]:
    from zoo.ch07_dqn import figures
    from zoo.common import figures as common

    own, its, visits = _one((params, tried, state.agents.visits), agent)
    maze, caption = own.maze, f"{describe(config)}, recipe {config.recipe}"
    which = caption if len(tried.length) == 1 else f"agent {agent} of {caption}"
    steps = config.epoch_steps * np.arange(1, config.epochs + 1)
    best = environment.optimal_values(own, config.discount)
    sites = views.until_goal(its.sites, int(maze.goal))
    drawings = {
        "curve": figures.learning_curve(state.home, state.lengths, steps, caption),
        "values": figures.values(maze, its.values, which),
        "optimum": figures.values(
            maze, np.asarray(best), which, "the same by value iteration, which knows the maze"
        ),
        "visits": figures.visits(maze, np.asarray(visits), which),
        "path": figures.path(maze, sites, views.shortest(maze), which),
    }
    return [common.save(d, folder / "figures" / f"{name}.png") for name, d in drawings.items()]


def show_map(
    seed: int = 0,
    rows: int = 5,
    columns: int = 10,
    method: Literal["depth-first", "prim"] = "depth-first",
    extra: float = 0.0,
    solve: bool = False,
) -> None:
    """Print a maze; with --solve the shortest way in it.

    Args:
        seed: which maze; the same as that of `train --maze-seed`
        rows: of cells
        columns: of cells
        method: how it is made
        extra: share of the other inner walls opened as well
        solve: show a shortest way
    """
    if rows < 1 or columns < 1 or rows * columns < 2:
        raise DataError(f"got {rows}x{columns} cells, expected at least 2 cells")
    config = model.Config(rows=rows, columns=columns, method=method, extra=extra)
    maze = make_params(config, seed).maze
    way = views.shortest(maze)
    marks = dict.fromkeys(way[1:-1], "·") if solve else {}
    print(mazes.draw(maze, marks))
    start, goal = (divmod(int(site), maze.exits.shape[1]) for site in (maze.start, maze.goal))
    print(f"S at row {start[0]}, column {start[1]}; G at row {goal[0]}, column {goal[1]}; the "
          f"shortest way has {len(way) - 1} steps")  # fmt: skip


def bench(
    config: model.Config, device_name: DeviceName = "auto", at_once: tuple[int, ...] = (1, 64)
) -> None:
    """Time training (one update a step) and the environment alone; compilation apart.

    Args:
        config: what to time
        device_name: what computes
        at_once: numbers of mazes that are trained in at the same time
    """
    device.use(device_name)
    rows = []
    for count in at_once:
        agents, params = jax.jit(lambda count=count: start(config, count))()

        def epoch(agents: Any, params: Any) -> Any:
            return run_epoch(agents, config, params)[0]

        rows.append(_row(f"training, {count} mazes", epoch, (agents, params),
                         count * config.epoch_steps))  # fmt: skip
    count, steps = 1024, 1000
    params = jax.jit(jax.vmap(lambda seed: make_params(config, seed)))(jnp.arange(count))
    rows.append(
        _row(
            f"random policy, {count:,} mazes",
            functools.partial(random_steps, steps=steps),
            (jax.random.key(0), params),
            count * steps,
        )
    )
    timing.print_table(
        f"recipe {config.recipe}, {device.describe(device.current())}, JAX {jax.__version__}",
        ("", "steps/s, median", "quartiles", "compilation, s"),
        rows,
    )


def random_steps(key: jax.Array, params: environment.Params, steps: int) -> jax.Array:
    """The sums of the rewards of `steps` random steps in many mazes [N] at once, [steps]."""
    actions_key, reset_key = jax.random.split(key)
    count = len(params.bump)
    keys = jax.random.split(reset_key, count)
    state = jax.vmap(environment.reset)(keys, params)[1]
    actions = jax.random.bits(actions_key, (steps, count), jnp.uint8) & 3

    def move(state: environment.State, action: jax.Array) -> tuple[environment.State, jax.Array]:
        moved = jax.vmap(environment.step_and_reset)(keys, state, action, params)
        return moved[1], moved[2].sum()

    return jax.lax.scan(move, state, actions)[1]


def _row(name: str, f: Callable[..., Any], args: tuple[Any, ...], items: int) -> tuple[str, ...]:
    found = timing.time_call(f, *args, runs=7)
    fast, slow = (items / second for second in found.quartiles)
    return (
        name,
        f"{items / found.median:,.0f}",
        f"{slow:,.0f} to {fast:,.0f}",
        f"{found.compile_seconds:.1f}",
    )
