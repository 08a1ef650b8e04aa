"""Gradients where they exist, equal to `jax.grad`'s, and the rest drawn without."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback
from jax.experimental.ode import odeint

from zoo import ch01_graphs as graphs

TABLE = jnp.array([[2.0, 0.5, 0.1], [0.3, 1.5, 0.2], [0.1, 0.2, 1.7]])
KEY = jax.random.key(3)  # used again and again, so that tests clone it
VECTOR = jax.ShapeDtypeStruct((3,), jnp.float32)
stop = jax.lax.stop_gradient


def node(graph, name, number=0):
    return [n for n in graph.nodes if n.name == name][number]


def doubled(x):
    """A loop without a reverse derivative."""
    return jax.lax.while_loop(lambda c: c.sum() < 10.0, lambda c: c * 2.0 + 1.0, x)


def closed_over_keys(x):
    keys = jax.random.split(jax.random.clone(KEY), 3)
    return jax.lax.scan(lambda c, k: (c + x.sum() * jax.random.normal(k), None), 0.0, keys)[0]


def truncated_normal(x):
    return (x * jax.random.truncated_normal(jax.random.clone(KEY), -2.0, 2.0, (3,))).sum()


def solved_ode(x):
    return odeint(lambda y, t, w: -TABLE @ y * w, x, jnp.linspace(0.0, 1.0, 3), x)[-1].sum()


def custom_vjp(x, factor=TABLE[0]):
    @jax.custom_vjp
    def scaled(v):
        return v * factor

    scaled.defvjp(lambda v: (v * factor, None), lambda _, g: (5.0 * g * factor,))
    return scaled(x).sum() + factor.sum()


def custom_jvp(x, factor=TABLE[0]):
    @jax.custom_jvp
    def scaled(v):
        return v * factor

    scaled.defjvp(lambda p, t: (p[0] * factor, 3.0 * t[0] * factor))
    return scaled(x).sum() + factor.sum()


def custom_vjp_over_its_own_array(x):
    return custom_vjp(x, jnp.arange(3.0) * TABLE[2])


def custom_jvp_over_its_own_array(x):
    return custom_jvp(x, jnp.arange(3.0) * TABLE[2])


def callback_with_a_custom_derivative(x):
    @jax.custom_vjp
    def squared(v):
        return jax.pure_callback(lambda a: np.asarray(a) ** 2, VECTOR, v)

    squared.defvjp(lambda v: (squared(v), v), lambda v, g: (2.0 * v * g,))
    return squared(x).sum()


def while_behind_stop_gradient(x):
    return (doubled(jnp.sin(stop(jnp.exp(x)))) * x).sum()


def while_behind_a_scan_that_stops(x):
    last, stopped = jax.lax.scan(lambda c, a: (jnp.tanh(c + a * x), stop(c)), x, TABLE)
    return (doubled(stopped[0]) * last).sum()


def while_behind_rounding(x):
    return (doubled(jnp.round(x * 3.0)) * x).sum()


def while_that_does_not_matter(x):
    return x.sum(), doubled(x)


def pure_callback(x):
    return (x * jax.pure_callback(lambda v: np.asarray(v) * 2.0, VECTOR, stop(x))).sum()


def ordered_callback(x):
    found = io_callback(lambda v: np.asarray(v) * 2.0, VECTOR, TABLE[0], ordered=True)
    return (x * found).sum()


def debug_callbacks(x):
    jax.debug.callback(lambda v: None, x)
    return jax.lax.cond(x.sum() > 0.0, printing, jnp.sin, x).sum()


def printing(x):
    jax.debug.callback(lambda v: None, x, ordered=True)
    return x * 2.0


def reference(x):
    ref = jax.new_ref(x)
    ref[...] = ref[...] * 2.0
    ref[0] = x[1]
    return (ref[...] ** 2).sum()


def reference_in_a_branch(x):
    ref = jax.new_ref(jnp.zeros(3))

    def add(v):
        ref[...] += v
        return v * 2.0

    y = jax.lax.cond(x.sum() > 0.0, add, jnp.sin, x)
    return (ref[...] ** 2 * y).sum()


def reference_and_while(x):
    ref = jax.new_ref(x)
    ref[...] *= 3.0
    return (ref[...] * doubled(TABLE[0])).sum()


def complex_numbers(x):
    return (((x * 1j + TABLE[0]) * (2.0 - 1.0j)).imag * x).sum()


def inner_float0(x):
    zero = np.zeros(3, jax.dtypes.float0)
    value, slope = jax.jvp(lambda a, n: a * n, (x, jnp.arange(3)), (x, zero))
    return (value * slope).sum()


def shard_map_on_one_device(x):
    mesh = jax.make_mesh((1,), ("i",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    spec = jax.sharding.PartitionSpec
    body = functools.partial(jax.lax.psum, axis_name="i")
    return jax.shard_map(body, mesh=mesh, in_specs=spec("i"), out_specs=spec())(x).sum()


def linear_algebra(x):
    a = TABLE + jnp.diag(x)
    return jnp.linalg.inv(a).sum() + jnp.linalg.slogdet(a @ a.T)[1] + jnp.linalg.norm(a)


def negative_zero(x):
    return jnp.where(x == 0.0, jnp.clip(1.0 / x, -5.0, 5.0), x).sum()


def others(x):
    """Constructs that hold functions, integers and truth values, and an empty array."""
    x = jax.checkpoint(lambda v: jnp.sin(v) * jax.random.normal(jax.random.clone(KEY)))(x)
    x = jax.lax.switch(1, [jnp.sin, jnp.cos], x) + jax.lax.map(jnp.exp, x)
    best = jnp.where(x > 0.5, jnp.argmax(x), x[:0].sum())
    return (x * best).sum() + jax.scipy.sparse.linalg.cg(lambda v: TABLE @ v, x)[0].sum()


def nothing_depends_on_it(x):
    return 1.0


FUNCTIONS = [
    *(closed_over_keys, truncated_normal, solved_ode, custom_vjp, custom_jvp),
    *(custom_vjp_over_its_own_array, custom_jvp_over_its_own_array),
    *(callback_with_a_custom_derivative, while_behind_stop_gradient),
    *(while_behind_a_scan_that_stops, while_behind_rounding, while_that_does_not_matter),
    *(pure_callback, ordered_callback, debug_callbacks, reference, reference_in_a_branch),
    *(reference_and_while, complex_numbers, inner_float0, shard_map_on_one_device),
    *(linear_algebra, negative_zero, others, nothing_depends_on_it),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_where_jax_differentiates_the_graph_has_that_gradient(function, assert_complete):
    x = jnp.array([-0.0 if function is negative_zero else 0.3, -0.2, 0.7])

    def first(x):
        result = function(x)
        return result[0] if isinstance(result, tuple) else result

    graph = graphs.trace(function, x, gradients=True)
    np.testing.assert_allclose(
        node(graph, "x").arrays[0].gradient, jax.grad(first)(x), rtol=1e-4, atol=1e-6
    )
    output = next(n for n in graph.nodes if n.kind == "output")
    np.testing.assert_allclose(output.arrays[0].value, first(x), rtol=1e-5)
    without = graphs.trace(function, x, values=True)
    assert [n.name for n in without.nodes] == [n.name for n in graph.nodes]
    np.testing.assert_allclose(
        next(n for n in without.nodes if n.kind == "output").arrays[0].value, first(x), rtol=1e-5
    )
    assert_complete(graph, function, x)


def test_in_front_of_what_cannot_be_differentiated_there_is_none():
    def f(x):
        return (jnp.sin(doubled(jnp.exp(x))) * 3.0).sum()

    graph = graphs.trace(f, jnp.ones(3), gradients=True)
    for name in ("x", "exp"):
        assert node(graph, name).arrays[0].gradient is None
        assert node(graph, name).arrays[0].value is not None
    np.testing.assert_array_equal(node(graph, "sin").arrays[0].gradient, [3.0, 3.0, 3.0])
    loop = next(
        n for n in graph.nodes if n.kind == "port" and n.name == "carry 0" and n.cluster == 0
    )
    np.testing.assert_allclose(
        loop.arrays[0].gradient, 3.0 * jnp.cos(loop.arrays[0].value), rtol=1e-6
    )


def test_a_gradient_of_which_a_part_is_unknown_is_left_out():
    def f(x):
        y = TABLE[0] * 2.0
        return (y * x * doubled(y)).sum()

    graph = graphs.trace(f, jnp.ones(3), gradients=True)
    assert node(graph, "constant").arrays[0].gradient is None
    assert node(graph, "mul").arrays[0].gradient is None
    assert node(graph, "x").arrays[0].gradient is not None


def test_constants_keep_theirs_beside_what_has_none():
    def f(x):
        return (
            TABLE[0] * x * jax.random.truncated_normal(jax.random.clone(KEY), -1.0, 1.0, (3,))
        ).sum()

    graph = graphs.trace(f, jnp.full(3, 2.0), gradients=True)
    noise = jax.random.truncated_normal(jax.random.clone(KEY), -1.0, 1.0, (3,))
    constant = next(n for n in graph.nodes if n.name == "constant" and n.shape == (3, 3))
    np.testing.assert_allclose(constant.arrays[0].gradient[0], 2.0 * noise, rtol=1e-6)


@pytest.mark.parametrize("asked", [{"values": True}, {"gradients": True}], ids=str)
def test_callbacks_are_called_once(asked):
    calls = []

    def branch(x):
        jax.debug.callback(lambda v: calls.append("branch"), x)
        return x * 2.0

    def f(x):
        io_callback(lambda: calls.append("io"), None, ordered=True)
        jax.debug.callback(lambda v: calls.append("debug"), x)
        x = jax.lax.cond(x.sum() > 0.0, branch, jnp.sin, x)
        return (x * doubled(TABLE[0])).sum()

    graphs.trace(f, jnp.ones(3), **asked)
    jax.effects_barrier()
    assert sorted(calls) == ["branch", "debug", "io"]


def test_a_reference_from_outside_is_written_to_once():
    total = jax.new_ref(jnp.zeros(3))

    def f(x):
        total[...] += stop(x) + 1.0
        return (x * total[...]).sum()

    graph = graphs.trace(f, jnp.ones(3), gradients=True)
    np.testing.assert_array_equal(total[...], [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(node(graph, "x").arrays[0].gradient, [2.0, 2.0, 2.0])


def test_keys_integers_and_truth_values_have_values_and_no_gradients():
    def f(x, n, flag, key):
        return jnp.where(flag, x * n, n).sum() + jax.random.uniform(key), KEY

    x, flag = jnp.ones(2), jnp.array([True, False])
    graph = graphs.trace(f, x, jnp.arange(2), flag, jax.random.clone(KEY), gradients=True)
    np.testing.assert_array_equal(node(graph, "x").arrays[0].gradient, [0.0, 0.0])
    for name in ("n", "flag", "key", "constant"):
        assert node(graph, name).arrays[0].gradient is None
        assert node(graph, name).arrays[0].value is not None
    np.testing.assert_array_equal(node(graph, "constant").arrays[0].value, jax.random.key_data(KEY))


def test_a_closed_over_key_may_be_used_after_it_was_traced(getkey):
    key = getkey()
    graph = graphs.trace(lambda x: x * jax.random.normal(key), 2.0, gradients=True)
    np.testing.assert_allclose(node(graph, "x").arrays[0].gradient, jax.random.normal(key))


def test_complex_inputs_have_the_gradient_of_jax():
    def f(z):
        return (jnp.abs(z) ** 2).sum()

    z = jnp.array([1.0 + 2.0j, 3.0 - 1.0j])
    graph = graphs.trace(f, z, gradients=True)
    np.testing.assert_allclose(node(graph, "z").arrays[0].gradient, jax.grad(f)(z), rtol=1e-6)
    assert "2.-4.j" in graphs.to_dot(graph)


def test_a_function_without_real_inputs_or_results():
    graph = graphs.trace(lambda n: (jnp.sin(n * 1.5) * TABLE).sum(), 3, gradients=True)
    np.testing.assert_allclose(node(graph, "sin").arrays[0].gradient, TABLE.sum(), rtol=1e-6)
    assert graphs.trace(lambda x: (), 1.0, values=True).nodes[0].name == "x"
    assert graphs.trace(lambda: (), values=True).nodes == ()
