import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch03_mnist_ae_rbm import rbm, rbm_partition


def machine(values, scale):
    rng = np.random.default_rng(2)
    shapes = {"kernel": (values, 4, 3), "visible_bias": (values, 4), "hidden_bias": (3,)}
    if values > 1:
        shapes["rated_kernel"] = (4, 3)
    return {k: jnp.asarray(rng.normal(0, scale, s), jnp.float32) for k, s in shapes.items()}


def by_enumeration(params, rated):
    """log of the sum of exp(-F) over all visible states, in which the rated units take part."""
    values = len(params["kernel"])
    choices = [range(2 if values == 1 else values) if r else [-1] for r in rated]
    rows = np.array(list(itertools.product(*choices))) + (values > 1)
    visible, mask = rbm.encode(jnp.asarray(rows), values)
    return jax.nn.logsumexp(-rbm.free_energy(params, visible, mask))


@pytest.mark.parametrize(("values", "rated"), [(1, [1, 1, 1, 1]), (3, [1, 0, 1, 1])])
def test_annealed_importance_sampling_finds_log_z_within_its_error_bar(values, rated):
    params, rated = machine(values, 1.5), jnp.array(rated, jnp.float32)
    exact = by_enumeration(params, rated)
    estimate = jax.jit(rbm_partition.log_partition, static_argnames="chains")
    for seed in (0, 1):
        found = estimate(params, rated, jax.random.key(seed), temperatures=200, chains=400)
        assert 0 < found.error < 0.1
        assert abs(found.log_partition - exact) < 3 * found.error
    # The bar says something: with hardly any annealing it is wider.
    crude = estimate(params, rated, jax.random.key(0), temperatures=2, chains=400)
    assert crude.error > 2 * found.error
