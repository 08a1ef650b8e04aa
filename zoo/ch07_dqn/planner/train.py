"""The loop of the planner: a DQN on mazes that are new at every step.

Axes: B mazes, H rows, W columns of cells, T steps of a walk, A = 4 actions.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.ch07_dqn import environment, kinds, loop, replay
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.agent.model import choose
from zoo.ch07_dqn.planner import model
from zoo.common import device, fit, keys
from zoo.common.data import DataError

HELD_OUT = 16  # one of so many mazes is never trained on
TESTED = 200  # so many of those are walked after each epoch


class Walk(NamedTuple):
    """What is remembered of one walk, with its maze."""

    exits: jax.Array  # uint8 [H, W]
    goal: jax.Array  # int32 []
    site: jax.Array  # int32 [T + 1]
    action: jax.Array  # int32 [T]
    terminated: jax.Array  # bool [T], the goal was reached
    weight: jax.Array  # float32 [T], 0 once it was


class State(NamedTuple):
    """All that a step carries on."""

    params: model.Params
    target: model.Params  # the frozen copy
    opt_state: Any
    memory: replay.Memory
    key: jax.Array  # of the whole run; those of the steps are derived from it
    step: jax.Array  # int32 [], updates made so far


def held_out(exits: jax.Array) -> jax.Array:
    """Whether a maze of cells, uint8 [H, W], is one of those to test on: bool [].

    It depends on the maze alone, so a maze that is drawn twice is never on both sides.
    """
    # A hash with the multipliers of xxHash; NumPy's or Python's own would not run in a step.
    factors = jnp.arange(exits.size, dtype=jnp.uint32) * jnp.uint32(2654435761) + jnp.uint32(97)
    mixed = (exits.reshape(-1).astype(jnp.uint32) * factors).sum(dtype=jnp.uint32)
    mixed = (mixed ^ mixed >> 15) * jnp.uint32(2246822519)
    return (mixed ^ mixed >> 13) % HELD_OUT == 0


def _draw(config: model.Config, begin: jax.Array) -> tuple[mazes.Maze, jax.Array]:
    """The mazes of the next seeds, and which of them are held out."""
    seeds = begin + jnp.arange(HELD_OUT * TESTED)
    drawn = jax.vmap(lambda seed: kinds.generate(jax.random.key(seed), config, "cells"))(seeds)
    return drawn, jax.vmap(held_out)(drawn.exits)


@functools.cache
@device.in_float32
def held_out_mazes(config: model.Config, count: int) -> mazes.Maze:
    """The first `count` held-out mazes of the seeds 0, 1, 2 ...; always the same ones.

    Raises:
      DataError: mazes of this size are too few to hold some of them out.
    """
    # Whatever else is in the configuration, the drawing need not be compiled again.
    names = ("rows", "columns", "method", "extra")
    kind = model.Config(**{name: getattr(config, name) for name in names})
    draw = device.jit(_draw, static_argnums=0)
    found, present, begin = [], 0, 0
    while present < count:
        drawn, chosen = jax.tree.map(np.asarray, draw(kind, begin))
        found.append(jax.tree.map(lambda a, chosen=chosen: a[chosen], drawn))
        present += int(chosen.sum())
        begin += len(chosen)
        if begin > 20 * HELD_OUT * max(count, TESTED):
            raise DataError(
                f"mazes of {config.rows}x{config.columns} cells are too few to hold some of them "
                "out: use at least 4x4"
            )
    return jax.tree.map(lambda *parts: jnp.asarray(np.concatenate(parts)[:count]), *found)


def make_optimizer(config: model.Config) -> optax.GradientTransformation:
    """Adam with a rate that rises and falls, on gradients of bounded norm."""
    updates = config.epochs * config.epoch_steps
    rise = max(1, min(100, updates // 10))  # short runs need a shorter one
    peak, end = config.learning_rate, max(updates, rise + 1)
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, rise, end)
    return optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(schedule))


def init(key: jax.Array, config: model.Config) -> State:
    """A planner that has seen no maze yet."""
    init_key, run_key = jax.random.split(key)
    params = model.init(init_key, config)
    zeros = functools.partial(jnp.zeros, config.walk_steps)
    maze = jnp.zeros((config.rows, config.columns), jnp.uint8), jnp.int32(0)
    sites = jnp.zeros(config.walk_steps + 1, jnp.int32)
    nothing = Walk(*maze, sites, zeros(jnp.int32), zeros(bool), zeros())
    return State(
        params=params,
        target=jax.tree.map(jnp.copy, params),
        opt_state=make_optimizer(config).init(params),
        memory=replay.empty(config.capacity, nothing),
        key=run_key,
        step=jnp.int32(0),
    )


def walk(
    key: jax.Array, maze: mazes.Maze, values: jax.Array, epsilon: jax.Array, steps: int
) -> Walk:
    """One epsilon-greedy walk by the values [H, W, A] of a maze, from any cell."""
    start_key, chance_key = jax.random.split(key)
    to, size = mazes.neighbours(maze.exits), maze.exits.size
    legal, flat = mazes.legal(maze.exits.reshape(-1)), values.reshape(size, -1)
    first = jax.random.randint(start_key, (), 0, size)

    def move(site: jax.Array, chance: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        action = choose(flat[site], legal[site], chance, epsilon)
        arrived = site == maze.goal
        following = jnp.where(arrived, site, to[site, action])
        return following, (following, action, following == maze.goal, 1.0 - arrived)

    chances = jax.random.uniform(chance_key, (steps, 2))
    _, (sites, actions, terminated, weight) = jax.lax.scan(move, first, chances)
    used = weight * ~held_out(maze.exits)  # never learnt from, though walked
    sites = jnp.concatenate([first[None], sites])
    return Walk(maze.exits, maze.goal, sites, actions, terminated, used)


def explore(key: jax.Array, state: State, config: model.Config) -> Walk:
    """Walks [B, ...] through new mazes."""
    maze_key, walk_key = jax.random.split(key)
    draw = functools.partial(kinds.generate, config=config, grid="cells")
    maze = jax.vmap(draw)(jax.random.split(maze_key, config.walkers))
    values = model.apply(state.params, model.image(maze.exits, maze.goal), rounds=config.rounds)
    progress = state.step / (0.5 * config.epochs * config.epoch_steps)
    epsilon = config.epsilon + (config.epsilon_min - config.epsilon) * jnp.minimum(progress, 1.0)
    walk_keys = jax.random.split(walk_key, config.walkers)
    move = functools.partial(walk, epsilon=epsilon, steps=config.walk_steps)
    return jax.vmap(move)(walk_keys, maze, values)


def make_batch(walks: Walk, state: State, config: model.Config) -> model.Batch:
    """Walks [B, ...] with their targets, as `model.loss` takes them: DQN."""
    image = model.image(walks.exits, walks.goal)
    following = walks.site[:, 1:]
    values = model.read(model.apply(state.target, image, rounds=config.rounds), following)
    exits = walks.exits.reshape(len(following), -1)
    legal = mazes.legal(jnp.take_along_axis(exits, following, 1))
    best = jnp.where(legal, values, -jnp.inf).max(-1)
    return {
        "exits": walks.exits,
        "goal": walks.goal,
        "site": walks.site[:, :-1],
        "action": walks.action,
        "target": -1.0 + config.discount * jnp.where(walks.terminated, 0.0, best),
        "weight": walks.weight,
    }


def step(state: State, config: model.Config) -> tuple[State, model.Metrics]:
    """Walk, remember, replay: the walkers' steps in new mazes, then one update."""
    explore_key, sample_key = jax.random.split(keys.derive(state.key, "step", state.step))
    walks = explore(explore_key, state, config)
    memory = replay.remember_all(state.memory, walks)
    batch = make_batch(replay.sample(sample_key, memory, config.batch_size), state, config)
    loss = functools.partial(model.loss, rounds=config.rounds)
    (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params, batch)
    updates, opt_state = make_optimizer(config).update(grads, state.opt_state)
    params = optax.apply_updates(state.params, updates)
    number = state.step + 1
    # Its test at each update is nothing beside a walk and two passes of 26 rounds.
    target = optax.periodic_update(params, state.target, number, config.target_every)
    state = State(params, target, opt_state, memory, state.key, number)
    reached = walks.terminated.any(-1).mean()
    return state, {"loss": value, "walks_at_goal": reached, **metrics}


