"""The loop of the agents: act, remember, replay as one pure step, many steps in one scan.

Axes: M agents, each in its maze, E epochs, S sites, A = 4 actions, T steps, B transitions in a
batch.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zoo.ch07_dqn import book, environment, kinds, loop, plans, replay
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.agent import model
from zoo.ch07_dqn.agent.model import Config
from zoo.ch07_dqn.environment import Params
from zoo.common import device, fit, keys, solvers
from zoo.common.data import DataError


class Transition(NamedTuple):
    """What is remembered of a step."""

    site: jax.Array  # int32, before it
    action: jax.Array  # int32
    reward: jax.Array  # float32
    following: jax.Array  # int32, the site that it led to
    terminated: jax.Array  # bool, the goal was reached
    ended: jax.Array  # bool, the goal or the limit was


class State(NamedTuple):
    """An agent in its maze: all that a step carries on."""

    params: model.Params
    target: model.Params  # the frozen copy
    opt_state: Any
    memory: replay.Memory
    place: environment.State
    episodes: jax.Array  # int32 [], that ended
    reached: jax.Array  # int32 [], that ended at the goal
    visits: jax.Array  # int32 [S]
    key: jax.Array  # of the whole run; those of the steps are derived from it
    step: jax.Array  # int32 []


class Run(NamedTuple):
    """Agents in their mazes, one each, and their progress; each leaf has an axis M."""

    agents: State
    lengths: jax.Array  # int32 [M, E], Greedy.walk.length after each epoch, -2 before it
    home: jax.Array  # float32 [M, E], Greedy.home
    step: jax.Array  # int32 [], steps of each agent


class Greedy(NamedTuple):
    """What the greedy policy of an agent does."""

    values: jax.Array  # float32 [S, A]
    walk: environment.Walk
    home: jax.Array  # float32 [], share of the floor from which it reaches the goal


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """The solver of the configuration."""
    return {"rmsprop": solvers.rmsprop, "adam": optax.adam}[config.solver](config.learning_rate)


def make_loss(config: Config) -> fit.Loss:
    """The loss of the configuration."""
    errors = book.crossed_errors if config.crossed_cost else model.td_error
    return functools.partial(
        model.loss, activation=config.activation, kind=config.loss, errors=errors
    )


def make_params(config: Config, seed: int | jax.Array) -> Params:
    """The maze of a seed, with the rewards and starts of the configuration."""
    maze_key, reward_key = jax.random.split(jax.random.key(seed))
    if config.maze:
        with jax.ensure_compile_time_eval():  # the plan is a constant of what traces this
            maze = plans.parse(config.maze)
    else:
        maze = kinds.generate(maze_key, config)
    if config.transposed:
        maze = book.transpose(maze)
    if config.rewards == "book":
        return book.make_params(reward_key, maze, config.limit, config.spread)
    return environment.modern(maze, config.limit, config.spread)


def init(key: jax.Array, config: Config, params: Params) -> State:
    """An agent that has not moved yet."""
    init_key, reset_key, run_key = jax.random.split(key, 3)
    net = model.init(init_key, config)
    zero, no = jnp.int32(0), jnp.bool_(False)
    memory = replay.empty(config.capacity, Transition(zero, zero, zero * 1.0, zero, no, no))
    return State(
        params=net,
        target=jax.tree.map(jnp.copy, net),  # one buffer can't be donated twice
        opt_state=make_optimizer(config).init(net),
        memory=memory,
        place=environment.reset(reset_key, params)[1],
        episodes=zero,
        reached=zero,
        visits=jnp.zeros(params.rewards.shape, jnp.int32),
        key=run_key,
        step=zero,
    )


def make_agents(config: Config, count: int) -> tuple[State, Params]:
    """So many agents before their first step, with their mazes; each leaf has a leading axis M.

    `config.agents` of them in turn are in the same maze.
    """

    def make(number: jax.Array) -> tuple[State, Params]:
        params = make_params(config, config.maze_seed + number // config.agents)
        return init(keys.derive(config.seed, "agent", number), config, params), params

    return jax.vmap(make)(jnp.arange(count))


def make_mazes(config: Config) -> Params:
    """The maze of each agent of a run; each leaf has a leading axis M."""
    make = device.jit(make_agents, static_argnums=(0, 1))
    return make(config, config.mazes * config.agents)[1]


def start(config: Config) -> Run:
    """`begin`, compiled."""
    return device.jit(begin, static_argnums=0)(config)


def begin(config: Config, *_: Any) -> Run:
    """A run before its first step; the mazes follow from the configuration: no data are used."""
    agents, _ = make_agents(config, config.mazes * config.agents)
    nothing = jnp.zeros((len(agents.step), 0))
    return _widen(Run(agents, nothing.astype(jnp.int32), nothing, jnp.int32(0)), config.epochs)


def _widen(run: Run, epochs: int) -> Run:
    """The run with room for what so many epochs give."""
    more = ((0, 0), (0, max(0, epochs - run.home.shape[1])))
    lengths = jnp.pad(run.lengths, more, constant_values=-2)
    return run._replace(lengths=lengths, home=jnp.pad(run.home, more))


def observe(config: Config, site: jax.Array) -> jax.Array:
    """What the network sees at a site [...]."""
    if config.network == "site":
        return site
    return model.coordinates(site, 2 * config.columns + 1, 2 * config.rows + 1, config.scaled)


def q_values(config: Config, net: model.Params, site: jax.Array) -> jax.Array:
    """The network's values of all actions at a site, [..., A]."""
    return model.apply(net, observe(config, site), activation=config.activation)


