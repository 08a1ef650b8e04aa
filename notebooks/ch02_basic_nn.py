# %% [markdown]
# # Chapter 2: the first network
#
# One sigmoid unit, four rows, and the three programs that the book has for it. Then what makes
# such a network learn: activation functions, gradient descent, solvers. This notebook calls the
# zoo's functions one by one and defines no model: read `zoo/ch02_basic_nn/model.py` for that.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from studies import ch02_figures as pictures
from zoo import ch02_basic_nn as nn
from zoo.ch02_basic_nn import figures

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## The toy
#
# The answer is the first number of a row; the third is always 1 and does the work of a bias.

# %%
config = nn.RECIPES["modern"]
toy = nn.example(config)
toy

# %% [markdown]
# ## Parameters, output, loss, gradient

# %%
params = nn.init(jax.random.key(0), config)
print("probability of a 1:", jax.nn.sigmoid(nn.apply(params, toy["input"])))
(value, metrics), grads = jax.value_and_grad(nn.loss, has_aux=True)(params, toy)
print(f"loss {value:.3f} nats, accuracy {metrics['accuracy']:.0%}")
grads

# %% [markdown]
# ## Three programs
#
# `run_program` runs all 10,000 steps in one compiled call. Its history is what each step saw before
# its update, and the last output is what the book's programs print. The text's own program can't
# learn: its cost falls when every output rises.

# %%
histories = {name: nn.run_program(config, toy)[1] for name, config in nn.RECIPES.items()}
for name, history in histories.items():
    print(f"{name:<8}{history['output'][-1].round(8)}")

# %%
arrays = np.asarray(toy["input"]), np.asarray(toy["label"])
outputs = {name: history["output"] for name, history in histories.items()}
figures.programs(outputs, *arrays, "The output for each row, step by step.")

# %% [markdown]
# ## Exclusive or
#
# Other labels on the same rows: is exactly one of the first two numbers a 1? No plane divides
# these rows, so one layer stays wrong. A hidden layer learns it.

# %%
xor = {**toy, "label": jnp.array([0.0, 1.0, 1.0, 0.0])}
for hidden in (0, 8):
    history = nn.run_program(dataclasses.replace(config, hidden=hidden), xor)[1]
    print(f"{hidden} hidden units: {history['output'][-1].round(3)}")

# %% [markdown]
# ## Activation functions
#
# `derivative` takes any function of one number. The sigmoid's derivative is at most 1/4, which is
# why deep stacks of sigmoids learn slowly.

# %%
x = jnp.linspace(-4.0, 4.0, 201)
functions = {"sigmoid": nn.activations.sigmoid, "tanh": nn.activations.tanh}
functions |= {"leaky ReLU": nn.activations.leaky_relu, "GELU": nn.activations.gelu}
pictures.activations(
    {name: (x, f(x), nn.activations.derivative(f, x)) for name, f in functions.items()}
)

# %% [markdown]
# ## Descent, and how it diverges
#
# The worked example's sum of squared errors is a parabola with the second derivative 60. Descent
# diverges above the learning rate 2 / 60.

# %%
sse = nn.descent.sse
print(f"{sse(2.0):.3f}, {sse(2.01):.3f}, {sse(1.99):.3f}; slope {jax.grad(sse)(2.0):.0f}")
limit = nn.descent.largest_rate(sse, 2.0)
for factor in (0.5, 0.9, 1.0, 1.1):
    print(f"{factor} x limit:", nn.descent.descend(sse, 2.0, factor * limit, 6).round(3))

# %% [markdown]
# ## Solvers
#
# Seven solvers, three learning rates, four problems: one compiled call. Rows are solvers, columns
# learning rates; each entry is the last cost on Beale's function.

# %%
solvers = nn.solvers
race = jax.jit(lambda rates: solvers.race(solvers.PROBLEMS, rates, steps=300))
races = race(jnp.array([0.001, 0.01, 0.1]))
for name, costs in zip(solvers.SOLVERS, races["Beale"].costs[..., -1], strict=True):
    print(f"{name:<20}{costs}")

# %%
shown = ("bowl", "Rosenbrock", "Beale")
maps, paths, costs = {}, {}, {}
for name in shown:
    problem, run = solvers.PROBLEMS[name], races[name]
    chosen = list(enumerate(solvers.best_rates(run.costs)))
    maps[name] = pictures.Map(*solvers.landscape(problem), problem.minimum)
    paths[name] = dict(zip(solvers.SOLVERS, (run.paths[at] for at in chosen), strict=True))
    costs[name] = dict(zip(solvers.SOLVERS, (run.costs[at] for at in chosen), strict=True))
pictures.race(maps, paths, costs, "Each at the best of three rates.")
