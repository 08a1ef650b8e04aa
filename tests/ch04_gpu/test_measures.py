"""The counts behind GFLOP/s and GB/s, by hand; and what is measured computes what it says."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.ch04_gpu import (
    agreement,
    figures,
    machine,
    memory,
    models,
    operations,
    precision,
    products,
    roofline,
)
from zoo.common import bench
from zoo.common.data import DataError
from zoo.common.device import DeviceError


def test_a_product_is_counted_as_by_hand():
    a, b = jnp.ones((30, 40)), jnp.ones((40, 50))
    counted = roofline.count(jnp.matmul, a, b)
    assert counted.flops == 2 * 30 * 40 * 50
    assert counted.bytes == 4 * (30 * 40 + 40 * 50 + 30 * 50)
    assert (counted.source, counted.fused) == ("xla", True)


def test_a_scan_is_counted_by_its_length():
    def chain(a):
        return jax.lax.scan(lambda x, _: (x @ a, None), a, length=7)[0]

    counted = roofline.count(chain, jnp.ones((20, 20)))
    assert (counted.source, counted.fused) == ("graph", False)
    assert counted.flops == pytest.approx(7 * 2 * 20**3, rel=0.01)


def test_the_books_network_is_counted_as_by_hand():
    module = models.choose(("feedforward-book",))[0].task.model
    config, batch = module.RECIPES["book"], 100
    params = module.init(jax.random.key(0), config)
    gradient = jax.value_and_grad(module.loss, has_aux=True)
    counted = roofline.count(gradient, params, module.example(config, batch))
    first, rest = 784 * 300, 300 * 100 + 100 * 10
    # Forward, and twice that backward, but nothing asks for the gradient of the images.
    assert counted.flops == pytest.approx(2 * batch * (2 * first + 3 * rest), rel=0.01)
    # Weights are read forward and backward and gradients written, at the least.
    assert counted.bytes > 4 * 2 * (first + rest)


def test_a_model_is_placed_with_its_counts_and_its_rate():
    (model,) = models.choose(("basic_nn",))
    row = roofline.place(model, seconds=0.01)
    assert row["intensity"] == row["flops"] / row["bytes"]
    assert 0 < row["gflops"] < 1  # four rows of three numbers keep no processor busy


def test_the_books_processors_do_27_and_72_operations_a_word():
    ratios = [flops / words for flops, words in roofline.BOOK.values()]
    assert ratios == pytest.approx([27, 72], abs=0.7)


def test_the_roof_is_flat_behind_its_ridge():
    assert roofline.bound(2.0, 100.0, 10.0) == 20.0
    assert roofline.bound(10.0, 100.0, 10.0) == roofline.bound(99.0, 100.0, 10.0) == 100.0


def test_drawn_roofs_rise_with_the_bandwidth_up_to_the_peak():
    row = {"model": "a", "device": "cpu", "precision": "float32", "fused": True}
    row |= {"intensity": 1.0, "gflops": 5.0}
    peaks = {"cpu": {"float32": 1e11, "tf32": None, "bfloat16": None, "bandwidth": 1e10}}
    record = machine.record("roofline", ("cpu",), rows=[row], peaks=peaks, book=roofline.BOOK)
    lines = [line.get_data() for line in figures.roofline(record).axes[0].lines]
    roofs = [(x, y) for x, y in lines if len(x) > 2]
    book = [(flops, 4 * words) for flops, words in roofline.BOOK.values()]
    for (x, y), (peak, bandwidth) in zip(roofs, [(100, 10), *book], strict=True):
        np.testing.assert_allclose(y, [min(peak, bandwidth * each) for each in x])


def test_peaks_of_a_cpu_have_no_tensor_cores():
    found = roofline.peaks(64, 4096)
    assert found["float32"] > 0
    assert found["bandwidth"] > 0
    assert (found["tf32"] is None) == (jax.devices()[0].platform == "cpu")


def test_the_chapters_toy():
    assert memory.toy(3) == (6.0, 4.0)
    assert memory.toy(1) == (2.0, 4.0)
    assert memory.toy(2500) == (5000.0, 12.0)


def test_levels_of_blas_count_what_they_do():
    vector, matrix, product = memory.levels(10_000)
    assert (vector.flops, vector.numbers) == (20_000, 30_000)
    assert (matrix.flops, matrix.numbers) == (20_000, 10_200)
    assert (product.flops, product.numbers) == (2_000_000, 30_000)
    rng = np.random.default_rng(0)
    for level in (vector, matrix, product):
        arrays = [rng.standard_normal(shape, np.float32) for shape in level.shapes]
        ours = level.function(*map(jnp.array, arrays))
        np.testing.assert_allclose(ours, level.in_blas(*arrays), rtol=1e-4, atol=1e-3)


def test_level_1_of_blas_is_in_place_and_level_3_stays_small():
    vector, matrix, product = memory.levels(2**26)
    assert vector.shapes == ((2**26,), (2**26,))
    assert matrix.shapes[0] == (2**13, 2**13)
    assert product.shapes == ((2**11, 2**11), (2**11, 2**11))
    x, y = np.ones((2, 8), np.float32)
    assert np.shares_memory(vector.in_blas(x, y), y)
    assert y.tolist() == 8 * [3.0]


def test_the_last_level_caches_of_a_processor_are_counted_once_each(tmp_path, monkeypatch):
    for core in range(4):
        for number, (level, size) in enumerate([(1, "32K"), (1, "32K"), (2, "1024K"), (3, "32M")]):
            folder = tmp_path / f"cpu{core}" / "cache" / f"index{number}"
            folder.mkdir(parents=True)
            (folder / "level").write_text(f"{level}\n")
            same = size if core < 2 else size.replace("32M", "32768K")
            (folder / "size").write_text(f"{same}\n")
            (folder / "shared_cpu_list").write_text("0-1\n" if core < 2 else "2-3\n")
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    assert memory.cache(tmp_path) == 2 * 32 * 2**20
    assert memory.cache(tmp_path / "nothing") == 0


@pytest.mark.parametrize(
    ("cache", "gibibytes", "names", "numbers"),
    [
        (0, 64, ("cpu",), 2**25),
        (32 * 2**20, 64, ("cpu",), 2**25),
        (33 * 2**20, 64, ("cpu",), 2**26),  # 256 MiB
        (768 * 2**20, 512, ("cpu",), 2**30),
        (768 * 2**20, 16, ("cpu",), 2**28),  # a sixteenth of memory: 1 GiB
        (0, 64, ("cpu", "gpu"), 2**26),
    ],
)
def test_what_is_read_from_memory_does_not_fit_into_the_caches(
    monkeypatch, cache, gibibytes, names, numbers
):
    monkeypatch.setattr(memory, "cache", lambda: cache)
    monkeypatch.setattr(memory.device, "memory", lambda: gibibytes * 2.0**30)
    assert memory.beyond_caches(names) == numbers


def test_products_on_a_cpu_are_in_float32_and_what_is_narrower_is_said():
    a, b = jnp.ones((8, 8)), jnp.ones((8, 8), jnp.bfloat16)
    jax.config.update("jax_default_device", jax.devices("cpu")[0])
    assert precision.here() == "float32"
    assert precision.of(jnp.matmul, a, a) == "float32"
    assert precision.of(jnp.matmul, b, b) == "bfloat16"
    assert precision.of(jnp.sin, b) == "float32"  # no product


@pytest.mark.parametrize(
    ("kept", "name"), [(23, "float32"), (10, "tf32"), (7, "bfloat16")], ids=lambda value: value
)
def test_the_precision_of_products_is_measured(monkeypatch, kept, name):
    """A matrix product that keeps so many bits of its operands, whatever JAX is told."""

    def product(a, b):
        return jax.lax.reduce_precision(a, 8, kept) @ b

    monkeypatch.setattr(precision.jnp, "matmul", product)
    measure = precision._measured.__wrapped__  # not what is remembered of this device
    assert measure(jax.devices("cpu")[0], None, None) == name


def test_most_of_the_operations_decide_and_what_an_operation_asks_for_counts(monkeypatch):
    """A device that rounds to tf32, unless it is asked not to."""
    full = ("float32", "highest", "F32_F32_F32")
    monkeypatch.setattr(
        precision, "_measured", lambda d, asked, o: "float32" if asked in full else "tf32"
    )
    a, long = jnp.ones((8, 8)), jnp.ones((64, 64))

    def loop(precise, body):
        def function(a, long):
            first = jnp.matmul(long, long, precision=precise)
            return first, jax.lax.scan(lambda x, _: (jnp.matmul(x, a, precision=body), None), a,
                                       length=1000)  # fmt: skip

        return function

    assert precision.of(lambda a, b: a @ a, a, long) == "tf32"
    assert precision.of(loop("highest", None), a, long) == "tf32"  # a thousand small ones
    assert precision.of(loop(None, "highest"), a, long) == "float32"
    preset = jax.lax.DotAlgorithmPreset.F32_F32_F32
    assert precision.of(lambda a: jnp.matmul(a, a, precision=preset), a) == "float32"
    with jax.default_matmul_precision("float32"):
        assert precision.of(loop(None, None), a, long) == "float32"
        assert precision.compared() == {"float32": "float32"}
    assert precision.compared() == {"float32": "float32", "tf32": None}
    assert precision.compared(products=False) == {"float32": "float32"}


def test_each_order_reads_every_number_once():
    x = np.arange(4096, dtype=np.float32)
    orders = memory.orders(4096)
    assert list(orders) == ["sequential", "strided", "random"]
    assert set(np.diff(orders["strided"][:256])) == {16}
    for index in orders.values():
        assert sorted(index) == list(range(4096))
        assert memory.gather_sum(jnp.asarray(x), jnp.asarray(index)) == x.sum()


def test_patterns_are_relative_to_the_sequential_one():
    rows = memory.patterns(("cpu",), 1000, 2)
    assert rows[0]["ratio"] == 1.0
    assert rows[0]["numbers"] == 992  # whole cache lines
    assert all(row["nanoseconds"] > 0 for row in rows)


def test_patterns_are_in_nanoseconds_a_number(monkeypatch):
    monkeypatch.setattr(memory.bench, "time_call", timed([(1.0, 2.0, 3.0), 3 * (4.0,), 3 * (5.0,)]))
    rows = memory.patterns(("cpu",), 992, 3)
    assert [row["ratio"] for row in rows] == [1.0, 2.0, 2.5]
    assert [row["nanoseconds"] * 992 for row in rows] == pytest.approx([2e9, 4e9, 5e9])


@pytest.mark.parametrize(
    ("name", "near"),
    [("matrix product", 0.01), ("conv1d", 0.01), ("conv2d", 0.01), ("batch norm", 0.15)],
)
def test_operations_are_counted_as_xla_counts_them(name, near):
    operation = next(o for o in operations.operations("small") if o.name == name)
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in operation.shapes]
    out = jax.eval_shape(operation.function, None, *args)
    counted = roofline.count(lambda *args: operation.function(None, *args), *args)
    assert counted.source == "xla"
    assert operation.flops * out.size == pytest.approx(counted.flops, rel=0.01)
    pull = operations.backward(operation.function)
    counted = roofline.count(lambda args, g: pull(None, args, g), tuple(args), out)
    assert operation.backward * operation.flops * out.size == pytest.approx(counted.flops, rel=near)


def test_operations_that_compare_or_draw_are_counted_by_hand():
    """A maximum of four is counted as four, a drop as a draw, a comparison and a product."""
    counts = {o.name: (o.flops, o.backward) for o in operations.operations("small")}
    assert counts["max pooling"] == (4, 1)
    assert counts["dropout"] == (3, 1)
    assert counts["ReLU"] == (1, 1)


def timed(seconds):
    """A `time_call` that needs, one call after the other, these seconds for its runs."""
    left = iter(seconds)
    return lambda function, *args, **options: bench.Timing(1.0, next(left))


def test_a_rate_is_the_count_over_the_median_and_backward_moves_every_array_twice(monkeypatch):
    monkeypatch.setattr(operations.bench, "time_call", timed([(1.0, 2.0, 3.0), (4.0, 5.0, 9.0)]))
    row = operations.measure(next(o for o in operations.operations("small") if o.products))
    width, there = 128, 4 * 128**2
    assert row["forward"]["gflops"] == pytest.approx(2 * width**3 / 2.0 / 1e9)
    assert row["backward"]["gflops"] == pytest.approx(2 * 2 * width**3 / 5.0 / 1e9)
    assert row["forward"]["gbytes"] == pytest.approx(3 * there / 2.0 / 1e9)
    assert row["backward"]["gbytes"] == pytest.approx(5 * there / 5.0 / 1e9)


@pytest.mark.parametrize(
    ("one", "two", "words"), [((2.0, 1.0), (3.0, 9.0), 2.0), ((2.0, 5.0), (9.0, 2.0), 1.5)]
)
def test_bandwidth_is_what_the_best_run_reads_and_writes(monkeypatch, one, two, words):
    """x + 1 moves two words a number, 2 x + y three."""
    monkeypatch.setattr(memory.bench, "time_call", timed([one, two]))
    assert memory.bandwidth(1000) == 4 * 1000 * words


def test_rates_of_blas_are_counts_over_medians(monkeypatch):
    monkeypatch.setattr(memory.products, "clock", lambda function, least: (2.0, 4.0, 8.0))
    monkeypatch.setattr(memory.bench, "time_call", timed(3 * [(1.0, 2.0, 3.0)]))
    rows = memory.blas(("cpu",), 10_000, 3)
    for level, (blas, ours) in zip(
        memory.levels(10_000), zip(rows[::2], rows[1::2], strict=True), strict=True
    ):
        assert (blas["median"], ours["median"]) == (4.0, 2.0)
        for row in (blas, ours):
            assert row["gflops"] == pytest.approx(level.flops / row["median"] / 1e9)
            assert row["gbytes"] == pytest.approx(4 * level.numbers / row["median"] / 1e9)
            assert row["flops_per_byte"] == pytest.approx(level.flops / (4 * level.numbers))


def test_backward_gives_the_gradients(getkey):
    a, b = jax.random.normal(getkey(), (2, 5, 5))
    g = jnp.ones((5, 5))
    da, db = operations.backward(lambda key, a, b: a @ b)(None, (a, b), g)
    np.testing.assert_allclose(da, g @ b.T, rtol=1e-5)
    np.testing.assert_allclose(db, a.T @ g, rtol=1e-5)


def test_the_chapters_operations_are_all_there():
    names = {operation.name for operation in operations.operations("large")}
    assert names == {
        *("matrix product", "conv1d", "conv2d", "max pooling", "dropout", "ReLU", "batch norm")
    }
    with pytest.raises(DataError, match="'huge', expected one of small, medium, large"):
        operations.operations("huge")


def test_clock_repeats_and_leaves_the_first_call_out():
    calls = []
    times = products.clock(lambda: (calls.append(0), time.sleep(0.005)), seconds=0.0, least=4)
    assert len(times) == 4
    assert len(calls) == 5
    assert min(times) >= 0.005


def test_sizes_of_products_double():
    assert products.sizes(64) == [8, 16, 32, 64]
    assert products.sizes(100) == products.sizes(64)
    assert products.sizes(8192)[-1] == 8192
    with pytest.raises(DeviceError, match="at least 8"):
        products.sizes(7)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [((9, 9, 9), None), ((1, 1, 1), 8), ((9, 1, 1), 16), ((1, 9, 1), 32), ((1, 1, 9), None)],
)
def test_a_device_pays_from_where_it_stays_ahead(ours, expected):
    rows = [
        {"size": size, "seconds": {"a": {"median": mine}, "b": {"median": 5}}}
        for size, mine in zip((8, 16, 32), ours, strict=True)
    ]
    assert products.pays_from(rows, "a", "b") == expected


def test_errors_are_relative():
    result = (1.1, {"a": np.array([3.0, 4.0])})
    right = (1.0, {"a": np.array([3.0, 5.0])})
    assert agreement.errors(result, right) == pytest.approx((0.1, 1 / np.sqrt(34)))


def test_float32_agrees_with_float64_and_a_wrong_gradient_would_not():
    model = models.choose(("feedforward-book",))[0]
    (row,) = agreement.measure(model, ("cpu",))
    assert row["agrees"]
    assert 0 < row["gradient_error"] < 1e-5
    module = model.task.model
    params = module.init(jax.random.key(0), model.config)
    batch = module.example(model.config, 4)
    right = agreement.reference(module.loss, params, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(right)} == {np.dtype(np.float64)}
    wrong = (right[0], jax.tree.map(lambda g: 1.001 * g, right[1]))
    assert agreement.errors(wrong, right)[1] > agreement.GRADIENT_TOLERANCE


def test_bfloat16_rounds_what_goes_in():
    def loss(params, batch):
        return (params * batch["x"]).sum(), {}

    params, batch = jnp.float32(1.001), {"x": jnp.ones(1), "label": jnp.ones(1, int)}
    plain, _ = precision.rounded(loss, "float32")(params, batch)
    low, _ = precision.rounded(loss, "bfloat16")(params, batch)
    assert plain == params
    assert low == 1.0  # bfloat16 has steps of 1/128 above 1
    assert low.dtype == jnp.float32
    with pytest.raises(ValueError, match="got the precision 'float16', expected one of float32"):
        precision.rounded(loss, "float16")
