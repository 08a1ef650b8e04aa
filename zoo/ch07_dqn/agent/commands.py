"""What chapter 7 does beside the commands of every model: play, map, its own figures and times."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from zoo.ch07_dqn import environment
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn import play as playing
from zoo.ch07_dqn.agent import model, task, train
from zoo.ch07_dqn.agent.task import TASK
from zoo.common import bench as timing
from zoo.common import cli, commands, trained
from zoo.common import device as devices

MAZES, STEPS = 1024, 1000
"""The environment alone is timed in so many mazes at once, for so many steps."""


def evaluate(model: cli.TrainedModel) -> None:
    """Let the greedy policy of each agent walk its maze, and compare with the shortest way.

    Writes evaluation.json.

    Args:
        model: which model
    """
    found = trained.choose(TASK, model)
    dataset = commands.dataset_of(found)
    results = task.report(found, dataset)
    commands.keep(found, results | {"mazes": dataset.description})


def play(model: cli.TrainedModel, agent: int = 0, seconds: float = 0.08) -> None:
    """Watch an agent walk its maze in the terminal, live; writes figures/walk.gif.

    Args:
        model: which model
        agent: its number, if there are several in the run
        seconds: time for a step
    """
    found = trained.choose(TASK, model)
    params, _, sites = task.agent_of(found, agent)
    caption = f"agent {agent} of {found.folder}, {found.about['data']['description']}"
    playing.play(found, params.maze, sites, seconds, caption)


def figures(model: cli.TrainedModel, agent: int = 0) -> None:
    """Draw a model again: learning curve, values with arrows, visits, the way taken.

    Args:
        model: which model
        agent: which of its agents to draw
    """
    found = trained.choose(TASK, model)
    for name, figure in task.pictures(found, commands.dataset_of(found), agent).items():
        commands.save(found, name, figure)


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
    config = model.Config(rows=rows, columns=columns, method=method, extra=extra)
    maze = train.make_params(config, seed).maze
    way = mazes.shortest(maze)
    print(mazes.draw(maze, dict.fromkeys(way[1:-1], "·") if solve else {}))
    start, goal = (divmod(int(site), maze.exits.shape[1]) for site in (maze.start, maze.goal))
    print(
        f"S at row {start[0]}, column {start[1]}; G at row {goal[0]}, column {goal[1]}; the "
        f"shortest way has {len(way) - 1} steps"
    )


def bench(
    config: model.Config, device: devices.Name = "auto", at_once: tuple[int, ...] = (1, 64)
) -> None:
    """Time training (one update a step) and the environment alone; compilation apart.

    Args:
        config: what to time
        device: where to compute
        at_once: numbers of mazes that are trained in at the same time
    """
    where = devices.describe(devices.use(device))
    found = []

    def epoch(agents: train.State, params: environment.Params) -> train.State:
        return train.run_epoch(agents, config, params)[0]

    def measure(name: str, function: Any, arguments: tuple[Any, ...], steps: int) -> None:
        rates = timing.Rates.of(timing.time_call(function, *arguments, runs=7), steps)
        found.append((name, *rates.cells()))

    for count in at_once:
        agents = train.make_agents(config, count)
        measure(f"training, {count} mazes", epoch, agents, count * config.epoch_steps)
    params = jax.jit(jax.vmap(lambda seed: train.make_params(config, seed)))(jnp.arange(MAZES))
    walk, key = functools.partial(random_steps, steps=STEPS), jax.random.key(0)
    measure(f"random policy, {MAZES:,} mazes", walk, (key, params), MAZES * STEPS)
    timing.print_table(
        f"recipe {config.recipe}, {where}, JAX {jax.__version__}",
        ("", "steps/s, median", "quartiles", "compilation, s"),
        found,
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


COMMANDS = commands.make(TASK) | {
    "play": play,
    "evaluate": evaluate,
    "figures": figures,
    "map": show_map,
    "bench": bench,
}
