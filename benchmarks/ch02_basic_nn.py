"""Chapter 2 against loops in NumPy and PyTorch: `python -m benchmarks.ch02_basic_nn`.

The eleven-line program (recipe `numpy`): one sigmoid unit, four rows, gradient ascent in float64 by
w += X^T ((y - p) p (1 - p)). Everyone does the same arithmetic, step after step.
"""

import dataclasses
import time

import numpy as np

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch02_basic_nn import model
from zoo.ch02_basic_nn.program import run_program

CONFIG = model.RECIPES["numpy"]
SOME = 1_000  # steps of a loop between two looks at the clock
NUMPY, EAGER, FORMULA = "NumPy", "PyTorch autograd", "PyTorch, gradient by hand"
NOTE = (
    "zoo's 10,000 steps are one compiled scan; its time includes moving the arrays there, and back "
    "the history of loss, accuracy and outputs. The loops keep no history. NumPy and one of the "
    "PyTorch loops have the gradient spelt out, the other takes autograd and torch.optim.SGD. All "
    "are checked to end with the eight decimals that the book prints."
)


def zoo_contender() -> tuple[Run, float]:
    """`run_program` as a user calls it, and how much longer its first call took than its second."""
    toy = model.example(CONFIG)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        _, history = run_program(CONFIG, toy)
        times.append(time.perf_counter() - began)
    check(history["output"][-1])

    def one() -> int:
        run_program(CONFIG, toy)
        return CONFIG.steps

    return repeat(one), times[0] - times[1]


def numpy_contender() -> tuple[Run, float]:
    """The eleven lines' loop."""
    x, y = (np.array(a, float) for a in (model.INPUTS, model.LABELS))

    def steps(w: np.ndarray, count: int) -> np.ndarray:
        for _ in range(count):
            p = 1.0 / (1.0 + np.exp(-(x @ w)))
            w += x.T @ ((y - p) * p * (1.0 - p))
        return p

    return _loop(steps, np.array(CONFIG.weights)), 0.0


def torch_contender(by_hand: bool) -> tuple[Run, float]:
    """The loop in eager PyTorch, with its autograd or with the gradient spelt out."""
    import torch

    torch.set_num_threads(1)  # there is nothing to share
    x, y = (torch.tensor(a, dtype=torch.float64) for a in (model.INPUTS, model.LABELS))

    @torch.inference_mode()
    def formula(w: torch.Tensor, count: int) -> torch.Tensor:
        for _ in range(count):
            p = torch.sigmoid(x @ w)
            w += x.T @ ((y - p) * p * (1.0 - p))
        return p

    def autograd(w: torch.Tensor, count: int) -> torch.Tensor:
        w.requires_grad_()
        optimizer = torch.optim.SGD([w], CONFIG.learning_rate)
        for _ in range(count):
            optimizer.zero_grad()
            p = torch.sigmoid(x @ w)
            (0.5 * ((y - p) ** 2).sum()).backward()
            optimizer.step()
        return p.detach()

    weights = torch.tensor(CONFIG.weights, dtype=torch.float64)
    return _loop(formula if by_hand else autograd, weights), 0.0


def _loop(steps, weights) -> Run:
    """Checks `steps` over a whole run, then makes it into work of some length."""
    check(np.asarray(steps(weights + 0.0, CONFIG.steps)))
    weights = weights + 0.0

    def one() -> int:
        steps(weights, SOME)
        return SOME

    return repeat(one)


def check(output: np.ndarray) -> None:
    """Refuses a contender that computes something else."""
    if list(output.round(8)) != [0.00966449, 0.00786506, 0.99358898, 0.99211957]:
        raise ValueError(f"got {output}, expected the eight decimals that the book prints")


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work on the one task, and the seconds that compilation took."""
    if name == ZOO:
        return zoo_contender()
    return numpy_contender() if name == NUMPY else torch_contender(name == FORMULA)


ROW = harness.Row(
    name="ch02_basic_nn",
    title="Chapter 2",
    unit="steps",
    base=NUMPY,
    contenders=(NUMPY, EAGER, FORMULA),
    tasks=("training",),
    contend=contend,
    note=NOTE,
    about=lambda: {"config": dataclasses.asdict(CONFIG)},
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
