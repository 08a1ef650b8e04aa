import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.common import device, fit

EXAMPLES, BATCH = 52, 8  # a rest of 4 is left out of each epoch


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, 3)).astype(np.float32)
    return {"x": x, "y": x @ np.array([1.0, -2.0, 0.5], np.float32)}


def loss(params, batch, key=None):
    """Linear regression on inputs with a little noise, so that the keys matter."""
    x = batch["x"]
    if key is not None:
        x = x + 0.1 * jax.random.normal(key, x.shape)
    error = x @ params["w"] - batch["y"]
    return (error**2).mean(), {"largest": jnp.abs(error).max()}


OPTIMIZER = optax.adam(0.05)


def fresh(seed=0):
    params = {"w": jnp.zeros(3)}
    return fit.start(params, OPTIMIZER, jax.random.key(seed), metrics=("largest",))


def reports(data, **options):
    """All reports of two epochs, with the states' parameters copied out."""
    options = {"epochs": 2, "batch_size": BATCH, "test": data, **options}
    state = options.pop("state", None) or fresh()
    for progress in fit.iterate(loss, OPTIMIZER, state, data, **options):
        yield progress._replace(state=jax.tree.map(jnp.copy, progress.state))


def same(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in leaves)


def test_loop_and_step_form_give_equal_bits(data):
    loop = list(reports(data, form="loop"))[-1]
    step = list(reports(data, form="step"))[-1]
    assert same(loop.state.params, step.state.params)
    assert loop.metrics == step.metrics


