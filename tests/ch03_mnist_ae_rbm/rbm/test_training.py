import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.ch03_mnist_ae_rbm.rbm import model, ratings, training
from zoo.ch03_mnist_ae_rbm.rbm.task import TASK, predict, sized
from zoo.common import fit, keys
from zoo.common.data import digest, movielens


@pytest.fixture(scope="module")
def table():
    """A few of the sample's users and movies, so that compiling takes longer than training."""
    whole = ratings.make_table(movielens.load("ml-100k", "sample"))
    return whole._replace(
        train=whole.train[:60, :40],
        test=whole.test[:60, :40],
        users=whole.users[:60],
        movies=whole.movies[:40],
    )


SMALL = {"hidden": 8, "epochs": 3, "steps": (1, 2), "batch_size": 20}


@pytest.fixture
def config(table):
    return sized(dataclasses.replace(model.RECIPES["modern"], **SMALL), table.train)


def test_two_tastes_are_learnt():
    """Half of the users love what the others hate; a machine that saw four ratings knows whose."""
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 2, 80)
    kind = np.arange(12) % 2
    full = np.where(taste[:, None] == kind, 5, 1).astype(np.uint8)
    rating = full * (rng.random(full.shape) < 0.6)
    config = dataclasses.replace(
        model.RECIPES["modern"],
        hidden=4,
        epochs=60,
        steps=(1,),
        batch_size=20,
        learning_rate=0.2,
        scale=0.1,
    )
    config = sized(config, rating)
    state = TASK.train(config, {"rating": rating})
    new = np.zeros((2, 12), np.uint8)
    new[0, :4], new[1, :4] = [5, 1, 5, 1], [1, 5, 1, 5]
    predicted = model.apply(state.params, new)[:, 4:]
    np.testing.assert_allclose(predicted, np.where(kind[4:] == [[0], [1]], 5, 1), atol=0.7)


def test_no_test_rating_reaches_the_machine(table, config):
    """Other test ratings: the same parameters and predictions to the bit."""
    config = dataclasses.replace(config, steps=(1,), epochs=2)
    other = np.where(table.test > 0, 6 - table.test, 0).astype(np.uint8)
    trained, measured = [], []
    for test in (table.test, other):
        data, rows = {"rating": table.train}, []

        def follow(reports, rows=rows):
            for report in reports:
                rows.extend([report.metrics] if report.metrics else [])
            return report.state

        params = TASK.train(config, data, data | {"target": test}, follow=follow).params
        expected = predict(config, params, table.train)
        trained.append([*jax.tree.leaves(params), expected])
        # And what is measured is the error of those predictions.
        measured.append(np.sqrt(rows[-1]["test_squared_error"]))
        np.testing.assert_allclose(measured[-1], ratings.rmse(expected, test), rtol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(*trained, strict=True))
    assert measured[0] != measured[1]


def test_the_measured_hit_rate_is_that_of_the_ranking(getkey):
    rng = np.random.default_rng(4)
    seen = (rng.random((30, 50)) < 0.2).astype(np.uint8)
    config = model.Config(units="binary", visible=50, hidden=5, scale=1.0)
    params = model.init(getkey(), config)
    held = rng.integers(0, 50, 30).astype(np.int32)
    negative = rng.integers(0, 50, (30, 20)).astype(np.int32)
    batch = {"rating": seen, "held": held, "negative": negative}
    value, metrics = training.hit_rate(params, batch)
    expected = predict(config, params, seen)
    found = ratings.leave_one_out(expected, ratings.Candidates(held, negative))
    np.testing.assert_allclose(metrics["hit_rate"], found["hit_rate"], atol=1e-6)
    own = expected[np.arange(30), held]
    np.testing.assert_allclose(value, -np.log(own).mean(), rtol=1e-5)


