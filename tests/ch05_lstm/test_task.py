import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.ch05_lstm import model, probes
from zoo.ch05_lstm.task import TASK, fill, lay_out, losses
from zoo.common import fit
from zoo.common.data.text import Text

TINY = dataclasses.replace(
    model.RECIPES["modern"],
    glorot=True,  # quicker to draw than orthogonal kernels
    embedding=4,
    hidden=12,
    batch_size=4,
    chunk=8,
    learning_rate=0.03,
)
PERIODIC = 525 * (11 * "a" + "b")


def prepare(config, string):
    corpus = lay_out(config, Text("test", "file", "all", "a text", string))
    return fill(config, corpus), corpus


@pytest.fixture(scope="module")
def learnt():
    """A text whose period, 12, is longer than a chunk: it needs the state of the chunk before."""
    wide = dataclasses.replace(TINY, hidden=24, learning_rate=0.01, epochs=20)
    config, corpus = prepare(wide, PERIODIC)
    rows = []

    def follow(reports):
        for report in reports:
            if report.metrics:
                rows.append(report.metrics)
        return report.state

    state = TASK.train(config, corpus.train, corpus.test, follow=follow)
    return config, corpus, state, rows


def test_it_learns_what_only_a_carried_state_can_know(learnt):
    _, corpus, state, rows = learnt
    ignorance = np.log(12) / 12 + 11 / 12 * np.log(12 / 11)  # of the place in the period
    assert rows[0]["test_loss"] > 0.8 * ignorance
    assert rows[-1]["test_loss"] < 0.3 * ignorance
    ids = corpus.vocabulary.encode(PERIODIC)
    assert probes.reset_loss(state.params, ids, 8) > 0.5 * ignorance


def test_windows_and_one_long_pass_score_alike(learnt, monkeypatch):
    _, corpus, state, rows = learnt
    monkeypatch.setattr(probes, "PIECE", 256)
    ids = corpus.vocabulary.encode(PERIODIC[int(0.9 * len(PERIODIC)) - 1 :])
    assert len(ids) == 631  # so that the last piece is not full
    nats, accuracy = probes.carried_loss(state.params, ids)
    # They begin apart: the windows have read what stands before them, this pass has not.
    np.testing.assert_allclose(nats, rows[-1]["test_loss"], atol=0.02)
    np.testing.assert_allclose(accuracy, rows[-1]["test_accuracy"], atol=0.01)


