"""Chapter 3's Boltzmann machine against scikit-learn and PyTorch: `python -m benchmarks.ch03_rbm`.

One update by CD-1 of the book's machine, 3,706 binary visible units and 200 hidden ones, on batches
of 100 of 6,040 users, with random interactions as dense as MovieLens 1M's (4.5 %).
"""

import jax
import numpy as np
import optax

from benchmarks import harness
from benchmarks.harness import ZOO, Run, repeat
from zoo.ch03_mnist_ae_rbm import rbm
from zoo.common import bench, fit

USERS, MOVIES, HIDDEN, BATCH = 6_040, 3_706, 200, 100
RATE = 0.1
BASE, TORCH, IN_PLACE = "scikit-learn BernoulliRBM", "PyTorch eager", "PyTorch eager, in place"
NOTE = (
    "All take dense float32 batches and make five matrix products an update. zoo runs fit.iterate "
    "on a shuffled uint8 matrix with its metrics and its check for a finite loss; PyTorch gathers "
    "shuffled uint8 rows, and `in place` fuses what addmm can; scikit-learn's partial_fit gets "
    "float32 slices that are ready, in order, and its chain goes on from the last batch's "
    "(persistent CD), which costs the same."
)


def flops() -> dict[str, int]:
    """Operations per user: five products over movies and hidden units, 2 for a multiply-add."""
    return {"training": 5 * 2 * MOVIES * HIDDEN}


def users() -> np.ndarray:
    """Random interactions, uint8 [USERS, MOVIES], the same for everyone."""
    return (np.random.default_rng(0).random((USERS, MOVIES)) < 0.045).astype(np.uint8)


def zoo_contender() -> tuple[Run, float]:
    """The chapter's own loop, and the seconds that compilation took."""
    config = rbm.Config(units="binary", visible=MOVIES, hidden=HIDDEN)
    optimizer = optax.sgd(RATE)
    params = rbm.init(jax.random.key(0), config)
    state = fit.start(params, optimizer, jax.random.key(1), metrics=("squared_error",))
    data = {"rating": users()}
    progress = fit.iterate(rbm.loss, optimizer, state, data, epochs=10**6, batch_size=BATCH)
    compile_seconds = next(progress).compile_seconds
    return repeat(lambda: next(progress).steps * BATCH), compile_seconds


def sklearn_contender() -> tuple[Run, float]:
    """scikit-learn's estimator, batch by batch."""
    from sklearn.neural_network import BernoulliRBM

    x = users().astype(np.float32)
    machine = BernoulliRBM(HIDDEN, learning_rate=RATE, batch_size=BATCH, random_state=0)
    starts, place = range(0, USERS - BATCH + 1, BATCH), [0]

    def one() -> int:
        first = starts[place[0] % len(starts)]
        machine.partial_fit(x[first : first + BATCH])
        place[0] += 1
        return BATCH

    one()  # makes its arrays
    return repeat(one), 0.0


def torch_contender(in_place: bool) -> tuple[Run, float]:
    """The same update in PyTorch: as the formulas stand, or by fused operations in place."""
    import torch

    torch.set_num_threads(bench.system()["threads"])
    torch.manual_seed(0)
    x = torch.from_numpy(users())
    w = 0.01 * torch.randn(MOVIES, HIDDEN)
    b, c = torch.zeros(MOVIES), torch.zeros(HIDDEN)

    def plain(v):
        p = torch.sigmoid(v @ w + c)
        h = torch.bernoulli(p)
        v1 = torch.bernoulli(torch.sigmoid(h @ w.T + b))
        p1 = torch.sigmoid(v1 @ w + c)
        w.add_(RATE * (v.T @ p - v1.T @ p1) / BATCH)
        b.add_(RATE * (v - v1).mean(0))
        c.add_(RATE * (p - p1).mean(0))

    def fused(v):
        p = torch.addmm(c, v, w).sigmoid_()
        h = torch.bernoulli(p)
        v1 = torch.addmm(b, h, w.T).sigmoid_()
        v1 = (torch.rand_like(v1) < v1).float()
        p1 = torch.addmm(c, v1, w).sigmoid_()
        w.addmm_(v.T, p, alpha=RATE / BATCH).addmm_(v1.T, p1, alpha=-RATE / BATCH)
        b.add_((v - v1).mean(0), alpha=RATE)
        c.add_((p - p1).mean(0), alpha=RATE)

    def batches():
        while True:
            yield from (i for i in torch.randperm(USERS).split(BATCH) if len(i) == BATCH)

    order, update = batches(), fused if in_place else plain

    @torch.inference_mode()
    def one() -> int:
        update(x[next(order)].float())
        return BATCH

    one()
    return repeat(one), 0.0


def contend(name: str, task: str) -> tuple[Run, float]:
    """A contender's work, and the seconds that compilation took."""
    if name == ZOO:
        return zoo_contender()
    return sklearn_contender() if name == BASE else torch_contender(name == IN_PLACE)


ROW = harness.Row(
    name="ch03_rbm",
    title=f"Chapter 3, RBM of {MOVIES:,} x {HIDDEN}, CD-1, batch {BATCH}",
    unit="users",
    base=BASE,
    contenders=(BASE, TORCH, IN_PLACE),
    tasks=("training",),
    contend=contend,
    note=NOTE,
    flops=flops(),
    about=lambda: {"batch": BATCH, "users": USERS, "movies": MOVIES, "hidden": HIDDEN},
)

if __name__ == "__main__":
    harness.main(ROW, __doc__)
