# %% [markdown]
# # Chapter 8: a variational autoencoder
#
# An encoder turns an image into a Gaussian over short codes, a decoder turns codes into images.
# `vae.init` makes parameters, `vae.apply` goes through both, `vae.loss` is the negative ELBO in
# nats. This notebook calls them one by one, trains a model of two latents on a few digits, and
# draws the plane of its codes. It defines no model: read `zoo/ch08_vae/vae/model.py` for that.
#
# The settings are tiny, so that everything runs in about a minute on two cores. To train in
# earnest, say `python -m zoo.ch08_vae train` in a terminal.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo import ch08_vae as vae
from zoo.ch08_vae.vae import latent, likelihood
from zoo.ch08_vae.vae.figures import scatter
from zoo.common import figures
from zoo.common.data import mnist
from zoo.common.trained import Trained

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## Data
#
# `load` looks for MNIST in `$ZOO_DATA_DIR` and in the cache, then downloads it, and where there
# is no network it takes a built-in sample. `description` says which it was. Images are uint8
# `[N, 28, 28]`. (The tests run this notebook on the sample, so that they download nothing.)

# %% nbmake={"mock": {"data": "sample"}}
data = "auto"  # or "real", or "sample"

# %%
dataset = mnist.load(data)
train = {"image": dataset.train["image"][:5_000]}
test = {name: array[:500] for name, array in dataset.test.items()}
print(dataset.description)

# %% [markdown]
# ## Parameters and one pass
#
# A `Config` holds all settings and `RECIPES` names whole ones: `modern` is the one we recommend,
# `book` does what the book's program does, `iwae` follows the paper of that name.

# %%
config = vae.RECIPES["modern"]
params = vae.init(jax.random.key(config.seed), config)
print(f"{sum(a.size for a in jax.tree.leaves(params)):,} parameters")
jax.tree.map(jnp.shape, params)

# %%
x = vae.scale_pixels(jnp.asarray(test["image"][:100]))
out = vae.apply(params, x)
{name: value.shape for name, value in out._asdict().items()}

# %% [markdown]
# ## The bound
#
# The loss is -log p(x | z), summed over the pixels, plus the KL from the encoder's Gaussian to
# the standard normal one: an untrained model needs about 784 ln 2 = 543 nats for an image.
# Without a key the code is the mean, and nothing is random.

# %%
value, metrics = vae.loss(params, {"image": x}, jax.random.key(1))
print(f"loss {value:.1f} nats:", {name: f"{float(part):.1f}" for name, part in metrics.items()})

# %% [markdown]
# ## Training
#
# Two latents, so that the codes can be drawn. `vae.train` gives back the last state; what should
# happen on the way is up to `follow`, which consumes the reports of the loop.

# %%
rows = []


def follow(reports):
    for report in reports:
        if report.metrics is not None:
            rows.append({"epoch": report.epoch, **report.metrics})
    return report.state


tiny = dataclasses.replace(config, hidden=(200,), latents=2, epochs=15)
state = vae.train(tiny, train, test, follow=follow)
trained = Trained(vae.TASKS[0], tiny, {"params": state.params})
panels = {"reconstruction": "−log p(x | z) (nats)", "kl": "KL (nats)"}
figures.training_curves(rows, panels, dataset.description)

# %% [markdown]
# ## What it makes of digits that it has not seen

# %%
some = test["image"][:10]
figures.strips(
    {"input": some, "output": trained.predict(image=some)["image"]},
    caption=dataset.description,
)

# %% [markdown]
# ## The plane of codes
#
# Each picture stands for the same share of the prior; below it lie the test images' own codes.

# %%
plane = latent.manifold(tiny, state.params, 15)
figures.mosaic(plane, 15, "the plane of codes", caption=dataset.description)

# %%
codes, _ = latent.encode(tiny, state.params, test["image"])
scatter(codes, test["label"], caption=dataset.description)

# %% [markdown]
# ## How likely are the test images?
#
# The ELBO is the crudest bound of log p(x). The mean of k importance weights gives a tighter one,
# which comes to log p(x) itself as k grows (the IWAE paper). Grey pixels are no outcomes of
# Bernoulli variables, so for figures to compare with published ones train with `binarise=True`.

# %%
found = likelihood.bounds(trained, test["image"])
print(f"ELBO        {found['elbo']:.2f} nats")
for k in (1, 10, 100, 1_000):
    values = likelihood.log_likelihoods(trained, test["image"][:100], k)
    error = np.std(values) / len(values) ** 0.5
    print(f"k = {k:<6} {np.mean(values):8.2f} ± {error:.2f}, the first 100 images")