def test_the_loop_is_the_steps_written_out_by_hand(data):
    state, step = fresh(), jax.jit(fit.make_step(loss, OPTIMIZER))
    for epoch in range(2):
        order = fit.order(state, epoch, EXAMPLES)
        for i in range(EXAMPLES // BATCH):
            index = order[i * BATCH : (i + 1) * BATCH]
            state, _ = step(state, {name: a[index] for name, a in data.items()})
    final = list(reports(data))[-1].state
    np.testing.assert_allclose(final.params["w"], state.params["w"], rtol=1e-6)


def test_how_many_steps_a_call_makes_changes_no_bit(data):
    finals = [list(reports(data, call_seconds=s)) for s in (0.0, 100.0)]
    assert len(finals[0]) > len(finals[1])
    assert same(finals[0][-1].state.params, finals[1][-1].state.params)
    assert finals[0][-1].metrics == finals[1][-1].metrics


@pytest.mark.parametrize("stop", [1, 3, 6, 8, 11])
def test_going_on_from_any_step_equals_an_unbroken_run_bit_for_bit(data, stop):
    unbroken = list(reports(data, call_seconds=0.0))
    half = next(r for r in unbroken if int(r.state.step) == stop)
    resumed = list(reports(data, state=half.state, call_seconds=100.0))
    assert same(resumed[-1].state.params, unbroken[-1].state.params)
    assert resumed[-1].metrics == unbroken[-1].metrics


def test_every_example_is_seen_once_an_epoch_but_the_rest(data):
    state = fresh()
    orders = [np.asarray(fit.order(state, epoch, EXAMPLES)) for epoch in range(3)]
    assert all(np.array_equal(np.sort(o), np.arange(EXAMPLES)) for o in orders)
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(fit.order(state, 0, 5, shuffle=False), np.arange(5))


def test_epoch_metrics_are_means_over_its_steps(data):
    each = list(reports(data, form="step", epochs=1))
    state, step, losses = fresh(), jax.jit(fit.make_step(loss, OPTIMIZER)), []
    order = fit.order(state, 0, EXAMPLES)
    for i in range(EXAMPLES // BATCH):
        index = order[i * BATCH : (i + 1) * BATCH]
        state, metrics = step(state, {name: a[index] for name, a in data.items()})
        losses.append(float(metrics["loss"]))
    assert len(each) == len(losses)
    np.testing.assert_allclose(each[-1].metrics["train_loss"], np.mean(losses), rtol=1e-5)
    assert set(each[-1].metrics) == {"train_loss", "train_largest", "test_loss", "test_largest"}
    assert float(each[-1].state.totals["loss"]) == 0.0


def test_it_learns_the_line(data):
    final = list(reports(data, epochs=60))[-1]
    np.testing.assert_allclose(final.state.params["w"], [1.0, -2.0, 0.5], atol=0.1)


def test_evaluation_weighs_the_rest_by_its_size(data):
    state = fresh()._replace(params={"w": jnp.array([0.3, 0.1, -0.2])})
    found = fit.make_evaluate(loss, BATCH)(fit.weights_of(state), data)
    expected, _ = loss(state.params, data)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


def test_prediction_in_batches_equals_prediction_at_once(data):
    x = jnp.asarray(data["x"])
    np.testing.assert_allclose(
        fit.predict(lambda scale, x: scale * jnp.sin(x), 2.0, x, BATCH),
        2 * np.sin(data["x"]),
        rtol=1e-6,
    )


def test_the_state_that_is_given_survives(data):
    state = fresh()
    fit.last(fit.iterate(loss, OPTIMIZER, state, data, epochs=1, batch_size=BATCH))
    assert float(state.params["w"].sum()) == 0.0


def test_metrics_are_reported_once_an_epoch(data):
    found = list(reports(data, epochs=3, call_seconds=0.0))
    assert [report.epoch for report in found if report.metrics] == [1, 2, 3]
    assert int(found[-1].state.step) == 3 * (EXAMPLES // BATCH)


def test_the_loss_is_traced_once_for_the_whole_run(data):
    traces = []

    def counted(params, batch, key):
        traces.append(1)
        return loss(params, batch, key)

    fit.last(fit.iterate(counted, OPTIMIZER, fresh(), data, epochs=4, batch_size=BATCH))
    assert len(traces) == 1


@pytest.mark.parametrize("count", [2, 8])
def test_training_over_several_devices_equals_one(data, count):
    one = [r.metrics for r in reports(data) if r.metrics]
    many = [r.metrics for r in reports(data, mesh=device.mesh(count)) if r.metrics]
    for a, b in zip(one, many, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5)


def test_a_non_finite_loss_stops_the_run_with_its_step(data):
    def explodes(params, batch, key=None):
        value, metrics = loss(params, batch, key)
        return value + jnp.where(jnp.abs(params["w"]).sum() > 0.3, jnp.nan, 0.0), metrics

    run = fit.iterate(explodes, OPTIMIZER, fresh(), data, epochs=2, batch_size=BATCH, form="step")
    steps = []

    def consume():
        for report in run:
            steps.append(int(report.state.step))

    with pytest.raises(fit.NonFiniteError, match="--learning-rate"):
        consume()
    step = steps[-1]
    with pytest.raises(fit.NonFiniteError, match=f"at step {step + 1};"):
        fit.last(
            fit.iterate(
                explodes, OPTIMIZER, fresh(), data, epochs=2, batch_size=BATCH, call_seconds=100.0
            )
        )


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"y": np.zeros(7, np.float32)}, {}, "one length"),
        ({}, {"batch_size": 100}, "choose a batch size from 1 to 52"),
        ({}, {"batch_size": 0}, "choose a batch size from 1 to 52"),
    ],
)
def test_data_that_do_not_fit_are_named(data, change, options, message):
    with pytest.raises(ValueError, match=message):
        list(reports({**data, **change}, test=None, **options))


def test_a_batch_that_does_not_divide_over_the_devices_is_named(data):
    with pytest.raises(ValueError, match="choose a multiple of 8"):
        list(reports(data, batch_size=12, mesh=device.mesh(8)))


def test_metrics_that_start_does_not_know_are_named(data):
    state = fit.start({"w": jnp.zeros(3)}, OPTIMIZER, jax.random.key(0))
    with pytest.raises(ValueError, match=r"largest.*expected scalars named \['loss'\]"):
        list(reports(data, state=state))


def test_a_finished_state_is_refused(data):
    done = list(reports(data))[-1].state
    with pytest.raises(fit.FinishedError, match="the state is at step 12, and 2 epochs of 6 steps"):
        list(reports(data, state=done))
