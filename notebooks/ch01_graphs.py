# %% [markdown]
# # Chapter 1: see the graph
#
# The book's first programs build a graph, run it and draw it. In JAX the function comes first and
# the graph is read off it: `graphs.trace(function, *arguments)`. This notebook draws the book's
# examples, looks at values and gradients, opens and folds nested functions, and ends with a
# network of a later chapter.

# %%
import jax
import jax.numpy as jnp
from IPython.display import SVG

import zoo
from zoo import ch01_graphs as graphs
from zoo.ch01_graphs import examples, targets

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`


def show(graph):
    return SVG(graphs.render(graph))


# %% [markdown]
# ## The book's expressions
#
# W x + b: two inputs meet in a product, the bias is added. With `values=True` each box shows
# its value.

# %%
print(examples.affine(examples.WEIGHTS, examples.INPUT, examples.BIAS))
arguments = examples.WEIGHTS, examples.INPUT, examples.BIAS
show(graphs.trace(examples.affine, *arguments, values=True))

# %% [markdown]
# ## Gradients at every box
#
# The book's tables show the gradient beside the value. It needs a scalar result; the sum will do.
# One backward pass gives all of them, also those of what lies between input and result.


# %%
def loss(w, x):
    return jnp.sum(jnp.tanh(w @ x) ** 2)


w, x = jnp.array(examples.WEIGHTS), jnp.array([0.5, 0.7])
graph = graphs.trace(loss, w, x, gradients=True)
show(graph)

# %% [markdown]
# The box of `w` agrees with `jax.grad`:

# %%
jax.grad(loss)(w, x), graph.nodes[0].name, graph.nodes[0].arrays[0].gradient

# %% [markdown]
# The gradient is a function like any other, so it has a graph too. What the backward pass needs of
# the forward pass runs across.

# %%
show(graphs.trace(jax.grad(loss), w, x))

# %% [markdown]
# ## Functions within functions
#
# A scan holds a function, and so do jit, cond, while, and custom derivatives such as that of
# ReLU. They are clusters, complete to the last equation.


# %%
def recurrent(w, inputs):
    def cell(h, x):
        h = jax.nn.relu(w @ h + x)
        return h, h.sum()

    return jax.lax.scan(cell, jnp.zeros(2), inputs)


nested = graphs.trace(recurrent, w, jnp.ones((5, 2)))
print(f"{nested.equations} equations, {graphs.cost(nested)}")
show(nested)

# %%
show(graphs.fold(nested, 0))

# %% [markdown]
# ## A whole network
#
# `targets.resolve` makes arguments for a function of the zoo, as `draw` does on the command line.
# The loss of chapter 6 is best looked at folded, in a file: `graphs.save(graph, "loss.svg")`.

# %%
function, arguments = targets.resolve("zoo.ch06_cnn:loss")
network = graphs.trace(function, *arguments)
print(f"{network.equations} equations, {graphs.cost(network).flops / 1e6:.0f} MFLOP for two images")
folded = graphs.fold(network, 0)
sorted({node.name for node in folded.nodes if node.kind == "folded"})

# %% [markdown]
# DOT is text, the same for the same function:

# %%
print(graphs.to_dot(graphs.trace(examples.add, 1.0, 2.0)))
