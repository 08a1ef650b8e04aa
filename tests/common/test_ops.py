import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from jax.test_util import check_grads

from zoo.common import device, ops

# batch, height, width, channels, filters, kernel, stride, padding, dilation
CONVOLUTIONS = {
    "book's first layer": (2, 32, 32, 3, 4, 5, 1, 1, 1),
    "book's last layer, map smaller than kernel": (2, 6, 6, 8, 5, 5, 1, 1, 1),
    "many channels": (2, 9, 8, 16, 5, 3, 1, 1, 1),
    "one pixel kernel": (2, 5, 6, 3, 2, 1, 1, 0, 1),
    "stride": (2, 9, 8, 5, 3, 3, 2, 1, 1),
    "stride leaves a rest, few channels": (2, 10, 9, 3, 2, 3, 3, 0, 1),
    "dilation": (2, 11, 10, 5, 3, 3, 1, 2, 2),
    "stride and dilation, few channels": (1, 12, 13, 2, 3, 3, 2, 2, 3),
    "more padding than kernel": (1, 4, 4, 5, 2, 3, 1, 4, 1),
    "one row of padding on one side": (2, 7, 7, 6, 2, 2, 1, ((0, 1), (1, 0)), 1),
}


def pads(padding):
    return ((padding,) * 2,) * 2 if isinstance(padding, int) else padding


@pytest.fixture(params=CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def convolution(request, getkey):
    batch, height, width, channels, filters, size, stride, padding, dilation = request.param
    x = jax.random.normal(getkey(), (batch, height, width, channels))
    kernel = jax.random.normal(getkey(), (size, size, channels, filters))
    return x, kernel, {"stride": stride, "padding": padding, "dilation": dilation}


def by_definition(x, kernel, stride, padding, dilation):
    """The six loops of a convolution in float64, those over images and filters at once."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), *pads(padding), (0, 0)))
    kernel = np.asarray(kernel, np.float64)
    rows, columns, _, filters = kernel.shape
    height = (x.shape[1] - dilation * (rows - 1) - 1) // stride + 1
    width = (x.shape[2] - dilation * (columns - 1) - 1) // stride + 1
    y = np.zeros((x.shape[0], height, width, filters))
    for i in range(height):
        for j in range(width):
            for r in range(rows):
                for c in range(columns):
                    pixels = x[:, i * stride + r * dilation, j * stride + c * dilation]
                    y[:, i, j] += pixels @ kernel[r, c]
    return y


def value_and_gradients(function, g, *arguments):
    """The value, and the gradients of the arguments where the value's is g: one program."""

    def both(g, *arguments):
        y, pullback = jax.vjp(function, *arguments)
        return y, pullback(g)

    return jax.jit(both)(g, *arguments)


def test_conv2d_is_the_six_loops_of_its_definition(convolution):
    x, kernel, options = convolution
    y = jax.jit(lambda x, kernel: ops.conv2d(x, kernel, **options))(x, kernel)
    np.testing.assert_allclose(y, by_definition(x, kernel, **options), rtol=1e-4, atol=1e-4)


def test_conv2d_and_its_gradients_equal_flax(convolution, getkey):
    x, kernel, options = convolution
    twin = nn.Conv(
        kernel.shape[-1],
        kernel.shape[:2],
        strides=options["stride"],
        padding=pads(options["padding"]),
        kernel_dilation=options["dilation"],
        use_bias=False,
    )

    def ours(x, kernel):
        return ops.conv2d(x, kernel, **options)

    def flax(x, kernel):
        return twin.apply({"params": {"kernel": kernel}}, x)

    g = jax.random.normal(getkey(), jax.eval_shape(ours, x, kernel).shape)
    y, found = value_and_gradients(ours, g, x, kernel)
    expected, theirs = value_and_gradients(flax, g, x, kernel)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(found, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, (2, 1), 1), (1, 3, 2)])
