import dataclasses

import jax
import numpy as np
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
    for a, b in zip(*map(jax.tree.leaves, (state.stats, expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_books_update_is_gorgonias():
    """One sentence: w -= 0.01 clip(g) / sqrt(0.001 g^2 + 1e-8) + 1e-6 w, with g of the sum."""
    config = dataclasses.replace(model.RECIPES["book"], hidden=5, embedding=3, chunk=6, epochs=1)
    config, corpus = prepare(config, "To be, or not to be")
    before = TASK.start(config, corpus.train)
    loss = losses(config, 1)[0]
    batch = jax.tree.map(lambda a: a[:1], corpus.train)
    gradient = jax.jit(jax.grad(lambda p: loss(p, batch, jax.random.key(0), before.stats)[0]))
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
