import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.common import device, fit, keys

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
    def quiet(params, batch, key=None):
        value, _ = loss(params, batch)
        return value, {"largest": jnp.abs(batch["x"]).mean()}

    options = {"epochs": 2, "batch_size": BATCH, "test": data}
    one = list(fit.iterate(quiet, OPTIMIZER, fresh(), data, **options))
    many = list(fit.iterate(quiet, OPTIMIZER, fresh(), data, mesh=device.mesh(count), **options))
    np.testing.assert_allclose(many[-1].state.params["w"], one[-1].state.params["w"], rtol=1e-5)
    assert many[-1].metrics == pytest.approx(one[-1].metrics, rel=1e-5)


def test_each_shard_draws_from_the_steps_key_and_its_number(data):
    """The documented rule, by hand: the mean of what the losses of the shards give."""
    state, optimizer_state = fresh(), OPTIMIZER.init({"w": jnp.zeros(3)})
    params, order = state.params, fit.order(state, 0, EXAMPLES)
    for step in range(3):
        key = keys.derive(state.key, "step", step)
        halves = order[step * BATCH : (step + 1) * BATCH].reshape(2, -1)
        grads = [
            jax.grad(loss, has_aux=True)(
                params, {name: a[half] for name, a in data.items()}, jax.random.fold_in(key, n)
            )[0]["w"]
            for n, half in enumerate(halves)
        ]
        updates, optimizer_state = OPTIMIZER.update({"w": sum(grads) / 2}, optimizer_state)
        params = optax.apply_updates(params, updates)
    split = reports(data, mesh=device.mesh(2), form="step")
    third = list(itertools.islice(split, 3))[-1].state
    np.testing.assert_allclose(third.params["w"], params["w"], rtol=1e-5)


@pytest.mark.parametrize("stop", [1, 8])
def test_shards_go_on_from_a_checkpoint_as_if_unbroken(data, stop):
    mesh = device.mesh(2)
    unbroken = list(reports(data, mesh=mesh))[-1]
    steps = reports(data, mesh=mesh, form="step")
    early = jax.device_get(
        device.own(list(itertools.islice(steps, stop))[-1].state._replace(key=0))
    )
    begun = early._replace(key=fresh().key)
    resumed = list(reports(data, mesh=mesh, state=begun, call_seconds=0.0))[-1]
    assert same(resumed.state.params, unbroken.state.params)
    assert resumed.metrics == unbroken.metrics


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


def test_a_loss_that_is_not_finite_from_the_start_is_not_put_down_to_the_learning_rate(data):
    broken = {name: np.where(True, np.nan, array) for name, array in data.items()}
    with pytest.raises(
        fit.NonFiniteError, match="nan before any update: look at the data"
    ) as error:
        fit.last(fit.iterate(loss, OPTIMIZER, fresh(), broken, epochs=1, batch_size=BATCH))
    assert "rate" not in str(error.value)


@pytest.mark.parametrize("form", ["loop", "step"])
def test_nothing_changes_where_jit_is_disabled_64_bits_are_on_or_nans_are_errors(data, form):
    def trained():
        options = {"epochs": 2, "batch_size": BATCH, "test": data, "form": form}
        reports = fit.iterate(loss, OPTIMIZER, fresh(), data, **options)
        wide = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
        *_, progress = (report for report in reports if jnp.zeros(1).dtype == wide)
        state = progress.state
        kinds = {str(a.dtype) for a in jax.tree.leaves((state.params, state.totals))}
        assert (progress.epoch, kinds) == (2, {"float32"})
        return [np.asarray(a) for a in jax.tree.leaves((state.params, progress.metrics))]

    def same(**tolerance):
        for got, wanted in zip(trained(), expected, strict=True):
            np.testing.assert_allclose(got, wanted, **tolerance)

    expected = trained()
    with jax.enable_x64(True):  # whose parameters `fresh` makes of 64 bits
        same(rtol=1e-6)
    with jax.debug_nans(True):
        same(rtol=0)
    with jax.disable_jit():
        same(rtol=1e-4)