def _legal(config: Config, params: Params, site: jax.Array) -> jax.Array:
    if not config.legal_moves:
        return jnp.ones((*site.shape, model.ACTIONS), bool)
    return mazes.legal(params.maze.exits.reshape(-1)[site])


def act(key: jax.Array, state: State, config: Config, params: Params) -> jax.Array:
    """An action for where the agent stands, by the rule of the configuration."""
    site = state.place.site
    values, legal = q_values(config, state.params, site), _legal(config, params, site)
    chance = jax.random.uniform(key, (2,))
    if config.choice == "running-maximum":
        return book.choose(values, legal, chance)
    epsilon = config.epsilon * config.epsilon_decay ** state.episodes.astype(jnp.float32)
    return model.choose(values, legal, chance, jnp.maximum(epsilon, config.epsilon_min))


def make_batch(key: jax.Array, state: State, config: Config, params: Params) -> model.Batch:
    """Transitions from memory with their targets, as `model.loss` takes them."""
    if config.replay == "first":
        memories = book.first_memories(state.memory, config.batch_size)
        runs = jax.tree.map(lambda a: a[:, None], memories)
    else:
        runs = replay.sample_runs(key, state.memory, config.batch_size, config.n_step)
    sums = functools.partial(model.n_step_return, discount=config.discount)
    reward, discount, last = jax.vmap(sums)(runs.reward, runs.terminated, runs.ended)
    following = jnp.take_along_axis(runs.following, last[:, None], 1)[:, 0]
    values = q_values(config, state.target, following)
    choosing = q_values(config, state.params, following) if config.double else values
    legal = _legal(config, params, following)
    target = jax.vmap(model.td_target)(reward, discount, values, choosing, legal)
    obs, action = observe(config, runs.site[:, 0]), runs.action[:, 0]
    if config.network == "coordinates":  # one pass each: only that of the action taken is needed
        obs = jnp.take_along_axis(obs, action[:, None, None], 1)
        action = jnp.zeros_like(action)
    return {"obs": obs, "action": action, "target": target}


def learn(
    key: jax.Array, state: State, config: Config, params: Params
) -> tuple[model.Params, Any, jax.Array]:
    """One update on a batch from memory: parameters, the solver's state, the loss."""
    batch = make_batch(key, state, config, params)
    (value, _), grads = jax.value_and_grad(make_loss(config), has_aux=True)(state.params, batch)
    updates, opt_state = make_optimizer(config).update(grads, state.opt_state, state.params)
    return optax.apply_updates(state.params, updates), opt_state, value


def step(state: State, config: Config, params: Params) -> tuple[State, dict[str, jax.Array]]:
    """Act, remember, replay: one step of the environment and, if there is replay, one update.

    Returns:
      The state, and of this step the `reward`, the `loss`, and whether the goal was reached
      (`terminated`) or the episode `ended`.
    """
    # They follow from the number of the step: a resumed run draws what the unbroken one would.
    act_key, move_key, learn_key = jax.random.split(keys.derive(state.key, "step", state.step), 3)
    site = state.place.site
    action = act(act_key, state, config, params)
    move = environment.step if config.endless else environment.step_and_reset
    _, place, reward, terminated, truncated, info = move(move_key, state.place, action, params)
    ended = terminated | truncated
    following = info.get("last", place.site)  # not where the next episode begins
    item = Transition(site, action, reward, following, terminated, ended)
    state = state._replace(
        memory=replay.remember(state.memory, item),
        place=place,
        episodes=state.episodes + ended,
        reached=state.reached + terminated,
        visits=state.visits.at[following].add(1),
        step=state.step + 1,
    )
    info = {"reward": reward, "terminated": terminated, "ended": ended}
    if config.replay == "never":
        return state, info | {"loss": jnp.float32(0)}
    net, opt_state, value = learn(learn_key, state, config, params)
    if config.n_step > 1:  # nothing is learnt before there are n transitions
        ready, before = state.memory.added >= config.n_step, (state.params, state.opt_state)
        net, opt_state = jax.tree.map(
            lambda new, old: jnp.where(ready, new, old), (net, opt_state), before
        )
    return state._replace(params=net, opt_state=opt_state), info | {"loss": value}


