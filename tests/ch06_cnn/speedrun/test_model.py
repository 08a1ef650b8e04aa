import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from zoo.ch06_cnn.cnn import model as cnn
from zoo.ch06_cnn.speedrun import model


def test_partial_identity_passes_channels_on(getkey):
    kernel = model.partial_identity(getkey(), (3, 3, 4, 7))
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
        for m in model.init_moments(params)
    ]
    twin = Twin(width=4, train=train)

    def ours(params):
        if train:
            logits, new = model.apply_training(params, x, moments)
        else:
            logits, new = model.apply(params, x, moments), moments
        return (logits * weights).sum(), (logits, new)

    def theirs(params):
        stats = {f"norm{n}": m for n, m in enumerate(moments)}
        logits, new = twin.apply(
            {"params": to_twin(params), "batch_stats": stats}, x, mutable="batch_stats"
        )
        return (logits * weights).sum(), (logits, new["batch_stats"])

    (_, (got, updated)), gradients = jax.jit(jax.value_and_grad(ours, has_aux=True))(params)
    (_, (logits, stats)), expected = jax.jit(jax.value_and_grad(theirs, has_aux=True))(params)
    np.testing.assert_allclose(got, logits, rtol=1e-4, atol=1e-4)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-2, atol=2e-3), gradients, expected
    )
    if train:
        for n, new in enumerate(updated):
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
                new,
                dict(stats[f"norm{n}"]),
            )


def test_gradients_agree_with_finite_differences(config, getkey):
    with jax.enable_x64(True):
        params = model.init(getkey(), dataclasses.replace(config, width=1, identity=False))
        params = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), params)
        batch = {
            "image": jax.random.normal(getkey(), (3, 32, 32, 3), jnp.float64),
            "label": jnp.array([1, 5, 9]),
        }

        @jax.jit
        def value(output, bias):
            changed = {**params, "output": output, "whiten": {**params["whiten"], "bias": bias}}
            options = {"label_smoothing": 0.2, "activation": "silu", "dtype": jnp.float64}
            return model.loss(changed, batch, **options)[0]

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
    batch = {"image": cnn.scale_pixels(data["image"][:6]), "label": data["label"][:6]}
    loss = jax.jit(functools.partial(model.loss, label_smoothing=0.2))
    value, (metrics, _) = loss(params, batch)
    z = np.asarray(jax.jit(model.apply)(params, batch["image"]), np.float64)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    targets = np.full((6, 10), 0.02)
    targets[np.arange(6), batch["label"]] = 0.82
    np.testing.assert_allclose(value, -(targets * log_p).sum(1).mean(), rtol=1e-5)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(metrics["accuracy"], (z.argmax(1) == batch["label"]).mean())


def test_jit_changes_nothing_and_the_same_key_gives_the_same_parameters(config, getkey):
    init, key = jax.jit(lambda key: model.init(key, config)), getkey()
    one, again = init(key), init(jax.random.clone(key))
    assert all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(again)))
    batch = model.example(config, 4)
    plain, compiled = model.loss(one, batch)[0], jax.jit(model.loss)(again, batch)[0]
    np.testing.assert_allclose(plain, compiled, rtol=1e-5)


def test_a_wrong_shape_is_named(params):
    with pytest.raises(ValueError, match=r"\(2, 3, 32, 32\), expected \(batch, rows, columns, 3\)"):
        model.apply(params, jnp.zeros((2, 3, 32, 32)))


def test_bfloat16_runs_on_a_cpu_and_is_near(params, data):
    x = cnn.scale_pixels(data["image"][:8])
    exact, rough = (
        jax.jit(functools.partial(model.apply_training, dtype=dtype))(params, x).logits
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert rough.dtype == jnp.float32
    assert 0 < float(jnp.abs(rough - exact).max()) < 0.1 * float(jnp.abs(exact).max()) + 0.05


def test_running_average_is_the_recurrence(getkey):
    values = np.random.default_rng(0).normal(size=60)
    average, expected = jnp.float32(0), 0.0
    for step, value in enumerate(values):
        average = model.running_average(average, jnp.float32(value), jnp.int32(step), 0.9)
        expected += max(0.1, 20 / (20 + step)) * (value - expected)
        np.testing.assert_allclose(average, expected, rtol=1e-4, atol=1e-5)
    last = model.running_average(average, jnp.float32(7), jnp.int32(1000), 0.0)
    assert last == 7
    far = model.running_average(jnp.float32(1), jnp.float32(2), jnp.int32(100_000), 0.98)
    np.testing.assert_allclose(far, 1.02, rtol=1e-6)


def test_training_differs_from_evaluation_by_the_moments_it_uses_and_updates(
    params, config, getkey
):
    batch = model.example(config, 6)
    value, (metrics, moments) = jax.jit(model.loss)(params, batch, getkey())
    assert moments is None
    assert value == jax.jit(model.loss)(params, batch)[0]
    trained, (others, moments) = jax.jit(model.loss_training)(params, batch)
    assert metrics.keys() == others.keys()
    assert trained != value
    given, updated = map(jax.tree.leaves, (model.init_moments(params), moments))
    assert [a.shape for a in given] == [a.shape for a in updated]
    assert not any((a["mean"] == 0).all() for a in moments)


def test_the_losses_name_labels_of_a_wrong_shape(params, config):
    batch = model.example(config, 3)
    for loss in (model.loss, model.loss_training):
        for label, found in (
            (batch["label"][:, None], r"\(3, 1\)"),
            (batch["label"][:1], r"\(1,\)"),
        ):
            with pytest.raises(ValueError, match=rf"labels have shape {found}, expected \(3,\)"):
                jax.eval_shape(loss, params, batch | {"label": label})


def test_an_unknown_keyword_is_refused(params, config):
    batch = model.example(config, 3)
    for loss in (model.loss, model.loss_training):
        with pytest.raises(ValueError, match="got the activation 'GELU', expected one of gelu"):
            loss(params, batch, activation="GELU")
    for name in ("dataset", "split", "activation", "flip", "solver", "views", "precision"):
        with pytest.raises(ValueError, match=f"got the {name} 'other', expected one of"):
            dataclasses.replace(config, **{name: "other"})