@pytest.mark.parametrize("form", ["loop", "step"])
def test_what_the_last_update_made_is_looked_at_before_it_is_reported(data, form):
    """The loss is finite at each step; the gradient of the last one is not."""
    last = 2 * (EXAMPLES // BATCH)

    def breaks(params, batch, key, step):
        value, metrics = loss(params, batch, key)
        w = params["w"][0]
        root = jnp.sqrt(jnp.where(step == last - 1, w - w, 1.0 + w**2))  # at 0 it is steep
        return value + root, (metrics, step + 1)

    state, reported = fresh()._replace(carry=jnp.int32(0)), []
    reports = fit.iterate(breaks, OPTIMIZER, state, data, epochs=2, batch_size=BATCH, form=form)
    with pytest.raises(fit.NonFiniteError, match=f"at step {last};"):
        reported.extend(int(report.state.step) for report in reports)
    assert reported[-1] < last


def test_a_test_that_is_not_finite_is_named_and_nothing_is_reported(data):
    def testing(params, batch, key):
        value, metrics = loss(params, batch)
        return value, metrics | {"largest": jnp.inf * metrics["largest"]}

    with pytest.raises(fit.NonFiniteError, match=r"the test after epoch 1 gave .*largest.*inf"):
        list(reports(data, test_loss=testing))


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


def test_reports_without_an_end_are_refused():
    with pytest.raises(fit.FinishedError, match="there was nothing left to train"):
        fit.last(iter(()))


# ---- evaluation with weights


def weighted(params, batch, key=None):
    """The weighted mean error, and the weight; 0 without any weight."""
    error, weight = jnp.abs(batch["x"] @ params["w"] - batch["y"]), batch["weight"]
    mean = (weight * error).sum() / jnp.maximum(weight.sum(), 1e-9)
    return mean, {"double": 2 * mean, "weight": weight.sum()}


@pytest.mark.parametrize("batch_size", [1, 3, 8, EXAMPLES, 100])
def test_evaluation_is_the_exact_weighted_mean_whatever_the_batch_size(data, batch_size):
    weight = np.random.default_rng(1).integers(0, 5, EXAMPLES).astype(np.float32)
    weight[:8] = 0.0  # the whole first batch
    params = {"w": jnp.array([0.3, 0.1, -0.2])}
    evaluate = fit.make_evaluate(weighted, batch_size)
    found = evaluate({"params": params}, {**data, "weight": weight})
    error = np.abs(data["x"].astype(float) @ np.array([0.3, 0.1, -0.2]) - data["y"])
    expected = (weight * error).sum() / weight.sum()
    assert set(found) == {"loss", "double"}
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["double"], 2 * expected, rtol=1e-5)
    assert abs(expected / error.mean() - 1) > 0.01
    with pytest.raises(ValueError, match="no example has any weight"):
        evaluate({"params": params}, {**data, "weight": 0 * weight})


# ---- what a state carries on


RATE, KINDS = 0.1, ["stats", "carry", "stats and carry", "average", "all"]


def parts_of(kind):
    """Whether there are statistics, a carry, an average."""
    return tuple(name in kind or kind == "all" for name in ("stats", "carry", "average"))


def make_loss(kind):
    """Regression on inputs less their running mean, with a carry beside the bias."""
    has_stats, has_carry, _ = parts_of(kind)

    def kept_loss(params, batch, key, *kept):
        shift = kept[0] if has_stats else 0.0
        carried = kept[-1] if has_carry else 0.0
        error = (batch["x"] - shift) @ params["w"] - batch["y"] + carried
        after = [0.9 * shift + 0.1 * batch["x"].mean(0)] if has_stats else []
        after += [0.5 * carried + batch["y"].mean()] if has_carry else []
        metrics = {"largest": jnp.abs(error).max()}
        return (error**2).mean(), (metrics, *after) if after else metrics

    def test_loss(params, batch, key, stats=0.0):
        value = ((batch["x"] - stats) @ params["w"] - batch["y"]) ** 2
        return value.mean(), ({}, stats) if has_stats else {}

    return kept_loss, test_loss


def follow(average, params, step):
    """The plain mean of all parameters since the start."""
    return jax.tree.map(lambda a, p: a + (p - a) / (step + 2), average, params)


def begin(kind):
    has_stats, has_carry, averaged = parts_of(kind)
    return fit.start(
        {"w": jnp.array([0.5, 0.0, 0.0])},
        optax.sgd(RATE),
        jax.random.key(3),
        ("largest",),
        stats=jnp.zeros(3) if has_stats else None,
        carry=jnp.float32(1.0) if has_carry else None,
        averaged=averaged,
    )


