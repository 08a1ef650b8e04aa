# %% [markdown]
# # Chapter 3, first part: a feed-forward network
#
# The network is a few pure functions: `net.init` makes parameters, `net.apply` turns images into
# logits, `net.loss` compares them with labels. This notebook calls
# them one by one, trains for three epochs and looks at the answers. It defines no model: read
# `zoo/ch03_mnist_ae_rbm/feedforward/model.py` for that.
#
# To train in earnest, take the recipe as it is, or say
# `python -m zoo.ch03_mnist_ae_rbm train` in a terminal.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

import zoo
from zoo import ch03_mnist_ae_rbm as net
from zoo.ch03_mnist_ae_rbm.feedforward.figures import answers
from zoo.ch03_mnist_ae_rbm.feedforward.task import PANELS, TASK, worst_first
from zoo.common import bench, figures
from zoo.common.data import mnist

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## Data
#
# `load` looks for MNIST in `$ZOO_DATA_DIR` and in the cache, then downloads it, and where there
# is no network it takes a built-in sample: the small digits of scikit-learn. `description` says
# which it was. Images are uint8 `[N, 28, 28]`. (The tests run this notebook on the sample, so
# that they download nothing.)

# %% nbmake={"mock": {"data": "sample"}}
data = "auto"  # or "real", or "sample"

# %%
dataset = mnist.load(data)
print(dataset.description)
{name: (array.shape, array.dtype) for name, array in dataset.train.items()}

# %% [markdown]
# ## Parameters, logits, loss
#
# `RECIPES` names two whole configurations. `book` is the book's program: no biases, pixels
# between 0.1 and 0.999, images in file order. `modern` keeps the widths and adds what helps.

# %%
book, modern = net.RECIPES["book"], net.RECIPES["modern"]
params = net.init(jax.random.key(0), book)
print(f"{sum(a.size for a in jax.tree.leaves(params)):,} weights")
jax.tree.map(jnp.shape, params)

# %% [markdown]
# The book calls its loss a cross-entropy, but there is no logarithm in it: it is the mean of
# minus probability times target, over images and classes. With targets of 0.9 and 0.1 it is
# -0.018 for uniform probabilities and can't fall below -0.09. The true cross-entropy of uniform
# probabilities is ln 10 = 2.3 nats.

# %%
batch = {
    "image": net.scale_pixels(jnp.asarray(dataset.train["image"][:100]), "book"),
    "label": jnp.asarray(dataset.train["label"][:100]),
}
product, metrics = net.loss(params, batch, objective="product", target_on=0.9, target_off=0.1)
entropy, _ = net.loss(params, batch)
print(f"the book's loss {product:.4f}, cross-entropy {entropy:.2f} nats,")
print(f"accuracy {metrics['accuracy']:.0%}")

# %% [markdown]
# Where the network is surely wrong, p is near 0, and so is the slope of p along the logits: the
# book's loss hardly tells it so. The cross-entropy's slope there is near 1.

# %%
sure = jnp.array([10.0, 0.0, 0.0])  # sure of class 0, and the label is 1


def slope(loss):
    return jnp.abs(jax.grad(loss)(sure)).max()


print(f"-p: {slope(lambda z: -jax.nn.softmax(z)[1]):.6f}")
print(f"-log p: {slope(lambda z: -jax.nn.log_softmax(z)[1]):.6f}")

# %% [markdown]
# ## What jit is worth
#
# Model functions are never jitted inside the model's file: the caller does it, at the edge.

# %%
gradient = jax.grad(net.loss, has_aux=True)
timing = bench.time_call(gradient, params, batch, runs=20)
print(f"compiled in {timing.compile_seconds:.1f} s, then {1e3 * timing.median:.1f} ms a batch")

# %% [markdown]
# ## Training
#
# `net.train` draws an order for each epoch, moves the images about, updates, and gives back
# the last state. `follow` consumes its reports; here it keeps one line for each epoch.

# %%
rows = []


def follow(reports):
    for report in reports:
        if report.metrics is not None:
            rows.append({"epoch": report.epoch, **report.metrics})
            print(f"epoch {report.epoch}: test accuracy {report.metrics['test_accuracy']:.2%}")
    return report.state


short = dataclasses.replace(modern, epochs=3)
state = net.train(short, dataset.train, dataset.test, follow=follow)

# %%
figures.training_curves(rows, PANELS, dataset.description)

# %% [markdown]
# ## What it predicts
#
# The book's program writes ten probabilities for each test image, and one must find the mistakes
# by eye. Here are the ones that the network is surest of.

# %%
images, labels = dataset.test["image"], dataset.test["label"]
logits = net.apply(state.params, net.scale_pixels(images))
probabilities = np.asarray(jax.nn.softmax(logits))
print("\n".join(str(row.round(6)) for row in probabilities[:3]))
figures.confusion(labels, probabilities.argmax(1), dataset.classes, dataset.description)

# %%
worst = worst_first(labels, probabilities)[:12]
answers(
    images[worst], labels[worst], probabilities[worst], dataset.classes,
    "the worst mistakes: blue is right, orange is the prediction", dataset.description,
)  # fmt: skip

# %% [markdown]
# ## The exercises
#
# Other losses, widths, depths, epochs and batch sizes are fields of `Config`. Settings of one
# shape need not be tried one after the other: networks that differ in numbers alone are lanes of
# one program, which `jax.vmap` maps over all of them. Here it is one update at three rates;
# `python -m studies.ch03_sweep sweep` does so for whole runs.


# %%
def update(rate):
    config = dataclasses.replace(modern, learning_rate=rate, solver="sgd")
    optimizer = TASK.optimizer(config, 1)
    grads, _ = gradient(state.params, batch)
    updates, _ = optimizer.update(grads, optimizer.init(state.params), state.params)
    return net.loss(optax.apply_updates(state.params, updates), batch)[0]


rates = jnp.array([0.001, 0.01, 0.1])
for rate, loss in zip(rates, jax.vmap(update)(rates), strict=True):
    print(f"rate {rate:5.3f}: loss on this batch {loss:.4f}")
