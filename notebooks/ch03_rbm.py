# %% [markdown]
# # Chapter 3: a restricted Boltzmann machine that recommends movies
#
# Visible units stand for movies, hidden units for whatever makes people like them. Both are
# random, and all there is to know is one formula, the energy; what is likely has low energy. The
# model is a few pure functions of `zoo/ch03_mnist_ae_rbm/rbm/model.py`. This notebook looks at a
# machine so small that everything can be counted, trains one on ratings, and lets it recommend
# movies.
#
# The settings are tiny, so that everything runs in about a minute on two cores. To train in
# earnest say `python -m zoo.ch03_mnist_ae_rbm rbm train` in a terminal.

# %%
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo.ch03_mnist_ae_rbm import rbm
from zoo.ch03_mnist_ae_rbm.rbm import figures, ratings
from zoo.ch03_mnist_ae_rbm.rbm.task import TASK, predict, sized
from zoo.common import figures as common
from zoo.common.data import movielens

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

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
given, _ = rbm.encode(batch["rating"], 1)


def log_likelihood(params):
    free = rbm.free_energy(params, visible, rated)
    return -rbm.free_energy(params, given, rated[:4]).mean() - jax.nn.logsumexp(-free)


exact = jax.grad(log_likelihood)(params)["visible_bias"]
many = {"rating": jnp.tile(batch["rating"], (2_000, 1))}  # so that the noise of sampling is small
for k in (1, 3, 30):
    grads, _ = jax.grad(rbm.loss, has_aux=True)(params, many, jax.random.key(4), k=k)
    distance = jnp.abs(grads["visible_bias"] + exact).max()
    print(f"CD-{k}: the visible biases' gradient is off by {distance:.3f} at most")

# %% [markdown]
# ## Ratings
#
# For ratings each movie is a softmax unit with five values. A movie that somebody did not rate has
# no unit in that example: what is missing is not a zero. (The tests run this notebook on the
# built-in sample, so that they download nothing.)

# %% nbmake={"mock": {"data": "sample"}}
data = "auto"  # or "real", or "sample"

# %%
dataset = movielens.load("ml-100k", data)
table = ratings.make_table(dataset)
print(dataset.description)
table.train.shape, f"{(table.train > 0).mean():.1%} are rated"

# %% [markdown]
# An item-based machine has the users as visible units; an example is a movie.

# %%
config = dataclasses.replace(
    rbm.RECIPES["item"], hidden=100, epochs=30, steps=(1,), learning_rate=0.06
)
given = {
    "rating": ratings.examples(config, table.train),
    "target": ratings.examples(config, table.test),
}
config = sized(config, given["rating"])
rows = []


def follow(reports):
    for report in reports:
        if report.metrics is not None:
            rows.append({"epoch": report.epoch, **report.metrics})
    return report.state


state = TASK.train(config, {"rating": given["rating"]}, given, follow=follow)
errors = {"squared_error": "squared error: of chains, of test ratings"}
common.training_curves(rows, errors, dataset.description)

# %%
expected = predict(config, state.params, table.train)
known = np.where(table.train > 0, table.train, np.nan)
mean = np.nanmean(known)
movie_means = np.where((table.train > 0).any(0), np.nanmean(known, axis=0), mean)
for name, predicted in {
    "the mean": np.full(table.train.shape, mean),
    "the movie's mean": np.broadcast_to(movie_means, table.train.shape),
    "this machine": expected,
}.items():
    print(f"{name:20} RMSE {ratings.rmse(predicted, table.test):.4f}")

# %% [markdown]
# `python -m studies.ch03_rbm compare` has more to compare with.

# %%
figures.predicted(expected, table.test, caption=dataset.description)

# %% [markdown]
# ## Movies for somebody
#
# A user-based machine answers anyone: set the movies that he rated, and read off the rest.

# %%
config = dataclasses.replace(rbm.RECIPES["modern"], hidden=50, epochs=15, steps=(1,))
config = sized(config, table.train)
state = TASK.train(config, {"rating": table.train})
person = np.zeros((1, len(table.movies)), np.uint8)
person[0, [0, 1]] = 5, 1
for column in (0, 1):
    print(f"rated {person[0, column]}: {dataset.titles[int(table.movies[column])]}")
scores = np.where(person > 0, 0, rbm.apply(state.params, person))[0]
for column in np.argsort(-scores)[:5]:
    print(f"{scores[column]:.2f}  {dataset.titles[int(table.movies[column])]}")

# %% [markdown]
# ## What the hidden units stand for

# %%
popular = np.argsort(-(table.train > 0).sum(0))[: figures.POPULAR]
vectors = ratings.movie_vectors(config, state.params, table.train)[popular]
names = [dataset.titles[int(movie)] for movie in table.movies[popular]]
figures.themes(vectors, names, caption=dataset.description)