def by_hand(kind, data, epochs):
    """(loss, w, statistics, carry, average) after each step, in float64."""
    has_stats, has_carry, averaged = parts_of(kind)
    x, y = data["x"].astype(float), data["y"].astype(float)
    w, shift, carried = np.array([0.5, 0.0, 0.0]), np.zeros(3), 1.0 if has_carry else 0.0
    every, found = [w], []
    for epoch in range(epochs):
        order = np.asarray(fit.order(begin(kind), epoch, EXAMPLES))
        for i in range(EXAMPLES // BATCH):
            rows = order[i * BATCH : (i + 1) * BATCH]
            inputs, error = x[rows] - shift, (x[rows] - shift) @ w - y[rows] + carried
            w = w - RATE * 2 * inputs.T @ error / BATCH
            if has_stats:
                shift = 0.9 * shift + 0.1 * x[rows].mean(0)
            if has_carry:
                carried = 0.5 * carried + y[rows].mean()
            every.append(w)
            average = np.mean(every, axis=0) if averaged else w
            found.append(((error**2).mean(), w, shift, carried, average))
    return found


def close(state, expected, kind):
    has_stats, has_carry, averaged = parts_of(kind)
    _, w, shift, carried, average = expected
    np.testing.assert_allclose(state.params["w"], w, rtol=1e-4, atol=1e-5)
    for part, there, value in (
        (state.stats, has_stats, shift),
        (state.carry, has_carry, carried),
        (state.average and state.average["w"], averaged, average),
    ):
        assert (part is not None) == there
        if there:
            np.testing.assert_allclose(part, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_carry_and_average_are_those_of_the_steps_by_hand(data, kind):
    expected, (training, testing) = by_hand(kind, data, 2), make_loss(kind)
    average = follow if parts_of(kind)[2] else None
    step = jax.jit(fit.make_step(training, optax.sgd(RATE), average))
    state, order = begin(kind), fit.order(begin(kind), 0, EXAMPLES)
    for i in range(3):
        index = order[i * BATCH : (i + 1) * BATCH]
        state, metrics = step(state, {name: a[index] for name, a in data.items()})
        np.testing.assert_allclose(metrics["loss"], expected[i][0], rtol=1e-4)
        close(state, expected[i], kind)
    options = {"epochs": 2, "batch_size": BATCH, "average": average, "call_seconds": 100.0}
    run = fit.iterate(
        training, optax.sgd(RATE), begin(kind), data, test=data, test_loss=testing, **options
    )
    made = [progress for progress in run if progress.metrics]
    close(made[-1].state, expected[-1], kind)
    # An epoch's metrics are means over its steps, though a call made several of them.
    losses = [step[0] for step in expected]
    for epoch, progress in enumerate(made):
        mean = np.mean(losses[6 * epoch : 6 * epoch + 6])
        np.testing.assert_allclose(progress.metrics["train_loss"], mean, rtol=1e-4)
    assert made[0].steps > 1
    # The test takes the average and the statistics of the last step.
    _, _, shift, _, w = expected[-1]
    error = (data["x"].astype(float) - shift) @ w - data["y"]
    np.testing.assert_allclose(made[-1].metrics["test_loss"], (error**2).mean(), rtol=1e-4)
    weights = fit.weights_of(made[-1].state)
    assert set(weights) == ({"params", "stats"} if parts_of(kind)[0] else {"params"})
    np.testing.assert_allclose(weights["params"]["w"], w, rtol=1e-4, atol=1e-5)


def test_the_average_begins_as_a_copy_and_what_there_is_is_kept_in_order():
    state = begin("all")
    assert same(state.average, state.params)
    assert state.average["w"] is not state.params["w"]
    assert same(fit.kept(state), (state.stats, state.carry))
    assert same(fit.kept(begin("carry")), (state.carry,))
    assert same(fit.kept(begin("stats")), (state.stats,))
    assert fit.kept(begin("average")) == ()


@pytest.mark.parametrize(("kind", "rule"), [("average", None), ("stats", follow)])
def test_an_average_needs_its_rule_and_a_rule_its_average(data, kind, rule):
    step = fit.make_step(make_loss(kind)[0], optax.sgd(RATE), rule)
    with pytest.raises(ValueError, match="an average without a rule"):
        step(begin(kind), data)


@pytest.mark.parametrize("stop", [1, 6, 8])
def test_going_on_with_statistics_carry_and_average_equals_an_unbroken_run(data, stop):
    options = {"epochs": 2, "batch_size": BATCH, "average": follow, "form": "step"}
    training, _ = make_loss("all")

    def states(state):
        for progress in fit.iterate(training, optax.sgd(RATE), state, data, **options):
            copied = jax.tree.map(jnp.copy, progress.state)
            yield copied._replace(key=jax.random.key_data(copied.key)), progress.metrics

    unbroken = list(states(begin("all")))
    half, _ = unbroken[stop - 1]
    resumed = list(states(half._replace(key=jax.random.wrap_key_data(half.key))))
    assert len(resumed) == 12 - stop
    assert same(resumed[-1], unbroken[-1])


# ---- randomness


def test_the_order_follows_from_the_epoch_and_the_key():
    orders = [
        tuple(np.asarray(fit.order(fresh(seed), epoch, EXAMPLES)))
        for seed in range(3)
        for epoch in range(4)
    ]
    assert len(set(orders)) == 12
    assert orders[0] == tuple(np.asarray(fit.order(fresh(0), 0, EXAMPLES)))
    later = fresh()._replace(step=jnp.int32(7))
    assert orders[0] == tuple(np.asarray(fit.order(later, 0, EXAMPLES)))


def test_each_step_of_each_run_has_a_key_of_its_own(data):
    def draw(params, batch, key):
        return loss(params, batch)[0], {"largest": jax.random.uniform(key)}

    step, drawn = jax.jit(fit.make_step(draw, OPTIMIZER)), []
    for seed in range(2):
        state = fresh(seed)
        for _ in range(20):
            state, metrics = step(state, data)
            drawn.append(float(metrics["largest"]))
    assert len(set(drawn)) == 40
    _, metrics = step(fresh()._replace(step=jnp.int32(7)), data)
    assert float(metrics["largest"]) == drawn[7]


# ---- several devices


def test_each_of_several_devices_computes_its_share_of_a_batch():
    def wide(params, batch, key):
        return (jnp.tanh(batch["x"] @ params["a"]) @ params["b"]).mean(), {}

    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(64, 32)).astype(np.float32)}
    shapes = {"a": (32, 128), "b": (128, 32)}
    params = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
    state, step = fit.start(params, OPTIMIZER, jax.random.key(0)), fit.make_step(wide, OPTIMIZER)

    def operations(mesh, form):  # on a CPU, whatever else is here: it shows itself as several
        everywhere = None
        if mesh is not None:
            everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        placed = device.place((state, data), everywhere)
        call, _ = fit.compile_call(step, *placed, 32, form, mesh)
        reductions = call.as_text().count(" all-reduce(")
        assert reductions == (0 if mesh is None else 1)  # of all gradients and metrics at once
        return call.cost_analysis()["flops"]  # of one device

    # Two layers, forwards and backwards, without the gradient for the inputs.
    with jax.default_device(jax.devices("cpu")[0]):
        alone = operations(None, "step")
        assert alone > 5 * 2 * 32 * 32 * 128
        for form in ("step", "loop"):
            share = operations(device.mesh(4), form) / operations(None, form)
            assert 0.2 < share < 0.4, form  # the solver's operations are made on each


