# %% [markdown]
# # Chapter 4: CPU against GPU, measured
#
# The book builds one program twice, for a CPU and for a GPU, and finds 26.5 s against 23.5 s an
# epoch. Here the same jitted functions run on either, and the question is what each device is
# held up by. This notebook runs on any machine; with a GPU, change `kinds` below. In a
# terminal, `python -m zoo.ch04_gpu all` measures everything with more patience.

# %%
import jax
import jax.numpy as jnp

import zoo
from zoo import ch04_gpu as gpu
from zoo.ch04_gpu import agreement, figures, machine, memory, products, tables
from zoo.common import bench, device

zoo.set_xla_flags()  # every jit gets the options of zoo's own, see `python -m zoo doctor`

# %matplotlib inline
# %config InlineBackend.print_figure_kwargs = {"bbox_inches": None}

# %% [markdown]
# ## What computes here
#
# Each backend of JAX, and for those that are not here the reason.

# %%
for backend in gpu.backends():
    print(backend.name, "-", backend.kind, backend.memory, backend.note)

# %%
kinds = machine.present()  # ("cpu",) or ("cpu", "gpu")
kinds

# %% [markdown]
# ## The chapter's toy
#
# Three additions at 2 ns, one after the other, against one step of 4 ns that does all three.

# %%
{n: gpu.toy(n) for n in (1, 2, 3, 100)}

# %% [markdown]
# ## Timing honestly
#
# Two things spoil a timing in JAX: the first call compiles, and a call returns before the device
# has finished. Without waiting, this product takes no time at all:

# %%
x = jax.random.normal(jax.random.key(0), (1024, 1024))
timing = bench.time_call(jnp.matmul, x, x)
print(f"compiled in {timing.compile_seconds:.2f} s, then {1e3 * timing.median:.2f} ms a call")
print(f"{2 * 1024**3 / timing.median / 1e9:.0f} GFLOP/s")

# %% [markdown]
# ## The book's network
#
# `choose` finds any model of the zoo by its name, with random data of the right shape, and
# `bench.training` runs its training loop against the clock.

# %%
(model,) = gpu.choose(("feedforward-book",))
task, data = model.task, model.random(6_000)
rates, _ = bench.training(task, model.config, data, model.batch_size, runs=3, seconds=0.2)
print(f"{rates.median:,.0f} images/s: {task.epoch / rates.median:.2f} s an epoch of 60,000")
print("the book's program: 26.5 s on a CPU, 23.5 s on a GPU")

# %% [markdown]
# ## Where a GPU starts to pay
#
# Products of matrices, small ones first. A call costs some microseconds whatever it does; the
# curves meet where the arithmetic outweighs it.

# %%
rows = products.run(kinds, largest=256, budget=0.02)
record = machine.record("crossover", kinds, rows=rows)
figures.crossover(record)

# %% [markdown]
# ## What a processor waits for
#
# The three levels of BLAS on about the same amount of numbers, and then the same sum in three
# orders of reading.

# %%
blas = machine.record("blas", kinds, rows=memory.blas(kinds, 2**18, 5), numbers=2**18)
print(tables.blas(blas)[0].text())

# %%
order = machine.record("memory", kinds, rows=memory.patterns(kinds, 2**20, 3))
print(tables.memory(order)[0].text())

# %% [markdown]
# ## Operations and bytes
#
# How many operations does an update of the book's network take, and how many for a byte? With
# the machine's peaks that bounds its speed: the roofline.

# %%
params = task.model.init(jax.random.key(0), model.config)
batch = task.model.example(model.config, 100)
gradient = jax.value_and_grad(task.model.loss, has_aux=True)
count = gpu.count(gradient, params, batch)
peaks = gpu.peaks(size=512, numbers=2**22)
roof = gpu.bound(count.intensity, peaks["float32"], peaks["bandwidth"])
print(f"{count.flops / 1e6:.0f} MFLOP, {count.intensity:.1f} a byte: {roof / 1e9:.0f} GFLOP/s")

# %% [markdown]
# ## Do they compute the same?
#
# Each device's loss and gradient against the same functions in float64 on the CPU.

# %%
agreement.measure(model, kinds)

# %% [markdown]
# ## What fewer bits do
#
# In bfloat16 the numbers have eight bits of precision. A product of two rows shows it.

# %%
exact = jnp.vdot(x[0], x[1])
rounded = jnp.vdot(x[0].astype(jnp.bfloat16), x[1].astype(jnp.bfloat16))
print(f"float32 {exact:.4f}, bfloat16 {rounded:.4f}, on {device.describe(device.current())}")