def test_conv1d_and_its_gradients_equal_flax(stride, padding, dilation, getkey):
    x = jax.random.normal(getkey(), (3, 12, 5))
    kernel = jax.random.normal(getkey(), (4, 5, 6))
    ends = (padding, padding) if isinstance(padding, int) else padding
    twin = nn.Conv(6, (4,), stride, padding=[ends], kernel_dilation=dilation, use_bias=False)

    def ours(x, kernel):
        return ops.conv1d(x, kernel, stride=stride, padding=padding, dilation=dilation)

    def flax(x, kernel):
        return twin.apply({"params": {"kernel": kernel}}, x)

    g = jax.random.normal(getkey(), jax.eval_shape(ours, x, kernel).shape)
    y, found = value_and_gradients(ours, g, x, kernel)
    expected, theirs = value_and_gradients(flax, g, x, kernel)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(found, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_conv2d_can_be_differentiated_twice_and_mapped(getkey):
    x = jax.random.normal(getkey(), (2, 5, 5, 2))
    kernel = jax.random.normal(getkey(), (3, 3, 2, 2))
    check_grads(
        lambda x, k: jnp.sin(ops.conv2d(x, k, padding=1)), (x, kernel), order=2, modes=["rev"]
    )
    kernels = jnp.stack([kernel, 2 * kernel])
    mapped = jax.vmap(jax.grad(lambda k: (ops.conv2d(x, k) ** 2).sum()))(kernels)
    np.testing.assert_allclose(mapped[1], 2 * mapped[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "kernel", "message"),
    [
        ((2, 8, 8, 3), (3, 3, 4, 5), r"images \(2, 8, 8, 3\) and kernel \(3, 3, 4, 5\) do not fit"),
        ((8, 8, 3), (3, 3, 3, 5), "expected .batch, height, width, channels"),
        ((2, 4, 8, 3), (5, 5, 3, 5), "does not fit into 4 pixels"),
    ],
)
def test_conv2d_names_shapes_that_do_not_fit(x, kernel, message):
    with pytest.raises(ValueError, match=message):
        ops.conv2d(jnp.zeros(x), jnp.zeros(kernel))


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((6, 6), 2, None), ((13, 15), 2, 2), ((7, 8), 3, 3), ((9, 8), 3, 2), ((5, 5), 5, None)],
)
def test_pooling_and_its_gradient_equal_flax(size, window, stride, getkey):
    x = jax.random.normal(getkey(), (2, *size, 3))
    strides = (stride or window,) * 2

    def ours(x):
        return ops.max_pool2d(x, window, stride)

    g = jax.random.normal(getkey(), jax.eval_shape(ours, x).shape)
    y, (found,) = value_and_gradients(ours, g, x)
    expected, (theirs,) = value_and_gradients(
        lambda x: nn.max_pool(x, (window, window), strides), g, x
    )
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6)


def test_max_pool2d_gives_the_gradient_to_the_first_of_equal_pixels_as_flax_does():
    x = jnp.ones((1, 5, 4, 1))
    ours = jax.grad(lambda x: ops.max_pool2d(x).sum())(x)
    flax = jax.grad(lambda x: nn.max_pool(x, (2, 2), (2, 2)).sum())(x)
    np.testing.assert_array_equal(ours, flax)
    assert ours.sum() == 4


def test_pooling_names_images_that_are_too_small():
    with pytest.raises(ValueError, match="at least 2 rows and columns"):
        ops.max_pool2d(jnp.zeros((1, 1, 4, 3)))


def test_dropout_equals_flax_under_the_same_key(getkey):
    x, key = jax.random.normal(getkey(), (50, 40)), getkey()
    twin = nn.Dropout(0.3)
    expected = twin.apply({}, x, deterministic=False, rng=jax.random.clone(key))
    np.testing.assert_allclose(ops.dropout(key, x, 0.3), expected, rtol=1e-6)


def test_dropout_keeps_the_expectation_and_drops_the_stated_share(getkey):
    y = ops.dropout(getkey(), jnp.ones(100_000), 0.2)
    assert abs((y == 0).mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 100_000)
    np.testing.assert_allclose(y[y != 0], 1 / 0.8, rtol=1e-6)


def test_dropout_without_a_key_changes_nothing():
    x = jnp.arange(4.0)
    assert ops.dropout(None, x, 0.5) is x


def test_dropout_of_everything_gives_zeros_with_a_gradient_of_zeros(getkey):
    x = jnp.arange(1.0, 6.0)
    y, grads = jax.value_and_grad(lambda x, key: (ops.dropout(key, x, 1.0) ** 2).sum())(x, getkey())
    assert y == 0
    assert not np.asarray(grads).any()
    assert ops.dropout(getkey(), x, 0.0) is x


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_dropout_rate_that_is_no_share_is_refused(rate, getkey):
    for key in (getkey(), None):
        with pytest.raises(ValueError, match=f"the dropout rate {rate}, expected a share from 0"):
            ops.dropout(key, jnp.ones(3), rate)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_and_its_gradients_equal_flax(training, getkey):
    x = 3 + 2 * jax.random.normal(getkey(), (6, 5, 4, 3))
    params = {
        "scale": jax.random.normal(getkey(), (3,)),
        "bias": jax.random.normal(getkey(), (3,)),
    }
    stats = {"mean": jax.random.normal(getkey(), (3,)), "var": jnp.array([1.0, 2.0, 3.0])}
    twin = nn.BatchNorm(use_running_average=not training, momentum=0.9, epsilon=1e-5)

    def flax(params, x):
        y, updates = twin.apply({"params": params, "batch_stats": stats}, x, mutable="batch_stats")
        return y, updates.get("batch_stats", stats)

    def ours(params, x):
        return ops.batch_norm(params, stats, x, training=training)

    y, pullback, new_stats = jax.vjp(ours, params, x, has_aux=True)
    expected, flax_pullback, flax_stats = jax.vjp(flax, params, x, has_aux=True)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), new_stats, flax_stats)
    g = jax.random.normal(getkey(), y.shape)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        pullback(g),
        flax_pullback(g),
    )


