# %% [markdown]
# # Chapter 3, second part: an autoencoder
#
# 784 pixels go through 128 units into a code of 64 numbers, and back. `autoencoder.encode` and
# `autoencoder.decode` are the halves, `autoencoder.apply` is both, `autoencoder.loss` the mean
# squared error. This notebook defines no model: read `zoo/ch03_mnist_ae_rbm/autoencoder/model.py`.
#
# To train in earnest, take the recipe as it is, or say
# `python -m zoo.ch03_mnist_ae_rbm autoencoder train` in a terminal.

# %%
import dataclasses

import jax
import numpy as np

import zoo
from zoo.ch03_mnist_ae_rbm import autoencoder, scale_pixels
from zoo.ch03_mnist_ae_rbm.autoencoder.task import TASK, denoise, nearest
from zoo.common import figures
from zoo.common.data import mnist

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% nbmake={"mock": {"data": "sample"}}
data = "auto"  # or "real", or "sample": the small digits of scikit-learn

# %%
dataset = mnist.load(data)
print(dataset.description)

# %% [markdown]
# ## From noise to digits
#
# The reports of training carry the state, so one can look at what comes out on the way.


# %%
def reconstruct(params, images):
    logits = autoencoder.apply(params, scale_pixels(images)).logits
    return np.asarray(jax.nn.sigmoid(logits)).reshape(images.shape)


config = dataclasses.replace(autoencoder.RECIPES["modern"], epochs=4)
ten = np.unique(dataset.test["label"], return_index=True)[1]
seen = {"input": dataset.test["image"][ten]}
untrained = autoencoder.init(jax.random.key(0), config)
seen["before"] = reconstruct(untrained, seen["input"])


def follow(reports):
    for report in reports:
        if report.metrics is not None:
            print(f"epoch {report.epoch}: test error {report.metrics['test_mse']:.5f}")
            back = reconstruct(report.state.params, seen["input"])
            seen[f"epoch {report.epoch}"] = back
    return report.state


state = TASK.train(config, dataset.train, dataset.test, follow=follow)
figures.strips(seen, "what comes out while it learns", dataset.description)

# %% [markdown]
# ## Against PCA
#
# PCA gives the best linear code of 64 numbers, so an autoencoder that does no better has learnt
# nothing worth its trouble. (On the small sample, four epochs are too few to beat it.)

# %%
from sklearn.decomposition import PCA


def rows(part):
    return part["image"].reshape(len(part["image"]), -1) / 255


pca = PCA(config.code, svd_solver="covariance_eigh").fit(rows(dataset.train))
test = rows(dataset.test)
linear = pca.inverse_transform(pca.transform(test)).clip(0, 1)
back = reconstruct(state.params, dataset.test["image"]).reshape(test.shape)
print(f"PCA {np.square(linear - test).mean():.5f}")
print(f"autoencoder after {config.epochs} epochs {np.square(back - test).mean():.5f}")

# %%
first = {"input": test, "PCA": linear, "autoencoder": back}
figures.strips({name: x[:10].reshape(-1, 28, 28) for name, x in first.items()})

# %% [markdown]
# ## Taking noise away
#
# With `noise` the network sees noisy images, and has to give back the clean ones.

# %%
noisy_config = dataclasses.replace(config, noise=0.5)
noisy_state = TASK.train(noisy_config, dataset.train)
clean = dataset.test["image"][:10]
noisy, denoised = denoise(noisy_config, noisy_state.params, clean, jax.random.key(1))
figures.strips({"clean": clean, "input": noisy, "output": denoised}, caption=dataset.description)

# %% [markdown]
# ## Neighbours
#
# Near codes belong to images that look alike. Orange frames mark another digit than the query's,
# which stands at the left.

# %%
codes = autoencoder.encode(state.params, scale_pixels(dataset.test["image"]))
near = np.concatenate([ten[:, None], nearest(np.asarray(codes), 8)[ten]], axis=1)
labels = dataset.test["label"]
figures.strips(
    {f"a {labels[row[0]]}": dataset.test["image"][row] for row in near},
    wrong={f"a {labels[row[0]]}": labels[row] != labels[row[0]] for row in near},
    caption=dataset.description,
)
