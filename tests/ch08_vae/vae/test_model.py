import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import multivariate_normal, norm
from jax.test_util import check_grads

from zoo.ch08_vae.vae import model

BOOK, MODERN, IWAE = (model.RECIPES[name] for name in ("book", "modern", "iwae"))
TINY = dataclasses.replace(MODERN, hidden=(5, 4), latents=3)


@pytest.fixture(scope="module")
def params():
    return model.init(jax.random.key(0), TINY)


@pytest.fixture
def batch():
    return model.example(TINY, 4)


def dense(layer, x):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer.get("bias", 0.0))


def in_float64(params, x, noise):
    """Mean, half log-variance as the book calls it, and the output, by the book's formulas."""
    for layer in params["encoder"]:
        x = np.maximum(dense(layer, x), 0)
    mean, l4 = dense(params["mean"], x), 0.5 * dense(params["logvar"], x)
    z = mean + np.exp(l4) * noise
    *hidden, last = params["decoder"]
    for layer in hidden:
        z = np.maximum(dense(layer, z), 0)
    return mean, l4, 1 / (1 + np.exp(-dense(last, z)))


def noise_of(key, shape):
    """The noise that `loss` draws from this key for one code an image."""
    return np.asarray(jax.random.normal(jax.random.clone(key), (1, *shape)), np.float64)[0]


def test_book_loss_is_the_books_formula_with_its_slip_in_float64(getkey):
    params, key = model.init(getkey(), BOOK), getkey()
    x = np.random.default_rng(0).uniform(0.1, 0.999, (7, 784))  # seven, not a hundred
    mean, l4, out = in_float64(params, x, noise_of(key, (7, 8)))
    squares = ((x - out) ** 2).sum()
    printed = 0.5 * (mean**2 + np.exp(l4) - (l4 + 1)).sum()
    true = 0.5 * (mean**2 + np.exp(2 * l4) - (2 * l4 + 1)).sum()
    how = {"kl_as_printed": True, "reduction": "sum", "observation": model.squared}
    loss = jax.jit(lambda params, batch, key: model.loss(params, batch, key, **how))
    value, metrics = loss(params, {"image": jnp.asarray(x, jnp.float32)}, key)
    np.testing.assert_allclose(value, squares + printed, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], true / 7, rtol=1e-4)
    np.testing.assert_allclose(metrics["reconstruction"], squares / 7, rtol=1e-5)


def test_modern_loss_is_cross_entropy_and_kl_in_float64(params, batch, getkey):
    key = getkey()
    x = np.asarray(batch["image"], np.float64)
    mean, l4, out = in_float64(params, x, noise_of(key, (4, 3)))
    entropy = -(x * np.log(out) + (1 - x) * np.log(1 - out)).sum(-1)
    kl = 0.5 * (mean**2 + np.exp(2 * l4) - (2 * l4 + 1)).sum(-1)
    value, _ = model.loss(params, batch, key, beta=2.0)
    np.testing.assert_allclose(value, (entropy + 2 * kl).mean(), rtol=1e-5)
    single = model.elbo(params, batch["image"])
    mean, l4, out = in_float64(params, x, 0.0)
    entropy = -(x * np.log(out) + (1 - x) * np.log(1 - out)).sum(-1)
    np.testing.assert_allclose(single, -entropy - kl, rtol=1e-5)


def test_books_network_has_470016_weights_in_the_books_shapes():
    params = jax.eval_shape(lambda key: model.init(key, BOOK), jax.random.key(0))
    leaves = jax.tree.leaves(params)
    assert sum(leaf.size for leaf in leaves) == 470_016
    shapes = sorted(leaf.shape for leaf in leaves)
    into = [(784, 256), (256, 128), (128, 8), (128, 8)]
    assert shapes == sorted([*into, (8, 128), (128, 256), (256, 784)])


def test_kernels_are_uniform_within_glorots_bound():
    kernel = model.init(jax.random.key(1), BOOK)["encoder"][0]["kernel"]
    bound = np.sqrt(6 / (784 + 256))
    assert 0.999 * bound < abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.01)


def test_gradients_agree_with_finite_differences(params, batch, getkey):
    key = getkey()
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), params)
        x = {"image": jnp.asarray(np.asarray(batch["image"]), jnp.float64)}
        for how in (
            {"kl_as_printed": True, "observation": model.squared, "activation": jnp.tanh},
            {"importance_weighted": True, "samples": 3, "activation": jnp.tanh},
        ):
            check_grads(
                jax.jit(lambda p, how=how: model.loss(p, x, jax.random.clone(key), **how)[0]),
                (wide,),
                order=1,
                modes=["rev"],
            )