@functools.cache
def _epoch(config: model.Config) -> Callable[..., Any]:
    """An epoch's steps, compiled once for each configuration in a process."""

    def epoch(state: State) -> tuple[State, model.Metrics]:
        return jax.lax.scan(lambda s, _: step(s, config), state, length=config.epoch_steps)

    return device.compile(epoch, start(config), donate_argnums=0)


@functools.cache
def solver(rounds: int) -> Callable[[model.Params, mazes.Maze], environment.Walk]:
    """`solve` with so many rounds, compiled."""
    return device.jit(functools.partial(solve, rounds=rounds))


@device.in_float32
def solve(params: model.Params, maze: mazes.Maze, rounds: int) -> environment.Walk:
    """Walks through mazes of cells [B, ...] of any size without exploration."""
    values = model.apply(params, model.image(maze.exits, maze.goal), rounds=rounds)
    return jax.vmap(environment.walk)(maze, jax.vmap(mazes.best_moves)(maze, values))


def start(config: model.Config) -> State:
    """`begin`, compiled."""
    return device.jit(begin, static_argnums=0)(config)


def begin(config: model.Config, *_: Any) -> State:
    """The state before the first step of a run; each step draws its mazes, so no data are used."""
    return init(keys.derive(config.seed, "planner"), config)


def iterate(config: model.Config, state: State, *_: Any) -> Iterator[fit.Progress[State]]:
    """Goes on with a run from `state`, which stays valid, and reports after each epoch.

    The metrics are means over the epoch: `loss`, `td_error`, `walks_at_goal`; and `test_solved`,
    the share of `TESTED` held-out mazes that the greedy policy solves. Data, test and mesh, which
    other loops take, are not used.

    Raises:
      DataError: the mazes are too few to hold some of them out.
      FinishedError: the state has all epochs behind it.
      NonFiniteError: the loss is infinite or not a number.
    """
    test, maze = solver(config.rounds), held_out_mazes(config, TESTED)

    def prepare() -> loop.Epoch:
        jax.block_until_ready(test(state.params, maze))  # compiled outside the time of an epoch
        return _epoch(config)

    for report in loop.iterate(config, state, prepare):
        solved = (np.asarray(test(report.state.params, maze).length) >= 0).mean()
        assert report.metrics is not None  # each report of `loop` is at the end of an epoch
        yield report._replace(metrics=report.metrics | {"test_solved": float(solved)})
