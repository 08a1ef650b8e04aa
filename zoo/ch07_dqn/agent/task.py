"""What zoo has to know of the agents: their mazes, solver, loss, report and pictures."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.ch07_dqn import environment, kinds, plans
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.agent import model, train
from zoo.common import device, fit
from zoo.common.data import DataError, Dataset
from zoo.common.task import Arrays, Loop, Prediction, Task, Weights, called
from zoo.common.trained import Trained


def load(config: model.Config, source: str, data_dir: Path | None) -> Dataset:
    """The mazes of the configuration, each once; `source` and `data_dir` are not used."""
    config = plans.own(config)
    last = config.maze_seed + config.mazes - 1
    seeds = f"seed {last}" if config.mazes == 1 else f"seeds {config.maze_seed} to {last}"
    exits = train.make_mazes(config).maze.exits[:: config.agents]
    about = kinds.describe(config) if config.maze else f"{kinds.describe(config)}, {seeds}"
    train_data = {"exits": np.asarray(exits)}
    return Dataset("mazes", "generated", config.method, about, train_data, {}, ())


def random(config: model.Config, count: int) -> fit.Batch:
    """Transitions with their targets, for updates without a maze; `obs` are sites."""
    number = np.arange(count, dtype=np.int32)
    action, target = number % model.ACTIONS, -number.astype(np.float32)
    return {"obs": number % model.sites(config), "action": action, "target": target}


def losses(config: model.Config, steps: int) -> tuple[fit.Loss, fit.Loss]:
    """The loss of the configuration, of sites, actions and targets."""
    inner = train.make_loss(config)

    def loss(params, batch, key):
        return inner(params, batch | {"obs": train.observe(config, batch["obs"])}, key)

    return loss, loss


@functools.cache
def predictions(config: model.Config) -> dict[str, Prediction]:
    """What the first agent thinks of a site."""

    def values(weights: Weights, inputs: Arrays) -> Arrays:
        return {"values": train.q_values(config, weights["params"], inputs["obs"])}

    obs = {"obs": jax.ShapeDtypeStruct((), np.int32)}
    about = "the values of east, south, north, west at a site (row times columns plus column)"
    return {"values": Prediction(about, obs, values)}


def weights(state: train.Run | fit.State) -> Weights:
    """The parameters of the first agent of a run, or those that `bench` trains by themselves."""
    if isinstance(state, fit.State):
        return {"params": state.params}
    return {"params": jax.tree.map(lambda a: a[0], state.agents.params)}


def greedy(trained: Trained) -> tuple[environment.Params, train.Greedy]:
    """All agents of a run in their mazes, and their greedy policies: NumPy arrays [M, ...].

    Of a published model it is the one agent that was published.
    """
    params = train.make_mazes(trained.config)
    if trained.state is None:
        params = jax.tree.map(lambda a: a[:1], params)
        nets = jax.tree.map(lambda a: a[None], trained.params)
    else:
        nets = trained.state.agents.params
    tried = device.jit(train.greedy_all, static_argnums=0)(trained.config, nets, params)
    return jax.tree.map(np.asarray, (params, tried))


def agent_of(trained: Trained, number: int) -> tuple[environment.Params, train.Greedy, list[int]]:
    """One of the agents in its maze, its greedy policy, and the sites of its walk.

    Raises:
      DataError: the model has no such agent.
    """
    params, tried = greedy(trained)
    count = len(tried.home)
    if not 0 <= number < count:
        raise DataError(f"got agent {number}, expected one of the model's, 0 to {count - 1}")
    params, tried = jax.tree.map(lambda a: a[number], (params, tried))
    return params, tried, mazes.until_goal(tried.walk.sites, int(params.maze.goal))


def report(trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """Prints and returns how many agents reach the goal, and how their ways compare."""
    config, (_, tried) = trained.config, greedy(trained)
    _, length, shortest = tried.walk
    found, count, home = environment.summary(length, shortest), len(length), tried.home.mean()
    solved, optimal = round(count * found["solved"]), round(count * found["optimal"])
    print(f"{solved} of {count} agents reach the goal, {optimal} by a shortest way")
    print(f"the goal is reached from {home:.1%} of the tiles")
    for number in np.flatnonzero((length < 0) | (length > shortest))[:5]:
        seed = config.maze_seed + number // config.agents
        way = f"{length[number]} steps" if length[number] >= 0 else "goal not reached"
        print(f"  maze {seed}, agent {number}: {way}, shortest {shortest[number]}")
    return {"agents": count, **found, "tiles_solved": float(home)}


def pictures(trained: Trained, dataset: Dataset, agent: int = 0) -> dict[str, Any]:
    """Of one agent: values with arrows, visits and the way taken; of all, the learning curve."""
    from zoo.ch07_dqn import figures

    config, run = trained.config, trained.state
    params, tried, sites = agent_of(trained, agent)
    maze, caption = params.maze, f"{dataset.description}, recipe {config.recipe}"
    which = f"agent {agent} of {caption}" if config.mazes * config.agents > 1 else caption
    best = np.asarray(environment.optimal_values(params, config.discount))
    title = "the same by value iteration, which knows the maze"
    drawings = {
        "values": figures.values(maze, tried.values, which),
        "optimum": figures.values(maze, best, which, title),
        "path": figures.path(maze, sites, mazes.shortest(maze), which),
    }
    if run is not None:
        steps = config.epoch_steps * np.arange(1, config.epochs + 1)
        drawings["curve"] = figures.learning_curve(run.home, run.lengths, steps, caption)
        drawings["visits"] = figures.visits(maze, np.asarray(run.agents.visits[agent]), which)
    return drawings


def timings(config: model.Config, weights: Weights) -> dict[str, tuple[Any, tuple[Any, ...], int]]:
    """The loop of all agents at once, an update after each step; `weights` are not used."""
    count = config.mazes * config.agents

    def epoch(agents: train.State, params: environment.Params) -> train.State:
        return train.run_epoch(agents, config, params)[0]

    agents = device.jit(train.make_agents, static_argnums=(0, 1))(config, count)
    return {"loop": (epoch, agents, count * config.epoch_steps)}


TASK = Task(
    name="ch07_dqn",
    model=model,
    about="an agent in its maze, or one in each of --mazes at once",
    load=load,
    random=random,
    optimizer=lambda config, updates: train.make_optimizer(config),
    losses=losses,
    fill=lambda config, dataset: plans.own(config),
    metrics=("td_error", "value"),
    result=called("success rate", "solved"),
    predictions=predictions,
    pictures=pictures,
    report=report,
    following=lambda dataset: ("play",),
    timings=timings,
    weights=weights,
    loop=Loop(train.iterate, train.begin, lambda config: config.epoch_steps),
    unit="transitions",
    epoch=32_000,  # 1,000 steps
    synthetic=True,
)