def test_kl_agrees_with_quadrature():
    mean, logvar = np.array([0.7, -1.5]), np.array([-0.4, 1.1])
    z = np.linspace(-25, 25, 400_001)[:, None]
    log_q = -0.5 * ((z - mean) ** 2 / np.exp(logvar) + logvar + np.log(2 * np.pi))
    log_p = -0.5 * (z**2 + np.log(2 * np.pi))
    expected = np.sum(np.exp(log_q) * (log_q - log_p)) * (z[1, 0] - z[0, 0])
    actual = model.kl_to_standard_normal(jnp.asarray(mean), jnp.asarray(logvar))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_densities_are_scipys(getkey):
    z, mean, logvar = jax.random.normal(getkey(), (3, 5, 2))
    expected = norm.logpdf(z, mean, jnp.exp(0.5 * logvar)).sum(-1)
    np.testing.assert_allclose(model.log_normal(z, mean, logvar), expected, rtol=1e-5)
    logits = jnp.array([[0.3, -2.0]])
    p = 1 / (1 + np.exp(-np.asarray(logits)))
    for x in ([0.0, 1.0], [1.0, 1.0], [0.0, 0.0]):
        expected = np.log(np.where(np.array(x), p, 1 - p)).sum()
        np.testing.assert_allclose(model.bernoulli(logits, jnp.array(x)), [expected], rtol=1e-5)


# A linear decoder with Gaussian pixels is factor analysis: p(x) = N(b, W W^T + s^2 I), exactly.

DEVIATION = 0.5


def gaussian(mean, x):
    return norm.logpdf(x, mean, DEVIATION).sum(-1)


def factor_analysis(weights, encoder, logvar):
    """A model without hidden layers: [Z, D] to decode with, [D, Z] and [Z] to encode with."""
    latents, pixels = weights.shape
    return {
        "encoder": [],
        "mean": {"kernel": encoder, "bias": jnp.zeros(latents)},
        "logvar": {"kernel": jnp.zeros((pixels, latents)), "bias": logvar},
        "decoder": [{"kernel": weights, "bias": jnp.zeros(pixels)}],
    }


@pytest.fixture(scope="module")
def linear():
    """Correlated weights; the best q without correlations, widened, so that weights vary."""
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6)), jnp.float32)
    precision = jnp.eye(2) + weights @ weights.T / DEVIATION**2
    encoder = (jnp.linalg.inv(precision) @ weights / DEVIATION**2).T
    logvar = -jnp.log(jnp.diag(precision)) + 0.7
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, 6)), jnp.float32)
    exact = multivariate_normal.logpdf(
        x, jnp.zeros(6), weights.T @ weights + DEVIATION**2 * jnp.eye(6)
    )
    return factor_analysis(weights, encoder, logvar), x, exact


def test_log_likelihood_is_that_of_factor_analysis(linear, getkey):
    params, x, exact = linear
    found = model.log_likelihood(params, x, getkey(), 40_000, 1_000, observation=gaussian)
    np.testing.assert_allclose(found, exact, atol=0.02)


def test_every_weight_is_the_likelihood_where_the_encoder_is_exact(getkey):
    weights = jnp.zeros((2, 6)).at[0, 1].set(2.0).at[1, 4].set(-0.7)  # so q has no correlations
    precision = 1.0 + (weights**2).sum(1) / DEVIATION**2
    encoder = (weights / DEVIATION**2 / precision[:, None]).T
    params = factor_analysis(weights, encoder, -jnp.log(precision))
    x = jax.random.normal(getkey(), (3, 6))
    exact = multivariate_normal.logpdf(
        x, jnp.zeros(6), weights.T @ weights + DEVIATION**2 * jnp.eye(6)
    )
    found = jax.jit(lambda key: model.log_weights(params, x, key, 7, observation=gaussian))(
        getkey()
    )
    np.testing.assert_allclose(found, jnp.broadcast_to(exact, (7, 3)), rtol=1e-4)
    one = model.log_likelihood(params, x, getkey(), 6, 2, observation=gaussian)
    np.testing.assert_allclose(one, exact, rtol=1e-4)


def test_iwae_bound_rises_with_k_to_the_likelihood_and_not_above(linear, getkey):
    params, x, exact = linear
    repeats, last = 2_000, np.full(3, -np.inf)

    def bound(k):
        keys = jax.random.split(getkey(), repeats)
        values = jax.vmap(lambda key: model.iwae_bound(params, x, key, k, observation=gaussian))
        return np.asarray(jax.jit(values)(keys), np.float64)

    for k in (1, 4, 16):
        values = bound(k)
        error = values.std(0) / np.sqrt(repeats)
        assert (values.mean(0) > last + 3 * error).all()
        assert (values.mean(0) < exact + 3 * error).all()
        last = values.mean(0)
    assert (exact - last < 0.05).all()


def test_the_elbo_is_the_bound_of_one_sample_on_average(linear, getkey):
    params, x, _ = linear
    keys = jax.random.split(getkey(), 4_000)
    one = jax.vmap(lambda k: model.iwae_bound(params, x, k, 1, observation=gaussian))
    one = jax.jit(one)(keys)
    keys = jax.random.split(getkey(), 4_000)
    exact_kl = jax.jit(jax.vmap(lambda k: model.elbo(params, x, k, observation=gaussian)))(keys)
    error = np.sqrt((one.var(0) + exact_kl.var(0)) / 4_000)
    assert (abs(one.mean(0) - exact_kl.mean(0)) < 4 * error).all()