def test_batch_norm_has_the_moments_of_all_shards(getkey):
    """Two shards of a batch give the values, the statistics and the gradients of the whole."""
    x = 3 + 2 * jax.random.normal(getkey(), (6, 5, 4, 3)) * jnp.arange(1.0, 7)[:, None, None, None]
    g = jax.random.normal(getkey(), x.shape)
    params = {"scale": jnp.array([1.0, -2.0, 0.5]), "bias": jnp.array([0.0, 1.0, 2.0])}
    stats = {"mean": jnp.zeros(3), "var": jnp.ones(3)}

    def loss(params, x, g):
        y, after = ops.batch_norm(params, stats, x, training=True)
        return (jnp.tanh(y) * g).mean(), (y, after)

    def gradients(params, x, g):
        (d_params, d_x), (y, after) = jax.grad(loss, (0, 1), has_aux=True)(params, x, g)
        return ops.mean_over_shards(d_params), d_x / ops.shards(), y, after

    whole, split = PartitionSpec(), PartitionSpec(ops.SHARDS)
    specs = {"in_specs": (whole, split, split), "out_specs": (whole, split, split, whole)}
    shards = jax.shard_map(gradients, mesh=device.mesh(2), check_vma=False, **specs)
    found, expected = jax.jit(shards)(params, x, g), jax.jit(gradients)(params, x, g)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert ops.shards() == 1  # outside of the program


@pytest.mark.parametrize("operation", ["convolution", "pooling"])
def test_cpu_formulation_and_plain_xla_agree(operation, getkey, monkeypatch):
    """The branch for accelerators, run here, gives what the branch for CPUs gives."""
    x = jax.random.normal(getkey(), (2, 9, 8, 3))
    kernel = jax.random.normal(getkey(), (3, 3, 3, 4))

    def value(x, kernel):
        y = ops.max_pool2d(x) if operation == "pooling" else ops.conv2d(x, kernel, padding=1)
        return (y**2).sum()

    here = jax.value_and_grad(value, argnums=(0, 1))(x, kernel)
    monkeypatch.setattr(ops.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    elsewhere = jax.value_and_grad(value, argnums=(0, 1))(x, kernel)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), here, elsewhere
    )


def normed(x, scale, bias):
    """Batch norm by definition, in float64; the moments beside it."""
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias, mean, var


def test_batch_norm_keeps_its_digits_far_from_zero(getkey):
    """Means of 1000, 0 and -300 with deviations of 1, 1 and 0.1."""
    x = jax.random.normal(getkey(), (6, 5, 4, 3)) * jnp.array([1.0, 1.0, 0.1])
    x += jnp.array([1000.0, 0.0, -300.0])
    scale, bias = np.array([2.0, 0.5, -1.0]), np.array([0.0, 1.0, 3.0])
    params = {"scale": jnp.float32(scale), "bias": jnp.float32(bias)}
    stats = {"mean": jnp.array([10.0, 20.0, 30.0]), "var": jnp.array([1.0, 2.0, 3.0])}
    y, after = ops.batch_norm(params, stats, x, training=True, momentum=0.75)
    exact = np.asarray(x, np.float64)
    expected, mean, var = normed(exact, scale, bias)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=2e-3)
    variance = (np.asarray(after["var"], np.float64) - 0.75 * np.array([1.0, 2.0, 3.0])) / 0.25
    np.testing.assert_allclose(variance, var, rtol=1e-3, atol=1e-6)
    means = 0.75 * np.array([10.0, 20.0, 30.0]) + 0.25 * mean
    np.testing.assert_allclose(after["mean"], means, rtol=1e-6)

    # The gradient by central differences of the definition.
    g = np.asarray(jax.random.normal(getkey(), x.shape), np.float64)

    def value(x):
        return (ops.batch_norm(params, stats, x, training=True)[0] * jnp.float32(g)).sum()

    found = jax.grad(value)(x)
    for index in [(0, 0, 0, 0), (5, 4, 3, 0), (2, 1, 3, 1), (0, 0, 0, 2), (3, 3, 3, 2)]:
        moved = np.zeros_like(exact)
        moved[index] = 1e-4
        above, below = (normed(exact + sign * moved, scale, bias)[0] for sign in (1, -1))
        slope = ((above - below) * g).sum() / 2e-4
        np.testing.assert_allclose(found[index], slope, rtol=5e-3, atol=5e-3)


