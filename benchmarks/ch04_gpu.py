"""Chapter 4's matrix products against NumPy and PyTorch: `python -m benchmarks.ch04_gpu`.

Square float32 matrices that lie where they are needed, one product a call, each waited for. At
8x8 the call is all there is, at 1024x1024 the arithmetic is.
"""

import jax
import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run, compiled, repeat
from zoo.common import bench

SIZES = {"8x8": 8, "128x128": 128, "1024x1024": 1024}
NUMPY, EAGER = "NumPy", "PyTorch eager"
NOTE = (
    "One product a call in float32, results not kept. zoo is a compiled `jnp.matmul` with the "
    "chapters' compiler options. At 8x8 all of them measure the cost of a call."
)


def operands(size: int) -> np.ndarray:
    """Two matrices, float32 [2, size, size]."""
    return np.random.default_rng(0).standard_normal((2, size, size), np.float32)


def zoo_contender(size: int) -> tuple[Run, float]:
    """The compiled product, and the seconds that compilation took."""
    a, b = jax.device_put(tuple(operands(size)))
    with jax.default_matmul_precision("float32"):  # as the others; a GPU would round to tf32
        product, seconds = compiled(jax.numpy.matmul, a, b)
    return repeat(lambda: product(a, b).block_until_ready() is not None), seconds


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work on a task, and the seconds that compilation took."""
    size = SIZES[task]
    if name == ZOO:
        return zoo_contender(size)
    a, b = operands(size)
    if name == NUMPY:
        return repeat(lambda: len(a @ b) > 0), 0.0
    import torch

    torch.set_num_threads(bench.system()["threads"])
    x, y = map(torch.from_numpy, (a, b))
    return repeat(lambda: len(x @ y) > 0), 0.0


ROW = harness.Row(
    name="ch04_gpu",
    title="Chapter 4, products of square matrices",
    unit="products",
    base=NUMPY,
    contenders=(NUMPY, EAGER),
    tasks=tuple(SIZES),
    contend=contend,
    note=NOTE,
    flops={task: 2 * size**3 for task, size in SIZES.items()},
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