def test_importance_weighted_loss_is_minus_the_bound_of_the_same_codes(params, batch, getkey):
    key = getkey()
    how = {"importance_weighted": True, "samples": 6}
    value, _ = jax.jit(lambda key: model.loss(params, batch, key, **how))(key)
    bound = jax.jit(lambda key: model.iwae_bound(params, batch["image"], key, 6))(
        jax.random.clone(key)
    )
    np.testing.assert_allclose(value, -bound.mean(), rtol=1e-6)


def test_reparameterised_gradient_is_the_score_functions_in_expectation(linear, getkey):
    params, x, _ = linear
    draws = 100_000

    def pathwise(heads, key):
        return model.loss(params | heads, {"image": x}, key, samples=1, observation=gaussian)[0]

    def score(heads, key):
        """grad E_q[f] = E_q[f grad log q]; f less its mean, which changes no expectation."""
        mean, logvar = model.encode(params | heads, x)
        z = jax.lax.stop_gradient(model.reparameterise(key, mean, logvar))
        f = -gaussian(model.decode(params, z), x)
        baseline = jax.lax.stop_gradient(-gaussian(model.decode(params, mean), x))
        surrogate = jax.lax.stop_gradient(f - baseline) * model.log_normal(z, mean, logvar)
        return (surrogate + model.kl_to_standard_normal(mean, logvar)).mean()

    heads = {name: params[name] for name in ("mean", "logvar")}
    moments = []
    for value in (pathwise, score):
        keys = jax.random.split(getkey(), draws)
        grads = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(heads, keys)
        flat = np.concatenate(
            [np.asarray(g, np.float64).reshape(draws, -1) for g in jax.tree.leaves(grads)], axis=1
        )
        moments.append((flat.mean(0), flat.std(0) / np.sqrt(draws)))
    (one, one_error), (two, two_error) = moments
    error = np.sqrt(one_error**2 + two_error**2)
    assert (abs(one - two) < 4.5 * error + 1e-6).all()
    assert abs(one).max() > 20 * error.min()  # there is a gradient to agree on


def test_without_a_key_the_code_is_the_mean_and_with_one_it_spreads(params, batch, getkey):
    out = model.apply(params, batch["image"])
    np.testing.assert_array_equal(out.logits, model.decode(params, out.mean))
    keyed = model.apply(params, batch["image"], getkey())
    assert not np.array_equal(out.logits, keyed.logits)
    z = model.reparameterise(
        getkey(), jnp.full((1, 2), 3.0), jnp.log(jnp.full((1, 2), 4.0)), (9999,)
    )
    np.testing.assert_allclose(z.mean((0, 1)), 3.0, atol=0.08)
    np.testing.assert_allclose(z.std((0, 1)), 2.0, rtol=0.03)


@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("observation", [model.bernoulli, model.squared])
def test_extreme_logits_give_finite_losses_and_gradients(size, observation):
    x = jnp.array([[0.0, 1.0, 0.3, 1.0]])
    logits = size * jnp.array([[-1.0, 1.0, -1.0, -1.0]])
    value, grads = jax.value_and_grad(lambda a: observation(a, x).sum())(logits)
    assert np.isfinite(value)
    assert np.isfinite(grads).all()
    if observation is model.bernoulli:
        np.testing.assert_allclose(value, -1.3 * size, rtol=1e-5)


def test_pixels_are_scaled_as_the_recipes_say():
    images = jnp.asarray(np.resize(np.array([0, 128, 255], np.uint8), (2, 28, 28)))
    unit, book = model.scale_pixels(images), model.scale_pixels(images, "book")
    assert unit.shape == (2, 784)
    np.testing.assert_allclose(unit[0, :3], [0, 128 / 255, 1], rtol=1e-6)
    np.testing.assert_allclose(book[0, :3], [0.1, 0.9 * 128 / 255 + 0.1, 0.999], rtol=1e-6)


def test_samples_from_the_prior_are_grey_levels(params, getkey):
    images = model.sample(params, getkey(), 11)
    assert images.shape == (11, 784)
    assert images.min() >= 0
    assert images.max() <= 1
    assert not np.array_equal(images[0], images[1])


def test_what_does_not_fit_is_said(params, getkey):
    with pytest.raises(ValueError, match=r"\(3, 28, 28\), expected \(batch, 784\): flatten"):
        model.encode(params, jnp.zeros((3, 28, 28)))
    with pytest.raises(ValueError, match=r"5003 samples in chunks of 50, .* ask for 5000"):
        model.log_likelihood(params, jnp.zeros((1, 784)), getkey(), 5003)


def test_the_iwae_recipe_is_the_papers_network():
    params = jax.eval_shape(lambda key: model.init(key, IWAE), jax.random.key(0))
    widths = [layer["kernel"].shape for layer in params["encoder"]]
    assert widths == [(784, 200), (200, 200)]
    assert params["mean"]["kernel"].shape == params["logvar"]["kernel"].shape == (200, 50)
    assert [p["kernel"].shape for p in params["decoder"]] == [(50, 200), (200, 200), (200, 784)]
