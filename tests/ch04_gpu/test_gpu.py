"""What needs a GPU."""

import jax
import jax.numpy as jnp
import pytest

from zoo.ch04_gpu import agreement, machine, models, precision, products, roofline
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


def test_products_are_in_float32_where_that_is_asked_for():
    device.use("gpu")
    with jax.default_matmul_precision("float32"):
        assert precision.here() == "float32"
    assert set(precision.compared()) <= {"float32", "tf32"}


def test_a_gpu_counts_the_operations_of_a_cpu_and_its_own_bytes():
    def product(a, b):
        return jnp.tanh(a @ b)

    device.use("cpu")
    expected = roofline.count(product, jnp.ones((256, 256)), jnp.ones((256, 256)))
    device.use("gpu")
    counted = roofline.count(product, jnp.ones((256, 256)), jnp.ones((256, 256)))
    assert (counted.flops, counted.source, counted.fused) == (expected.flops, "xla", True)
    assert counted.bytes >= 4 * 3 * 256**2


def test_a_gpu_pays_for_large_products():
    rows = products.run(("cpu", "gpu"), 2048, 0.05)
    assert products.pays_from(rows, "JAX, gpu", "JAX, cpu") is not None
    assert jax.devices("gpu")
