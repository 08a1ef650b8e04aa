# %% [markdown]
# # Chapter 6: a convolutional network
#
# The network is three pure functions: `cnn.init` makes parameters, `cnn.apply` turns pictures
# into logits, `cnn.loss` compares them with labels. This notebook calls them one by one, trains
# on 2,000 pictures and looks at the result. It defines no model: read `zoo/ch06_cnn/cnn/model.py`
# for that.
#
# The settings are tiny, so that everything runs in about a minute on two cores. To train in
# earnest, take the slices away and the recipe as it is, or say `python -m zoo.ch06_cnn train`
# in a terminal.

# %%
import dataclasses

import jax
import jax.numpy as jnp

import zoo
from zoo import ch06_cnn as cnn
from zoo.ch06_cnn import figures
from zoo.common import bench
from zoo.common.data import cifar10

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## Data
#
# `load` looks for CIFAR-10 in `$ZOO_DATA_DIR` and in the cache, then downloads it, and where
# there is no network it takes a built-in sample of drawn shapes. `description` says which it
# was. Images are uint8 `[N, 32, 32, 3]`. (The tests run this notebook on the sample, so that
# they download nothing.)

# %% nbmake={"mock": {"data": "sample"}}
data = "auto"  # or "real", or "sample"

# %%
dataset = cifar10.load(data)
train = {name: array[:2_000] for name, array in dataset.train.items()}
test = {name: array[:500] for name, array in dataset.test.items()}
print(dataset.description)
{name: (array.shape, array.dtype) for name, array in train.items()}

# %% [markdown]
# ## Parameters, logits, loss
#
# A `Config` holds all settings and `RECIPES` names whole ones: `book` does what the book's
# program does, `modern` is the one we recommend. Parameters are dicts and lists of arrays.

# %%
config = cnn.RECIPES["modern"]
params = cnn.init(jax.random.key(config.seed), config)
print(f"{sum(a.size for a in jax.tree.leaves(params)):,} parameters")
jax.tree.map(jnp.shape, params)

# %% [markdown]
# Ten classes and no training yet: the accuracy should be near 10 %, the loss near ln 10 = 2.3
# nats or above it. Without a key `apply` and `loss` evaluate, and nothing is random; with one
# they train: dropout draws, and the normalisation takes the moments of the batch.

# %%
batch = {
    "image": cnn.scale_pixels(train["image"][:100]),
    "label": jnp.asarray(train["label"][:100]),
}
value, (metrics, _) = cnn.loss(params, batch)
print(f"loss {value:.3f} nats, accuracy {metrics['accuracy']:.0%}")

# %% [markdown]
# ## A gradient
#
# The gradient has the shape of the parameters, so one line of `tree.map` looks into it.

# %%
gradient = jax.grad(cnn.loss, has_aux=True)
grads, _ = gradient(params, batch, jax.random.key(1))
jax.tree.map(lambda g: f"{jnp.linalg.norm(g):.3f}", grads)

# %% [markdown]
# ## What jit is worth
#
# Model functions are never jitted inside `model.py`: the caller does it, at the edge. Two
# things to keep in mind when timing: the first call compiles, and JAX returns before the device
# has finished. `bench.time_call` keeps compilation apart and waits for every run.

# %%
timing = bench.time_call(gradient, params, batch, jax.random.key(1), runs=5)
print(f"compiled once in {timing.compile_seconds:.1f} s, then {1e3 * timing.median:.0f} ms a call")

# %% [markdown]
# ## Training
#
# `cnn.train` draws an order for each epoch, augments, updates, and gives back the last state.
# What should happen on the way is up to `follow`, which consumes the reports; here it keeps one
# line for each epoch. Few pictures and small batches: the accuracy is above chance, and no more
# than that.

# %%
rows = []


def follow(reports):
    for report in reports:
        if report.metrics is not None:
            rows.append({"epoch": report.epoch, **report.metrics})
            print(f"epoch {report.epoch}: test accuracy {report.metrics['test_accuracy']:.1%}")
    return report.state


tiny = dataclasses.replace(config, epochs=4, batch_size=50, learning_rate=0.02)
state = cnn.train(tiny, train, test, follow=follow)

# %%
figures.learning_curves(rows, caption=dataset.description)

# %% [markdown]
# ## Predictions of pictures that it was not trained on

# %%
images, labels = test["image"][:9], test["label"][:9]
logits = cnn.apply(state.params, cnn.scale_pixels(images), stats=state.stats).logits
probabilities = jax.nn.softmax(logits)
figures.predictions(images, labels, probabilities, dataset.classes, caption=dataset.description)

# %% [markdown]
# ## What the first layer looks for

# %%
figures.filters(state.params["conv"][0]["kernel"], caption=dataset.description)

# %% [markdown]
# ## The speed run
#
# `cnn.speedrun` is another network, which learns more in the same time. Its first layer is not
# learnt: it whitens patches of the pictures, so that its outputs are uncorrelated.

# %%
kernel = cnn.speedrun.whitening_kernel(cnn.scale_pixels(train["image"][:1_000]))
figures.filters(kernel, caption=dataset.description)

# %% [markdown]
# A trained one comes with zoo, with a card that tells how it was made. `predict` takes uint8 images
# and averages over six views of each. The model was trained on the photographs of CIFAR-10; the
# sample's drawn shapes have other classes.

# %%
trained = zoo.published("ch06_cnn/speedrun")
print(trained.about["command"], trained.about["metrics"]["evaluation"], sep="\n")

# %%
probabilities = trained.predict(image=images)["probabilities"]
if dataset.source == "real":
    picture = figures.predictions(
        images, labels, probabilities, trained.classes, caption=dataset.description
    )
else:
    picture = "the sample has other classes"
picture
