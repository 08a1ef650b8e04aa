# %% [markdown]
# # Chapter 5: recurrent networks that write
#
# A network reads a text character by character and says at each step what it expects next.
# This notebook looks at a cell, shows what the book's program can learn and what it cannot,
# trains a small LSTM for a minute and lets it write. It defines no model: read
# `zoo/ch05_lstm/cells.py` and `model.py` for that.
#
# To train in earnest say `python -m zoo.ch05_lstm train` in a terminal.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo import ch05_lstm as lstm
from zoo.ch05_lstm import cells, figures, generate, probes
from zoo.common import bench
from zoo.common.figures import training_curves

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## A text as numbers
#
# `load` looks for tiny Shakespeare, then downloads it, and where there is no network it takes a
# text that ships inside Python. The vocabulary begins with three marks, START, END and BLANK; a
# character that it lacks is reported, not dropped.

# %% nbmake={"mock": {"data": "sample"}}
data = "auto"  # or "real", or "sample"

# %%
source = lstm.text.load(data=data)
source = source._replace(text=source.text[:120_000])  # a tenth, to be quick
small = dataclasses.replace(lstm.RECIPES["modern"], hidden=96, embedding=24, epochs=4)
corpus = lstm.lay_out(small, source)
config = lstm.fill(small, corpus)  # with the size of the vocabulary
print(corpus.description)
ids = corpus.vocabulary.encode("To be")
ids, corpus.vocabulary.decode(ids)

# %% [markdown]
# ## A cell
#
# A cell is three pure functions on a dict of arrays: `init`, `step`, `unroll`. `unroll` gives
# what `step` after `step` gives, but it computes what the inputs add to all gates at once and
# leaves only the small recurrent product in the loop.

# %%
cell = cells.CELLS["lstm"]
params = cell.init(jax.random.key(0), 4, 3)
xs = jax.random.normal(jax.random.key(1), (5, 1, 4))  # time, batch, inputs
state = cell.start(params, 1)
last, ys = cell.unroll(params, state, xs)
for x in xs:
    state, y = cell.step(params, state, x)
print(jax.tree.map(jnp.shape, params))
np.abs(ys[-1] - y).max()

# %% [markdown]
# ## What the book's program can learn
#
# It feeds its own expectation back, in training too: the mean of all embeddings, weighted by the
# probabilities of the step before. No character of the text ever goes in, so for every sentence
# of a batch it says the same. All that it can learn is how often each character stands at each
# place. It begins at ignorance, 30 ln 64 = 124.77 nats a sentence.

# %%
book = lstm.RECIPES["book"]
params = lstm.init(jax.random.key(0), book)
out = lstm.apply_expected(params, batch=2, steps=30)
batch = lstm.example(book, 2)
value, _ = lstm.loss(params, batch, feedback="expected", reduction="sum")
print(f"{value:.2f} nats for 5 characters; ignorance costs {5 * np.log(64):.2f}")
bool((out.logits[0] == out.logits[1]).all())

# %% [markdown]
# ## Training on true characters
#
# The text is cut into 32 streams that are read side by side in chunks of 64 characters.
# Gradients reach back through one chunk; the state is carried on to the next.

# %%
rows = []


def follow(reports):
    for report in reports:
        if report.metrics is not None:
            rows.append({"epoch": report.epoch, **report.metrics})
            print(f"epoch {report.epoch}: validation {report.metrics['test_loss']:.3f} nats")
    return report.state


trained = lstm.train(config, corpus.train, corpus.test, follow=follow)

# %%
levels = {"loss": {"uniform guess": np.log(config.vocabulary)}}
training_curves(rows, {"loss": "loss (nats)"}, corpus.description, levels)

# %% [markdown]
# ## It writes
#
# A temperature divides the logits: below 1 the likely characters gain, above 1 the unlikely ones.

# %%
for temperature in (0.5, 1.0):
    print(f"--- temperature {temperature}")
    options = {"temperature": temperature}
    print("".join(generate.stream(trained.params, corpus.vocabulary, "The ", 200, **options)))

# %% [markdown]
# The likeliest next words, by a beam over characters:

# %%
generate.next_words(trained.params, corpus.vocabulary, "to the ", beam=32)[:5]

# %% [markdown]
# ## How far back a mistake is felt
#
# The norm of the derivative of the last character's loss by the hidden state at each step before.

# %%
sample = jnp.asarray(corpus.train["input"][:16].reshape(4, -1))
norms = {}
for name in ("rnn", "gru", "lstm"):
    fresh = lstm.init(jax.random.key(0), dataclasses.replace(config, cell=name))
    norms[name] = probes.gradient_norms(fresh, sample)
norms["lstm, trained"] = probes.gradient_norms(trained.params, sample)
figures.gradient_norms(norms, corpus.description)

# %% [markdown]
# ## What jit is worth
#
# Model functions are never jitted inside `model.py`: the caller does it, at the edge.

# %%
rows = {name: jnp.asarray(array[:32]) for name, array in corpus.train.items()}
timing = bench.time_call(jax.grad(lstm.loss, has_aux=True), trained.params, rows, runs=5)
print(f"compiled once in {timing.compile_seconds:.1f} s, then {1e3 * timing.median:.0f} ms a call")