def test_first_visible_biases_are_smoothed_log_frequencies():
    rating = np.array([[5, 0, 1], [5, 2, 0], [4, 0, 0], [5, 0, 0]])
    bias = np.asarray(training.log_frequencies(jnp.asarray(rating), 5, 2.0), np.float64)
    frequencies = np.exp(bias) / np.exp(bias).sum(0)
    counts = np.array([[(rating[:, f] == k).sum() for f in range(3)] for k in range(1, 6)])
    overall = (counts.sum(1) + 1) / (counts.sum() + 5)
    expected = (counts + 2 * overall[:, None]) / (counts.sum(0) + 2)
    np.testing.assert_allclose(frequencies, expected, rtol=1e-5)
    binary = np.asarray(training.log_frequencies(jnp.asarray(rating == 5), 1, 2.0), np.float64)
    overall = (3 + 1) / (12 + 2)
    expected = (np.array([3, 0, 0]) + 2 * overall) / (4 + 2)
    np.testing.assert_allclose(1 / (1 + np.exp(-binary[0])), expected, rtol=1e-5)


def test_k_grows_in_equal_parts_of_the_run():
    config = model.Config(steps=(1, 3, 5), epochs=60)
    assert training.stages(config) == [(1, 20), (3, 40), (5, 60)]
    assert training.stages(model.Config(steps=(1, 3), epochs=1))[-1] == (3, 1)


def test_a_run_broken_off_in_its_second_stage_goes_on_to_the_same_bits(table, config):
    data, kept = {"rating": table.train}, []

    def keep(reports):
        for report in reports:
            if int(report.state.step) == 4:  # of 9; the first stage ends at 3
                kept.append(jax.tree.map(jnp.copy, report.state))
        return report.state

    whole = TASK.train(config, data, follow=keep)
    assert int(whole.step) == 9
    resumed = TASK.train(config, data, state=kept[0])
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(fit.FinishedError):
        TASK.train(config, data, state=whole)


def test_weight_decay_and_momentum_are_as_they_say():
    config = model.Config(learning_rate=0.5, final_rate=1.0, momentum=0.9, weight_decay=0.1)
    optimizer = training.optimizer(config, 10)
    params = {"kernel": jnp.array([2.0]), "rated_kernel": jnp.array([1.0])}
    params["visible_bias"] = params["hidden_bias"] = jnp.array([3.0])
    zero = jax.tree.map(jnp.zeros_like, params)
    state = optimizer.init(params)
    updates, state = optimizer.update(zero, state, params)
    np.testing.assert_allclose(updates["kernel"], [-0.5 * 0.1 * 2.0], rtol=1e-6)
    np.testing.assert_allclose(updates["rated_kernel"], [-0.5 * 0.1 * 1.0], rtol=1e-6)
    np.testing.assert_array_equal(updates["visible_bias"], [0.0])
    moved = optax.apply_updates(params, updates)
    again, _ = optimizer.update(zero, state, moved)
    velocity = 0.9 * 0.2 + 0.1 * float(moved["kernel"][0])
    np.testing.assert_allclose(again["kernel"], [-0.5 * velocity], rtol=1e-5)


def test_the_learning_rate_falls_to_its_share():
    config = model.Config(learning_rate=0.5, final_rate=0.1, momentum=0.0, weight_decay=0.0)
    optimizer = training.optimizer(config, 10)
    params = {"hidden_bias": jnp.zeros(1)}
    state, sizes = optimizer.init(params), []
    for _ in range(11):
        updates, state = optimizer.update({"hidden_bias": jnp.ones(1)}, state, params)
        sizes.append(-float(updates["hidden_bias"][0]))
    np.testing.assert_allclose([sizes[0], sizes[10]], [0.5, 0.05], rtol=1e-5)


def by_hand(config, rating, ks):
    """A run in a plain loop, with CD-k of the `ks` by epoch and the solver's own arithmetic."""
    data = {"rating": jnp.asarray(rating)}
    state = TASK.begin(config, data)

    @functools.partial(jax.jit, static_argnames="k")
    def gradient(w, rows, key, k):
        def loss(w):
            batch = {"rating": data["rating"][rows]}
            return model.loss(w, batch, key, k=k, sampled_bias=config.sampled_bias)[0]

        return jax.grad(loss)(w)

    w, velocity = state.params, jax.tree.map(jnp.zeros_like, state.params)
    steps, done = len(rating) // config.batch_size, 0
    for epoch, k in enumerate(ks):
        order = fit.order(state, epoch, len(rating))
        for n in range(steps):
            rows = order[n * config.batch_size : (n + 1) * config.batch_size]
            key = keys.derive(state.key, "step", done)
            grads = gradient(w, rows, key, k)
            share = done / (config.epochs * steps)
            rate = config.learning_rate * (1 + share * (config.final_rate - 1))
            for name in w:
                decay = config.weight_decay * w[name] * name.endswith("kernel")
                velocity[name] = config.momentum * velocity[name] + grads[name] + decay
            w = {name: w[name] - rate * velocity[name] for name in w}
            done += 1
    return w