def greedy(config: Config, net: model.Params, params: Params) -> Greedy:
    """Follows the policy without exploration, from everywhere."""
    maze, size = params.maze, params.maze.exits.size
    values = q_values(config, net, jnp.arange(size))
    policy = mazes.best_moves(maze, values)
    to = jnp.take_along_axis(mazes.neighbours(maze.exits), policy[:, None], 1)[:, 0]
    to = jnp.where(jnp.arange(size) == maze.goal, maze.goal, to)
    # From every site at once: after n rounds `to` is where 2^n steps lead.
    for _ in range(size.bit_length()):
        to = to[to]
    floor = maze.exits.reshape(-1) != 0
    home = (floor & (to == maze.goal)).sum() / floor.sum()
    return Greedy(values, environment.walk(maze, policy), home)


def greedy_all(config: Config, nets: model.Params, params: Params) -> Greedy:
    """The greedy policies of several agents; each leaf has a leading axis M."""
    return jax.vmap(functools.partial(greedy, config))(nets, params)


@functools.cache
def _epoch(config: Config, count: int) -> Callable[..., Any]:
    """`run_epoch`, compiled once for each configuration in a process."""
    # Donated: the agents' memories need not be held twice.
    shapes = jax.eval_shape(lambda: make_agents(config, count))
    return device.compile(lambda a, p: run_epoch(a, config, p), *shapes, donate_argnums=0)


def run_epoch(
    agents: State, config: Config, params: Params
) -> tuple[State, dict[str, jax.Array], Greedy]:
    """`config.epoch_steps` steps of all agents [M], in one scan.

    Returns:
      The agents; of these steps the means of `loss` and `reward`, and how many episodes `ended` and
      `terminated` at the goal, each [M]; and the agents' `greedy` policies.
    """
    one = len(agents.step) == 1  # without the leading axis a step is faster
    own, state = jax.tree.map(lambda a: a[0], (params, agents)) if one else (params, agents)
    move = functools.partial(step, config=config)
    move = move if one else jax.vmap(move)

    def period(state: State, _: None) -> tuple[State, dict[str, jax.Array]]:
        state, info = jax.lax.scan(
            lambda s, _: move(s, params=own), state, length=config.target_every
        )
        return state._replace(target=state.params), info  # no test of the number at each step

    state, info = jax.lax.scan(period, state, length=config.epoch_steps // config.target_every)
    agents = jax.tree.map(lambda a: a[None], state) if one else state
    info = {name: a.reshape(config.epoch_steps, -1) for name, a in info.items()}
    totals = {name: info[name].mean(0) for name in ("loss", "reward")}
    totals |= {name: info[name].sum(0) for name in ("ended", "terminated")}
    return agents, totals, jax.vmap(functools.partial(greedy, config))(agents.params, params)


def iterate(config: Config, run: Run, *_: Any) -> Iterator[fit.Progress[Run]]:
    """Goes on with a run, which stays valid, to its end and reports after each epoch.

    The metrics are means over the agents: `loss`, `reward` per step, `at_goal` (share of the
    episodes that ended there), `solved` (share of the agents whose greedy policy reaches the goal)
    and `tiles_solved` (share of the floor from which it does). All agents train on one device, in
    the mazes of the configuration: data, test and mesh, which other loops take, are not used.

    Raises:
      DataError: the run has another number of agents.
      FinishedError: the run has all epochs behind it.
      NonFiniteError: the loss is infinite or not a number.
    """
    count, params = len(run.lengths), make_mazes(config)
    if count != (asked := config.mazes * config.agents):
        raise DataError(f"the run has {count} agents, and the configuration asks for {asked}")

    def epoch(compiled: Callable[..., Any], run: Run) -> tuple[Run, dict[str, jax.Array]]:
        number = int(run.step) // config.epoch_steps
        agents, totals, tried = compiled(run.agents, params)
        lengths = run.lengths.at[:, number].set(tried.walk.length)
        home = run.home.at[:, number].set(tried.home)
        metrics = {
            "loss": totals["loss"],
            "reward": totals["reward"],
            "at_goal": totals["terminated"].sum() / jnp.maximum(totals["ended"].sum(), 1),
            "solved": tried.walk.length > 0,
            "tiles_solved": tried.home,
        }
        return Run(agents, lengths, home, run.step + config.epoch_steps), metrics

    def prepare() -> loop.Epoch:
        return functools.partial(epoch, _epoch(config, count))

    advice = ", or rewards of 1 instead of 100 (--rewards modern)" * (config.rewards == "book")
    yield from loop.iterate(config, _widen(run, config.epochs), prepare, count, advice)
