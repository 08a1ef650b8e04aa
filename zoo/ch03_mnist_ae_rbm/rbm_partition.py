"""The normaliser of a Boltzmann machine, estimated; and with it the likelihood of data.

log p(v) = -F(v) - log Z, where Z sums over all states: out of reach beyond some twenty units.

Axes: as in `rbm`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zoo.ch03_mnist_ae_rbm import rbm


class Estimate(NamedTuple):
    """What annealed importance sampling says of log Z."""

    log_partition: jax.Array  # nats
    error: jax.Array  # standard error of it, nats


def log_partition(
    params: rbm.Params,
    rated: jax.Array,
    key: jax.Array,
    temperatures: int = 1000,
    chains: int = 100,
) -> Estimate:
    """Estimates log Z by annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008).

    Chains go from the machine without weights, whose Z is known, to this one, one step of Gibbs
    sampling at each inverse temperature; weights, hidden biases and `rated_kernel` grow by it.

    Args:
      params: from `init`.
      rated: [V], the units that take part; all ones for binary units.
      key: of the chains.
      temperatures: how many inverse temperatures, evenly from 0 to 1.
      chains: how many chains; at least 2 for an error.
    """
    values, _, width = params["kernel"].shape
    bias = params["visible_bias"]
    log_values = jax.nn.softplus(bias[0]) if values == 1 else jax.nn.logsumexp(bias, axis=0)
    first = (log_values * rated).sum() + width * jnp.log(2.0)
    rated = jnp.broadcast_to(rated, (chains, len(rated)))

    def at(inverse_temperature: jax.Array) -> rbm.Params:
        scaled = jax.tree.map(lambda a: inverse_temperature * a, params)
        return scaled | {"visible_bias": bias}

    def step(n: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        visible, log_weight = carry
        before, after = at(n / temperatures), at((n + 1) / temperatures)
        log_weight += rbm.free_energy(before, visible, rated)
        log_weight -= rbm.free_energy(after, visible, rated)
        up_key, down_key = jax.random.split(jax.random.fold_in(key, n + 1))
        probabilities = rbm.hidden_given_visible(after, visible, rated)
        hidden = rbm.sample_hidden(up_key, probabilities)
        return rbm.gibbs(after, hidden, rated, down_key), log_weight

    visible = rbm.gibbs(at(0.0), jnp.zeros((chains, width)), rated, jax.random.fold_in(key, 0))
    log_weight = jax.lax.fori_loop(0, temperatures, step, (visible, jnp.zeros(chains)))[1]
    mean = jax.nn.logsumexp(log_weight) - jnp.log(chains)
    spread = jnp.exp(log_weight - mean).std(ddof=1)  # of the weights, in units of their mean
    return Estimate(first + mean, spread / jnp.sqrt(chains))