@pytest.mark.parametrize(
    ("change", "ks"),
    [
        ({"steps": (1, 4), "epochs": 4}, (1, 1, 4, 4)),
        ({"steps": (1, 3, 5), "epochs": 2}, (3, 5)),  # fewer epochs than stages: the last ones
        ({"steps": (3,), "epochs": 1, "sampled_bias": True}, (3,)),
    ],
    ids=str,
)
def test_a_run_is_its_loop_by_hand(change, ks, table, config):
    change |= {"final_rate": 0.3, "momentum": 0.7, "weight_decay": 0.2, "learning_rate": 0.4}
    config = dataclasses.replace(config, hidden=4, scale=0.5, **change)
    found = TASK.train(config, {"rating": table.train}).params
    for name, value in by_hand(config, table.train, ks).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_run_begins_with_the_frequencies_of_what_its_units_take(table):
    config = dataclasses.replace(model.RECIPES["ranking"], liked=4, prior=3.0, batch_size=20)
    data = {"rating": table.train}
    begun = TASK.begin(sized(config, table.train), data).params
    liked = (table.train >= 4).sum(0)
    overall = (liked.sum() + 1) / (table.train.size + 2)
    share = (liked + 3 * overall) / (len(table.train) + 3)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-np.asarray(begun["visible_bias"][0]))), share, rtol=1e-4
    )
    plain = dataclasses.replace(config, prior=0.0)
    begun = TASK.begin(sized(plain, table.train), data).params
    assert not begun["visible_bias"].any()


@pytest.mark.parametrize(("negatives", "hit"), [(9, 1.0), (10, 0.0)])
def test_of_equal_scores_the_held_out_movie_comes_last(negatives, hit):
    params = model.init(jax.random.key(0), model.Config(units="binary", visible=30, hidden=2))
    params = jax.tree.map(jnp.zeros_like, params)
    negative = jnp.arange(negatives)[None] + 1
    batch = {"rating": jnp.zeros((1, 30), jnp.uint8), "held": jnp.array([0])}
    hit_rate = jax.jit(training.hit_rate)
    value, metrics = hit_rate(params, batch | {"negative": negative})
    assert metrics["hit_rate"] == hit
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    # A negative that is the held-out movie itself does not push it down.
    negative = jnp.concatenate([negative[:, :9], jnp.zeros((1, 3), int)], axis=1)
    assert hit_rate(params, batch | {"negative": negative})[1]["hit_rate"] == 1


def test_a_data_set_holds_what_the_test_needs():
    data = movielens.load("ml-100k", "sample")
    found = ratings.read(model.RECIPES["item"], data)
    np.testing.assert_array_equal(found.train["rating"], found.table.train.T)
    np.testing.assert_array_equal(found.test["target"], found.table.test.T)
    np.testing.assert_array_equal(found.test["rating"], found.table.train.T)
    assert digest(found) == digest(data)
    binary = dataclasses.replace(model.RECIPES["modern"], units="binary")
    assert ratings.read(binary, data).test == {}
    ranked = ratings.read(binary, movielens.load("ml-1m", "sample", None, "leave-one-out"))
    assert set(ranked.test) == {"rating", "held", "negative"}


def test_the_losses_of_a_test_follow_what_is_held_out(getkey):
    config = model.Config(visible=6, hidden=3)
    params = model.init(getkey(), config)
    rating = np.array([[5, 0, 3, 1, 0, 2], [0, 0, 0, 0, 0, 4]], np.uint8)
    target = np.array([[0, 2, 0, 0, 4, 0], [1, 0, 0, 0, 0, 0]], np.uint8)
    whole, metrics = training.held_out(params, {"rating": rating, "target": target})
    assert metrics["weight"] == 3
    expected = np.asarray(model.apply(params, rating))
    np.testing.assert_allclose(whole, ((expected - target)[target > 0] ** 2).mean(), rtol=1e-5)
    assert "squared_error" in training.held_out(params, {"rating": rating})[1]