# ---- prediction


def test_prediction_compiles_once_for_sizes_up_to_a_power_of_two():
    traces = []

    def function(weights, inputs):
        traces.append(inputs["x"].shape)
        return {"y": weights * inputs["x"].sum(-1), "n": inputs["n"] + 1}

    def check(count, weight, batch_size=16):
        rng = np.random.default_rng(count)
        inputs = {"x": rng.normal(size=(count, 2)).astype(np.float32), "n": np.arange(count)}
        found = fit.predict(function, weight, inputs, batch_size)
        assert isinstance(found["y"], np.ndarray)
        np.testing.assert_allclose(found["y"], weight * inputs["x"].sum(-1), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found["n"], inputs["n"] + 1)

    for count, compiled in [(5, 1), (8, 1), (6, 1), (9, 2), (16, 2), (100, 3), (1, 4), (1, 4)]:
        check(count, 2.0 + count)
        assert len(traces) == compiled, count
    assert traces == [(8, 2), (16, 2), (4, 2), (1, 2)]  # of 100 the last 4 are a batch
    check(100, 1.0, batch_size=24)  # no power of two, but what the caller wants
    assert traces[4:] == [(24, 2)]
    with pytest.raises(ValueError, match="the inputs hold no example"):
        check(0, 1.0)
