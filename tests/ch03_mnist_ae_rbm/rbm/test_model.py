"""The Boltzmann machine against brute force: all states of tiny machines, in float64 NumPy."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch03_mnist_ae_rbm.rbm import model as rbm

# Values K, units V, hidden units H; and which units take part where all states are counted.
MACHINES = {"binary": (1, 4, 3), "softmax": (3, 4, 2)}
RATED = {"binary": [1.0, 1, 1, 1], "softmax": [1.0, 0, 1, 1]}


@pytest.fixture(params=MACHINES, scope="module")
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def params(kind):
    values, units, hidden = MACHINES[kind]
    rng = np.random.default_rng(5)
    shapes = {"kernel": (values, units, hidden), "visible_bias": (values, units)}
    shapes["hidden_bias"] = (hidden,)
    if kind == "softmax":
        shapes["rated_kernel"] = (units, hidden)
    return {k: jnp.asarray(rng.normal(0, 1.2, s), jnp.float32) for k, s in shapes.items()}


@pytest.fixture(scope="module")
def rated(kind):
    return np.array(RATED[kind], np.float32)


@pytest.fixture(scope="module")
def ratings(kind):
    """Some data: one unit of the softmax machine is never rated, others now and then."""
    rows = {
        "binary": [[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1]],
        "softmax": [[1, 0, 3, 2], [3, 0, 1, 1], [0, 0, 2, 3], [2, 0, 0, 0]],
    }
    return np.array(rows[kind], np.uint8)


def states(kind):
    """All (visible [K, V], hidden [H]) of a machine."""
    values, units, hidden = MACHINES[kind]
    for choice in itertools.product(range(values + (values == 1)), repeat=units):
        visible = np.zeros((values, units))
        for unit, value in enumerate(choice):
            if kind == "binary":
                visible[0, unit] = value
            elif RATED[kind][unit]:
                visible[value, unit] = 1
            elif value:
                break  # a unit that takes no part has no values
        else:
            for bits in itertools.product((0.0, 1.0), repeat=hidden):
                yield visible, np.array(bits)


def textbook_energy(params, visible, hidden, rated):
    """The definition, term by term, of one state."""
    p = {name: np.asarray(a, np.float64) for name, a in params.items()}
    total = 0.0
    for j in range(len(hidden)):
        total -= p["hidden_bias"][j] * hidden[j]
        for i in range(visible.shape[1]):
            if "rated_kernel" in p:
                total -= rated[i] * p["rated_kernel"][i, j] * hidden[j]
            for k in range(visible.shape[0]):
                total -= visible[k, i] * p["kernel"][k, i, j] * hidden[j]
    return total - (p["visible_bias"] * visible).sum()


@pytest.fixture(scope="module")
def table(kind, params, rated):
    """Every state with its probability: visible [S, K, V], hidden [S, H], p [S], log Z."""
    pairs = list(states(kind))
    energies = np.array([textbook_energy(params, v, h, rated) for v, h in pairs])
    log_z = np.logaddexp.reduce(-energies)
    visible, hidden = (np.array(part, np.float32) for part in zip(*pairs, strict=True))
    return visible, hidden, np.exp(-energies - log_z), log_z


def chain(params, visible, rated, key, k):
    """p(h | data), a sample of it, and the visible units k steps of Gibbs sampling later."""
    up_key, chain_key = jax.random.split(key)
    probabilities = rbm.hidden_given_visible(params, visible, rated)
    hidden = rbm.sample_hidden(up_key, probabilities)
    return probabilities, hidden, rbm.gibbs(params, hidden, rated, chain_key, k)


def contrastive_divergence(params, batch, key, k=1, sampled_bias=False):
    """The CD-k gradient by its definition: statistics of the chain's end minus the data's."""
    data, rated = rbm.encode(batch["rating"], params["kernel"].shape[0])
    data_hidden, sample, model = chain(params, data, rated, key, k)
    model_hidden = rbm.hidden_given_visible(params, model, rated)

    def outer(visible, hidden):
        return jnp.einsum("bkv,bh->kvh", visible, hidden) / len(data)

    grads = {
        "kernel": outer(model, model_hidden) - outer(data, data_hidden),
        "visible_bias": (model - data).mean(0),
        "hidden_bias": (model_hidden - (sample if sampled_bias else data_hidden)).mean(0),
    }
    if "rated_kernel" in params:
        grads["rated_kernel"] = rated.T @ (model_hidden - data_hidden) / len(data)
    return grads


def rows_of(rated, count):
    return jnp.broadcast_to(rated, (count, len(rated)))


def visible_states(table):
    """The distinct visible states [N, K, V] and p(v) [N], in a fixed order."""
    flat = table[0].reshape(len(table[0]), -1)
    distinct, inverse = np.unique(flat, axis=0, return_inverse=True)
    return distinct.reshape(-1, *table[0].shape[1:]), np.bincount(inverse.ravel(), table[2])


def test_free_energy_sums_over_the_hidden_states(table, params, rated):
    distinct, p = visible_states(table)
    free = rbm.free_energy(params, distinct, rows_of(rated, len(distinct)))
    np.testing.assert_allclose(free, -np.log(p) - table[3], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.nn.logsumexp(-free), table[3], rtol=1e-6)


def test_conditionals_are_those_of_the_joint_distribution(table, params, rated):
    visible, hidden, p, _ = table
    all_rated = rows_of(rated, len(p))
    up = rbm.hidden_given_visible(params, visible, all_rated)
    down = rbm.visible_given_hidden(params, hidden, all_rated)
    for n in range(len(p)):
        same_v = (visible == visible[n]).all((1, 2))
        same_h = (hidden == hidden[n]).all(1)
        np.testing.assert_allclose(up[n], p[same_v] @ hidden[same_v] / p[same_v].sum(), atol=1e-5)
        expected = np.tensordot(p[same_h], visible[same_h], 1) / p[same_h].sum()
        np.testing.assert_allclose(down[n], expected, atol=1e-5)


def test_marginals_of_all_units_are_those_of_the_joint_distribution(table, params, rated):
    distinct, _ = visible_states(table)
    weights = jax.nn.softmax(-rbm.free_energy(params, distinct, rows_of(rated, len(distinct))))
    hidden = weights @ rbm.hidden_given_visible(params, distinct, rows_of(rated, len(distinct)))
    np.testing.assert_allclose(hidden, table[2] @ table[1], atol=1e-5)
    visible = jnp.tensordot(weights, distinct, 1)
    np.testing.assert_allclose(visible, np.tensordot(table[2], table[0], 1), atol=1e-5)


def test_a_step_of_gibbs_sampling_leaves_the_distribution_as_it_is(table, params, rated):
    """Exactly: sum_v p(v) sum_h p(h|v) p(v'|h) = p(v')."""
    distinct, p = visible_states(table)
    hidden = np.unique(table[1], axis=0)
    up = np.asarray(rbm.hidden_given_visible(params, distinct, rows_of(rated, len(p))))
    down = np.asarray(rbm.visible_given_hidden(params, hidden, rows_of(rated, len(hidden))))
    to_hidden = np.prod(np.where(hidden == 1, up[:, None], 1 - up[:, None]), axis=-1)
    of_visible = np.where(distinct == 1, down[:, None], 1 - down[:, None])
    if distinct.shape[1] > 1:  # one-hot: the product over the values that are taken
        of_visible = np.where(distinct == 1, down[:, None], 1.0)
    to_visible = np.prod(of_visible, axis=(-2, -1))
    np.testing.assert_allclose(to_visible.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(p @ to_hidden @ to_visible, p, atol=1e-6)


CHAINS = 20_000


@pytest.fixture(scope="module")
def far(params, rated):
    """Visible units of many chains, 50 steps away from hidden units that are all 0."""
    start = jnp.zeros((CHAINS, params["hidden_bias"].size))
    chain = jax.jit(rbm.gibbs, static_argnames="k")
    return chain(params, start, rows_of(rated, CHAINS), jax.random.key(9), k=50)


def test_chains_come_to_the_stationary_distribution(table, far):
    distinct, p = visible_states(table)
    found = (np.asarray(far)[:, None] == distinct).all((2, 3))
    assert (found.sum(1) == 1).all()  # no chain is in an impossible state
    z = (found.mean(0) - p) / np.sqrt(p * (1 - p) / CHAINS)
    assert np.abs(z).max() < 4


def textbook_chain(params, rating, k):
    """k steps of mean field from p(h | data): the end, in float64, [B, K, V]."""
    p = {name: np.asarray(a, np.float64) for name, a in params.items()}
    values = len(p["kernel"])
    data, rated = (np.asarray(a, np.float64) for a in rbm.encode(rating, values))

    def up(visible):
        inputs = p["hidden_bias"] + np.einsum("bkv,kvh->bh", visible, p["kernel"])
        inputs += rated @ p["rated_kernel"] if "rated_kernel" in p else 0.0
        return 1 / (1 + np.exp(-inputs))

    def down(hidden):
        inputs = np.einsum("bh,kvh->bkv", hidden, p["kernel"]) + p["visible_bias"]
        odds = np.exp(inputs)
        return odds / ((1 + odds) if values == 1 else odds.sum(1, keepdims=True)) * rated[:, None]

    visible = data
    for _ in range(k):
        visible = down(up(visible))
    return data, rated, visible


@pytest.fixture(scope="module")
def slow(params):
    """A machine whose chains take several steps to forget where they began."""
    return {name: a * (1.5 if name == "kernel" else 0.75) for name, a in params.items()}


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_chain_makes_k_steps_and_the_loss_and_error_are_of_its_end(k, slow, ratings):
    """Without a key it is mean field, so that a step more or less can be seen."""
    params = slow
    data, rated, end = textbook_chain(params, ratings, k)
    assert np.abs(end - textbook_chain(params, ratings, k + 1)[2]).max() > 1e-2
    value, metrics = rbm.loss(params, {"rating": jnp.asarray(ratings)}, k=k)
    free = [rbm.free_energy(params, jnp.asarray(v, jnp.float32), rated) for v in (data, end)]
    np.testing.assert_allclose(value, np.mean(free[0] - free[1]), rtol=1e-4, atol=1e-6)
    values = np.arange(1.0, data.shape[1] + 1)[:, None]
    error = ((((data - end) * values).sum(1)) ** 2).sum() / rated.sum()
    np.testing.assert_allclose(metrics["squared_error"], error, rtol=1e-4)


def test_sampled_chains_are_k_steps_from_their_start(table, slow, rated):
    """The distribution k steps away from hidden units of 0, by powers of the exact transition."""
    params = slow
    distinct, _ = visible_states(table)
    hidden = np.unique(table[1], axis=0)
    up = np.asarray(rbm.hidden_given_visible(params, distinct, rows_of(rated, len(distinct))))
    down = np.asarray(rbm.visible_given_hidden(params, hidden, rows_of(rated, len(hidden))))
    to_hidden = np.prod(np.where(hidden == 1, up[:, None], 1 - up[:, None]), axis=-1)
    absent = 1 - down[:, None] if distinct.shape[1] == 1 else 1.0
    to_visible = np.prod(np.where(distinct == 1, down[:, None], absent), axis=(-2, -1))
    after = [to_visible[0]]  # hidden[0] is all 0
    for _ in range(4):
        after.append(after[-1] @ to_hidden @ to_visible)
    chain = jax.jit(rbm.gibbs, static_argnames="k")
    start = jnp.zeros((CHAINS, params["hidden_bias"].size))
    for k in (1, 2, 3):
        end = chain(params, start, rows_of(rated, CHAINS), jax.random.key(k), k=k)
        share = (np.asarray(end)[:, None] == distinct).all((2, 3)).mean(0)
        distance = [np.abs(share - p).sum() for p in after]
        assert int(np.argmin(distance)) == k - 1
        deviation = np.sqrt(after[k - 1] * (1 - after[k - 1]) / CHAINS) + 1e-6
        assert np.abs((share - after[k - 1]) / deviation).max() < 4.5


def exact_gradient(table, params, data, rated, per_row):
    """Of the mean log-likelihood of data with the units `rated`: its expectations, enumerated."""
    visible, hidden, p, _ = table
    up = np.asarray(rbm.hidden_given_visible(params, data, per_row))
    gradient = {
        "kernel": np.einsum("bkv,bh->kvh", data, up) / len(data)
        - np.einsum("s,skv,sh->kvh", p, visible, hidden),
        "visible_bias": data.mean(0) - np.tensordot(p, visible, 1),
        "hidden_bias": up.mean(0) - p @ hidden,
    }
    if "rated_kernel" in params:
        gradient["rated_kernel"] = np.outer(rated, gradient["hidden_bias"])
    return gradient


@pytest.fixture(scope="module")
def complete(kind, ratings, rated):
    """Data in which exactly the units `rated` take part, so that one table serves all of them."""
    highest = ratings.max()
    filled = np.where(ratings == 0, highest, ratings) * (rated > 0)
    return (ratings if kind == "binary" else filled).astype(np.uint8)


def test_gradient_by_enumeration_is_that_of_the_log_likelihood(table, params, rated, complete):
    distinct, _ = visible_states(table)
    data, per_row = rbm.encode(complete, len(params["kernel"]))
    np.testing.assert_array_equal(per_row, rows_of(rated, len(complete)))

    def log_likelihood(params):
        free = rbm.free_energy(params, distinct, rows_of(rated, len(distinct)))
        return -rbm.free_energy(params, data, per_row).mean() - jax.nn.logsumexp(-free)

    by_jax = jax.grad(log_likelihood)(params)
    for name, value in exact_gradient(table, params, data, rated, per_row).items():
        np.testing.assert_allclose(by_jax[name], value, atol=2e-6, err_msg=name)


def test_contrastive_divergence_with_long_chains_is_the_likelihoods_gradient(
    table, params, rated, complete
):
    data, per_row = rbm.encode(complete, len(params["kernel"]))
    exact = exact_gradient(table, params, data, rated, per_row)
    many = {"rating": jnp.tile(complete, (CHAINS // len(complete), 1))}
    divergence = jax.jit(contrastive_divergence, static_argnames="k")
    # Each statistic of a chain lies in [0, 1], so its standard deviation is at most 1/2.
    tolerance = 4 * 0.5 / np.sqrt(CHAINS)
    distance = {}
    for k in (1, 50):
        grads = divergence(params, many, jax.random.key(3), k=k)
        distance[k] = max(np.abs(grads[name] + exact[name]).max() for name in exact)
    assert distance[50] < tolerance < distance[1]


@pytest.mark.parametrize("options", [{}, {"k": 3, "sampled_bias": True}], ids=str)
def test_loss_has_contrastive_divergence_as_its_gradient(options, params, ratings, getkey):
    key, batch = getkey(), {"rating": jnp.asarray(ratings)}
    loss, divergence = (functools.partial(f, **options) for f in (rbm.loss, contrastive_divergence))
    grads, metrics = jax.jit(jax.grad(loss, has_aux=True))(params, batch, key)
    expected = jax.jit(divergence)(params, batch, jax.random.clone(key))
    assert set(grads) == set(expected) == set(params)
    for name, value in expected.items():
        np.testing.assert_allclose(grads[name], value, atol=2e-7, err_msg=name)
    assert metrics["squared_error"] >= 0


def test_the_books_updates_are_as_printed(getkey):
    """The weights by p(h|v0) v0 - p(h|v1) v1, the hidden biases by *samples* minus means."""
    rng = np.random.default_rng(1)
    shapes = {"kernel": (1, 5, 3), "visible_bias": (1, 5), "hidden_bias": (3,)}
    params = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
    v0 = rng.integers(0, 2, (7, 5))
    key = getkey()
    grads = contrastive_divergence(params, {"rating": v0}, key, sampled_bias=True)
    parts = chain(params, *rbm.encode(v0, 1), jax.random.clone(key), 1)
    _, samples, v1 = (np.asarray(a, np.float64) for a in parts)
    v1 = v1[:, 0]
    assert set(np.unique(samples)) == set(np.unique(v1)) == {0, 1}
    weights, bias = (np.asarray(params[k], np.float64) for k in ("kernel", "hidden_bias"))

    def means(v):
        return 1 / (1 + np.exp(-(bias + v @ weights[0])))

    rows = len(v0)
    dw = np.zeros((5, 3))
    for n in range(rows):
        for i in range(5):
            for j in range(3):
                dw[i, j] += (means(v0)[n, j] * v0[n, i] - means(v1)[n, j] * v1[n, i]) / rows
    np.testing.assert_allclose(-grads["kernel"][0], dw, atol=1e-6)
    hidden_bias = (samples - means(v1)).sum(0) / rows
    np.testing.assert_allclose(-grads["hidden_bias"], hidden_bias, atol=1e-6)
    np.testing.assert_allclose(-grads["visible_bias"][0], (v0 - v1).sum(0) / rows, atol=1e-6)


def test_free_energys_gradient_agrees_with_finite_differences(params, ratings):
    with jax.enable_x64(True):
        p = {name: jnp.asarray(np.asarray(a), jnp.float64) for name, a in params.items()}
        visible, rated = rbm.encode(ratings, len(p["kernel"]))
        visible, rated = visible.astype(jnp.float64), rated.astype(jnp.float64)
        check_grads(
            lambda p: rbm.free_energy(p, visible, rated).sum(), (p,), order=1, modes=["rev"]
        )


def test_sampled_values_are_one_hot_with_the_given_frequencies(params, rated, getkey):
    hidden = jnp.ones((1, params["hidden_bias"].size))
    p = rbm.visible_given_hidden(params, hidden, jnp.asarray(rated)[None])
    drawn = np.asarray(rbm.sample_visible(getkey(), jnp.tile(p, (CHAINS, 1, 1))))
    assert set(np.unique(drawn)) == {0, 1}
    assert (drawn.sum(1) <= rated).all()
    if len(params["kernel"]) > 1:
        assert (drawn.sum(1) == rated).all()
    assert np.abs(drawn.mean(0) - p[0]).max() < 4 * 0.5 / np.sqrt(CHAINS)


def test_a_movie_that_was_not_rated_takes_no_part_at_all(getkey):
    """Softmax units: whatever its weights are, nothing changes, and they learn nothing."""
    config = dataclasses.replace(rbm.RECIPES["modern"], visible=6, hidden=4, scale=1.0)
    params = rbm.init(getkey(), config)
    batch = {"rating": jnp.array([[5, 0, 3, 1, 0, 2], [1, 0, 4, 4, 0, 0]])}
    wild = dict(params)
    for name, index in (("kernel", (0, 1)), ("visible_bias", (0, 1)), ("rated_kernel", 1)):
        wild[name] = params[name].at[index].set(77.0)
    step = jax.jit(jax.value_and_grad(rbm.loss, has_aux=True))
    key = getkey()
    (value, _), grads = step(params, batch, key)
    (other, _), _ = step(wild, batch, jax.random.clone(key))
    assert value == other
    for unit in (1, 4):
        assert (grads["kernel"][:, unit] == 0).all()
        assert (grads["visible_bias"][:, unit] == 0).all()
        assert (grads["rated_kernel"][unit] == 0).all()
    assert (grads["kernel"][:, 0] != 0).any()


def test_nothing_rated_leaves_the_hidden_units_at_their_bias(getkey):
    config = dataclasses.replace(rbm.RECIPES["modern"], visible=6, hidden=4, scale=1.0)
    params = rbm.init(getkey(), config) | {"hidden_bias": jnp.arange(4.0)}
    visible, rated = rbm.encode(jnp.zeros((1, 6), int), 5)
    hidden = rbm.hidden_given_visible(params, visible, rated)
    np.testing.assert_allclose(hidden[0], 1 / (1 + np.exp(-np.arange(4.0))), rtol=1e-6)


def test_predicted_rating_is_the_expected_one(getkey):
    config = dataclasses.replace(rbm.RECIPES["modern"], visible=6, hidden=4, scale=1.0)
    params = rbm.init(getkey(), config)
    ratings = np.array([[5, 0, 3, 1, 0, 2], [0, 0, 0, 0, 0, 4]])
    p = {name: np.asarray(a, np.float64) for name, a in params.items()}
    for row, predicted in zip(ratings, rbm.apply(params, ratings), strict=True):
        inputs = p["hidden_bias"].copy()
        for movie in np.flatnonzero(row):
            inputs += p["kernel"][row[movie] - 1, movie] + p["rated_kernel"][movie]
        hidden = 1 / (1 + np.exp(-inputs))
        for movie in range(6):
            scores = np.exp(p["kernel"][:, movie] @ hidden + p["visible_bias"][:, movie])
            expected = (scores / scores.sum()) @ np.arange(1, 6)
            np.testing.assert_allclose(predicted[movie], expected, rtol=1e-5)


def test_a_newcomer_is_the_unit_that_would_have_rated_so_by_bayes():
    rng = np.random.default_rng(3)
    users, values, hidden = 4, 5, 3
    shapes = {"kernel": (values, users, hidden), "visible_bias": (values, users)}
    shapes |= {"hidden_bias": (hidden,), "rated_kernel": (users, hidden)}
    params = {k: rng.normal(0, 1, s) for k, s in shapes.items()}
    rating = rng.integers(0, values + 1, (6, users))
    given = np.array([5, 1, 3, 3, 2, 4])
    evidence = np.zeros(users)
    for row, own in zip(rating, given, strict=True):
        inputs = params["hidden_bias"].copy()
        for user in np.flatnonzero(row):
            inputs += params["kernel"][row[user] - 1, user] + params["rated_kernel"][user]
        on = 1 / (1 + np.exp(-inputs))
        for user in range(users):
            scores = params["visible_bias"][:, user] + params["kernel"][:, user] @ on
            evidence[user] += scores[own - 1] - np.log(np.exp(scores).sum())
    expected = np.exp(evidence) / np.exp(evidence).sum()
    params = jax.tree.map(jnp.float32, params)
    np.testing.assert_allclose(rbm.likeness(params, rating, given), expected, rtol=1e-4)
    alone = rbm.likeness(params, rating[:0], given[:0])
    np.testing.assert_allclose(alone, np.full(users, 1 / users), rtol=1e-6)
    many = rbm.likeness(params, np.repeat(rating, 500, 0), np.repeat(given, 500))
    np.testing.assert_allclose(many, np.arange(users) == expected.argmax(), atol=1e-5)
    with pytest.raises(ValueError, match="one for each movie"):
        rbm.likeness(params, rating, given[:2])


def test_the_books_machine_has_its_size_and_the_recipes_know_their_names(getkey):
    params = rbm.init(getkey(), rbm.RECIPES["book"])
    assert params["kernel"].shape == (1, 3706, 200)
    assert "rated_kernel" not in params
    assert next(iter(rbm.RECIPES)) == "modern"
    assert all(config.recipe == name for name, config in rbm.RECIPES.items())
    book = rbm.RECIPES["book"]
    assert book.epochs * (6040 // book.batch_size) == 1000  # iterations


def test_the_example_is_the_same_each_time_and_fits_the_machine(getkey):
    for config in (rbm.RECIPES["modern"], rbm.RECIPES["book"]):
        batch = rbm.example(config)
        np.testing.assert_array_equal(batch["rating"], rbm.example(config)["rating"])
        assert batch["rating"].shape == (2, config.visible)
        assert batch["rating"].max() == (1 if config.units == "binary" else 5)
        assert (batch["rating"] == 0).any()


def test_a_wrong_shape_is_named(params):
    values, units, _ = params["kernel"].shape
    with pytest.raises(ValueError, match=rf"expected \(batch, {values}, {units}\)"):
        rbm.hidden_inputs(params, jnp.ones((2, values, units + 1)), jnp.ones((2, units + 1)))
    for function in (rbm.apply, lambda p, rating: rbm.loss(p, {"rating": rating})):
        with pytest.raises(ValueError, match=rf"expected \(batch, {units}\)"):
            function(params, jnp.ones((2, units + 1), int))