def test_the_carried_state_is_that_of_reading_on(learnt):
    """With a rate of 0 the state behind three batches is that behind 24 characters in one go."""
    config, corpus, _, _ = learnt
    still = dataclasses.replace(config, learning_rate=0.0, epochs=1)
    rows = {name: array[: 3 * 4] for name, array in corpus.train.items()}
    state = TASK.train(still, rows)
    params = TASK.start(still, rows).params
    ids = rows["input"].reshape(3, 4, 8).swapaxes(0, 1).reshape(4, 24)
    expected = jax.jit(model.apply)(params, ids).state
    for a, b in zip(*map(jax.tree.leaves, (state.carry, expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def nats_by_hand(params, ids, target):
    """-log p of each target [B, L] behind `ids`, read from zeros by one LSTM layer, in float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    layer, rows = p["cells"][0], p["embedding"]["embedding"]
    h = c = np.zeros((len(ids), len(layer["hidden"]["kernel"])))
    nats = []
    for now, following in zip(ids.T, target.T, strict=True):
        z = rows[now] @ layer["input"]["kernel"] + layer["input"]["bias"]
        i, f, g, o = np.split(z + h @ layer["hidden"]["kernel"], 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        logits = h @ p["decoder"]["kernel"] + p["decoder"].get("bias", 0.0)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        nats.append(-logits[np.arange(len(ids)), following])
    return np.stack(nats, axis=1)


def test_the_test_loss_is_the_mean_over_all_characters_whatever_the_batch_size(getkey):
    letters = np.random.default_rng(3).choice(list("abcde \n"), 3_000)
    config, corpus = prepare(TINY, "".join(letters))
    params = jax.tree.map(
        lambda a: 2.0 * a, jax.jit(model.init, static_argnums=1)(getkey(), config)
    )
    weight = corpus.test["weight"]
    assert weight.sum() == 300
    assert (weight.sum(axis=1) == 0).any()  # the text is too short for all rows
    nats = nats_by_hand(params, corpus.test["input"], corpus.test["target"])
    expected = (weight * nats).sum() / weight.sum()
    ids = corpus.vocabulary.encode("".join(letters))[2_699:]
    in_one_go = nats_by_hand(params, ids[None, :-1], ids[None, 1:])
    np.testing.assert_allclose(expected, in_one_go.mean())  # shorter than the warm-up
    evaluations = [
        fit.make_evaluate(TASK.losses(config, 1)[1], size)({"params": params}, corpus.test)
        for size in (32, 8, 4, 2, 1)
    ]
    for found in evaluations:
        np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
        np.testing.assert_allclose(found["bits"], expected / np.log(2), rtol=1e-5)
        np.testing.assert_allclose(found["accuracy"], evaluations[0]["accuracy"], rtol=1e-5)
    assert set(evaluations[0]) == {"loss", "bits", "accuracy"}


def test_an_epoch_reads_streams_on_from_batch_to_batch_and_the_next_begins_anew(learnt):
    """With a rate of 0 the loss of each epoch is that of the streams read in one go."""
    config, corpus, state, _ = learnt
    still = dataclasses.replace(config, learning_rate=0.0, epochs=2)
    rows = {name: array[: 3 * 4] for name, array in corpus.train.items()}
    begun = TASK.start(still, rows)._replace(params=state.params)
    losses, carried = [], []

    def follow(reports):
        for report in reports:
            if report.metrics:
                losses.append(report.metrics["train_loss"])
                carried.append(jax.tree.map(np.asarray, jax.device_get(report.state.carry)))
        return report.state

    TASK.train(still, rows, state=begun, follow=follow)
    ids, target = (
        rows[name].reshape(3, 4, 8).swapaxes(0, 1).reshape(4, 24) for name in ("input", "target")
    )
    expected = nats_by_hand(state.params, ids, target).mean()
    np.testing.assert_allclose(losses, [expected, expected], rtol=1e-5, atol=1e-7)
    jax.tree.map(np.testing.assert_array_equal, *carried)
    alone = nats_by_hand(state.params, rows["input"], rows["target"]).mean()
    assert abs(alone - expected) > 0.01  # what each chunk would cost without the state


def test_dropout_is_of_the_configuration_and_of_training_alone(getkey):
    config = dataclasses.replace(TINY, vocabulary=9, dropout=0.3, weight_dropout=0.6)
    params = jax.jit(model.init, static_argnums=1)(getkey(), config)
    batch, key = jax.tree.map(jnp.asarray, TASK.random(config, 4)), getkey()
    state = model.init_state(params, 4)
    training, testing = TASK.losses(config, 1)
    rates = {"dropout": 0.3, "weight_dropout": 0.6}
    expected = model.loss(params, batch, jax.random.clone(key), state, **rates)[0]
    value = training(params, batch, jax.random.clone(key), state)[0]
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for name in rates:
        other = TASK.losses(dataclasses.replace(config, **{name: 0.0}), 1)[0]
        assert abs(other(params, batch, jax.random.clone(key), state)[0] - value) > 1e-4, name
    rows = {name: np.tile(batch[name], (1, 16)) for name in ("input", "target")}  # 128 steps
    rows["weight"] = np.ones_like(rows["input"], np.float32)
    expected = nats_by_hand(params, rows["input"], rows["target"]).mean()
    np.testing.assert_allclose(testing(params, rows, getkey())[0], expected, rtol=1e-5)


def adamw_by_hand(config, steps, params, gradients):
    """Parameters after each step: clipped by the norm of all, AdamW on a schedule, in float64."""
    rise = max(1, min(steps // 10, 200))
    mean = {name: np.zeros_like(w) for name, w in params.items()}
    square = {name: np.zeros_like(w) for name, w in params.items()}
    for n, grads in enumerate(gradients):
        if n < rise:
            rate = config.learning_rate * n / rise
        else:
            share = 0.5 + 0.5 * np.cos(np.pi * (n - rise) / (steps - rise))
            rate = config.learning_rate * (0.01 + 0.99 * share)
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        for name, w in params.items():
            g = grads[name] * min(1.0, config.clip / norm)
            mean[name] = 0.9 * mean[name] + 0.1 * g
            square[name] = 0.99 * square[name] + 0.01 * g**2
            m, v = mean[name] / (1 - 0.9 ** (n + 1)), square[name] / (1 - 0.99 ** (n + 1))
            decay = config.weight_decay * w if w.ndim > 1 else 0.0
            params = params | {name: w - rate * (m / (np.sqrt(v) + 1e-8) + decay)}
        yield params


@pytest.mark.parametrize("steps", [30, 2_400])
def test_the_solver_is_clipped_adamw_with_decay_of_matrices_on_its_schedule(steps):
    config = dataclasses.replace(TINY, learning_rate=0.05, weight_decay=0.3, clip=0.5)
    rng = np.random.default_rng(7)
    params = {"kernel": rng.normal(size=(2, 3)), "bias": 2.0 + rng.normal(size=3)}
    sizes = 10.0 ** rng.uniform(-2, 3, steps)  # of gradients, most of them above the bound
    sizes[0] = 1e9
    gradients = [{name: s * rng.normal(size=w.shape) for name, w in params.items()} for s in sizes]
    optimizer = TASK.optimizer(config, steps)

    def one(carry, grads):
        given, state = carry
        updates, state = optimizer.update(grads, state, given)
        given = optax.apply_updates(given, updates)
        return (given, state), given

    start = jax.tree.map(jnp.float32, params)
    stacked = jax.tree.map(lambda *a: np.float32(np.stack(a)), *gradients)
    run = jax.jit(lambda given, grads: jax.lax.scan(one, (given, optimizer.init(given)), grads)[1])
    found = run(start, stacked)
    for n, expected in enumerate(adamw_by_hand(config, steps, params, gradients)):
        for name, w in expected.items():
            np.testing.assert_allclose(found[name][n], w, rtol=1e-3, atol=2e-4)


def test_the_books_solver_clips_by_element_and_decays_apart_from_the_rate():
    book = dataclasses.replace(model.RECIPES["book"], weight_decay=0.1, clip=0.5)
    optimizer = TASK.optimizer(book, 10)
    w, mean_square = np.array([1.0, -2.0, 3.0]), np.zeros(3)
    params = jnp.float32(w)
    state = optimizer.init(params)
    for g in np.array([[3.0, -0.2, 0.0], [-40.0, 0.6, 0.1], [0.1, 0.1, 900.0]]):
        mean_square = 0.999 * mean_square + 0.001 * g**2
        w = w - 0.01 * np.clip(g, -0.5, 0.5) / np.sqrt(mean_square + 1e-8) - 0.1 * w
        updates, state = optimizer.update(jnp.float32(g), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, w, rtol=1e-4)


def test_the_books_update_is_gorgonias():
    """One sentence: w -= 0.01 clip(g) / sqrt(0.001 g^2 + 1e-8) + 1e-6 w, with g of the sum."""
    config = dataclasses.replace(model.RECIPES["book"], hidden=5, embedding=3, chunk=6, epochs=1)
    config, corpus = prepare(config, "To be, or not to be")
    before = TASK.start(config, corpus.train)
    loss = losses(config, 1)[0]
    batch = jax.tree.map(lambda a: a[:1], corpus.train)
    gradient = jax.jit(jax.grad(lambda p: loss(p, batch, jax.random.key(0), before.carry)[0]))
    after = TASK.train(config, corpus.train)
    grads = gradient(before.params)
    for w, g, new in zip(*map(jax.tree.leaves, (before.params, grads, after.params)), strict=True):
        g, w = np.asarray(g, np.float64), np.asarray(w, np.float64)
        expected = w - 0.01 * np.clip(g, -5, 5) / np.sqrt(0.001 * g**2 + 1e-8) - 1e-6 * w
        np.testing.assert_allclose(new, expected, atol=2e-4)


def test_book_sentences_are_shuffled_and_chunks_are_not(monkeypatch):
    seen = []
    monkeypatch.setattr(fit, "iterate", lambda *a, shuffle, **_: iter([seen.append(shuffle)]))
    for feedback, string in (("true", 50 * "ab"), ("expected", 4 * "ab\nba\n")):
        config, corpus = prepare(dataclasses.replace(TINY, feedback=feedback), string)
        TASK.train(config, corpus.train, corpus.test, follow=list)
    assert seen == [False, True]


def test_a_mistake_is_felt_as_far_back_as_finite_differences_say(getkey):
    """d loss_T / d h_t by nudging one hidden unit at one step, in float64."""
    config = dataclasses.replace(TINY, cell="gru", hidden=3, vocabulary=9)
    with jax.enable_x64(True):
        params = jax.tree.map(
            lambda a: jax.numpy.asarray(np.asarray(a), "float64"),
            model.init(getkey(), config),
        )
        ids = jax.numpy.asarray([[4, 5, 3, 8, 6]])
        norms = jax.jit(probes.gradient_norms)(params, ids)
        step = jax.jit(lambda state, ids: model.step(params, state, model.embed(params, ids)))

        def last_loss(at, nudge):
            state = model.init_state(params, 1)
            for t in range(4):
                state, logits = step(state, ids[:, t])
                if t == at:
                    state = [state[0] + nudge]
                    logits = model.decode(params, state[0])
            return float(model.surprise(logits, ids[:, 4])[0][0])

        for at in (1, 3):
            slopes = [
                (last_loss(at, 1e-5 * unit) - last_loss(at, -1e-5 * unit)) / 2e-5
                for unit in np.eye(3)
            ]
            np.testing.assert_allclose(norms[at], np.linalg.norm(slopes), rtol=1e-5)


def test_gates_are_those_that_make_the_next_state(getkey):
    config = dataclasses.replace(TINY, vocabulary=9)
    params = jax.jit(model.init, static_argnums=1)(getkey(), config)
    ids = np.array([4, 3, 8, 5])
    found = jax.jit(probes.gate_activations)(params, ids)
    c = np.zeros(12)
    for i, f, g in zip(*(np.asarray(found[n]) for n in ("input", "forget", "cell")), strict=True):
        c = f * c + i * g
    state = jax.jit(model.apply)(params, ids[None]).state[0]
    np.testing.assert_allclose(state.c[0], c, atol=1e-5)
    np.testing.assert_allclose(state.h[0], found["output"][-1] * np.tanh(c), atol=1e-5)
    other = dataclasses.replace(config, cell="rnn")
    rnn = jax.eval_shape(lambda: model.init(jax.random.key(0), other))
    with pytest.raises(ValueError, match="the cell is rnn, expected one of lstm, gru"):
        probes.gate_activations(rnn, ids)


def test_the_entropy_of_places_is_the_least_that_a_blind_model_can_lose():
    targets = np.array([[0, 1], [0, 2], [0, 1], [0, 3]])
    np.testing.assert_allclose(probes.place_entropy(targets), 1.5 * np.log(2))


def test_principal_axes_are_those_of_the_covariance():
    table = np.random.default_rng(0).normal(size=(30, 4)) * [5, 1, 3, 0.1] + 7
    points, shares = probes.principal_axes(table)
    values = np.sort(np.linalg.eigvalsh(np.cov(table.T)))[::-1]
    np.testing.assert_allclose(points.var(axis=0, ddof=1), values[:2])
    np.testing.assert_allclose(shares, values[:2] / values.sum())
