# %% [markdown]
# # Chapter 3: a restricted Boltzmann machine that recommends films
#
# Visible units stand for films, hidden units for whatever makes people like them. Both are
# random, and all there is to know is one formula, the energy; what is likely has low energy. The
# model is a few pure functions of `zoo/ch03_mnist_ae_rbm/rbm.py`. This notebook looks at a
# machine so small that everything can be counted, trains one on ratings, and asks it for films.
#
# The settings are tiny, so that everything runs in about a minute on two cores. To train in
# earnest say `python -m zoo.ch03_mnist_ae_rbm train rbm` in a terminal.

# %%
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from zoo.ch03_mnist_ae_rbm import baselines, ratings, rbm, rbm_figures, rbm_partition, rbm_train
from zoo.common.data import movielens

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## A machine that can be counted
#
# Four binary visible units and two hidden ones: 16 visible states. The free energy
# $F(v) = -\log\sum_h e^{-E(v,h)}$ has a closed form, since the hidden units do not touch one
# another, and $p(v) = e^{-F(v)}/Z$.

# %%
tiny = rbm.Config(units="binary", visible=4, hidden=2, scale=2.0)
params = rbm.init(jax.random.key(1), tiny)
states = jnp.array(list(itertools.product((0, 1), repeat=4)))
visible, rated = rbm.encode(states, 1)
free_energy = rbm.free_energy(params, visible, rated)
log_partition = jax.nn.logsumexp(-free_energy)
probability = jnp.exp(-free_energy - log_partition)
print(f"log Z = {log_partition:.4f}; the probabilities sum to {probability.sum():.6f}")

# %% [markdown]
# With 3,706 films $Z$ has $2^{3706}$ terms. Annealed importance sampling estimates it by chains
# that go slowly from a machine without weights to this one, and says how sure it is.

# %%
estimate = rbm_partition.log_partition(params, jnp.ones(4), jax.random.key(2), 500, 200)
print(f"log Z = {estimate.log_partition:.4f} ± {estimate.error:.4f} nats by sampling")

# %% [markdown]
# ## Gibbs sampling
#
# Given the hidden units the visible ones are independent, and the other way round. To and fro,
# a chain forgets where it began and visits each state as often as $p(v)$ says.

# %%
hidden = jnp.zeros((5_000, 2))
everything = jnp.ones((5_000, 4))
for k in (1, 3, 30):
    drawn = rbm.gibbs(params, hidden, everything, jax.random.key(3), k)[:, 0]
    visited = (drawn[:, None] == states).all(-1).mean(0)
    distance = 0.5 * jnp.abs(visited - probability).sum()
    print(f"after {k:2} steps: total variation distance to p(v) {distance:.3f}")

# %% [markdown]
# ## Contrastive divergence
#
# The gradient of the log-likelihood is what the data say less what the machine itself says. The
# second needs a chain that has forgotten; contrastive divergence takes one of k steps that began
# at the data. With small k it is biased, and useful. `rbm.loss` is a function that has this
# gradient, so any solver of Optax will do.

# %%
batch = {"rating": states[jnp.array([5, 5, 10, 15])]}
grads, _ = jax.grad(rbm.loss, has_aux=True)(params, batch, jax.random.key(4))
by_hand = rbm.contrastive_divergence(params, batch, jax.random.key(4))
jax.tree.map(lambda a, b: f"{jnp.abs(a - b).max():.1e}", grads, by_hand)

# %% [markdown]
# ## Ratings
#
# For ratings each film is a softmax unit with five values. A film that somebody did not rate has
# no unit in that example: what is missing is not a zero. (The tests run this notebook on the
# built-in sample, so that they download nothing.)

# %% nbmake={"mock": {"data": "sample"}}
data = "auto"  # or "real", or "sample"

# %%
dataset = movielens.load("ml-100k", data)
table = ratings.table(dataset)
print(dataset.description)
table.train.shape, f"{(table.train > 0).mean():.1%} are rated"

# %% [markdown]
# An item-based machine has the users as visible units; an example is a film.

# %%
config = dataclasses.replace(
    rbm.RECIPES["item"], hidden=100, epochs=30, steps=(1,), learning_rate=0.06
)
given = {
    "rating": ratings.examples(config, table.train),
    "target": ratings.examples(config, table.test),
}
config = rbm_train.sized(config, given["rating"])
rows = []


def follow(reports):
    for report in reports:
        if report.metrics is not None:
            rows.append({"epoch": report.epoch, **report.metrics})
    return report.state


state = rbm_train.train(config, {"rating": given["rating"]}, given, follow=follow)
rbm_figures.learning_curves(rows, caption=dataset.description)

# %%
expected = ratings.predict(config, state.params, table.train)
for name, predicted in {
    "film's mean": baselines.item_mean(table.train),
    "biased matrix factorisation": baselines.matrix_factorisation(table.train),
    "this machine": expected,
}.items():
    print(f"{name:30} RMSE {ratings.rmse(predicted, table.test):.4f}")

# %%
rbm_figures.predicted(expected, table.test, caption=dataset.description)

# %% [markdown]
# ## Films for somebody
#
# A user-based machine answers anyone: set the films that he rated, and read off the rest.

# %%
config = dataclasses.replace(rbm.RECIPES["modern"], hidden=50, epochs=15, steps=(1,))
config = rbm_train.sized(config, table.train)
state = rbm_train.train(config, {"rating": table.train})
person = np.zeros((1, len(table.films)), np.uint8)
person[0, [0, 1]] = 5, 1
for column in (0, 1):
    print(f"rated {person[0, column]}: {dataset.titles[int(table.films[column])]}")
scores = rbm.predict_ratings(state.params, person)
best, columns = rbm.recommend(scores, person > 0, 5)
for score, column in zip(best[0], columns[0], strict=True):
    print(f"{score:.2f}  {dataset.titles[int(table.films[column])]}")

# %% [markdown]
# ## What the hidden units stand for

# %%
popular = np.argsort(-(table.train > 0).sum(0))[: rbm_figures.POPULAR]
vectors = ratings.film_vectors(config, state.params, table.train)[popular]
names = [dataset.titles[int(film)] for film in table.films[popular]]
rbm_figures.themes(vectors, names, caption=dataset.description)
