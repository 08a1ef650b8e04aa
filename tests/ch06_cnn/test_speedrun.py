import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from zoo.ch06_cnn import speedrun, speedrun_images, speedrun_train
from zoo.common import fit


@pytest.fixture(scope="module")
def config():
    return dataclasses.replace(
        speedrun.SPEEDRUNS["speedrun-cpu"], width=4, batch_size=16, epochs=2, rise=0.2
    )


@pytest.fixture(scope="module")
def data():
    """Blurred noise with a tint that tells the class, so that patches are correlated."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 64).astype(np.uint8)
    small = rng.integers(0, 80, (64, 8, 8, 3))
    images = small.repeat(4, 1).repeat(4, 2) + rng.integers(0, 30, (64, 32, 32, 3))
    images += (14 * labels)[:, None, None, None].astype(int)
    return {"image": images.astype(np.uint8), "label": labels}


@pytest.fixture(scope="module")
def params(config, data):
    images = jnp.asarray(data["image"])
    return jax.jit(lambda: speedrun.whiten(speedrun.init(jax.random.key(3), config), images))()


def patches_of(images, patch):
    """All patches as rows, by loops, float64."""
    x = (np.asarray(images, np.float64) / 255 - [0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616]
    last = 32 - patch + 1
    rows = [
        x[:, i : i + patch, j : j + patch].reshape(len(x), -1)
        for i in range(last)
        for j in range(last)
    ]
    return np.concatenate(rows)


@pytest.mark.parametrize("patch", [2, 3])
def test_whitening_is_the_inverse_root_of_the_patches_covariance(data, patch):
    images = data["image"][:8]
    kernel = jax.jit(
        lambda images: speedrun_images.whitening_kernel(
            speedrun.scale_pixels(images), patch, epsilon=1e-3
        )
    )(images)
    size = 3 * patch**2
    filters = np.asarray(kernel, np.float64).reshape(size, 2 * size)
    np.testing.assert_array_equal(filters[:, size:], -filters[:, :size])
    rows = patches_of(images, patch)
    covariance = rows.T @ rows / len(rows)
    values, vectors = np.linalg.eigh(covariance)
    # The sign of an eigenvector is free, so what is compared is W W' = (C + epsilon)^-1.
    got = filters[:, :size] @ filters[:, :size].T
    np.testing.assert_allclose(got, (vectors / (values + 1e-3)) @ vectors.T, rtol=2e-3, atol=2e-2)
    white = filters[:, :size].T @ covariance @ filters[:, :size]
    expected = values[::-1] / (values[::-1] + 1e-3)
    np.testing.assert_allclose(white, np.diag(expected), atol=2e-3)


def test_partial_identity_passes_channels_on(getkey):
    kernel = speedrun.partial_identity(getkey(), (3, 3, 4, 7))
    x = jax.random.normal(getkey(), (2, 6, 6, 4))
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=nhwc)
    np.testing.assert_allclose(y[..., :4], x, rtol=1e-6)
    assert 0.3 < float(y[..., 4:].std()) < 3


nhwc = ("NHWC", "HWIO", "NHWC")


class Twin(nn.Module):
    """The network in Flax."""

    width: int
    train: bool

    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Conv(24, (2, 2), padding="VALID", name="whiten")(x))
        for n, factor in enumerate((1, 1, 4, 4, 4, 4)):
            x = nn.Conv(factor * self.width, (3, 3), use_bias=False, name=f"conv{n}")(x)
            if n % 2 == 0:
                x = nn.max_pool(x, (2, 2), (2, 2))
            norm = nn.BatchNorm(
                use_running_average=not self.train, use_scale=False, momentum=0.9, name=f"norm{n}"
            )
            x = nn.gelu(norm(x))
        return nn.Dense(10, use_bias=False, name="output")(x.max((1, 2))) / (4 * self.width) ** 0.5


def to_twin(params):
    twin = {"whiten": params["whiten"], "output": params["output"]}
    for n, layer in enumerate(params["conv"]):
        twin |= {f"conv{n}": {"kernel": layer["kernel"]}, f"norm{n}": {"bias": layer["bias"]}}
    return twin


@pytest.mark.parametrize("train", [True, False])
def test_network_equals_its_flax_twin_in_value_gradient_and_moments(params, getkey, train):
    x, weights = jax.random.normal(getkey(), (5, 32, 32, 3)), jax.random.normal(getkey(), (5, 10))
    moments = [
        {"mean": 0.1 * jax.random.normal(getkey(), m["mean"].shape), "var": 1.5 * m["var"]}
        for m in speedrun.init_moments(params)
    ]
    key = getkey() if train else None
    twin = Twin(width=4, train=train)

    def ours(params):
        output = speedrun.apply(params, x, key, moments)
        return (output.logits * weights).sum(), output

    def theirs(params):
        stats = {f"norm{n}": m for n, m in enumerate(moments)}
        logits, new = twin.apply(
            {"params": to_twin(params), "batch_stats": stats}, x, mutable="batch_stats"
        )
        return (logits * weights).sum(), (logits, new["batch_stats"])

    (_, got), gradients = jax.jit(jax.value_and_grad(ours, has_aux=True))(params)
    (_, (logits, stats)), expected = jax.jit(jax.value_and_grad(theirs, has_aux=True))(params)
    np.testing.assert_allclose(got.logits, logits, rtol=1e-4, atol=1e-4)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-2, atol=2e-3), gradients, expected
    )
    if train:
        for n, new in enumerate(got.moments):
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
                new,
                dict(stats[f"norm{n}"]),
            )


def test_gradients_agree_with_finite_differences(config, getkey):
    with jax.enable_x64(True):
        params = speedrun.init(getkey(), dataclasses.replace(config, width=1, identity=False))
        params = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), params)
        batch = {
            "image": jax.random.normal(getkey(), (3, 32, 32, 3), jnp.float64),
            "label": jnp.array([1, 5, 9]),
        }

        @jax.jit
        def value(output, bias):
            changed = {**params, "output": output, "whiten": {**params["whiten"], "bias": bias}}
            options = {"label_smoothing": 0.2, "activation": "silu", "dtype": jnp.float64}
            return speedrun.loss(changed, batch, **options)[0]

        # The normalisation itself is in float32, so the step can't be small.
        check_grads(
            value,
            (params["output"], params["whiten"]["bias"]),
            order=1,
            modes=["rev"],
            eps=1e-2,
            rtol=2e-2,
            atol=2e-3,
        )


def test_loss_is_the_textbooks_in_float64(params, data):
    batch = {"image": speedrun.scale_pixels(data["image"][:6]), "label": data["label"][:6]}
    loss = jax.jit(functools.partial(speedrun.loss, label_smoothing=0.2))
    value, (metrics, _) = loss(params, batch)
    z = np.asarray(jax.jit(speedrun.apply)(params, batch["image"]).logits, np.float64)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    targets = np.full((6, 10), 0.02)
    targets[np.arange(6), batch["label"]] = 0.82
    np.testing.assert_allclose(value, -(targets * log_p).sum(1).mean(), rtol=1e-5)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(metrics["accuracy"], (z.argmax(1) == batch["label"]).mean())


def test_jit_changes_nothing_and_the_same_key_gives_the_same_parameters(config, getkey):
    init, key = jax.jit(lambda key: speedrun.init(key, config)), getkey()
    one, again = init(key), init(jax.random.clone(key))
    assert all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(again)))
    batch = speedrun.example(config, 4)
    plain, compiled = speedrun.loss(one, batch)[0], jax.jit(speedrun.loss)(again, batch)[0]
    np.testing.assert_allclose(plain, compiled, rtol=1e-5)


def test_a_wrong_shape_is_named(params):
    with pytest.raises(ValueError, match=r"\(2, 28, 28, 3\), expected \(batch, 32, 32, 3\)"):
        speedrun.apply(params, jnp.zeros((2, 28, 28, 3)))


def test_bfloat16_runs_on_a_cpu_and_is_near(params, data):
    x = speedrun.scale_pixels(data["image"][:8])
    exact, rough = (
        jax.jit(functools.partial(speedrun.apply, dtype=dtype))(params, x, jax.random.key(0)).logits
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert rough.dtype == jnp.float32
    assert 0 < float(jnp.abs(rough - exact).max()) < 0.1 * float(jnp.abs(exact).max()) + 0.05


def test_flips_alternate_epoch_by_epoch(config, data):
    sided = speedrun_train.with_sides(data, 0)
    plain = data["image"]
    shown = []
    for epoch in range(3):
        which = speedrun_images.alternating_flips(sided["side"], jnp.int32(epoch))
        shown.append(np.asarray(speedrun_images.mirror(jnp.asarray(plain), which)))
    for n, image in enumerate(plain):
        turned = image[:, ::-1]
        first = turned if sided["side"][n] else image
        second = image if sided["side"][n] else turned
        np.testing.assert_array_equal(shown[0][n], first)
        np.testing.assert_array_equal(shown[1][n], second)
        np.testing.assert_array_equal(shown[2][n], first)
    assert 20 < sided["side"].sum() < 44


def test_shifts_are_those_of_numpys_mirrored_edges(data, getkey):
    images = data["image"]
    moved = np.asarray(speedrun_images.reflected_shifts(getkey(), jnp.asarray(images), 2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    found = set()
    for n in range(len(images)):
        places = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(moved[n], padded[n, i : i + 32, j : j + 32])
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 15


def test_views_are_the_image_its_mirror_image_and_their_shifts(data):
    images = jnp.asarray(data["image"][:2])
    for which, count in (("plain", 1), ("flips", 2), ("flips and shifts", 6)):
        seen, weights = speedrun_images.views(images, which)
        assert seen.shape == (count, *images.shape)
        np.testing.assert_allclose(weights.sum(), 1.0)
        np.testing.assert_array_equal(seen[0], images)
        if count > 1:
            np.testing.assert_array_equal(seen[count // 2], images[:, :, ::-1])
    np.testing.assert_array_equal(seen[1][:, 1:, 1:], images[:, :-1, :-1])  # down and right
    np.testing.assert_array_equal(seen[2][:, :-1, :-1], images[:, 1:, 1:])


def test_running_average_is_the_recurrence(getkey):
    values = np.random.default_rng(0).normal(size=60)
    average, expected = jnp.float32(0), 0.0
    for step, value in enumerate(values):
        average = speedrun.running_average(average, jnp.float32(value), jnp.int32(step), 0.9)
        expected += max(0.1, 20 / (20 + step)) * (value - expected)
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-5)
    last = speedrun.running_average(average, jnp.float32(7), jnp.int32(1000), 0.0)
    assert last == 7


def test_rates_rise_to_their_peak_and_fall_to_0():
    rates = np.array([speedrun_train.triangle(3.0, 100, 0.2)(n) for n in range(101)])
    assert rates.argmax() == 20
    np.testing.assert_allclose(rates[[0, 10, 20, 60, 100]], [0.6, 1.8, 3.0, 1.5, 0.0], atol=1e-6)
    only_falls = np.array([speedrun_train.triangle(1.0, 10, 0.0)(n) for n in range(1, 11)])
    assert (np.diff(only_falls) < 0).all()


def test_muon_turns_filters_as_far_as_the_rate_says_and_leaves_the_first_layer(config, params):
    optimizer = speedrun_train.make_optimizer(dataclasses.replace(config, rise=0.0), 100)
    state = optimizer.init(params)
    grads = jax.tree.map(lambda a: jax.random.normal(jax.random.key(1), a.shape), params)
    for _ in range(2):  # the first step rises
        updates, state = jax.jit(optimizer.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(updates["whiten"]["kernel"], 0)
    for layer, update in zip(params["conv"], updates["conv"], strict=True):
        width = layer["kernel"].shape[-1]
        np.testing.assert_allclose(jnp.sum(layer["kernel"] ** 2), width, rtol=1e-4)
        turned = float(jnp.sqrt(jnp.sum(update["kernel"] ** 2) / width))
        assert 0.4 * config.learning_rate < turned < 1.3 * config.learning_rate
        assert (update["bias"] != 0).all()


def test_muon_is_orthogonal_in_the_first_step():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 8, 8))
    optimizer = optax.contrib.scale_by_muon(
        ns_steps=3, beta=0.6, weight_dimension_numbers=speedrun_train.as_matrices
    )
    tree = {"kernel": kernel}
    update, _ = jax.jit(optimizer.update)(tree, optimizer.init(tree), tree)
    values = np.linalg.svd(np.asarray(update["kernel"]).reshape(-1, kernel.shape[-1]))[1]
    assert 0.4 < values.min() <= values.max() < 1.4


@pytest.fixture(scope="module")
def by_heart(config, data):
    """A short training on a few images: configuration, images, states on the way, metrics."""
    few = {name: array[:32] for name, array in data.items()}
    eager = dataclasses.replace(
        config, epochs=15, shift=0, flip="none", views="plain", average=0.5, bias_rate=1.0
    )
    states, rows = [], []

    def watch(reports):
        for report in reports:
            states.append(jax.tree.map(jnp.copy, report.state))
            if report.metrics:
                rows.append(report.metrics)
        return report.state

    speedrun_train.train(eager, few, follow=watch)
    return eager, few, states, rows


def test_it_learns_a_few_images_by_heart(by_heart):
    config, few, states, _ = by_heart
    found = speedrun_train.predict_probabilities(config, None, states[-1].stats, few["image"])
    assert (found.argmax(-1) == few["label"]).mean() > 0.9
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-5)
    assert int(states[-1].stats["step"]) == int(states[-1].step) == 30


def test_the_program_of_a_whole_run_equals_training_step_by_step(by_heart):
    config, few, states, rows = by_heart
    sided = jax.tree.map(jnp.asarray, speedrun_train.with_sides(few, config.seed))
    run = jax.jit(speedrun_train.whole_run(config, 32))
    found = run(jax.random.key(config.seed), sided, few)
    assert found["loss"].shape == found["accuracy"].shape == (15,)
    np.testing.assert_allclose(found["loss"][:3], [r["train_loss"] for r in rows[:3]], rtol=2e-2)
    expected = speedrun_train.predict_probabilities(config, None, states[-1].stats, few["image"])
    accuracy = (expected.argmax(-1) == few["label"]).mean()
    np.testing.assert_allclose(found["test_accuracy"], accuracy, atol=0.07)


def test_training_goes_on_from_a_state_to_the_same_bits(by_heart):
    config, few, states, _ = by_heart
    middle = next(state for state in states if int(state.step) > 15)
    again = speedrun_train.train(config, few, state=middle)
    for a, b in zip(jax.tree.leaves(states[-1].stats), jax.tree.leaves(again.stats), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("solver", ["muon", "nesterov"])
def test_every_option_can_be_traced(config, data, solver):
    other = dataclasses.replace(
        config, solver=solver, scales=True, whiten=False, identity=False, flip="random",
        precision="bfloat16", patch=3,
    )  # fmt: skip
    optimizer, state = speedrun_train.start(other, 64)
    step = fit.make_step(speedrun_train.losses(other, 4)[0], optimizer)
    batch = jax.tree.map(lambda a: jnp.asarray(a[:16]), speedrun_train.with_sides(data, 0))
    new, metrics = jax.eval_shape(step, state, batch)
    assert metrics["loss"].dtype == jnp.float32
    assert jax.tree.map(lambda a: (a.shape, a.dtype), new) == jax.tree.map(
        lambda a: (a.shape, a.dtype), jax.eval_shape(lambda: state)
    )
