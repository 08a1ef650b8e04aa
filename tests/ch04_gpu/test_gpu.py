"""What needs a GPU."""

import jax
import pytest

from zoo.ch04_gpu import agreement, machine, models, products
from zoo.common import bench, device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("gpu" not in machine.present(), reason="no GPU here"),
]


@pytest.mark.parametrize("model", models.every(), ids=lambda model: model.name)
def test_gpu_agrees_with_float64(model):
    assert all(row["agrees"] for row in agreement.measure(model, ("cpu", "gpu")))


def test_an_epoch_of_the_books_network_takes_a_quarter_of_a_second():
    device.use("gpu")
    (model,) = models.choose(("feedforward-book",))
    found, _ = bench.training(model.task, model.config, model.random(), model.batch_size)
    assert model.task.epoch / found.median < 0.25


def test_a_gpu_pays_for_large_products():
    rows = products.run(("cpu", "gpu"), 2048, 0.05)
    assert products.pays_from(rows, "JAX, gpu", "JAX, cpu") is not None
    assert jax.devices("gpu")