def test_batch_norm_of_a_constant_channel_is_its_bias():
    params = {"scale": jnp.array([3.0]), "bias": jnp.array([0.5])}
    stats = {"mean": jnp.zeros(1), "var": jnp.ones(1)}
    x = jnp.full((4, 1), 1234.567)
    y, after = ops.batch_norm(params, stats, x, training=True)
    np.testing.assert_allclose(y, 0.5)
    np.testing.assert_allclose(after["var"], 0.9)
    grads = jax.grad(lambda x: ops.batch_norm(params, stats, x, training=True)[0].sum())(x)
    assert np.isfinite(grads).all()


# ---- what losses refuse


def test_an_array_of_another_shape_is_named_with_what_is_expected():
    ops.check_shape("labels", np.zeros((2, 3)), (2, 3))
    ops.check_shape("labels", np.zeros((2, 3)), ("batch", 3), "flatten them")
    ops.check_shape("a rate", 1.0, ())
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        ops.check_shape("labels", np.zeros((2, 1)), (2,), "one for an image")
    assert str(caught.value) == "labels have shape (2, 1), expected (2,): one for an image"
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        ops.check_shape("images", np.zeros((2, 5, 3)), ("batch", "height", 4))
    assert str(caught.value) == "images have shape (2, 5, 3), expected (batch, height, 4)"
    for shape in [(3, 3), (2, 4), (1, 3), ("batch", 2), (2,), (2, 3, 1), (3, 2), ("batch",), ()]:
        with pytest.raises(ValueError, match=r"labels have shape \(2, 3\), expected \("):
            ops.check_shape("labels", np.zeros((2, 3)), shape)


def test_shapes_are_checked_when_a_function_is_traced():
    @jax.jit
    def function(x):
        ops.check_shape("x", x, (3,))
        return x

    function(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"x have shape \(3, 1\), expected \(3,\)"):
        function(jnp.zeros((3, 1)))


def test_an_unknown_choice_is_named_with_the_known_ones():
    ops.check_choice("reduction", "sum", ("mean", "sum"))
    for value in ("Sum", "", "mean, sum"):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            ops.check_choice("reduction", value, ("mean", "sum"))
        assert str(caught.value) == f"got the reduction {value!r}, expected one of mean, sum"


def test_a_convolution_of_two_types_is_one_of_the_wider():
    x, kernel = jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.full((3, 3, 2, 1), 0.1, jnp.float32)
    wide = ops.conv2d(x.astype(jnp.float32), kernel)
    np.testing.assert_array_equal(ops.conv2d(x, kernel), wide)
    grads = jax.grad(lambda x, kernel: ops.conv2d(x, kernel).sum(), argnums=(0, 1))(x, kernel)
    assert [grad.dtype for grad in grads] == [jnp.bfloat16, jnp.float32]


@pytest.mark.parametrize("place", ["CPU", "accelerator"])
def test_what_goes_in_with_16_bits_comes_out_with_16_bits(place, getkey, monkeypatch):
    if place == "accelerator":
        monkeypatch.setattr(
            ops.lax, "platform_dependent", lambda *args, cpu, default: default(*args)
        )
    x = jax.random.normal(getkey(), (2, 9, 8, 3)).astype(jnp.bfloat16)
    kernel = jax.random.normal(getkey(), (3, 3, 3, 4)).astype(jnp.bfloat16)
    params = {"scale": jnp.ones(3, jnp.bfloat16), "bias": jnp.zeros(3, jnp.bfloat16)}
    stats = {"mean": jnp.zeros(3), "var": jnp.ones(3)}  # they are kept in 32
    key = getkey()
    functions = {
        "conv2d": lambda x: ops.conv2d(x, kernel, padding=1),
        "pooling": ops.max_pool2d,
        "dropout": lambda x: ops.dropout(key, x, 0.5),
        "batch norm, training": lambda x: ops.batch_norm(params, stats, x, training=True)[0],
        "batch norm": lambda x: ops.batch_norm(params, stats, x, training=False)[0],
    }
    for name, function in functions.items():
        y, pull = jax.vjp(function, x)
        assert (y.dtype, pull(jnp.ones_like(y))[0].dtype) == (x.dtype, x.dtype), name
    wide = ops.batch_norm(params, stats, x.astype(jnp.float32), training=False)[0]
    assert wide.dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_scaled_images_are_no_bytes(dtype):
    ops.check_bytes("images", jnp.zeros(3, jnp.uint8))
    ops.check_bytes("images", jnp.zeros(3, jnp.int32))
    with pytest.raises(
        ValueError, match=rf"images are {jnp.zeros(3, dtype).dtype}, expected uint8"
    ):
        ops.check_bytes("images", jnp.zeros(3, dtype))
