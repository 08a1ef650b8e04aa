"""An agent: what a step does, that it learns, that a resumed run equals an unbroken one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch07_dqn import environment
from zoo.ch07_dqn import maze as mazes
from zoo.ch07_dqn.agent import model, task
from zoo.ch07_dqn.agent.train import (
    iterate,
    make_agents,
    make_mazes,
    q_values,
    run_epoch,
    start,
    step,
)
from zoo.common import fit
from zoo.common.data import DataError

TINY = dataclasses.replace(
    model.RECIPES["modern"],
    rows=2,
    columns=3,
    mazes=3,
    limit=40,
    discount=0.9,
    capacity=300,
    target_every=50,
    learning_rate=2e-3,
    epochs=4,
    epoch_steps=1000,
)


PERIOD = dataclasses.replace(TINY, epoch_steps=TINY.target_every)


def follow(reports):
    rows = []
    for report in reports:
        rows.append(report.metrics)
    return report.state, rows


@pytest.fixture(scope="module")
def begun():
    """A run before its first step."""
    return start(TINY)


@pytest.fixture(scope="module")
def trained():
    return *task.TASK.train(TINY, {}, follow=follow), make_mazes(TINY)


def test_small_mazes_are_solved_by_the_shortest_way(trained):
    run, rows, params = trained
    assert rows[-1]["solved"] == 1.0
    assert run.lengths.shape == (3, 4)
    shortest = [mazes.solve(jax.tree.map(lambda a, n=n: a[n], params.maze)) for n in range(3)]
    expected = [int(d.reshape(-1)[s]) for d, s in zip(shortest, params.maze.start, strict=True)]
    assert run.lengths[:, -1].tolist() == expected
    assert (run.home[:, -1] == 1.0).all()


def test_values_come_near_those_of_value_iteration(trained):
    run, _, params = trained
    for n in range(3):
        agent, own = jax.tree.map(lambda a, n=n: a[n], (run.agents.params, params))
        best = environment.optimal_values(own, TINY.discount)
        legal = mazes.legal(own.maze.exits.reshape(-1))
        found = q_values(TINY, agent, jnp.arange(len(best)))
        floor = np.asarray(legal).any(-1)
        floor[int(own.maze.goal)] = False
        error = np.where(legal, np.abs(found - best), 0.0)[floor]
        assert error.mean() < 0.15


def test_a_resumed_run_equals_an_unbroken_one(trained):
    run, _, _ = trained
    reports = iterate(TINY, start(TINY))
    next(reports)
    middle = next(reports).state
    resumed, rows = follow(iterate(TINY, middle))
    assert len(rows) == 2
    for a, b in zip(*map(jax.tree.leaves, (run, resumed)), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.array_equal(a, b)


@pytest.fixture(scope="module")
def after_a_period():
    """The state of one agent before and after one period of the target network."""
    agents, params = make_agents(PERIOD, 1)
    return agents, jax.jit(lambda a, p: run_epoch(a, PERIOD, p)[0])(agents, params), params


def test_one_agent_alone_equals_itself_among_others(after_a_period):
    _, alone, _ = after_a_period
    agents, params = make_agents(PERIOD, 3)
    together = jax.jit(lambda a, p: run_epoch(a, PERIOD, p)[0])(agents, params)
    assert alone.place.site[0] == together.place.site[0]
    assert np.array_equal(alone.visits[0], together.visits[0])
    for a, b in zip(*map(jax.tree.leaves, (alone.params, together.params)), strict=True):
        np.testing.assert_allclose(a[0], b[0], atol=1e-4)


def test_memory_holds_what_happened(after_a_period):
    _, after, params = after_a_period
    memory = jax.tree.map(lambda a: np.asarray(a[0]), after.memory)
    items, count = memory.items, int(memory.added)
    assert count == TINY.target_every == int(after.step[0])
    to = np.asarray(mazes.neighbours(params.maze.exits[0]))
    assert np.array_equal(to[items.site[:count], items.action[:count]], items.following[:count])
    goes_on = ~items.ended[: count - 1]
    assert np.array_equal(items.site[1:count][goes_on], items.following[: count - 1][goes_on])
    assert items.terminated.sum() == after.reached[0]
    assert items.ended.sum() == after.episodes[0] > 0
    assert np.array_equal(np.bincount(items.following[:count], minlength=len(to)), after.visits[0])


def test_the_target_network_stands_still_between_two_copies(after_a_period):
    before, after, params = after_a_period
    own, first = jax.tree.map(lambda a: a[0], (params, after))
    moved, _ = jax.jit(lambda s: step(s, TINY, own))(first)
    for new, old in zip(*map(jax.tree.leaves, (after.target, before.target)), strict=True):
        assert not np.array_equal(new, old)
    for name, same in (("target", True), ("params", False)):
        pairs = zip(*map(jax.tree.leaves, (getattr(moved, name), first.params)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs) is same


SHORT = dataclasses.replace(
    TINY,
    rows=1,
    mazes=2,
    limit=7,
    capacity=12,
    batch_size=8,
    target_every=4,
    learning_rate=1e-2,
    epochs=2,
    epoch_steps=20,
)


@pytest.fixture(scope="module")
def by_hand():
    """Steps one by one: the states after each of two epochs, and what the steps gave."""
    run, params = start(SHORT), make_mazes(SHORT)
    one = jax.jit(jax.vmap(lambda state, own: step(state, SHORT, own)))
    state, states, infos = run.agents, [], []
    for number in range(1, 41):
        state, info = one(state, params)
        if number % 4 == 0:
            state = state._replace(target=state.params)
        infos.append(info)
        if number % 20 == 0:
            states.append(state)
    infos = jax.tree.map(lambda *parts: np.stack(parts).reshape(2, 20, 2), *infos)
    return states, infos, params


@pytest.fixture(scope="module")
def reports():
    return list(iterate(SHORT, start(SHORT)))


def test_an_epoch_equals_its_steps_with_a_copy_after_every_fourth(by_hand, reports):
    for state, report in zip(by_hand[0], reports, strict=True):
        agents = report.state.agents
        for name in ("params", "target"):
            pairs = zip(*map(jax.tree.leaves, (getattr(agents, name), state.params)), strict=True)
            for a, b in pairs:
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        assert np.array_equal(agents.memory.items.site, state.memory.items.site)
        assert np.array_equal(agents.visits, state.visits)


def test_metrics_by_hand(by_hand, reports):
    states, infos, params = by_hand
    for epoch, report in enumerate(reports):
        found, own = report.metrics, jax.tree.map(lambda a, e=epoch: a[e], infos)
        np.testing.assert_allclose(found["loss"], own["loss"].mean(), rtol=1e-3)
        np.testing.assert_allclose(found["reward"], own["reward"].mean(), rtol=1e-6)
        share = own["terminated"].sum() / own["ended"].sum()
        assert 0 < share < 1
        np.testing.assert_allclose(found["at_goal"], share, rtol=1e-6)
        lengths, home = zip(
            *(greedy_by_hand(states[epoch], params, agent) for agent in (0, 1)), strict=True
        )
        assert report.state.lengths[:, epoch].tolist() == list(lengths)
        np.testing.assert_allclose(report.state.home[:, epoch], home, rtol=1e-6)
        assert found["solved"] == np.mean(np.array(lengths) > 0)
        np.testing.assert_allclose(found["tiles_solved"], np.mean(home), rtol=1e-6)
    assert reports[0].state.lengths[:, 1].tolist() == [-2, -2]
    assert [report.steps for report in reports] == [40, 40]


def greedy_by_hand(state, params, agent):
    """The length of the greedy way from the entrance, and the share of the floor that gets home."""
    net, maze = jax.tree.map(lambda a: np.asarray(a[agent]), (state.params, params.maze))
    values = np.asarray(model.apply(net, jnp.arange(maze.exits.size)))
    to, legal = np.asarray(mazes.neighbours(maze.exits)), mazes.legal(maze.exits.reshape(-1))
    policy = np.where(legal, values, -np.inf).argmax(-1)

    def length(site):
        for count in range(maze.exits.size):
            if site == maze.goal:
                return count
            site = to[site, policy[site]]
        return -1

    floor = np.flatnonzero(maze.exits)
    return length(maze.start), np.mean([length(site) >= 0 for site in floor])


def test_a_finished_run_goes_on_with_more_epochs(reports):
    """It equals a run that was so long from the beginning, the lengths of its ways with it."""
    first = task.TASK.train(dataclasses.replace(SHORT, epochs=1), {})
    assert first.lengths.shape == (2, 1)
    whole = task.TASK.train(SHORT, {}, state=first)
    expected = reports[-1].state
    assert np.array_equal(whole.lengths, expected.lengths)
    assert np.array_equal(whole.home, expected.home)
    assert np.array_equal(whole.agents.visits, expected.agents.visits)


def test_as_printed_the_goal_is_out_of_reach_and_nothing_is_learnt():
    config = dataclasses.replace(model.RECIPES["book"], mazes=1, epochs=1, epoch_steps=300)
    run, rows = follow(iterate(config, start(config)))
    params = make_mazes(config)
    assert (jax.vmap(mazes.solve)(params.maze).reshape(1, -1)[:, 1] == -1).all()
    sites = run.agents.visits.reshape(1, 11, 21)
    assert (sites[:, :, 11:] == 0).all()
    assert sites.sum() == 300
    assert rows[0]["solved"] == 0.0
    before = start(config).agents.params
    for a, b in zip(*map(jax.tree.leaves, (run.agents.params, before)), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_step": 3, "double": False, "loss": "squared", "solver": "adam"},
        {"rewards": "book", "network": "coordinates", "replay": "first", "crossed_cost": True},
        {"legal_moves": False, "spread": False, "extra": 0.2, "method": "prim"},
    ],
)
def test_with_other_options_too_a_step_gives_a_state_of_the_same_form(changes):
    config = dataclasses.replace(TINY, **changes)

    def both():
        agents, params = make_agents(config, 1)
        agent, own = jax.tree.map(lambda a: a[0], (agents, params))
        return agent, *step(agent, config, own)

    before, after, info = jax.eval_shape(both)
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)
    assert all(
        a.dtype == b.dtype for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)
    )
    assert info["loss"].shape == ()


def test_a_loss_that_is_not_finite_stops_the_run():
    run = start(TINY)
    broken = jax.tree.map(lambda a: a * jnp.nan, run.agents.params)
    run = run._replace(agents=run.agents._replace(params=broken))
    with pytest.raises(fit.NonFiniteError, match="smaller --learning-rate"):
        next(iterate(TINY, run))


def test_a_last_update_that_is_not_finite_stops_the_run():
    """The loss of the only step is finite: only a next one would see what the update made."""
    config = dataclasses.replace(SHORT, epoch_steps=1, target_every=1, learning_rate=3e38)
    with pytest.raises(fit.NonFiniteError, match=r"the loss is [\d.]+ in epoch 1, or an update"):
        next(iterate(config, start(config)))


def test_a_state_of_other_agents_is_refused(begun):
    with pytest.raises(DataError, match="the run has 3 agents, and the configuration asks for 6"):
        task.TASK.train(dataclasses.replace(TINY, agents=2), {}, state=begun)


def test_a_state_with_all_epochs_behind_it_is_refused(trained):
    with pytest.raises(fit.FinishedError, match="at step 4000, and 4 epochs of 1000 steps"):
        task.TASK.train(TINY, {}, state=trained[0])
